//! An attempt whose keeper has been started: it is waited for, cancelled when its run is, left alone when the server
//! stops, and its outcome recorded.

use super::{Job, StepError, StepRunner, server};
use std::time::{Duration, Instant};
use tokio_util::io::ReaderStream;
use trueline_blobs::Namespace;
use trueline_pipelines::executor::{AttemptFolder, Found, Outcome};
use trueline_pipelines::{AttemptEnd, PipelineError, Usage, keep_outputs};
use trueline_tracking::RunStatus;

/// How often the attempt's folder is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is asked whether the run was cancelled.
const ASK: Duration = Duration::from_millis(400);
/// How long a keeper may take to claim its folder.
const TO_CLAIM: Duration = Duration::from_secs(20);
/// The largest log that is kept, in bytes; the keeper ends a command before that.
const LARGEST_LOG: u64 = 1 << 30;

/// Ends the attempt's processes when nobody follows them any more: the lease was lost.
struct Leash {
    folder: AttemptFolder,
    stopping: tokio::sync::watch::Receiver<bool>,
    held: bool,
}

impl Drop for Leash {
    fn drop(&mut self) {
        // A server that stops leaves its steps to the next one.
        if self.held && !*self.stopping.borrow() {
            let folder = self.folder.clone();
            std::thread::spawn(move || drop(folder.fence()));
        }
    }
}

impl StepRunner {
    /// Waits for the end of an attempt and records it. Answers early when the server stops; the lease then runs out.
    pub(super) async fn follow(&self, job: &Job) -> Result<(), StepError> {
        let stopping = self.shared.stopping.clone();
        let mut leash = Leash { folder: job.folder.clone(), stopping: stopping.clone(), held: true };
        let (began, mut asked) = (Instant::now(), Instant::now());
        let outcome = loop {
            match job.folder.look() {
                Found::Ended(outcome) => break outcome,
                Found::NotStarted if began.elapsed() > TO_CLAIM => {
                    leash.held = false;
                    return self.fence(job, "its keeper did not start").await;
                }
                Found::Lost => {
                    leash.held = false;
                    return self.fence(job, "its keeper was ended").await;
                }
                Found::NotStarted | Found::Alive(_) => {}
            }
            if *stopping.borrow() {
                return Ok(());
            }
            if asked.elapsed() > ASK {
                asked = Instant::now();
                // A database that is gone for a while is no reason to end a step.
                if self.pipelines.is_cancelled(&job.run.id).await.unwrap_or(false) {
                    leash.held = false;
                    return self.cancel(job).await;
                }
            }
            tokio::time::sleep(LOOK).await;
        };
        leash.held = false;
        self.record(job, outcome).await
    }

    async fn record(&self, job: &Job, outcome: Outcome) -> Result<(), StepError> {
        let usage = Usage {
            cpu_ms: outcome.cpu_ms,
            peak_rss_bytes: outcome.peak_rss_bytes,
            exit_code: Some(outcome.exit_code),
            ..Usage::default()
        };
        let usage = self.keep_log(job, usage).await?;
        let end = self.judge(job, &outcome).await?;
        let well = matches!(end, AttemptEnd::Succeeded(_));
        self.end_run(job, if well { RunStatus::Finished } else { RunStatus::Failed }).await?;
        let key = job.run.steps.iter().find(|s| s.step == job.step.name).and_then(|s| s.cache_key.clone());
        let key = match key {
            Some(key) => Some(key),
            // It was computed after this job was read.
            None => self.cache_key(job).await?,
        };
        self.pipelines.end_attempt(&job.lease, &job.task, key.as_deref(), end, usage).await?;
        job.folder.remove();
        self.tidy(job).await;
        Ok(())
    }

    async fn cache_key(&self, job: &Job) -> Result<Option<String>, StepError> {
        let (run, _, _) = self.pipelines.work(&job.run.id, &job.attempt.id).await?;
        Ok(run.steps.into_iter().find(|s| s.step == job.step.name).and_then(|s| s.cache_key))
    }

    async fn judge(&self, job: &Job, outcome: &Outcome) -> Result<AttemptEnd, StepError> {
        if outcome.timed_out {
            return Ok(AttemptEnd::TimedOut(format!("it took longer than {}", job.step.timeout)));
        }
        if let Some(error) = &outcome.error {
            return Ok(AttemptEnd::Failed(error.clone()));
        }
        if outcome.exit_code != 0 {
            return Ok(AttemptEnd::Failed(format!("its command ended with exit code {}", outcome.exit_code)));
        }
        let root = self.shared.place.work(&job.run.id);
        match keep_outputs(&self.blobs, &job.run.project, &root, &job.step.outputs).await {
            Ok(outputs) => Ok(AttemptEnd::Succeeded(outputs)),
            Err(error @ PipelineError::Files { .. }) => {
                Ok(AttemptEnd::Failed(format!("it did not make what it declares: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the log as a blob, if there is one.
    pub(super) async fn keep_log(&self, job: &Job, usage: Usage) -> Result<Usage, StepError> {
        let file = match tokio::fs::File::open(job.folder.log()).await {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(usage),
            Err(e) => return Err(server(e)),
        };
        let namespace = Namespace::new(job.run.project.as_str());
        let kept = self.blobs.put(&namespace, ReaderStream::new(file), LARGEST_LOG).await;
        let kept = kept.map_err(PipelineError::from)?;
        Ok(Usage { log: Some(kept.sha256), log_bytes: i64::try_from(kept.size).ok(), ..usage })
    }
}

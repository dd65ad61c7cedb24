//! What surrounds the attempts: the working copy of a run, made once; what is left over at a start; logs as they grow.

use super::{Job, StepError, StepRunner, place, server};
use crate::capture_source::{capture_code, files_of};
use std::path::{Path, PathBuf};
use trueline_ledger::ProjectId;
use trueline_pipelines::executor::AttemptFolder;
use trueline_pipelines::{
    Attempt, AttemptState, PipelineError, PipelineRun, PipelineSpec, copy_project, restore_outputs,
};

/// The largest log piece that is answered at once, in bytes.
const LOG_PIECE: u64 = 1 << 20;

/// A piece of the log of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Its text; what is no UTF-8 is replaced.
    pub text: String,
    /// Where the next piece begins.
    pub next_offset: u64,
    /// Whether nothing more will come.
    pub complete: bool,
}

impl StepRunner {
    /// Takes up what an earlier life of this server left: leases of its own are given up, so that its attempts are looked
    /// at again, and processes and files of attempts that are no longer its own are taken away.
    ///
    /// # Errors
    /// What the database says, in words.
    pub async fn recover(&self) -> Result<(), String> {
        self.tasks.release(&self.shared.worker).await.map_err(|e| e.to_string())?;
        for id in self.shared.place.attempts() {
            let own = self.pipelines.attempt(&id).await.map_err(|e| e.to_string())?;
            let own = own.is_some_and(|a| {
                a.state == AttemptState::Running && a.worker.as_deref() == Some(self.shared.worker.as_str())
            });
            if !own {
                let folder = self.shared.place.attempt(&id);
                let fenced = folder.clone();
                let fenced = tokio::task::spawn_blocking(move || fenced.fence()).await;
                fenced.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
                folder.remove();
            }
        }
        for id in self.shared.place.runs() {
            if self.pipelines.is_cancelled(&id).await.unwrap_or(true) {
                self.remove_run(&id).await;
            }
        }
        Ok(())
    }

    async fn remove_run(&self, run: &str) {
        let folder = self.shared.place.run(run);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "a working copy can't be taken away");
        }
        if let Ok(mut environments) = self.shared.environments.lock() {
            environments.retain(|(of, _), _| of != run);
        }
    }

    /// Takes the working copy away once the run has ended.
    pub(super) async fn tidy(&self, job: &Job) {
        if self.pipelines.is_cancelled(&job.run.id).await.unwrap_or(false) {
            self.remove_run(&job.run.id).await;
        }
    }

    /// The working copy of the job's run: made by the first step that needs it, as the project's folder is then.
    pub(super) async fn working_copy(&self, job: &Job) -> Result<PathBuf, StepError> {
        let _one_at_a_time = self.shared.place.copying.lock().await;
        let (run, spec) = (job.run.clone(), job.spec.clone());
        let work = self.shared.place.work(&run.id);
        if self.shared.place.code_file(&run.id).exists() {
            return Ok(work);
        }
        let (runner, keep) = (self.clone(), self.keep(&run.project));
        let made = tokio::task::spawn_blocking({
            let (run, spec) = (run.clone(), spec.clone());
            move || runner.copy(&run, &spec, keep)
        });
        made.await.map_err(server)??;
        // Steps that ended on another server, or before the copy was lost, have their outputs among the blobs.
        for outputs in run.steps.iter().filter(|s| s.state.is_good()).filter_map(|s| s.outputs.as_ref()) {
            restore_outputs(&self.blobs, &run.project, &work, outputs).await?;
        }
        let (code, ready) =
            (self.shared.place.run(&run.id).join("code.new"), self.shared.place.code_file(&run.id));
        tokio::fs::rename(&code, &ready).await.map_err(|e| place::failed(&ready, e))?;
        Ok(work)
    }

    fn copy(
        &self,
        run: &PipelineRun,
        spec: &PipelineSpec,
        mut keep: impl FnMut(Vec<u8>) -> Result<String, String>,
    ) -> Result<(), StepError> {
        let from = Path::new(&run.directory);
        let from = from.canonicalize().map_err(|e| place::failed(from, e))?;
        let folder = self.shared.place.run(&run.id);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).map_err(|e| place::failed(&folder, e))?;
        let made: Vec<&String> = spec.steps.iter().flat_map(|s| &s.outputs).collect();
        let paths = match files_of(&from) {
            Some(mut listed) => {
                listed.extend(spec.steps.iter().flat_map(|s| &s.inputs).cloned());
                listed
            }
            None => entries(&from)?,
        };
        let mut skip: Vec<PathBuf> = made.iter().map(|path| from.join(path)).collect();
        skip.extend(self.shared.place.data_dir());
        let code = capture_code(&from, &mut keep).map_err(server)?;
        copy_project(&from, &self.shared.place.work(&run.id), &paths, &skip)?;
        let path = folder.join("code.new");
        let body = serde_json::to_vec(&code).map_err(server)?;
        std::fs::write(&path, body).map_err(|e| place::failed(&path, e))?;
        Ok(())
    }

    /// A piece of the log of an attempt, from where it runs or from what was kept of it.
    ///
    /// # Errors
    /// [`PipelineError`] when the log can't be read.
    pub async fn log(
        &self,
        project: &ProjectId,
        attempt: &Attempt,
        offset: u64,
    ) -> Result<LogPiece, PipelineError> {
        let over = !matches!(attempt.state, AttemptState::Queued | AttemptState::Running);
        let bytes = match (&attempt.log, attempt.log_bytes) {
            (Some(sha256), Some(size)) => {
                let end = offset.saturating_add(LOG_PIECE).min(u64::try_from(size).unwrap_or(0));
                if offset >= end { Vec::new() } else { self.blob_range(project, sha256, offset..end).await? }
            }
            _ => {
                let folder: AttemptFolder = self.shared.place.attempt(&attempt.id);
                let path = folder.log();
                let piece = tokio::task::spawn_blocking(move || folder.log_piece(offset, LOG_PIECE)).await;
                let piece = piece.map_err(|e| place::failed(&path, e))?;
                piece.map_err(|e| place::failed(&path, e))?
            }
        };
        let bytes = whole_characters(bytes, over);
        let next_offset = offset + bytes.len() as u64;
        let size = attempt.log_bytes.and_then(|size| u64::try_from(size).ok()).unwrap_or(next_offset);
        let complete = over && next_offset >= size;
        Ok(LogPiece { text: String::from_utf8_lossy(&bytes).into_owned(), next_offset, complete })
    }

    async fn blob_range(
        &self,
        project: &ProjectId,
        sha256: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, PipelineError> {
        use futures::TryStreamExt;
        let namespace = trueline_blobs::Namespace::new(project.as_str());
        let stream = self.blobs.get(&namespace, sha256, Some(range)).await?;
        let pieces: Vec<bytes::Bytes> = stream.try_collect().await?;
        Ok(pieces.concat())
    }

    /// The name of a project, for the address that steps are given.
    pub(super) async fn project_name(&self, project: &ProjectId) -> Result<String, StepError> {
        let all = self.identity.projects().await.map_err(server)?;
        let named = all.into_iter().find(|p| p.id == *project);
        named.map(|p| p.name).ok_or_else(|| server(format!("project {project} is gone")))
    }
}

/// Leaves out a character that is cut at the end of a piece, when more will come.
fn whole_characters(mut bytes: Vec<u8>, over: bool) -> Vec<u8> {
    if over {
        return bytes;
    }
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    bytes
}

fn entries(folder: &Path) -> Result<Vec<String>, PipelineError> {
    let read = std::fs::read_dir(folder).map_err(|e| place::failed(folder, e))?;
    let names = read.flatten().filter_map(|e| e.file_name().into_string().ok());
    Ok(names.filter(|name| name != ".git").collect())
}

//! A step of a pipeline runs: its working copy is made, its key is looked up, its process is started as a captured run of
//! tracking, followed, and its outcome recorded. A server that comes back takes its attempts up again: those whose keeper
//! can be proven to live, or left an outcome, are adopted, the others fenced.

mod follow;
mod place;
mod recover;

pub use recover::LogPiece;

use crate::capture_source::{capture_environment, seeds};
use place::Place;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use trueline_blobs::{Blobs, Namespace};
use trueline_identity::{Action, Authorized, Caller, Identity, Policy};
use trueline_ledger::{Ledger, ProjectId};
use trueline_pipelines::executor::{AttemptFolder, ExecSpec, Found};
use trueline_pipelines::{
    Attempt, AttemptEnd, AttemptState, KeyParts, PipelineError, PipelineRun, PipelineSpec, Pipelines,
    RunState, StepSpec, StepTask, Usage, restore_outputs,
};
use trueline_tasks::{Lease, Tasks};
use trueline_tracking::{
    Capture, ExperimentId, KeyValue, NewRun, RunId, RunStatus, RunUpdate, Tracking, TrackingError,
};

/// How large the log of a step may grow, in bytes.
const LOG_LIMIT: u64 = 256 << 20;
/// What of the server's environment a step sees besides what it declares.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
];

/// What went wrong with a step on the server's side; the worker tries it again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Pipelines(#[from] PipelineError),
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    #[error("{0}")]
    Server(String),
}

/// What the steps of this server are run with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StepRunner {
    pipelines: Pipelines,
    tracking: Tracking,
    tasks: Tasks,
    blobs: Blobs,
    identity: Identity,
    policy: Policy,
    shared: Arc<Shared>,
}

/// The blob of the packages, and the interpreter's version.
type Environment = (Option<String>, Option<String>);

#[derive(Debug)]
struct Shared {
    place: Place,
    /// Who works here: the same after a restart, and another for every data directory.
    worker: String,
    keeper: PathBuf,
    /// Where this server answers, once it does.
    address: watch::Receiver<Option<String>>,
    stopping: watch::Receiver<bool>,
    /// Packages and interpreter of each command's Python, by run of a pipeline.
    environments: Mutex<HashMap<(String, String), Environment>>,
}

/// What is known of an attempt that is to be worked on.
struct Job {
    lease: Lease,
    task: StepTask,
    run: PipelineRun,
    spec: PipelineSpec,
    step: StepSpec,
    attempt: Attempt,
    folder: AttemptFolder,
}

fn server(error: impl std::fmt::Display) -> StepError {
    StepError::Server(error.to_string())
}

impl StepRunner {
    /// Of these parts; working copies and attempts lie below `folder`, and `keeper` is the program that keeps an attempt.
    ///
    /// # Errors
    /// What the disk says.
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own, and this is where they meet")]
    pub fn new(
        ledger: &Ledger,
        tasks: Tasks,
        tracking: Tracking,
        blobs: Blobs,
        identity: Identity,
        policy: Policy,
        folder: PathBuf,
        keeper: PathBuf,
        address: watch::Receiver<Option<String>>,
        stopping: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        let place = Place::open(folder)?;
        let worker = place.worker(|| ledger.sources().id())?;
        let environments = Mutex::default();
        let shared = Shared { place, worker, keeper, address, stopping, environments };
        let pipelines = Pipelines::new(ledger.clone(), tasks.clone());
        Ok(Self { pipelines, tracking, tasks, blobs, identity, policy, shared: Arc::new(shared) })
    }

    /// The pipelines.
    #[must_use]
    pub fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// The name that its workers claim tasks by.
    #[must_use]
    pub fn worker(&self) -> String {
        self.shared.worker.clone()
    }

    fn leave<A: Action>(&self, project: &ProjectId) -> Result<Authorized<A>, StepError> {
        self.policy.authorize(&Caller::system("pipelines"), project).map_err(server)
    }

    /// Does the task of an attempt.
    ///
    /// # Errors
    /// What went wrong on the server's side, in words: the task is then taken up again.
    pub async fn work(self, lease: Lease) -> Result<(), String> {
        match self.attempt(lease).await {
            Ok(()) => Ok(()),
            // Another worker has it; there is nothing to record.
            Err(StepError::Pipelines(PipelineError::Task(error))) => {
                tracing::warn!(%error, "the result of an attempt is not accepted");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn attempt(&self, lease: Lease) -> Result<(), StepError> {
        let task: StepTask = serde_json::from_value(lease.payload.clone()).map_err(server)?;
        let (run, spec, attempt) = self.pipelines.work(&task.pipeline_run, &task.attempt).await?;
        let step = spec.step(&task.step).cloned();
        let step =
            step.ok_or_else(|| server(format!("version {} has no step {}", run.version, task.step)))?;
        let folder = self.shared.place.attempt(&task.attempt);
        let job = Job { lease, task, run, spec, step, attempt, folder };
        if job.run.state != RunState::Running {
            return self.cancel(&job).await;
        }
        if job.attempt.state == AttemptState::Queued {
            return self.begin(&job).await;
        }
        self.take_up(&job).await
    }

    /// Works on an attempt that was begun before: by this server in an earlier life, or by one that lost its lease.
    async fn take_up(&self, job: &Job) -> Result<(), StepError> {
        let own = job.attempt.worker.as_deref() == Some(self.shared.worker.as_str());
        match job.folder.look() {
            Found::Alive(keeper) if own => {
                tracing::info!(
                    step = job.step.name,
                    pid = keeper.pid,
                    "adopted a step that outlived the server"
                );
                self.follow(job).await
            }
            Found::Ended(_) if own => self.follow(job).await,
            _ => {
                let why = if own {
                    "its process was gone when the server came back"
                } else {
                    "the server that worked on it was lost"
                };
                self.fence(job, why).await
            }
        }
    }

    async fn fence(&self, job: &Job, why: &str) -> Result<(), StepError> {
        tracing::warn!(step = job.step.name, attempt = job.attempt.attempt, why, "fenced an attempt");
        let folder = job.folder.clone();
        tokio::task::spawn_blocking(move || folder.fence()).await.map_err(server)??;
        self.end_run(job, RunStatus::Killed).await?;
        let end = AttemptEnd::Fenced(why.to_owned());
        self.pipelines.end_attempt(&job.lease, &job.task, None, end, Usage::default()).await?;
        job.folder.remove();
        Ok(())
    }

    /// Ends what may run of an attempt whose run was cancelled.
    async fn cancel(&self, job: &Job) -> Result<(), StepError> {
        let folder = job.folder.clone();
        tokio::task::spawn_blocking(move || folder.fence()).await.map_err(server)??;
        self.end_run(job, RunStatus::Killed).await?;
        let usage = self.keep_log(job, Usage::default()).await?;
        self.pipelines.end_attempt(&job.lease, &job.task, None, AttemptEnd::Cancelled, usage).await?;
        job.folder.remove();
        self.tidy(job).await;
        Ok(())
    }

    async fn refuse(&self, job: &Job, why: String) -> Result<(), StepError> {
        let end = AttemptEnd::Failed(why);
        self.pipelines.end_attempt(&job.lease, &job.task, None, end, Usage::default()).await?;
        self.tidy(job).await;
        Ok(())
    }

    async fn begin(&self, job: &Job) -> Result<(), StepError> {
        let root = match self.working_copy(job).await {
            Ok(root) => root,
            // The folder is not as the declaration says: to try again would not help.
            Err(StepError::Pipelines(error @ PipelineError::Files { .. })) => {
                return self.refuse(job, format!("no working copy: {error}")).await;
            }
            Err(error) => return Err(error),
        };
        let parts = {
            let (step, params, root) = (job.step.clone(), job.run.params.clone(), root.clone());
            let waited_for = waited_for(job)?;
            let parts = tokio::task::spawn_blocking(move || KeyParts::of(&step, &params, &root, &waited_for));
            match parts.await.map_err(server)? {
                Ok(parts) => parts,
                Err(error) => return self.refuse(job, format!("an input is missing: {error}")).await,
            }
        };
        let key = parts.key();
        if job.step.cache && self.skip(job, &root, &key).await? {
            return Ok(());
        }
        let outputs = job.step.outputs.clone();
        let emptied = root.clone();
        tokio::task::spawn_blocking(move || place::clear(&emptied, &outputs)).await.map_err(server)??;
        let (experiment, id) = self.create_run(job).await?;
        self.capture(job, &id, &parts).await?;
        self.pipelines.begin_attempt(&job.lease, &job.task, &self.shared.worker, id.as_str(), &key).await?;
        let exec = ExecSpec {
            attempt: job.attempt.id.clone(),
            argv: parts.command.argv(),
            dir: root,
            timeout_ms: u64::try_from(job.step.timeout.millis()).unwrap_or(0),
            log_limit: LOG_LIMIT,
        };
        job.folder.prepare(&exec)?;
        let environment = self.environment(job, &parts, experiment, &id).await?;
        job.folder.start(&self.shared.keeper, &["step-keeper"], &environment)?;
        self.follow(job).await
    }

    /// Puts back what was made under the key before, if anything was and is still there.
    async fn skip(&self, job: &Job, root: &std::path::Path, key: &str) -> Result<bool, StepError> {
        let Some((outputs, same_as)) = self.pipelines.cached(&job.run.project, key).await? else {
            return Ok(false);
        };
        if let Err(error) = restore_outputs(&self.blobs, &job.run.project, root, &outputs).await {
            tracing::warn!(%error, step = job.step.name, "what was made before can't be put back; running it again");
            return Ok(false);
        }
        let end = AttemptEnd::Skipped { outputs, same_as };
        self.pipelines.end_attempt(&job.lease, &job.task, Some(key), end, Usage::default()).await?;
        self.tidy(job).await;
        Ok(true)
    }

    async fn create_run(&self, job: &Job) -> Result<(ExperimentId, RunId), StepError> {
        let write = self.leave(&job.run.project)?;
        let name = job.spec.experiment.clone().unwrap_or_else(|| job.spec.name.clone());
        let known = self.tracking.experiment_by_name(&self.leave(&job.run.project)?, name.clone()).await;
        let experiment = match known {
            Ok(experiment) => experiment.id,
            Err(TrackingError::NotFound(_)) => {
                match self.tracking.create_experiment(&write, name.clone(), None, Vec::new()).await {
                    // Another step of the same run was quicker.
                    Err(TrackingError::Exists(_)) => {
                        self.tracking.experiment_by_name(&self.leave(&job.run.project)?, name).await?.id
                    }
                    made => made?,
                }
            }
            Err(error) => return Err(error.into()),
        };
        let tag = |key: &str, value: &str| KeyValue::new(key, value);
        let command = job.step.resolved(&job.run.params)?.0.argv().join(" ");
        let new = NewRun {
            experiment,
            name: Some(format!("{}-{}-{}", job.run.pipeline, job.step.name, job.attempt.attempt)),
            claimed_user: "pipelines".to_owned(),
            start_time: Some(self.pipelines.now()),
            tags: vec![
                tag("mlflow.source.name", &command),
                tag("mlflow.source.type", "JOB"),
                tag("trueline.pipeline", &job.run.pipeline),
                tag("trueline.pipeline_run", &job.run.id),
                tag("trueline.step", &job.step.name),
                tag("trueline.attempt", &job.attempt.attempt.to_string()),
            ],
        };
        let made = self.tracking.create_run(&write, new).await?;
        Ok((experiment, made.run.id))
    }

    async fn capture(&self, job: &Job, id: &RunId, parts: &KeyParts) -> Result<(), StepError> {
        let code = self.shared.place.code(&job.run.id)?;
        let argv = parts.command.argv();
        let (environment, interpreter) = self.packages(job, &argv).await?;
        let mut variables = parts.environment.clone();
        variables.extend(seeds(passed_on().into_iter()));
        let capture = Capture {
            command: argv,
            environment,
            interpreter,
            variables,
            inputs: parts.inputs.clone(),
            ..code
        };
        Ok(self.tracking.set_capture(&self.leave(&job.run.project)?, id, capture).await?)
    }

    /// Packages and interpreter of a command; asked for once in a run for each interpreter.
    async fn packages(&self, job: &Job, argv: &[String]) -> Result<Environment, StepError> {
        let python = crate::capture_source::interpreter_of(argv).to_owned();
        let known = (job.run.id.clone(), python);
        if let Ok(environments) = self.shared.environments.lock()
            && let Some(found) = environments.get(&known)
        {
            return Ok(found.clone());
        }
        let (dir, argv, keep) =
            (self.shared.place.work(&job.run.id), argv.to_vec(), self.keep(&job.run.project));
        let found = tokio::task::spawn_blocking(move || capture_environment(&dir, &argv, &mut { keep }));
        let found = found.await.map_err(server)?.map_err(server)?;
        if let Ok(mut environments) = self.shared.environments.lock() {
            environments.insert(known, found.clone());
        }
        Ok(found)
    }

    /// Keeps bytes as blobs, for code that blocks.
    fn keep(&self, project: &ProjectId) -> impl FnMut(Vec<u8>) -> Result<String, String> + Send + use<> {
        let (blobs, namespace) = (self.blobs.clone(), Namespace::new(project.as_str()));
        let runtime = tokio::runtime::Handle::current();
        move |bytes| {
            let kept = runtime.block_on(blobs.put_bytes(&namespace, bytes.into()));
            kept.map(|blob| blob.sha256).map_err(|e| e.to_string())
        }
    }

    async fn environment(
        &self,
        job: &Job,
        parts: &KeyParts,
        experiment: ExperimentId,
        id: &RunId,
    ) -> Result<BTreeMap<String, String>, StepError> {
        let mut address = self.shared.address.clone();
        let address = address.wait_for(Option::is_some).await.map_err(server)?.clone().unwrap_or_default();
        let project = self.project_name(&job.run.project).await?;
        let mut all = passed_on();
        all.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
        all.extend(parts.environment.clone());
        for name in &job.step.secrets {
            let value = std::env::var(name).map_err(|_| {
                server(format!("the step asks for the secret {name}, which the server's environment lacks"))
            })?;
            all.insert(name.clone(), value);
        }
        let event = match &job.run.reason {
            trueline_pipelines::Reason::Trigger { event, .. } => event.as_str(),
            trueline_pipelines::Reason::Manual { .. } => "",
        };
        let number = job.attempt.attempt.to_string();
        let experiment = experiment.to_string();
        let uri = format!("{address}/projects/{project}");
        for (name, value) in [
            ("MLFLOW_TRACKING_URI", uri.as_str()),
            ("MLFLOW_EXPERIMENT_ID", &experiment),
            ("MLFLOW_RUN_ID", id.as_str()),
            ("TRUELINE_URL", &address),
            ("TRUELINE_PROJECT", &project),
            ("TRUELINE_RUN_ID", id.as_str()),
            ("TRUELINE_PIPELINE", &job.run.pipeline),
            ("TRUELINE_PIPELINE_RUN", &job.run.id),
            ("TRUELINE_STEP", &job.step.name),
            ("TRUELINE_ATTEMPT_NUMBER", &number),
            ("TRUELINE_TRIGGER_EVENT", event),
        ] {
            all.insert(name.to_owned(), value.to_owned());
        }
        Ok(all)
    }

    async fn end_run(&self, job: &Job, status: RunStatus) -> Result<(), StepError> {
        let (_, _, attempt) = self.pipelines.work(&job.run.id, &job.attempt.id).await?;
        let Some(id) = attempt.run.map(RunId::new) else { return Ok(()) };
        // The command may have ended its run itself; then that stands.
        let now = self.tracking.run(&self.leave(&job.run.project)?, &id).await?;
        if now.run.status.is_terminal() && status == RunStatus::Finished {
            return Ok(());
        }
        let update = RunUpdate { status: Some(status), end_time: Some(self.pipelines.now()), name: None };
        self.tracking.update_run(&self.leave(&job.run.project)?, &id, update).await?;
        Ok(())
    }
}

fn passed_on() -> BTreeMap<String, String> {
    PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
}

/// The hashes of everything that the steps before this one made.
fn waited_for(job: &Job) -> Result<BTreeMap<String, String>, StepError> {
    let graph = job.spec.check()?;
    let before: Vec<&String> = graph.before(&job.step.name).collect();
    let made = job.run.steps.iter().filter(|s| before.contains(&&s.step)).filter_map(|s| s.outputs.as_ref());
    Ok(made.flatten().map(|(path, file)| (path.clone(), file.sha256.clone())).collect())
}

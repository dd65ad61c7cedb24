//! Anything that MLflow can load, by processes of Python for each version.

use super::{LONGEST, Loading, RunError, Runtime, Together};
use crate::card::TensorCard;
use crate::error::{InputError, ServingError};
use crate::files::ModelFolder;
use crate::frame::{Frame, Origin};
use crate::parse_json;
use crate::predictions::Predictions;
use crate::signature::Signature;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;
use trueline_tensors::DataType;
use trueline_workers::{
    Columns, Environments, Form, Interpreter, Output, State, Worker, WorkerError, WorkerSpec,
};

/// Requests that may wait for one worker: those of callers who gave up on what it is at. All others wait before it, where
/// they are answered together.
const QUEUE: usize = 8;

/// How workers are made.
#[derive(Clone, Debug)]
pub struct PythonWorkers {
    /// Where their environments are kept.
    pub environments: Environments,
    /// Which Python they have.
    pub interpreter: Interpreter,
}

impl PythonWorkers {
    /// Starts the workers of a version, as many as its metadata wants; they have loaded the model when this returns.
    pub(crate) async fn start(&self, loading: &Loading<'_>) -> Result<PythonModel, ServingError> {
        let spec = loading.spec;
        let wishes = loading.mlmodel.wishes().map_err(|e| spec.unservable(e))?;
        let folder = loading.files.folder(loading.project, spec).await?;
        let environment = self.environments.of(folder.path(), &self.interpreter).await;
        let environment = environment.map_err(|e| spec.unservable(e.to_string()))?;
        let mut wanted = WorkerSpec::new(spec.name(), folder.path().to_owned(), environment);
        wanted.limits.queue = QUEUE;
        let mut starting = JoinSet::new();
        for _ in 0..wishes.workers.unwrap_or(1) {
            starting.spawn(Worker::start(wanted.clone()));
        }
        let mut workers = Vec::new();
        while let Some(started) = starting.join_next().await {
            let started = started.map_err(|e| spec.unservable(format!("its worker was not started: {e}")))?;
            let worker = started.map_err(|e| spec.unservable(e.to_string()))?;
            workers.push(Seat { worker, asked: AtomicUsize::new(0) });
        }
        Ok(PythonModel { workers, _folder: folder })
    }
}

/// A model in workers, of which there is at least one.
#[derive(Debug)]
pub(crate) struct PythonModel {
    workers: Vec<Seat>,
    /// A worker that is started again reads it again.
    _folder: ModelFolder,
}

/// A worker, and how many calls it was given that are not answered.
#[derive(Debug)]
struct Seat {
    worker: Worker,
    asked: AtomicUsize,
}

/// A call that is not answered.
struct Taken<'s>(&'s Seat);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PythonModel {
    /// The worker that is free, or the one with the least to do; one that is up before one that is not.
    fn take(&self) -> Option<Taken<'_>> {
        let burden = |seat: &&Seat| {
            let down = !matches!(seat.worker.state(), State::Ready(_));
            (down, seat.asked.load(Ordering::Relaxed) + seat.worker.waiting())
        };
        // The state is a lock and a copy: not looked at where there is no choice.
        let seat = match self.workers.as_slice() {
            [only] => only,
            several => several.iter().min_by_key(burden)?,
        };
        seat.asked.fetch_add(1, Ordering::Relaxed);
        Some(Taken(seat))
    }
}

#[async_trait]
impl Together for PythonModel {
    async fn answer(
        &self,
        signature: &Signature,
        typed: &Frame,
        deadline: Instant,
    ) -> Result<Predictions, RunError> {
        let form = match (typed.origin(), signature) {
            (Origin::Document, _) => Form::Document,
            (Origin::Array, _) => Form::Array,
            (Origin::Numbered, _) => Form::Numbered,
            (Origin::Table | Origin::Arrays, Signature::Tensors(_))
            | (Origin::Arrays, Signature::Unknown) => Form::Dict,
            (Origin::Table | Origin::Arrays, _) => Form::Table,
        };
        let columns = Columns { tensors: typed.columns().to_vec(), form, params: typed.params().cloned() };
        let Some(taken) = self.take() else {
            return Err(RunError::Failed("it has no worker".to_owned()));
        };
        let answer = taken.0.worker.predict(&columns, deadline).await.map_err(refused)?;
        Ok(match answer.output {
            Output::Array(tensor) => Predictions::Array(tensor.named("")),
            Output::Records(columns) => Predictions::Table(columns),
            Output::Dict(tensors) => Predictions::Named(tensors),
            Output::Json(text) => Predictions::Json(
                parse_json(text.as_bytes())
                    .map_err(|e| RunError::Failed(format!("its answer is no JSON: {e}")))?,
            ),
        })
    }

    fn lanes(&self) -> usize {
        self.workers.len()
    }

    fn by_default(&self) -> bool {
        true
    }
}

#[async_trait]
impl Runtime for PythonModel {
    async fn predict(
        &self,
        signature: &Signature,
        frame: &Frame,
        deadline: Option<Instant>,
    ) -> Result<Predictions, RunError> {
        let typed = signature.typed(frame)?.with_params(frame.params().cloned());
        self.answer(signature, &typed, deadline.unwrap_or_else(|| Instant::now() + LONGEST)).await
    }

    fn together(self: Arc<Self>) -> Option<Arc<dyn Together>> {
        Some(self)
    }

    fn fit(&self, recorded: Option<Signature>) -> Result<Signature, String> {
        Ok(recorded.unwrap_or(Signature::Unknown))
    }

    fn platform(&self) -> &'static str {
        "mlflow_python"
    }

    fn outputs(&self) -> Vec<TensorCard> {
        vec![TensorCard::new(Predictions::UNNAMED, DataType::Json, 1)]
    }

    fn heap_bytes(&self) -> usize {
        let held = |seat: &Seat| {
            seat.worker.proportional_bytes().map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        self.workers.iter().map(held).sum()
    }

    fn takes_params(&self) -> bool {
        true
    }

    fn takes_documents(&self) -> bool {
        true
    }
}

fn refused(error: WorkerError) -> RunError {
    match error {
        WorkerError::Input { exception, .. } => InputError::Refused(exception.message).into(),
        WorkerError::Gone { .. } => RunError::Gone(error.to_string()),
        WorkerError::Busy { .. } | WorkerError::Down { .. } => RunError::Busy(error.to_string()),
        WorkerError::Deadline { .. } => RunError::TimedOut(error.to_string()),
        WorkerError::Model { ref exception, .. } => {
            RunError::Raised { why: error.to_string(), trace: exception.traceback.clone() }
        }
        other => RunError::Failed(other.to_string()),
    }
}

//! Anything that MLflow can load, by a process of Python for each version.

use super::{Loading, RunError, Runtime};
use crate::card::TensorCard;
use crate::error::{InputError, ServingError};
use crate::frame::Frame;
use crate::parse_json;
use crate::predictions::Predictions;
use crate::signature::Signature;
use async_trait::async_trait;
use std::time::{Duration, Instant};
use trueline_tensors::DataType;
use trueline_workers::{
    Columns, Environments, Form, Interpreter, Output, State, Worker, WorkerError, WorkerSpec,
};

/// The longest that a worker may take for one request. Callers give up earlier, and what they asked is forgotten then.
const LONGEST: Duration = Duration::from_secs(600);

/// How workers are made.
#[derive(Clone, Debug)]
pub struct PythonWorkers {
    /// Where their environments are kept.
    pub environments: Environments,
    /// Which Python they have.
    pub interpreter: Interpreter,
}

impl PythonWorkers {
    /// Starts the worker of a version; it has loaded the model when this returns.
    pub(crate) async fn start(&self, loading: &Loading<'_>) -> Result<PythonModel, ServingError> {
        let spec = loading.spec;
        let folder = loading.files.folder(loading.project, spec).await?;
        let environment = self.environments.of(&folder, &self.interpreter).await;
        let environment = environment.map_err(|e| spec.unservable(e.to_string()))?;
        let worker = Worker::start(WorkerSpec::new(spec.name(), folder, environment)).await;
        Ok(PythonModel { worker: worker.map_err(|e| spec.unservable(e.to_string()))? })
    }
}

/// A model in a worker.
#[derive(Debug)]
pub(crate) struct PythonModel {
    worker: Worker,
}

#[async_trait]
impl Runtime for PythonModel {
    async fn predict(&self, signature: &Signature, frame: &Frame) -> Result<Predictions, RunError> {
        let typed = signature.typed(frame)?;
        let form = match (typed.is_named(), signature) {
            (false, _) => Form::Array,
            (true, Signature::Tensors(_)) => Form::Dict,
            (true, _) => Form::Table,
        };
        let columns = Columns { tensors: typed.columns().to_vec(), form, params: frame.params().cloned() };
        let answer = self.worker.predict(&columns, Instant::now() + LONGEST).await.map_err(refused)?;
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
        match self.worker.state() {
            State::Ready(facts) => usize::try_from(facts.resident_bytes).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    fn takes_params(&self) -> bool {
        true
    }
}

fn refused(error: WorkerError) -> RunError {
    match error {
        WorkerError::Input { exception, .. } => InputError::Refused(exception.message).into(),
        WorkerError::Busy { .. } | WorkerError::Gone { .. } | WorkerError::Down { .. } => {
            RunError::Busy(error.to_string())
        }
        WorkerError::Deadline { .. } => RunError::TimedOut(error.to_string()),
        other => RunError::Failed(other.to_string()),
    }
}

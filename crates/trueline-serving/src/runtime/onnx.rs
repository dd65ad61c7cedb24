//! ONNX models, run by the onnxruntime library as MLflow's flavour calls it: a table in gives a table, arrays give arrays by
//! name.

use super::{RunError, Runtime, Together, Unloadable};
use crate::card::TensorCard;
use crate::error::InputError;
use crate::files::ModelFolder;
use crate::frame::{Frame, Origin};
use crate::predictions::Predictions;
use crate::signature::Signature;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Handle, RuntimeFlavor};
use trueline_onnx::{Call, Library, Model, Options, Search, TensorInfo};
use trueline_tensors::Tensor;

#[derive(Debug)]
pub(crate) struct Onnx {
    model: Model,
    /// Sessions are made of its files.
    _folder: ModelFolder,
}

impl Onnx {
    pub(crate) fn load(search: &Search, folder: ModelFolder, file: &str) -> Result<Self, Unloadable> {
        let library = Library::load(search).map_err(|e| Unloadable::Damaged(e.to_string()))?;
        let file = folder.path().join(file);
        let model = unhurried(|| Model::from_file(library, &file, &Options::default()));
        Ok(Self { model: model.map_err(|e| Unloadable::Damaged(e.to_string()))?, _folder: folder })
    }

    fn run(&self, frame: &Frame, deadline: Option<Instant>) -> Result<Predictions, RunError> {
        let call = Call { deadline, ..Call::default() };
        let by_name = self.model.inputs().iter().all(|input| frame.column(&input.name).is_some());
        let is_table = frame.origin() == Origin::Numbered || frame.is_named() && !by_name;
        let answers = match is_table {
            true => self.model.run(&self.model.table(frame.columns()).map_err(refused)?, &call),
            false => self.model.run(frame.columns(), &call),
        };
        let answers = answers.map_err(refused)?;
        let fits = answers.iter().all(|answer| answer.rows() == frame.rows());
        match is_table && fits {
            true => Ok(Predictions::Table(answers.into_iter().map(flat).collect())),
            false => Ok(Predictions::Named(answers)),
        }
    }
}

/// A column of shape (n, 1) is one of n values.
fn flat(tensor: Tensor) -> Tensor {
    match tensor.shape() {
        [_, 1] => Tensor::column(tensor.name().to_owned(), tensor.into_values()),
        _ => tensor,
    }
}

fn refused(error: trueline_onnx::RunError) -> RunError {
    use trueline_onnx::RunError as Onnx;
    match error {
        Onnx::Busy { .. } => RunError::Busy(error.to_string()),
        Onnx::Timeout { .. } | Onnx::Deadline => RunError::TimedOut(error.to_string()),
        Onnx::Failed { .. } => RunError::Failed(error.to_string()),
        input => InputError::Refused(input.to_string()).into(),
    }
}

/// Runs what may take long where it holds up no other request.
fn unhurried<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[async_trait]
impl Runtime for Onnx {
    async fn predict(
        &self,
        signature: &Signature,
        frame: &Frame,
        deadline: Option<Instant>,
    ) -> Result<Predictions, RunError> {
        let typed = signature.typed(frame)?;
        unhurried(|| self.run(&typed, deadline))
    }

    fn together(self: Arc<Self>) -> Option<Arc<dyn Together>> {
        // An input of a fixed number of rows takes one request's at most.
        let varies = |input: &TensorInfo| input.shape().is_none_or(|s| s.first() == Some(&-1));
        let joins = self.model.inputs().iter().all(varies);
        joins.then_some(self as Arc<dyn Together>)
    }

    fn fit(&self, recorded: Option<Signature>) -> Result<Signature, String> {
        Ok(recorded.unwrap_or(Signature::Unknown))
    }

    fn platform(&self) -> &'static str {
        "onnx_onnxruntime"
    }

    fn outputs(&self) -> Vec<TensorCard> {
        let card = |output: &TensorInfo| TensorCard {
            name: output.name.clone(),
            data_type: output.element_type.data_type(),
            shape: output.shape().unwrap_or_else(|| vec![-1]),
        };
        self.model.outputs().iter().map(card).collect()
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }

    fn computes_long(&self, _: usize) -> bool {
        true
    }
}

#[async_trait]
impl Together for Onnx {
    async fn answer(&self, _: &Signature, typed: &Frame, deadline: Instant) -> Result<Predictions, RunError> {
        unhurried(|| self.run(typed, Some(deadline)))
    }

    fn lanes(&self) -> usize {
        Options::default().sessions
    }

    /// Asking costs it next to nothing, so only a model that uses processors badly by single rows gains, and whoever made it
    /// knows.
    fn by_default(&self) -> bool {
        false
    }
}

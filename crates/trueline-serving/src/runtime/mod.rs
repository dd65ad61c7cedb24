//! Runtimes: what answers for a model. Trees of XGBoost and LightGBM are scored here, ONNX models by its library, and
//! anything else that MLflow can load by a Python worker.

mod lightgbm;
mod onnx;
mod python;
mod trees;

use crate::card::TensorCard;
use crate::error::{InputError, ServingError};
use crate::files::ModelFiles;
use crate::frame::Frame;
use crate::mlmodel::MlModel;
use crate::model::ModelSpec;
use crate::predictions::Predictions;
use crate::signature::{InputColumn, Signature};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_ledger::ProjectId;

pub use python::PythonWorkers;

/// The longest that a model may take for one request when nobody says less. Callers give up earlier, and what they asked is
/// forgotten then.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// The most steps through trees that are not long. On a busy machine a step was measured at 0.3 to 2.3 ns where the trees lie in
/// the processor's caches and at 6 to 24 where they are too many for that, so this is some 0.2 ms, or 1 to 2.
const QUICK_STEPS: usize = 100_000;

/// Answers requests. Shared by all of them at once.
#[async_trait]
pub(crate) trait Runtime: Send + Sync + std::fmt::Debug {
    /// Answers a request, whose input must fit the signature. Who takes long to answer may give up after the deadline.
    async fn predict(
        &self,
        signature: &Signature,
        frame: &Frame,
        deadline: Option<Instant>,
    ) -> Result<Predictions, RunError>;
    /// The signature to hold requests to: the one that was recorded, or what the model says of itself.
    fn fit(&self, recorded: Option<Signature>) -> Result<Signature, String>;
    /// The format that it reads and what answers.
    fn platform(&self) -> &'static str;
    /// What it gives.
    fn outputs(&self) -> Vec<TensorCard>;
    /// What it takes of memory, in bytes.
    fn heap_bytes(&self) -> usize;
    /// Whether it may compute for long over so many rows, on the thread that asks it.
    fn computes_long(&self, _rows: usize) -> bool {
        false
    }
    /// Whether it takes MLflow's `params`.
    fn takes_params(&self) -> bool {
        false
    }
    /// Whether it takes documents as they are.
    fn takes_documents(&self) -> bool {
        false
    }
    /// Itself, if it may gain from being asked by several requests at once.
    fn together(self: Arc<Self>) -> Option<Arc<dyn Together>> {
        None
    }
}

/// A runtime that is asked by several requests at once: what it costs to be asked is more than what a row costs.
#[async_trait]
pub(crate) trait Together: Send + Sync + std::fmt::Debug {
    /// Answers a request that was made to fit the signature.
    async fn answer(
        &self,
        signature: &Signature,
        typed: &Frame,
        deadline: Instant,
    ) -> Result<Predictions, RunError>;
    /// How many calls it works on at once.
    fn lanes(&self) -> usize;
    /// Whether requests are answered together when the model's metadata says nothing of it.
    fn by_default(&self) -> bool;
}

/// Why a runtime gave no answer.
#[derive(Clone, Debug)]
pub(crate) enum RunError {
    /// The request does not fit the model.
    Input(InputError),
    /// The model failed.
    Failed(String),
    /// The model's own code raised an exception.
    Raised {
        /// The exception.
        why: String,
        /// Its traceback.
        trace: String,
    },
    /// Too many requests wait for it, or it is being started again.
    Busy(String),
    /// What answers ended over the request, and is being started again.
    Gone(String),
    /// It took too long.
    TimedOut(String),
}

impl From<InputError> for RunError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<trueline_trees::ScoreError> for RunError {
    fn from(error: trueline_trees::ScoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Why a model can't be loaded here.
#[derive(Debug)]
pub(crate) enum Unloadable {
    /// It is of a kind that another runtime may know.
    Foreign(String),
    /// It is broken, whoever reads it.
    Damaged(String),
}

impl From<trueline_trees::LoadError> for Unloadable {
    fn from(error: trueline_trees::LoadError) -> Self {
        match error {
            trueline_trees::LoadError::Unsupported { .. } => Self::Foreign(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// What models may be run by.
#[derive(Clone, Debug, Default)]
pub struct Runtimes {
    /// Where the library of ONNX models is looked for.
    pub onnx: trueline_onnx::Search,
    /// Python workers, if there may be any.
    pub python: Option<PythonWorkers>,
    /// Whether errors keep values of requests to themselves.
    pub hide_values: bool,
}

/// A version to be loaded.
pub(crate) struct Loading<'l> {
    pub(crate) files: &'l dyn ModelFiles,
    pub(crate) project: &'l ProjectId,
    pub(crate) spec: &'l ModelSpec,
    pub(crate) mlmodel: &'l MlModel,
}

impl Loading<'_> {
    /// The bytes of one of its files.
    async fn read(&self, path: &str) -> Result<bytes::Bytes, ServingError> {
        let Some(file) = self.spec.file(path) else {
            return Err(self.spec.unservable(format!("its file {path} is not in the manifest")));
        };
        self.files.read(self.project, self.spec, file).await
    }
}

/// Loads a version by the first runtime that knows one of its flavours.
pub(crate) async fn load(
    runtimes: &Runtimes,
    loading: &Loading<'_>,
) -> Result<Arc<dyn Runtime>, ServingError> {
    let spec = loading.spec;
    match native(runtimes, loading).await? {
        Ok(runtime) => Ok(runtime),
        Err(Unloadable::Damaged(why)) => Err(spec.unservable(why)),
        Err(Unloadable::Foreign(why)) => match (&runtimes.python, loading.mlmodel.is_pyfunc()) {
            (Some(python), true) => Ok(Arc::new(python.start(loading).await?)),
            (None, true) => Err(spec.unservable(format!(
                "{why}; it can be served by a Python worker, and those are off here: start with --python-workers"
            ))),
            (_, false) => Err(spec.unservable(why)),
        },
    }
}

/// By a runtime that needs no Python.
async fn native(
    runtimes: &Runtimes,
    loading: &Loading<'_>,
) -> Result<Result<Arc<dyn Runtime>, Unloadable>, ServingError> {
    let flavors = &loading.mlmodel.flavors;
    if let Some(flavor) = flavors.get("xgboost") {
        let bytes = loading.read(flavor.data.as_deref().unwrap_or("model.ubj")).await?;
        return Ok(trees::Trees::load(&bytes, flavor.model_class.as_deref()).map(shared));
    }
    if let Some(flavor) = flavors.get("lightgbm") {
        if !lightgbm::is_text(flavor.model_class.as_deref()) {
            return Ok(Err(Unloadable::Foreign(
                "it is a pickle of LightGBM's scikit-learn wrapper".to_owned(),
            )));
        }
        let bytes = loading.read(flavor.data.as_deref().unwrap_or("model.lgb")).await?;
        return Ok(lightgbm::Lightgbm::load(&bytes).map(shared));
    }
    if let Some(flavor) = flavors.get("onnx") {
        let folder = loading.files.folder(loading.project, loading.spec).await?;
        let file = flavor.data.as_deref().unwrap_or("model.onnx");
        return Ok(onnx::Onnx::load(&runtimes.onnx, folder, file).map(shared));
    }
    let known: Vec<&str> = flavors.keys().map(String::as_str).collect();
    Ok(Err(Unloadable::Foreign(format!("its flavours are {known:?}"))))
}

/// Whether rows take long through trees, each with so many steps.
fn walks_long(steps: usize, rows: usize) -> bool {
    steps.saturating_mul(rows) > QUICK_STEPS
}

fn shared(runtime: impl Runtime + 'static) -> Arc<dyn Runtime> {
    Arc::new(runtime)
}

/// The signature of a model of numbers: columns in the model's order, or rows without names.
fn of_numbers(
    recorded: Option<Signature>,
    width: usize,
    names: Option<&[String]>,
) -> Result<Signature, String> {
    let signature = match (recorded, names) {
        (Some(recorded), _) => recorded,
        (None, Some(names)) => Signature::of_names(names),
        (None, None) => Signature::matrix(width),
    };
    let takes = signature.width()?;
    if takes != width {
        return Err(format!("its signature has {takes} columns, the model takes {width}"));
    }
    match (signature, names) {
        (Signature::Columns(columns), Some(names)) => in_order(columns, names),
        (other, _) => Ok(other),
    }
}

/// The signature's columns in the order in which the model has them.
fn in_order(columns: Vec<InputColumn>, names: &[String]) -> Result<Signature, String> {
    let find = |name: &String| {
        let found = columns.iter().find(|c| c.name == *name).cloned();
        found.ok_or_else(|| format!("the model takes a column '{name}' that its signature does not name"))
    };
    Ok(Signature::Columns(names.iter().map(find).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_rows_take_long_through_thousands_of_trees_and_many_through_a_few() {
        let (small, large) = (100 * 6, 5_000 * 8);
        assert!(!walks_long(small, 1) && !walks_long(small, 150) && !walks_long(large, 2));
        assert!(walks_long(small, 1_000) && walks_long(large, 8) && walks_long(usize::MAX, 2));
    }

    #[test]
    fn trees_say_how_long_they_take_by_their_depths() {
        let bytes = include_bytes!("../../../trueline-trees/tests/fixtures/dart.json");
        let model = trees::Trees::load(bytes, None).unwrap();
        assert!(!model.computes_long(1));
        assert!(model.computes_long(QUICK_STEPS + 1), "each row takes a step at least");
        let bytes = include_bytes!("../../../trueline-trees/tests/fixtures/forest.lightgbm.txt");
        let model = lightgbm::Lightgbm::load(bytes).unwrap();
        assert!(!model.computes_long(1));
        assert!(model.computes_long(QUICK_STEPS + 1), "each row takes a step at least");
    }
}

//! A model version as it is loaded: its files from blobs by hash, its runtime, its signature, its self-test.

use crate::batching::{Batched, Batcher, Limits};
use crate::card::{self, ModelCard};
use crate::error::{InputError, ServingError};
use crate::files::ModelFiles;
use crate::frame::{Frame, Origin};
use crate::mlmodel::{MlModel, Wishes};
use crate::predictions::Predictions;
use crate::runtime::{self, Loading, RunError, Runtime, Runtimes};
use crate::sanity::Sanity;
use crate::selftest::{DECLARED, Recorded};
use crate::signature::Signature;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Handle, RuntimeFlavor};
use trueline_ledger::ProjectId;
use trueline_tensors::{Builder, Tensor};

/// More rows than these are not answered on a thread that others wait for.
pub const QUICK_ROWS: usize = 1_000;
/// The largest request, in rows.
pub(crate) const MOST_ROWS: usize = 100_000;

/// One frozen file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Path within the version.
    pub path: String,
    /// SHA-256 of its bytes, by which it is found.
    pub sha256: String,
}

/// A version to be served: what is needed to load it without the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// The version's id in the lineage, which stays when the model's name changes.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// The version's number.
    pub version: i64,
    /// Digest of its frozen manifest.
    pub manifest_digest: String,
    /// Its frozen files.
    pub files: Vec<ModelFile>,
}

impl ModelSpec {
    /// `name/number`, as lineage and answers name it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.model, self.version)
    }

    pub(crate) fn file(&self, path: &str) -> Option<&ModelFile> {
        self.files.iter().find(|f| f.path == path)
    }

    pub(crate) fn unservable(&self, reason: impl Into<String>) -> ServingError {
        ServingError::Unservable { model: self.name(), reason: reason.into() }
    }
}

/// A version in memory, ready to answer.
#[derive(Debug)]
pub struct LoadedModel {
    spec: ModelSpec,
    runtime: Arc<dyn Runtime>,
    /// What stands before the runtime, if it gains from being asked by several requests at once.
    batcher: Option<Batcher>,
    signature: Arc<Signature>,
    sanity: Sanity,
    hide_values: bool,
    feature_views: Vec<String>,
    example: Option<Frame>,
}

impl LoadedModel {
    /// Loads a version and tries it on its own input example before anybody else may.
    ///
    /// # Errors
    /// [`ServingError::Unservable`] with the reason, [`ServingError::Blob`] when a file is not there.
    pub async fn load(
        files: &dyn ModelFiles,
        runtimes: &Runtimes,
        project: &ProjectId,
        spec: ModelSpec,
    ) -> Result<Self, ServingError> {
        let Some(mlmodel) = read(files, project, &spec, "MLmodel").await? else {
            return Err(spec.unservable("it has no MLmodel file; log it with an MLflow flavour"));
        };
        let mlmodel = MlModel::parse(&mlmodel).map_err(|e| spec.unservable(e))?;
        let loading = Loading { files, project, spec: &spec, mlmodel: &mlmodel };
        let runtime = runtime::load(runtimes, &loading).await?;
        let recorded = mlmodel.signature.as_ref().and_then(|s| s.inputs.as_deref());
        let recorded = recorded.map(Signature::parse).transpose().map_err(|e| spec.unservable(e))?;
        let signature = Arc::new(runtime.fit(recorded).map_err(|e| spec.unservable(e))?);
        let wishes = mlmodel.wishes().map_err(|e| spec.unservable(e))?;
        let batcher = batcher(&spec, &runtime, &signature, wishes);
        let feature_views = mlmodel.feature_views().map_err(|e| spec.unservable(e))?;
        let path = mlmodel.saved_input_example_info.as_ref().and_then(|e| e.serving_input_path.clone());
        let example = match path {
            Some(path) => read(files, project, &spec, &path).await?.as_deref().and_then(example),
            None => None,
        };
        let sanity = mlmodel.sanity().map_err(|e| spec.unservable(e))?;
        let recorded = mlmodel.recorded().map_err(|e| spec.unservable(e))?;
        let hide_values = runtimes.hide_values;
        let model = Self { spec, runtime, batcher, signature, sanity, hide_values, feature_views, example };
        model.try_example(recorded.as_ref()).await?;
        Ok(model)
    }

    /// The version.
    #[must_use]
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The feature views that it reads besides the request, `name@version`: what its `MLmodel` file says, which is frozen
    /// with the rest.
    #[must_use]
    pub fn feature_views(&self) -> &[String] {
        &self.feature_views
    }

    /// What it takes.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The names of the columns that requests to it have. None where its signature does not name all of them, or where it reads
    /// features, by keys that no signature names.
    #[must_use]
    pub fn columns(&self) -> Option<Vec<&str>> {
        self.signature.names().filter(|_| self.feature_views.is_empty())
    }

    /// Whether it may compute for long over so many rows, on the thread that asks it.
    pub(crate) fn computes_long(&self, rows: usize) -> bool {
        rows > QUICK_ROWS || self.runtime.computes_long(rows)
    }

    /// Whether asking it is mostly waiting for a worker or a queue, and not computing on the thread that asks.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.batcher.is_some()
    }

    /// The input example that was logged with it, when there is one of columns.
    #[must_use]
    pub fn example(&self) -> Option<&Frame> {
        self.example.as_ref()
    }

    /// What it tells of itself.
    #[must_use]
    pub fn card(&self) -> ModelCard {
        ModelCard {
            model: self.spec.model.clone(),
            version: self.spec.version,
            platform: self.runtime.platform().into(),
            inputs: card::inputs(&self.signature),
            outputs: self.runtime.outputs(),
        }
    }

    /// What it takes of memory now, in bytes; that of Python workers is measured when this is asked.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.runtime.heap_bytes()
    }

    /// Predicts.
    ///
    /// # Errors
    /// [`ServingError::Input`] when the request does not fit the signature, [`ServingError::Unservable`] when the model
    /// fails.
    pub async fn predict(&self, frame: &Frame) -> Result<Predictions, ServingError> {
        self.predict_until(frame, None).await.0
    }

    /// Predicts before a deadline, and tells how the request went to the model. Without one it may take as long as any. A model
    /// that is scored here, such as trees, is done before it would look at the clock.
    pub async fn predict_until(
        &self,
        frame: &Frame,
        deadline: Option<Instant>,
    ) -> (Result<Predictions, ServingError>, Batched) {
        if let Err(error) = self.takes(frame) {
            return (Err(error.into()), Batched::default());
        }
        let (answer, batched) = match &self.batcher {
            Some(batcher) => batcher.predict(frame, deadline).await,
            None => {
                let alone = Batched { requests: 1, rows: frame.rows(), ..Batched::default() };
                (self.compute(frame, deadline).await, alone)
            }
        };
        let answer =
            answer.map_err(|e| self.told(e)).and_then(|answer| match self.sanity.objection(&answer) {
                None => Ok(answer),
                Some(reason) => Err(ServingError::Implausible { model: self.spec.name(), reason }),
            });
        (answer, batched)
    }

    /// The runtime's answer; what takes long holds up none of the requests that wait for this thread.
    async fn compute(&self, frame: &Frame, deadline: Option<Instant>) -> Result<Predictions, RunError> {
        let answer = self.runtime.predict(&self.signature, frame, deadline);
        match Handle::try_current() {
            Ok(handle)
                if self.computes_long(frame.rows())
                    && handle.runtime_flavor() == RuntimeFlavor::MultiThread =>
            {
                tokio::task::block_in_place(|| handle.block_on(answer))
            }
            _ => answer.await,
        }
    }

    /// What a runtime's refusal or failure is to a caller.
    fn told(&self, error: RunError) -> ServingError {
        let failed = |reason, trace| ServingError::Failed { model: self.spec.name(), reason, trace };
        match error {
            RunError::Input(error) if self.hide_values => error.without_values().into(),
            RunError::Input(error) => error.into(),
            RunError::Failed(why) => failed(self.shown(why), None),
            RunError::Raised { why, trace } => {
                // A traceback may quote values as much as the exception does.
                let trace = if self.hide_values { String::new() } else { trace };
                failed(self.shown(why), Some(trace))
            }
            RunError::Busy(why) => ServingError::Busy(why),
            RunError::Gone(why) => ServingError::WorkerDied(why),
            RunError::TimedOut(why) => ServingError::TimedOut(why),
        }
    }

    /// What a caller may know of a failure.
    fn shown(&self, why: String) -> String {
        if !self.hide_values {
            return why;
        }
        tracing::warn!(model = self.spec.name(), why, "a model failed");
        "the server's log says why".to_owned()
    }

    /// What is wrong with a request whatever the signature is.
    fn takes(&self, frame: &Frame) -> Result<(), InputError> {
        let rows = frame.rows();
        if rows > MOST_ROWS {
            return Err(InputError::TooManyRows { rows, limit: MOST_ROWS });
        }
        if frame.origin() == Origin::Document && !self.runtime.takes_documents() {
            return Err(InputError::Document { given: frame.names() });
        }
        if let Some(params) = frame.params().filter(|_| !self.runtime.takes_params()) {
            let names: Vec<&String> = params.keys().collect();
            tracing::debug!(
                model = self.spec.name(),
                ?names,
                "the model takes no params, so they are ignored"
            );
        }
        Ok(())
    }

    /// The self-test: the example that was logged with the model must be answered with finite numbers, those that were
    /// recorded if any were.
    async fn try_example(&self, recorded: Option<&Recorded>) -> Result<(), ServingError> {
        let Some(frame) = &self.example else {
            let why = || {
                self.spec
                    .unservable(format!("it records {DECLARED} without an input example: log it with one"))
            };
            return recorded.map_or(Ok(()), |_| Err(why()));
        };
        let failed = |why: String| {
            self.spec.unservable(format!("it fails on its own input example, so it is not made ready: {why}"))
        };
        let answer = self.predict(frame).await.map_err(|e| failed(e.to_string()))?;
        if !answer.is_finite() {
            return Err(failed("it answers a number that is not finite".to_owned()));
        }
        recorded.and_then(|recorded| recorded.objection(&answer)).map_or(Ok(()), |why| Err(failed(why)))
    }
}

/// What stands before a runtime that can be asked by several requests at once. Where they are not to be answered together but
/// wait all the same, it sees to it that they wait in order and within bounds.
fn batcher(
    spec: &ModelSpec,
    runtime: &Arc<dyn Runtime>,
    signature: &Arc<Signature>,
    wishes: Wishes,
) -> Option<Batcher> {
    let together = Arc::clone(runtime).together()?;
    let mut limits = Limits::of(together.lanes());
    limits.rows = wishes.max_batch_rows.unwrap_or(limits.rows);
    match (wishes.batching, together.by_default()) {
        (Some(true), _) | (None, true) => {}
        (Some(false), true) => limits.requests = 1,
        (Some(false) | None, false) => return None,
    }
    let again = wishes.ask_again.unwrap_or(true);
    Some(Batcher::new(spec.name(), together, Arc::clone(signature), limits, again))
}

async fn read(
    files: &dyn ModelFiles,
    project: &ProjectId,
    spec: &ModelSpec,
    path: &str,
) -> Result<Option<bytes::Bytes>, ServingError> {
    let Some(file) = spec.file(path) else { return Ok(None) };
    Ok(Some(files.read(project, spec, file).await?))
}

/// The input example as MLflow writes it for serving: `{"dataframe_split": {"columns": […], "data": [[…]]}}`, or arrays as
/// `{"inputs": …}`.
fn example(bytes: &[u8]) -> Option<Frame> {
    let mut value = crate::parse_json(bytes).ok()?;
    match value.get_mut("inputs").map(Json::take) {
        Some(Json::Object(arrays)) => {
            let array = |(name, array): (String, Json)| Ok(Tensor::of_json(array, &name)?.named(name));
            let arrays = arrays.into_iter().map(array).collect::<Result<_, String>>().ok()?;
            return Frame::named(arrays).ok().map(Frame::into_arrays);
        }
        Some(array) => return Some(Frame::array(Tensor::of_json(array, "inputs").ok()?)),
        None => {}
    }
    let split = &value["dataframe_split"];
    let (names, data) = (split["columns"].as_array()?, split["data"].as_array()?);
    let column = |(i, name): (usize, &Json)| {
        let values = data.iter().map(|row| row[i].clone()).collect::<Builder>().finish();
        Some(Tensor::column(name.as_str()?, values))
    };
    Frame::named(names.iter().enumerate().map(column).collect::<Option<_>>()?).ok()
}

/// Loads versions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelLoader {
    files: Arc<dyn ModelFiles>,
    runtimes: Arc<Runtimes>,
}

impl ModelLoader {
    /// From these files, by these runtimes.
    #[must_use]
    pub fn new(files: Arc<dyn ModelFiles>, runtimes: Runtimes) -> Self {
        Self { files, runtimes: Arc::new(runtimes) }
    }

    /// Loads a version and tries it on its own input example.
    ///
    /// # Errors
    /// As [`LoadedModel::load`].
    pub async fn load(&self, project: &ProjectId, spec: ModelSpec) -> Result<LoadedModel, ServingError> {
        LoadedModel::load(&*self.files, &self.runtimes, project, spec).await
    }
}

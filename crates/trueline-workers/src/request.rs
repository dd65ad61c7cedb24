//! What a worker is asked and what it answers.

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use std::time::Duration;
use trueline_tensors::Tensor;

/// As what a model gets the tensors of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A pandas DataFrame, a column for each tensor. A tensor of more dimensions is a column of arrays.
    Table,
    /// The same, its columns numbered from 0 on.
    Numbered,
    /// A NumPy array: there is one tensor.
    Array,
    /// A dict of NumPy arrays, by the tensors' names.
    Dict,
    /// A dict of plain values, by the tensors' names: the first of each. Those that the model declares as params are its
    /// params.
    Document,
}

/// Typed tensors to be predicted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// The tensors.
    pub tensors: Vec<Tensor>,
    /// As what the model gets them.
    pub form: Form,
    /// MLflow's `params`.
    pub params: Option<Map<String, Json>>,
}

impl Columns {
    /// A table of these columns.
    #[must_use]
    pub fn table(tensors: Vec<Tensor>) -> Self {
        Self { tensors, form: Form::Table, params: None }
    }
}

/// A request as it came over HTTP, to be read and answered by MLflow's own scoring server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Its content type.
    pub content_type: String,
    /// Its body.
    pub body: Bytes,
}

/// Either.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Tensors.
    Columns(Columns),
    /// A body.
    Invocation(Invocation),
}

/// An answer to [`Columns`].
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// What the model gave.
    pub output: Output,
    /// How long it took.
    pub timings: Timings,
}

/// What a model gave: tensors when it is regular, numbers and texts alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// An array, or a list that is as regular as one.
    Array(Tensor),
    /// A DataFrame or a Series: columns of one length.
    Records(Vec<Tensor>),
    /// A dict of arrays or lists, which may differ in their rows.
    Dict(Vec<Tensor>),
    /// Anything else, as JSON that Python wrote: `NaN`, `Infinity` and `-Infinity` may stand in it.
    Json(String),
}

/// An answer to an [`Invocation`], as MLflow's scoring server would give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// What went wrong, for the log, when something did.
    pub exception: Option<crate::Exception>,
    /// How long it took. All that MLflow did counts as `predict`.
    pub timings: Timings,
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// In the queue.
    pub queued: Duration,
    /// From the bytes to what the model takes.
    pub read: Duration,
    /// In the model, MLflow's enforcement of its signature included.
    pub predict: Duration,
    /// From what the model gave to bytes.
    pub write: Duration,
    /// From sending to the answer, all of the above but the queue included.
    pub total: Duration,
}

//! The Open Inference Protocol, version 2: over REST with JSON and binary tensors, and over gRPC.
//!
//! Every endpoint is a model of it. What a request brings becomes a [`Frame`]: one tensor of several dimensions is an
//! array, tensors of one value for each row are columns by their names.

mod codec;
mod datatype;
mod fractions;
pub(crate) mod grpc;
mod json;
mod messages;
mod numbers;
pub(crate) mod rest;

use crate::error::Refusal;
use trueline_serving::{Frame, Predictions};
use trueline_tensors::{DataType, Tensor, Values};

const UNNAMED: &str = Predictions::UNNAMED;
/// What the server can do beyond the protocol.
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

/// An output that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    /// Whether it is to come as bytes; as the request says for all, when it does not say.
    binary: Option<bool>,
}

/// The shape as the protocol has it; one that is too large to be is refused.
fn shape(dimensions: &[i64], name: &str) -> Result<Vec<usize>, String> {
    let size = |n: &i64| usize::try_from(*n).ok();
    dimensions
        .iter()
        .map(size)
        .collect::<Option<Vec<_>>>()
        .filter(|s| !s.is_empty() && s.iter().try_fold(1_usize, |all, n| all.checked_mul(*n)).is_some())
        .ok_or_else(|| {
            format!("input `{name}`: {dimensions:?} is no shape: name the rows first, all of them 0 or more")
        })
}

/// What came, as a model takes it.
fn frame(mut inputs: Vec<Tensor>) -> Result<Frame, Refusal> {
    if let [one] = inputs.as_slice()
        && (one.shape().len() > 2 || one.width() != 1)
    {
        return Ok(Frame::array(inputs.swap_remove(0)));
    }
    if inputs.is_empty() {
        return Err(Refusal::bad("the request has no inputs"));
    }
    // A column of shape (n, 1) is one of n values.
    let flat = |tensor: Tensor| match tensor.shape() {
        [_, 1] => Tensor::column(tensor.name().to_owned(), tensor.into_values()),
        _ => tensor,
    };
    Frame::named(inputs.into_iter().map(flat).collect()).map_err(Refusal::bad)
}

/// The answer as tensors with names, those that were asked for.
fn outputs(predictions: Predictions, wanted: &[Wanted]) -> Result<Vec<Tensor>, Refusal> {
    let all = match predictions {
        Predictions::Array(one) if one.name().is_empty() => vec![one.named(UNNAMED)],
        Predictions::Array(one) => vec![one],
        Predictions::Table(many) | Predictions::Named(many) => many,
        Predictions::Json(serde_json::Value::Array(list)) => {
            vec![Tensor::column(UNNAMED, Values::Json(list))]
        }
        Predictions::Json(one) => vec![Tensor::column(UNNAMED, Values::Json(vec![one]))],
    };
    if wanted.is_empty() {
        return Ok(all);
    }
    let find = |w: &Wanted| {
        let found = all.iter().find(|t| t.name() == w.name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(Tensor::name).collect();
            Refusal::bad(format!("the model has no output `{}`; it has {names:?}", w.name))
        })
    };
    wanted.iter().map(find).collect()
}

/// Values of JSON or of typed lists, checked against what was declared.
fn tensor(name: &str, shape: Vec<usize>, values: Values) -> Result<Tensor, String> {
    Tensor::new(name, shape, values).map_err(|e| format!("input `{name}`: {e}"))
}

/// What a tensor is, by its type.
fn is_bytes(kind: DataType) -> bool {
    matches!(kind, DataType::Bytes | DataType::Text | DataType::Json)
}

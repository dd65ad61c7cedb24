//! The heads of frames, and requests and answers as frames.

use crate::body::{Body, Writer};
use crate::channel::Message;
use crate::columns::{self, Place};
use crate::error::{Exception, WorkerError};
use crate::frame::Kind;
use crate::request::{Columns, Form, Invocation, Output, Prediction, Reply, Request, Timings};
use crate::spec::{Limits, WorkerSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::time::Duration;

/// The version of the protocol, which is also one of what environments are keyed by.
pub(crate) const PROTOCOL: u32 = 1;

#[derive(Serialize)]
pub(crate) struct Start<'a> {
    model: &'a str,
    apart_above: u64,
    most_body: u64,
    threads: usize,
    model_config: Option<&'a Json>,
}

impl<'a> Start<'a> {
    /// None when the folder's name is no text.
    pub(crate) fn of(spec: &'a WorkerSpec) -> Option<Self> {
        Some(Self {
            model: spec.model.to_str()?,
            apart_above: spec.limits.inline_bytes,
            most_body: spec.limits.body_bytes,
            threads: spec.concurrency,
            model_config: spec.model_config.as_ref(),
        })
    }
}

/// What a worker runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Versions {
    pub(crate) protocol: u32,
    /// Python's version.
    pub python: String,
    /// MLflow's version.
    pub mlflow: String,
    /// NumPy's version.
    pub numpy: String,
    /// pandas' version.
    pub pandas: String,
}

#[derive(Deserialize)]
pub(crate) struct Failure {
    pub(crate) fault: String,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    traceback: String,
}

impl Failure {
    pub(crate) fn exception(self) -> Exception {
        Exception { kind: self.kind, message: self.message, traceback: self.traceback }
    }
}

#[derive(Serialize)]
struct PredictHead<'a> {
    form: Form,
    inputs: &'a [Place],
    params: Option<&'a Map<String, Json>>,
}

#[derive(Serialize)]
struct InvokeHead<'a> {
    content_type: &'a str,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PredictAnswer {
    Json { form: JsonForm, ns: [u64; 3] },
    Tensors { form: TensorForm, outputs: Vec<Place>, ns: [u64; 3] },
    Failure(Failure),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsonForm {
    Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TensorForm {
    Array,
    Records,
    Dict,
}

#[derive(Deserialize)]
struct InvokeAnswer {
    status: u16,
    content_type: String,
    failure: Option<Failure>,
    ns: [u64; 3],
}

/// A request as a frame.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) kind: Kind,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Body,
}

/// Makes a frame of a request. Errors are sentences.
pub(crate) fn pack(request: &Request, limits: &Limits) -> Result<Packed, String> {
    match request {
        Request::Columns(columns) => pack_columns(columns, limits),
        Request::Invocation(invocation) => pack_invocation(invocation, limits),
    }
}

fn fits(length: u64, limits: &Limits) -> Result<(), String> {
    if length > limits.body_bytes {
        return Err(format!("it has {length} bytes, more than {}; send fewer rows", limits.body_bytes));
    }
    Ok(())
}

pub(crate) fn pack_columns(columns: &Columns, limits: &Limits) -> Result<Packed, String> {
    let laid = columns::lay_out(&columns.tensors).map_err(|e| e.to_string())?;
    fits(laid.length, limits)?;
    let head = PredictHead { form: columns.form, inputs: &laid.places, params: columns.params.as_ref() };
    let head = serde_json::to_vec(&head).map_err(|e| e.to_string())?;
    let write = || {
        let mut writer = Writer::new(laid.length, limits.inline_bytes)?;
        laid.write(&mut writer)?;
        Ok(writer.finish())
    };
    let body = write().map_err(|e: std::io::Error| format!("its body can't be written: {e}"))?;
    Ok(Packed { kind: Kind::Predict, head, body })
}

pub(crate) fn pack_invocation(invocation: &Invocation, limits: &Limits) -> Result<Packed, String> {
    let length = invocation.body.len() as u64;
    fits(length, limits)?;
    let head = InvokeHead { content_type: &invocation.content_type };
    let head = serde_json::to_vec(&head).map_err(|e| e.to_string())?;
    let body = if length <= limits.inline_bytes {
        Body::Inline(invocation.body.clone())
    } else {
        let write = || {
            let mut writer = Writer::new(length, limits.inline_bytes)?;
            writer.write(&invocation.body)?;
            Ok(writer.finish())
        };
        write().map_err(|e: std::io::Error| format!("its body can't be written: {e}"))?
    };
    Ok(Packed { kind: Kind::Invoke, head, body })
}

fn timings(ns: [u64; 3]) -> Timings {
    let [read, predict, write] = ns.map(Duration::from_nanos);
    Timings { read, predict, write, ..Timings::default() }
}

/// Reads the answer to tensors.
pub(crate) fn prediction(worker: &str, message: &Message) -> Result<Prediction, WorkerError> {
    let wrong = |why: String| WorkerError::Answer { worker: worker.to_owned(), why };
    let head = serde_json::from_slice(&message.head).map_err(|e| wrong(e.to_string()))?;
    let (output, ns) = match head {
        PredictAnswer::Failure(failure) => return Err(failed(worker, failure)),
        PredictAnswer::Json { form: JsonForm::Json, ns } => {
            let bytes = message.body.bytes().map_err(|e| wrong(e.to_string()))?;
            let text = String::from_utf8(bytes.into()).map_err(|e| wrong(e.to_string()))?;
            (Output::Json(text), ns)
        }
        PredictAnswer::Tensors { form, outputs, ns } => {
            (tensors(form, outputs, &message.body).map_err(wrong)?, ns)
        }
    };
    Ok(Prediction { output, timings: timings(ns) })
}

fn failed(worker: &str, failure: Failure) -> WorkerError {
    let worker = worker.to_owned();
    match failure.fault.as_str() {
        "input" => WorkerError::Input { worker, exception: failure.exception() },
        _ => WorkerError::Model { worker, exception: failure.exception() },
    }
}

fn tensors(form: TensorForm, outputs: Vec<Place>, body: &Body) -> Result<Output, String> {
    let plain = |place: &Place| !matches!(place.kind, columns::Kind::Bytes | columns::Kind::Json);
    if !outputs.iter().all(plain) {
        return Err("a tensor is neither of numbers nor of texts".to_owned());
    }
    let read = |place| columns::read(place, body).map_err(|e| e.to_string());
    let mut tensors = outputs.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match form {
        TensorForm::Dict => Ok(Output::Dict(tensors)),
        TensorForm::Records => {
            let rows = tensors.first().map(trueline_tensors::Tensor::rows);
            match tensors.iter().all(|t| t.is_column() && Some(t.rows()) == rows) {
                true => Ok(Output::Records(tensors)),
                false => Err("columns of one table differ in length".to_owned()),
            }
        }
        TensorForm::Array => match (tensors.pop(), tensors.is_empty()) {
            (Some(tensor), true) => Ok(Output::Array(tensor)),
            _ => Err("an array is one tensor".to_owned()),
        },
    }
}

/// Reads the answer to a body.
pub(crate) fn reply(worker: &str, message: &Message) -> Result<Reply, WorkerError> {
    let wrong = |why: String| WorkerError::Answer { worker: worker.to_owned(), why };
    let head: InvokeAnswer = serde_json::from_slice(&message.head).map_err(|e| wrong(e.to_string()))?;
    Ok(Reply {
        status: head.status,
        content_type: head.content_type,
        body: message.body.bytes().map_err(|e| wrong(e.to_string()))?,
        exception: head.failure.map(Failure::exception),
        timings: timings(head.ns),
    })
}

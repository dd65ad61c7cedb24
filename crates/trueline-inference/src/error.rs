//! Refusals, and how each protocol words them. Without another word it is as MLflow's scoring server does:
//! `{"error_code": …, "message": …}`.

use crate::oip;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use trueline_flows::PredictError;
use trueline_predictions::LogError;
use trueline_serving::{HostError, ServingError};

/// A refusal in the making.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Where in a model's code, or in what was read, the cause lies; for wires that tell it.
    trace: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), trace: None }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {} MiB: send fewer rows at a time", limit >> 20);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST", message)
    }

    /// A body that is compressed in a way that is not read.
    pub(crate) fn not_read(taken: &HeaderValue) -> Self {
        let taken = taken.to_str().unwrap_or_default();
        let message =
            format!("the body's content-encoding is not read here: send it in one of {taken}, or as it is");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_REQUEST", message)
    }

    pub(crate) fn unknown_caller() -> Self {
        let message = "this endpoint needs a token: send it as `Authorization: Bearer <token>`; an admin makes one with \
                       `trueline token create <user>`";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    pub(crate) fn no_replay() -> Self {
        let message =
            "this token may not say when a prediction happened: it takes the role contributor or admin";
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// What is not to be had now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", message)
    }

    pub(crate) fn no_method() -> Self {
        let message = "this path does not take that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
    }

    /// What stands against something as it is set up.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "RESOURCE_CONFLICT", message)
    }

    /// What a wire can't do.
    pub(crate) fn not_there(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    }

    /// With where its cause lies.
    pub(crate) fn traced(self, trace: impl Into<String>) -> Self {
        Self { trace: Some(trace.into()), ..self }
    }

    /// The status that goes with it.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    fn respond(&self, body: &serde_json::Value) -> Response {
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (name, value) = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "1"),
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer realm=\"trueline\""),
            _ => return response,
        };
        headers.insert(name, HeaderValue::from_static(value));
        response
    }

    fn log(error: &LogError, message: String) -> Self {
        match error {
            LogError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST", message),
            _ => Self::unavailable(message),
        }
    }
}

/// A protocol, by how it words refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    /// MLflow's scoring server.
    Scoring,
    /// The Open Inference Protocol over REST, and KServe's.
    Plain,
    /// The Open Inference Protocol over gRPC.
    Grpc,
    /// Azure ML.
    Azure,
}

impl Wording {
    /// That of the protocol which a path, below its project, belongs to.
    pub(crate) fn of(path: &str) -> Self {
        let below =
            |own: &str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match path {
            _ if below("/v2") || below("/v1/models") => Self::Plain,
            _ if below("/inference.GRPCInferenceService") => Self::Grpc,
            "/score" => Self::Azure,
            _ => Self::Scoring,
        }
    }

    /// The answer that says a refusal.
    pub(crate) fn say(self, refusal: Refusal) -> Response {
        match self {
            Self::Scoring => refusal.into_response(),
            Self::Plain => Plain(refusal).into_response(),
            Self::Grpc => oip::grpc::refused(&refusal),
            Self::Azure => refusal.respond(&json!({ "message": refusal.message })),
        }
    }
}

/// The refusal in the form of the Open Inference Protocol and of KServe: `{"error": …}`.
#[derive(Debug)]
pub(crate) struct Plain(pub(crate) Refusal);

impl From<Refusal> for Plain {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        self.0.respond(&json!({ "error": self.0.message }))
    }
}

/// The refusal as MLflow's scoring server words it: what a model raised over a request is that request's fault, and comes with
/// the traceback.
#[derive(Debug)]
pub(crate) struct Scored(pub(crate) Refusal);

impl IntoResponse for Scored {
    fn into_response(self) -> Response {
        let Refusal { status, code, message, trace } = self.0;
        match trace {
            None => Refusal::new(status, code, message).into_response(),
            Some(trace) => {
                let told = Refusal::bad(message);
                let body = json!({ "error_code": told.code, "message": told.message, "stack_trace": trace });
                told.respond(&body)
            }
        }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        let message = error.to_string();
        Self::log(&error, message)
    }
}

impl From<PredictError> for Refusal {
    fn from(error: PredictError) -> Self {
        match error {
            PredictError::Serving(ServingError::NotFound(message)) => Self::not_found(message),
            PredictError::Serving(ServingError::Input(error)) => {
                Self::bad(format!("Failed to enforce schema. {error}"))
            }
            PredictError::Serving(
                ServingError::Features(message)
                | ServingError::Busy(message)
                | ServingError::NotLoaded(message)
                | ServingError::WorkerDied(message),
            ) => Self::unavailable(message),
            PredictError::Serving(ServingError::TimedOut(message)) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", message)
            }
            PredictError::Serving(ServingError::Failed { trace: Some(ref trace), .. }) => {
                let told = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error.to_string());
                told.traced(trace.clone())
            }
            PredictError::NotLogged(ref log) => Self::log(log, error.to_string()),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", other.to_string()),
        }
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        let message = error.to_string();
        match error {
            HostError::Exists(_) => Self::conflict(message),
            HostError::NotFound(_) => Self::not_found(message),
            HostError::Invalid(_) | HostError::Serving(ServingError::Invalid(_)) => Self::bad(message),
            HostError::NoMemory { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "RESOURCE_EXHAUSTED", message)
            }
            HostError::Serving(ServingError::Busy(_) | ServingError::NotLoaded(_)) => {
                Self::unavailable(message)
            }
            HostError::Serving(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.respond(&json!({ "error_code": self.code, "message": self.message }))
    }
}

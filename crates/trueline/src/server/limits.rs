//! How many requests are worked on at a time and for how long each (rule 12). What is beyond that is told to come again,
//! and never waits here. One that makes the server panic takes nobody with it.

use super::apart::apart;
use super::patience::within;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use trueline_flows::CommonThreads;
use trueline_rest::Problem;

/// What a caller is told whose request made the server panic.
const PANICKED: &str = "the server failed on this request; its log says where";

/// The limits at the door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests at a time.
    pub(crate) requests: usize,
    /// How long a request may take, uploads of files apart.
    pub(crate) timeout: Duration,
    /// How long the head of a request may take to come.
    pub(crate) head: Duration,
}

/// Words an answer to a request for a path that is not let in, and why it is not: each face has its own way.
pub(crate) type Unavailable = fn(path: &str, why: &str) -> Response;

/// The limits with the places that are free.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    timeout: Duration,
    unavailable: Unavailable,
    /// Where requests that take long are answered, if not where they come.
    common: Option<CommonThreads>,
}

impl Gate {
    pub(crate) fn new(limits: Limits, unavailable: Unavailable, common: Option<CommonThreads>) -> Arc<Self> {
        let places = Semaphore::new(limits.requests.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { places, timeout: limits.timeout, unavailable, common })
    }
}

/// Lets a request in when there is a place for it, and ends one that takes too long. The route's pattern is left with the
/// answer, so that metrics are counted by route and not by path.
pub(crate) async fn admit(
    State(gate): State<Arc<Gate>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let uri = request.uri().clone();
    let refuse = |why| (gate.unavailable)(uri.path(), why);
    let mut response = match gate.places.try_acquire() {
        Err(_) => refuse("the server works on as many requests as it may; send this one again in a second"),
        Ok(_place) if uploads(request.method(), request.uri().path()) => answer(&gate, request, next).await,
        Ok(_place) => within(gate.timeout, answer(&gate, request, next)).await.unwrap_or_else(|| {
            refuse("the request took too long and was given up; what it asked for may have been done")
        }),
    };
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Answers a request, whatever happens to it.
async fn answer(gate: &Gate, request: Request, next: Next) -> Response {
    let answered = async {
        match &gate.common {
            Some(common) => apart(common, request, next).await,
            None => next.run(request).await,
        }
    };
    // What it left half-done is its own: nothing that others use is held across a panic but behind locks that say so.
    AssertUnwindSafe(answered).catch_unwind().await.unwrap_or_else(|panic| panicked(&*panic))
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    tracing::error!(said, "a request made the server panic");
    (StatusCode::INTERNAL_SERVER_ERROR, PANICKED).into_response()
}

/// Whether a request brings a file, has one put together, has a version's files copied or a model loaded: their size has no bound
/// worth a time limit.
fn uploads(method: &Method, path: &str) -> bool {
    let whole = *method == Method::PUT && path.contains("/mlflow-artifacts/artifacts/");
    let parts = *method == Method::POST && path.contains("/mlflow-artifacts/mpu/complete/");
    let version = *method == Method::POST && path.ends_with("/mlflow/model-versions/create");
    let artifact = whole || parts || version;
    let dataset = *method == Method::PUT && path.contains("/api/v1/dataset-files/");
    let model = *method == Method::POST && path == "/models";
    artifact || dataset || model || (*method == Method::POST && path == "/api/v1/capture-files")
}

/// How the faces that stand on the database word it.
pub(crate) fn unavailable_control(path: &str, why: &str) -> Response {
    match path.contains("/mlflow") {
        true => trueline_mlflow::unavailable(why),
        false => Problem::unavailable(why).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_may_take_their_time() {
        assert!(uploads(&Method::PUT, "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/x"));
        assert!(uploads(&Method::POST, "/api/2.0/mlflow-artifacts/mpu/complete/1/r/artifacts"));
        assert!(uploads(&Method::POST, "/ajax-api/2.0/mlflow/model-versions/create"));
        assert!(uploads(&Method::POST, "/api/v1/capture-files"));
        assert!(uploads(&Method::PUT, "/api/v1/dataset-files/0f"));
        assert!(uploads(&Method::POST, "/models") && !uploads(&Method::POST, "/models/m/invoke"));
        assert!(!uploads(&Method::GET, "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/x"));
        assert!(!uploads(&Method::POST, "/api/2.0/mlflow/runs/log-batch"));
    }
}

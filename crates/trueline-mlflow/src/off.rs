//! What MLflow has and this server does not offer answers as on a server on which it is switched off: the gateway, and
//! jobs. The assistant and the registries of MCP servers and skills are not found there at all, as here.

use crate::error::{Code, WireError};
use crate::{Mlflow, reply};
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, patch, post};
use serde_json::json;
use std::sync::Arc;

const NO_GATEWAY: &str = "The AI Gateway feature is disabled: this server does not offer it.";
const NO_JOBS: &str = "Mlflow server job execution feature is not enabled: this server does not offer it.";

/// Below `/api` and `/ajax-api`.
pub(crate) fn api() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/3.0/mlflow/gateway/{*path}", any(async || WireError::new(Code::NotImplemented, NO_GATEWAY)))
}

/// Below `/ajax-api` alone.
pub(crate) fn for_pages() -> Router<Arc<Mlflow>> {
    Router::new()
        // With no deployments server behind it, the proxy pretends that there is one without endpoints.
        .route("/2.0/mlflow/gateway-proxy", get(no_endpoints).post(no_endpoints))
        .route("/3.0/jobs/", post(async || detail(StatusCode::INTERNAL_SERVER_ERROR, NO_JOBS)))
        .route("/3.0/jobs/search", post(async || reply::json(&json!({ "jobs": [] }))))
        .route("/3.0/jobs/{id}", get(no_job))
        .route("/3.0/jobs/cancel/{id}", patch(no_job))
}

/// Outside of `/api`.
pub(crate) fn outside() -> Router<Arc<Mlflow>> {
    Router::new().route("/gateway/{*path}", any(async || detail(StatusCode::NOT_IMPLEMENTED, NO_GATEWAY)))
}

async fn no_endpoints() -> Response {
    reply::json(&json!({ "endpoints": [] }))
}

async fn no_job(Path(id): Path<String>) -> Response {
    detail(StatusCode::NOT_FOUND, &format!("Job with ID {id} not found"))
}

/// A refusal in the form of those of MLflow's routes that know no error codes.
fn detail(status: StatusCode, told: &str) -> Response {
    (status, axum::Json(json!({ "detail": told }))).into_response()
}

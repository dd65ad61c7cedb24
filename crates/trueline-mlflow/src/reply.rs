//! Answers: JSON, indented as MLflow's.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value as Json;

pub(crate) fn json(value: &impl Serialize) -> Response {
    // What this face answers always has text.
    let body = serde_json::to_string_pretty(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Without spaces, as MLflow answers with traces, of which there are many in one answer.
pub(crate) fn dense(value: &Json) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

pub(crate) fn empty() -> Response {
    json(&Json::Object(serde_json::Map::new()))
}

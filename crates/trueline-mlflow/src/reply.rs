//! Answers: JSON without spaces. MLflow indents its own, which makes a page of runs twice as long and tells nothing.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value as Json;

pub(crate) fn json(value: &impl Serialize) -> Response {
    // What this face answers always has text.
    let body = serde_json::to_string(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(crate) fn empty() -> Response {
    json(&Json::Object(serde_json::Map::new()))
}

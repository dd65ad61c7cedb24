//! `POST /endpoints/{endpoint}/invocations`: MLflow's scoring protocol, with an id for every prediction.

use crate::ask::{self, Caller};
use crate::error::Refusal;
use crate::{App, body, unhurried, write};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use trueline_flows::{Knock, Predicted};

pub(crate) async fn invoke(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Response> {
    score(&app, knock, endpoint, &headers, bytes).await
}

/// Answers a request of MLflow's scoring protocol to an endpoint.
pub(crate) async fn score(
    app: &App,
    knock: Knock,
    endpoint: String,
    headers: &HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Response> {
    let caller = Caller::admitted(app, knock, endpoint, None).map_err(IntoResponse::into_response)?;
    if let Some(kind) = foreign_kind(headers) {
        return Err(not_supported(kind));
    }
    let asked = async {
        let bytes = ask::body(bytes)?;
        let frame = unhurried(bytes.len(), || body::frame(&bytes)).map_err(Refusal::bad)?;
        caller.ask(headers, frame).await
    };
    asked.await.map(|predicted| answer(&predicted)).map_err(IntoResponse::into_response)
}

/// The kind of a body that is none of JSON, or has another parameter than `charset=utf-8`.
fn foreign_kind(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (kind, parameter) = given.split_once(';').unwrap_or((given, ""));
    let parameter = parameter.trim().to_ascii_lowercase();
    if kind.trim().eq_ignore_ascii_case("application/json") && ["", "charset=utf-8"].contains(&&*parameter) {
        return None;
    }
    Some(given)
}

/// MLflow tells it in plain text.
fn not_supported(given: &str) -> Response {
    let told = format!(
        "This predictor only supports the following content types: ['application/json'], with the parameter \
         charset=utf-8 at most. Got '{given}'."
    );
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, told).into_response()
}

fn answer(predicted: &Predicted) -> Response {
    let mut text = String::with_capacity(64 + predicted.ids.len() * 60);
    text.push_str("{\"predictions\": ");
    write::predictions(&mut text, &predicted.predictions);
    text.push_str(", \"prediction_ids\": [");
    for (i, id) in predicted.ids.iter().enumerate() {
        // Writing to a text can't fail.
        let _ = write!(text, "{}\"{id}\"", if i > 0 { ", " } else { "" });
    }
    text.push_str("]}");
    let mut response = ([(CONTENT_TYPE, "application/json")], text).into_response();
    if let Ok(variant) = predicted.variant.parse() {
        response.headers_mut().insert("x-trueline-variant", variant);
    }
    response
}

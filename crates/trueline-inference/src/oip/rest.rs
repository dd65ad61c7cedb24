//! The protocol over REST.

use super::json::{Request, write};
use super::{EXTENSIONS, datatype, frame, outputs};
use crate::ask::{self, Caller, cards, known};
use crate::error::{Plain, Refusal};
use crate::{App, unhurried};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use trueline_flows::Knock;
use trueline_predictions::PredictionId;
use trueline_serving::{ModelCard, TensorCard};

/// How many bytes of a body are JSON, when tensors follow it as bytes.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The protocol's routes.
pub(crate) fn routes() -> Router<App> {
    use routing::{get, post};
    let mut routes = Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(async || Json(json!({ "live": true }))))
        .route("/v2/health/ready", get(async || Json(json!({ "ready": true }))))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        routes = routes
            .route(model, get(metadata))
            .route(&format!("{model}/ready"), get(ready))
            .route(&format!("{model}/infer"), post(infer));
    }
    routes
}

/// A model and, where one is named, its version.
#[derive(Deserialize)]
struct Named {
    model: String,
    version: Option<String>,
}

impl Named {
    fn version(&self) -> Result<Option<i64>, Refusal> {
        number(self.version.as_deref().unwrap_or_default())
    }
}

/// A version's number; none when it is not said.
pub(super) fn number(version: &str) -> Result<Option<i64>, Refusal> {
    match version {
        "" => Ok(None),
        told => {
            told.parse().map(Some).map_err(|_| Refusal::not_found(format!("there is no version `{told}`")))
        }
    }
}

async fn server() -> Json<Value> {
    Json(json!({ "name": "trueline", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
}

async fn metadata(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, Plain> {
    let cards = cards(&app, &knock, &named.model, named.version()?)?;
    let versions: Vec<String> = cards.iter().map(|c| c.version.to_string()).collect();
    let tensors = |list: &[TensorCard]| -> Vec<Value> {
        let one = |t: &TensorCard| json!({ "name": t.name, "datatype": datatype::name(t.data_type), "shape": t.shape });
        list.iter().map(one).collect()
    };
    let first = &cards[0];
    Ok(Json(json!({
        "name": named.model, "versions": versions, "platform": first.platform,
        "inputs": tensors(&first.inputs), "outputs": tensors(&first.outputs),
    })))
}

async fn ready(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, Plain> {
    cards(&app, &knock, &named.model, named.version()?)?;
    Ok(Json(json!({ "name": named.model, "ready": true })))
}

async fn infer(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Plain> {
    let version = named.version()?;
    let caller = Caller::admitted(&app, knock.clone(), named.model.clone(), version)?;
    let bytes = ask::body(bytes)?;
    let request = match json_length(&headers)? {
        Some(0) => {
            let cards = cards(&app, &knock, &named.model, version)?;
            let [input] = cards[0].inputs.as_slice() else {
                return Err(Refusal::bad("a body of bytes alone is for models of one input").into());
            };
            Request::raw(&bytes, &input.name, input.data_type, &input.shape[1..])
        }
        length => unhurried(bytes.len(), || Request::parse(&bytes, length)),
    };
    let mut request = request.map_err(Refusal::bad)?;
    let frame = frame(std::mem::take(&mut request.inputs))?;
    let predicted = caller.ask(&headers, frame).await?;
    let ids = ids(&predicted.ids);
    let version = predicted.version.to_string();
    let outputs = outputs(predicted.predictions, &request.wanted)?;
    let written = write(&request, &named.model, &version, &ids, &outputs);
    Ok(answer(written.json, written.tail))
}

/// The ids of the rows' predictions, as one text.
pub(super) fn ids(list: &[PredictionId]) -> String {
    let mut text = String::with_capacity(list.len() * 33);
    for (i, id) in list.iter().enumerate() {
        text.push_str(if i > 0 { "," } else { "" });
        // Writing to a text can't fail.
        let _ = write!(text, "{id}");
    }
    text
}

fn answer(json: String, tail: Vec<u8>) -> Response {
    if tail.is_empty() {
        return ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    }
    let length = HeaderValue::from(json.len());
    let mut body = json.into_bytes();
    body.extend(tail);
    let kind = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, kind), (JSON_LENGTH, length)], body).into_response()
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(told) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = told.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::bad("Inference-Header-Content-Length is no number of bytes"))
}

async fn index(State(app): State<App>, Extension(knock): Extension<Knock>) -> Json<Value> {
    let one = |(name, card): (String, ModelCard)| json!({ "name": name, "version": card.version.to_string(), "state": "READY", "reason": "" });
    Json(known(&app, &knock).into_iter().map(one).collect())
}

/// What is there is loaded.
async fn load(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(model): Path<String>,
) -> Result<StatusCode, Plain> {
    cards(&app, &knock, &model, None)?;
    Ok(StatusCode::OK)
}

/// What answers is decided by routes, which this protocol knows nothing of.
async fn unload(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(model): Path<String>,
) -> Result<StatusCode, Plain> {
    cards(&app, &knock, &model, None)?;
    Err(Refusal::not_there(no_unload(&model)).into())
}

pub(super) fn no_unload(model: &str) -> String {
    format!(
        "`{model}` is an endpoint: what answers it is changed with `trueline endpoint deploy` or `trueline rollback`"
    )
}

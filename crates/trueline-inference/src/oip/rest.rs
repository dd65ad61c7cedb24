//! The protocol over REST, and the OpenAPI document that tells of it: `dataplane.json`, in which each route must be.

use super::json::{Request, write};
use super::{EXTENSIONS, datatype, frame, outputs};
use crate::ask::{Arrived, Body, Caller, Known, cards, known, wake, written};
use crate::deadline::deadline;
use crate::error::{Plain, Refusal};
use crate::{App, unhurried};
use axum::Json;
use axum::Router;
use axum::extract::{Extension, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use trueline_flows::{Knock, Predicted};
use trueline_predictions::PredictionId;
use trueline_serving::{Frame, TensorCard};

/// How many bytes of a body are JSON, when tensors follow it as bytes.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What tells of the routes.
const DOCUMENT: &str = include_str!("dataplane.json");

/// The protocol's routes.
pub(crate) fn routes() -> Router<App> {
    let mut routes = Router::new();
    for (_, path, handler) in table() {
        routes = routes.route(path, handler);
    }
    routes
}

/// Each route with its method; no path has two.
fn table() -> [(&'static str, &'static str, MethodRouter<App>); 14] {
    use routing::{get, post};
    [
        ("get", "/v2", get(server)),
        ("get", "/v2/", get(server)),
        ("get", "/v2/health/live", get(async || Json(json!({ "live": true })))),
        ("get", "/v2/health/ready", get(server_ready)),
        ("get", "/v2/docs/dataplane.json", get(document)),
        ("get", "/v2/models/{model}", get(metadata)),
        ("get", "/v2/models/{model}/ready", get(ready)),
        ("post", "/v2/models/{model}/infer", post(infer)),
        ("get", "/v2/models/{model}/versions/{version}", get(metadata)),
        ("get", "/v2/models/{model}/versions/{version}/ready", get(ready)),
        ("post", "/v2/models/{model}/versions/{version}/infer", post(infer)),
        ("post", "/v2/repository/index", post(index)),
        ("post", "/v2/repository/models/{model}/load", post(load)),
        ("post", "/v2/repository/models/{model}/unload", post(unload)),
    ]
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

/// A model and, where one is named, its version.
#[derive(Deserialize)]
struct Named {
    model: String,
    version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Plain;

    /// Of the path, whose parts must be texts.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Plain> {
        let named = Path::from_request_parts(parts, state).await;
        named.map(|Path(named)| named).map_err(|e| Refusal::bad(e.body_text()).into())
    }
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

/// Ready unless nothing answers that should; a model's own readiness is asked of it.
async fn server_ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let ready = app.plane.readiness().is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready })))
}

async fn metadata(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    named: Named,
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
    named: Named,
) -> Result<Json<Value>, Plain> {
    cards(&app, &knock, &named.model, named.version()?)?;
    Ok(Json(json!({ "name": named.model, "ready": true })))
}

async fn infer(
    State(app): State<App>,
    named: Named,
    Arrived { knock, headers, body }: Arrived,
) -> Result<Response, Plain> {
    let version = named.version()?;
    let caller = Caller::admitted(&app, knock, named.model.clone(), version)?;
    let (request, frame) = caller.counted(read(&caller, &headers, body))?;
    let predicted = caller.ask(&headers, frame).await?;
    let respond = move |Predicted { served, ids: list, predictions, .. }| {
        let outputs = outputs(predictions, &request.wanted)?;
        let text = write(&request, &named.model, &served.version.to_string(), &ids(&list), &outputs);
        Ok(answer(text.json, text.tail))
    };
    written(&app, predicted, respond).await?
}

/// What a request says, and its input.
fn read(caller: &Caller<'_>, headers: &HeaderMap, body: Body) -> Result<(Request, Frame), Refusal> {
    let bytes = body.bytes()?;
    let request = match json_length(headers)? {
        Some(0) => {
            let cards = cards(caller.app, &caller.knock, &caller.endpoint, caller.version)?;
            let [input] = cards[0].inputs.as_slice() else {
                return Err(Refusal::bad("a body of bytes alone is for models of one input"));
            };
            Request::raw(&bytes, &input.name, input.data_type, &input.shape[1..])
        }
        length => unhurried(bytes.len(), || Request::parse(&bytes, length)),
    };
    let mut request = request.map_err(Refusal::bad)?;
    let frame = frame(std::mem::take(&mut request.inputs))?;
    Ok((request, frame))
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
        return crate::write::json(json);
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
    let one = |known: Known| {
        let (version, state) = (known.card.version.to_string(), known.state());
        let reason = known.why_not.unwrap_or_default();
        json!({ "name": known.model, "version": version, "state": state, "reason": reason })
    };
    Json(known(&app, &knock).into_iter().map(one).collect())
}

/// What is there is loaded, also if it was unloaded to make room.
async fn load(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    headers: HeaderMap,
    named: Named,
) -> Result<StatusCode, Plain> {
    wake(&app, &knock, &named.model, deadline(&headers, knock.began)?).await?;
    Ok(StatusCode::OK)
}

/// What answers is decided by routes, which this protocol knows nothing of.
async fn unload(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    named: Named,
) -> Result<StatusCode, Plain> {
    cards(&app, &knock, &named.model, None)?;
    Err(Refusal::conflict(no_unload(&named.model)).into())
}

pub(super) fn no_unload(model: &str) -> String {
    format!(
        "`{model}` is an endpoint: what answers it is changed with `trueline endpoint deploy` or `trueline rollback`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_has_each_route_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let told: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
            })
            .collect();
        let routes = table().map(|(method, path, _)| (method.to_owned(), path.to_owned()));
        assert_eq!(told, BTreeSet::from(routes));
    }

    #[test]
    fn the_document_tells_what_turns_any_request_away_and_which_headers_say_how_long_a_caller_waits() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let parameters = &document["components"]["parameters"];
        for (_, path, _) in table() {
            for told in document["paths"][path].as_object().unwrap().values() {
                for status in ["415", "503"] {
                    assert!(told["responses"][status].is_object(), "{path}: {status}");
                }
                let named = told["parameters"].as_array().into_iter().flatten().filter_map(|parameter| {
                    let place = parameter["$ref"].as_str()?.rsplit('/').next()?;
                    parameters[place]["name"].as_str()
                });
                let named: BTreeSet<&str> = named.collect();
                let asks = path.ends_with("/infer");
                assert!(
                    crate::deadline::HEADERS.iter().all(|name| named.contains(name.as_str()) == asks),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn the_document_names_the_extensions_that_the_server_has() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let told = &document["components"]["schemas"]["ServerMetadata"]["properties"]["extensions"];
        assert_eq!(told["items"]["enum"], json!(EXTENSIONS));
    }
}

//! KServe's first protocol: `:predict` with instances, over plain JSON or as a CloudEvent.

use crate::ask::{Arrived, Caller, cards, known, written};
use crate::error::{Plain, Refusal};
use crate::{App, write};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use axum::{Json, Router, routing};
use serde_json::{Value, json};
use trueline_flows::Knock;

const CE_SPEC: HeaderName = HeaderName::from_static("ce-specversion");
const CE_ID: HeaderName = HeaderName::from_static("ce-id");
const CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
const CE_TYPE: HeaderName = HeaderName::from_static("ce-type");

/// The protocol's routes.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/models", routing::get(list))
        .route("/v1/models/{model}", routing::get(ready).post(act))
}

async fn list(State(app): State<App>, Extension(knock): Extension<Knock>) -> Json<Value> {
    let mut names: Vec<String> = known(&app, &knock).into_iter().map(|known| known.model).collect();
    names.dedup();
    Json(json!({ "models": names }))
}

async fn ready(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(model): Path<String>,
) -> Result<Json<Value>, Plain> {
    cards(&app, &knock, &model, None)?;
    Ok(Json(json!({ "name": model, "ready": true })))
}

/// `{model}:predict` and `{model}:explain`.
async fn act(
    State(app): State<App>,
    Path(target): Path<String>,
    Arrived { knock, headers, body }: Arrived,
) -> Result<Response, Plain> {
    let Some((model, action)) = target.rsplit_once(':') else {
        return Err(Refusal::not_found(format!("post to /v1/models/{target}:predict")).into());
    };
    match action {
        "predict" => {}
        "explain" => {
            return Err(Refusal::not_there(format!("model `{model}` has no explainer")).into());
        }
        other => {
            return Err(Refusal::not_found(format!("a model has no action `{other}`: use :predict")).into());
        }
    }
    let caller = Caller::admitted(&app, knock, model.to_owned(), None)?;
    let predicted = caller.ask_with(&headers, body, |bytes| crate::body::frame(bytes)).await?;
    // An event is answered with an event.
    let event = headers.contains_key(&CE_SPEC).then(|| predicted.ids.first().map(ToString::to_string));
    let mut response = written(&app, predicted, write::only_predictions).await?;
    if let Some(id) = event {
        let (told, id) = (response.headers_mut(), id.unwrap_or_default());
        told.insert(CE_SPEC, HeaderValue::from_static("1.0"));
        told.insert(CE_TYPE, HeaderValue::from_static("io.kserve.inference.response"));
        for (name, value) in [(CE_ID, id), (CE_SOURCE, format!("io.kserve.inference.{model}"))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                told.insert(name, value);
            }
        }
    }
    Ok(response)
}

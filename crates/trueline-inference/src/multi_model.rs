//! SageMaker's multi-model routes: the platform loads models by name, asks for predictions of one, and unloads what it needs the
//! memory of. What it is answered is its contract's: 409 for what is loaded, 404 for what is not, 507 for what does not fit.

use crate::App;
use crate::ask::Arrived;
use crate::error::Refusal;
use crate::invocations::score;
use axum::Json;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRef, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_serving::{HostedModel, HostedModels};

/// Models on a page when nothing is said, and at most.
const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// What the routes share.
#[derive(Clone)]
struct Host {
    app: App,
    models: HostedModels,
}

impl FromRef<Host> for HostedModels {
    fn from_ref(host: &Host) -> Self {
        host.models.clone()
    }
}

/// The routes.
pub(crate) fn router(app: App, models: HostedModels) -> Router {
    Router::new()
        .route("/models", get(list).post(load))
        .route("/models/{model}", get(show).delete(unload))
        .route("/models/{model}/invoke", post(invoke))
        .with_state(Host { app, models })
}

#[derive(Deserialize)]
struct Wanted {
    model_name: String,
    url: String,
}

#[derive(Deserialize)]
struct Page {
    next_page_token: Option<String>,
    limit: Option<usize>,
}

async fn load(
    State(models): State<HostedModels>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(wanted) = wanted.map_err(|e| Refusal::bad(e.body_text()))?;
    models.load(&wanted.model_name, &wanted.url).await?;
    Ok(Json(told(&HostedModel { name: wanted.model_name, url: wanted.url })))
}

async fn list(State(models): State<HostedModels>, Query(page): Query<Page>) -> Json<Value> {
    let limit = page.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
    let (found, more) = models.list(page.next_page_token.as_deref(), limit);
    let mut answer = json!({ "models": found.iter().map(told).collect::<Value>() });
    if let Some(last) = found.last().filter(|_| more) {
        answer["nextPageToken"] = last.name.as_str().into();
    }
    Json(answer)
}

async fn show(State(models): State<HostedModels>, Path(model): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(Json(told(&models.get(&model)?)))
}

async fn unload(
    State(models): State<HostedModels>,
    Path(model): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let found = models.get(&model)?;
    models.unload(&model)?;
    Ok(Json(told(&found)))
}

async fn invoke(
    State(host): State<Host>,
    Path(model): Path<String>,
    arrived: Arrived,
) -> Result<Response, Response> {
    if let Err(error) = host.models.get(&model) {
        return Err(axum::response::IntoResponse::into_response(Refusal::from(error)));
    }
    score(&host.app, model, arrived).await
}

fn told(model: &HostedModel) -> Value {
    json!({ "modelName": model.name, "modelUrl": model.url })
}

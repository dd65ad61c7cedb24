//! The wires of a container that serves one model and nothing else: MLflow's and SageMaker's at the root, Vertex AI's and
//! Azure ML's where their platforms say that they run it.

use crate::ask::{Arrived, Caller, written};
use crate::error::{Refusal, Wording};
use crate::invocations::score;
use crate::{App, Wires, multi_model, write};
use axum::Json;
use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use trueline_flows::{Knock, Predictor};
use trueline_serving::{HostedModels, TensorCard};
use trueline_tensors::DataType;

/// The longest id that Azure's clients may send.
const LONGEST_ID: usize = 100;
const CLIENT_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const TOOK_MS: HeaderName = HeaderName::from_static("x-ms-run-fn-exec-ms");
const FAILED: HeaderName = HeaderName::from_static("x-ms-run-function-failed");

/// What a container with one model answers to.
#[derive(Clone, Debug)]
pub struct Alone {
    /// The endpoint that answers.
    pub endpoint: String,
    /// The version of MLflow whose scoring server it behaves as.
    pub mlflow_version: &'static str,
    /// Vertex AI's routes, if it runs the container.
    pub vertex: Option<VertexRoutes>,
    /// Whether Azure ML runs the container.
    pub azure: bool,
    /// The models that SageMaker loads and unloads, if there is not one model alone.
    pub hosted: Option<HostedModels>,
}

/// The routes that Vertex AI asks at, as it names them in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexRoutes {
    /// Where it asks whether the container is well.
    pub health: String,
    /// Where it asks for predictions.
    pub predict: String,
}

impl VertexRoutes {
    /// Checks the routes.
    ///
    /// # Errors
    /// A sentence that says what is wrong with one.
    pub fn new(health: String, predict: String) -> Result<Self, String> {
        for route in [&health, &predict] {
            if !route.starts_with('/') || route.contains(['{', '}', '*', '?', '#']) {
                return Err(format!("`{route}` is no route: it begins with a slash and has no wildcards"));
            }
        }
        if health == predict {
            return Err(format!("health and predictions can't both be asked for at `{health}`"));
        }
        Ok(Self { health, predict })
    }
}

/// What stands at the root besides the routes of all endpoints.
#[derive(Clone)]
struct Root {
    app: App,
    alone: Arc<Alone>,
}

/// The scoring wires of a container with one model.
#[must_use]
pub fn wires(predictor: Predictor, alone: Alone) -> Wires {
    let app = Arc::new(predictor);
    let root = Root { app: Arc::clone(&app), alone: Arc::new(alone) };
    let mut routes = Router::new()
        .route("/ping", get(ping))
        .route("/health", get(ping))
        .route("/version", get(version))
        .route("/invocations", post(invoke));
    if let Some(vertex) = &root.alone.vertex {
        // Where they are routes that are there anyway, those do.
        if !["/ping", "/health"].contains(&vertex.health.as_str()) {
            routes = routes.route(&vertex.health, get(ping));
        }
        if vertex.predict != "/invocations" {
            routes = routes.route(&vertex.predict, post(predict));
        }
    }
    if root.alone.azure {
        routes = routes
            .route("/", get(async || "Healthy"))
            .route("/score", post(azure).get(azure_needs_a_body).options(async || StatusCode::OK))
            .route("/swagger.json", get(swagger))
            .layer(from_fn(azure_ids));
    }
    let hosted = root.alone.hosted.clone();
    let mut routes = routes.with_state(root).merge(crate::routes().with_state(Arc::clone(&app)));
    if let Some(hosted) = hosted {
        routes = routes.merge(multi_model::router(app, hosted));
    }
    Wires::new(routes)
}

/// Whether the model answers. Before it does, platforms send nothing; one that loads models itself is to send those.
async fn ping(State(root): State<Root>, Extension(knock): Extension<Knock>) -> (StatusCode, &'static str) {
    let hosts = root.alone.hosted.is_some();
    match hosts || root.app.plane.answers(&knock.project, &root.alone.endpoint) {
        true => (StatusCode::OK, "\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the model is being loaded\n"),
    }
}

async fn version(State(root): State<Root>) -> &'static str {
    root.alone.mlflow_version
}

async fn invoke(State(root): State<Root>, arrived: Arrived) -> Result<Response, Response> {
    score(&root.app, root.alone.endpoint.clone(), arrived).await
}

/// Vertex AI: instances in, predictions out, and nothing besides.
async fn predict(
    State(root): State<Root>,
    Arrived { knock, headers, body }: Arrived,
) -> Result<Response, Refusal> {
    let caller = Caller::admitted(&root.app, knock, root.alone.endpoint.clone(), None)?;
    let predicted = caller.ask_with(&headers, body, |bytes| crate::body::frame(bytes)).await?;
    written(&root.app, predicted, write::only_predictions).await
}

/// Azure ML: `input_data` or any form of MLflow's in, bare predictions out.
async fn azure(State(root): State<Root>, Arrived { knock, headers, body }: Arrived) -> Response {
    let began = Instant::now();
    let asked = async {
        let caller = Caller::admitted(&root.app, knock, root.alone.endpoint.clone(), None)?;
        let predicted = caller.ask_with(&headers, body, |bytes| crate::body::azure(bytes)).await?;
        written(&root.app, predicted, write::bare_predictions).await
    };
    let (mut response, failed) = match asked.await {
        Ok(response) => (response, false),
        Err(refusal) => {
            let failed = refusal.status().is_server_error();
            (Wording::Azure.say(refusal), failed)
        }
    };
    let told = response.headers_mut();
    let took = began.elapsed().as_secs_f64() * 1e3;
    if let Ok(took) = HeaderValue::from_str(&format!("{took:.2}")) {
        told.insert(TOOK_MS, took);
    }
    if failed {
        told.insert(FAILED, HeaderValue::from_static("true"));
    }
    response
}

async fn azure_needs_a_body() -> Response {
    Wording::Azure.say(Refusal::bad("send the input as JSON in the body of a POST"))
}

/// Azure's clients find the id that they sent in the answer.
async fn azure_ids(request: Request, next: Next) -> Response {
    let id = request.headers().get(&CLIENT_ID).cloned();
    if id.as_ref().is_some_and(|id| id.len() > LONGEST_ID) {
        let told = json!({ "message": format!("{CLIENT_ID} must not exceed {LONGEST_ID} characters") });
        return (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Json(told)).into_response();
    }
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(CLIENT_ID, id);
    }
    response
}

/// What the model takes, as Swagger 2.0, which Azure shows.
async fn swagger(State(root): State<Root>, Extension(knock): Extension<Knock>) -> Json<Value> {
    let cards = root.app.plane.cards(&knock.project, &root.alone.endpoint);
    let inputs = cards.first().map(|card| card.inputs.as_slice()).unwrap_or_default();
    let property = |input: &TensorCard| {
        let kind = match input.data_type {
            DataType::Bool => "boolean",
            DataType::Fp32 | DataType::Fp64 => "number",
            DataType::Bytes | DataType::Text => "string",
            DataType::Json => "object",
            _ => "integer",
        };
        (input.name.clone(), json!({ "type": kind }))
    };
    let record: serde_json::Map<String, Value> = inputs.iter().map(property).collect();
    let records = json!({ "type": "array", "items": { "type": "object", "properties": record } });
    let body =
        json!({ "type": "object", "required": ["input_data"], "properties": { "input_data": records } });
    Json(json!({
        "swagger": "2.0",
        "info": { "title": root.alone.endpoint, "version": "1" },
        "consumes": ["application/json"], "produces": ["application/json"],
        "paths": { "/score": { "post": {
            "operationId": "score",
            "parameters": [{ "name": "body", "in": "body", "required": true, "schema": body }],
            "responses": {
                "200": { "description": "the predictions", "schema": { "type": "array", "items": {} } },
                "default": { "description": "what is wrong", "schema": { "type": "object" } },
            },
        } } },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_are_none_are_refused() {
        let routes = |health: &str, predict: &str| VertexRoutes::new(health.to_owned(), predict.to_owned());
        assert!(
            routes("/v1/endpoints/1/deployedModels/2", "/v1/endpoints/1/deployedModels/2:predict").is_ok()
        );
        assert!(routes("ping", "/p").is_err() && routes("/p", "/p").is_err());
        assert!(routes("/{x}", "/p").unwrap_err().contains("wildcards"));
    }
}

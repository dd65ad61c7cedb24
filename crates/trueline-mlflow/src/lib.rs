//! The MLflow REST wire. A handler reads the fields of a request, calls one function below, renders the answer;
//! what may be done and what it means is decided there.
//!
//! Every path is served under `/api` and `/ajax-api` alike, as MLflow does.

mod artifacts;
mod assessments;
mod error;
mod evaluation_datasets;
mod experiments;
mod fields;
mod logged_models;
mod models;
mod otlp;
mod otlp_messages;
mod paging;
mod render;
mod reply;
mod runs;
mod scorers;
mod trace_files;
mod trace_metrics;
mod trace_wire;
mod traces;
mod traces_v2;
mod versions;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use error::WireError;
use serde_json::json;
use std::sync::Arc;
use trueline_flows::{Entry, Session, TraceKeeper};
use trueline_registry::Registry;
use trueline_traces::Traces;
use trueline_tracking::Tracking;

/// The MLflow release whose wire this is; clients below it fall back, above it ask for more.
pub const MLFLOW_VERSION: &str = "3.17.2";

/// Limits of this face (rule 12).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest JSON body of most calls in bytes.
    pub body: usize,
    /// The largest JSON body in bytes of calls that carry lists: a batch, datasets with their schemas, models.
    pub bulk: usize,
    /// The largest artifact in bytes.
    pub artifact: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 1 << 20, bulk: 64 << 20, artifact: 1 << 40 }
    }
}

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Mlflow {
    tracking: Tracking,
    registry: Registry,
    keeper: TraceKeeper,
    limits: Limits,
}

impl Mlflow {
    /// The face over these domains.
    #[must_use]
    pub fn new(tracking: Tracking, registry: Registry, traces: Traces, limits: Limits) -> Self {
        let keeper = TraceKeeper { tracking: tracking.clone(), traces };
        Self { tracking, registry, keeper, limits }
    }
}

type App = axum::extract::State<Arc<Mlflow>>;

/// A session, or the refusal in MLflow's form.
struct Caller(Session);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = WireError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WireError> {
        let encoded = parts.uri.path_and_query().map_or("", |p| p.as_str());
        trueline_flows::check_path_and_query(encoded)?;
        match parts.extensions.get::<Entry>() {
            Some(Entry(Ok(session))) => Ok(Self(session.clone())),
            Some(Entry(Err(error))) => Err(WireError::identity(error)),
            None => Err(WireError::internal("the request came without a session")),
        }
    }
}

/// The routes of this face.
pub fn router(face: Mlflow) -> Router {
    let limits = face.limits;
    let app = Arc::new(face);
    let api = Router::new()
        .nest("/2.0/mlflow", v2(limits))
        .nest("/2.0/mlflow-artifacts", artifacts::routes())
        .nest("/3.0/mlflow", v3(limits))
        .route("/3.0/mlflow/server-info", get(server_info))
        .layer(DefaultBodyLimit::max(limits.body))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed);
    Router::new()
        .nest("/api", api.clone())
        .nest("/ajax-api", api)
        .merge(otlp::routes(limits.bulk))
        .route("/version", get(async || MLFLOW_VERSION))
        .with_state(app)
}

fn v2(limits: Limits) -> Router<Arc<Mlflow>> {
    let bulk = DefaultBodyLimit::max(limits.bulk);
    Router::new()
        .nest("/experiments", experiments::routes())
        .nest("/runs", runs::routes(bulk))
        .nest("/metrics", runs::metric_routes())
        .nest("/logged-models", logged_models::routes(bulk))
        .nest("/registered-models", models::routes(bulk))
        .nest("/model-versions", versions::routes(bulk))
        .route("/logged-models", post(logged_models::create).layer(bulk))
        .route("/artifacts/list", get(artifacts::list_of_run))
        .route("/get-trace-artifact", get(trace_files::get))
        .nest("/traces", traces_v2::routes(bulk))
        .route("/traces", post(traces_v2::begin).get(traces_v2::search).layer(bulk))
}

fn v3(limits: Limits) -> Router<Arc<Mlflow>> {
    let bulk = DefaultBodyLimit::max(limits.bulk);
    Router::new()
        .route("/get-trace-artifact", get(trace_files::get))
        .nest("/traces", traces::routes(bulk))
        .route("/traces", post(traces::start).layer(bulk))
        .nest("/datasets", evaluation_datasets::routes(bulk))
        .nest("/scorers", scorers::routes(bulk))
}

/// The answer, in MLflow's form, to a request that this server can't take now.
#[must_use]
pub fn unavailable(why: &str) -> Response {
    WireError::new(error::Code::TemporarilyUnavailable, why).into_response()
}

/// The switches that the client reads; each says what this server really offers.
async fn server_info() -> Response {
    reply::json(&json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
        "presigned_upload_run_id_supported": false,
        "presigned_upload_model_id_supported": false,
        "features_enabled": { "gateway": false },
    }))
}

async fn not_found() -> Response {
    let page = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was \
                not found on the server. If you entered the URL manually please check your spelling and try again.</p>\n";
    (StatusCode::NOT_FOUND, Html(page)).into_response()
}

async fn method_not_allowed() -> Response {
    let page = "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n<h1>Method Not Allowed</h1>\n<p>The \
                method is not allowed for the requested URL.</p>\n";
    (StatusCode::METHOD_NOT_ALLOWED, Html(page)).into_response()
}

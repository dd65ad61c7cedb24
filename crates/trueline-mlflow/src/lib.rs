//! The MLflow REST wire. A handler reads the fields of a request, calls one function below, renders the answer;
//! what may be done and what it means is decided there.
//!
//! Every path is served under `/api` and `/ajax-api` alike, as MLflow does.

mod access;
mod artifacts;
mod assessments;
mod datasets;
mod download;
mod error;
mod evaluation_datasets;
mod experiments;
mod fields;
mod graphql;
mod history;
mod issues;
mod logged_models;
mod models;
mod modes;
mod multipart;
mod off;
mod otlp;
mod otlp_messages;
mod paging;
mod promptlab;
mod render;
mod reply;
mod run_wire;
mod runs;
mod scorers;
mod trace_files;
mod trace_metrics;
mod trace_wire;
mod traces;
mod traces_v2;
mod upload;
mod versions;
mod webhooks;
mod workspaces;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use error::WireError;
use regex::Regex;
use serde_json::json;
use std::sync::Arc;
use trueline_flows::{Access, Entry, Session, TraceKeeper};
use trueline_registry::Registry;
use trueline_traces::Traces;
use trueline_tracking::Tracking;
use trueline_webhooks::Webhooks;

pub use modes::Modes;

/// The MLflow release whose wire this is; clients below it fall back, above it ask for more.
pub const MLFLOW_VERSION: &str = "3.17.2";

/// What is served outside of `/api`, relative to where a client is pointed at.
pub const OUTSIDE_API: [&str; 5] =
    ["version", "graphql", "get-artifact", "model-versions/get-artifact", "v1/traces"];

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
    access: Access,
    tracking: Tracking,
    registry: Registry,
    webhooks: Webhooks,
    workspaces: bool,
    keeper: TraceKeeper,
    limits: Limits,
    modes: Modes,
    source_pattern: Option<Regex>,
}

impl Mlflow {
    /// The face over these domains.
    #[must_use]
    pub fn new(
        access: Access,
        tracking: Tracking,
        registry: Registry,
        webhooks: Webhooks,
        traces: Traces,
        limits: Limits,
    ) -> Self {
        let (modes, source_pattern) = (Modes::default(), None);
        let keeper = TraceKeeper { tracking: tracking.clone(), traces };
        Self {
            access,
            tracking,
            registry,
            webhooks,
            keeper,
            workspaces: false,
            limits,
            modes,
            source_pattern,
        }
    }

    /// The same, where a request's header may choose a workspace.
    #[must_use]
    pub fn with_workspaces(self, workspaces: bool) -> Self {
        Self { workspaces, ..self }
    }

    /// Taking only sources of new versions in which this is found.
    #[must_use]
    pub fn with_source_pattern(self, pattern: Option<Regex>) -> Self {
        Self { source_pattern: pattern, ..self }
    }

    /// With parts of it switched off.
    #[must_use]
    pub fn with_modes(self, modes: Modes) -> Self {
        Self { modes, ..self }
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
    let (limits, modes) = (face.limits, face.modes);
    let app = Arc::new(face);
    let permissions = app.access.permissions().is_some();
    let (access, pages) = match permissions {
        true => (access::routes(app.workspaces), access::pages()),
        false => (Router::new(), Router::new()),
    };
    let bulk = DefaultBodyLimit::max(limits.bulk);
    let api = Router::new()
        .nest("/2.0/mlflow", v2(limits))
        .nest("/2.0/mlflow-artifacts", artifacts::routes().merge(multipart::routes(bulk)))
        .nest("/3.0/mlflow", v3(limits))
        .route("/3.0/mlflow/server-info", get(server_info))
        .merge(access)
        .merge(workspaces::routes(app.workspaces))
        .merge(off::api())
        .layer(DefaultBodyLimit::max(limits.body))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed);
    Router::new()
        .nest("/api", api.clone())
        .nest("/ajax-api", api.merge(for_pages(limits)))
        .merge(download::page_routes())
        .merge(graphql::routes())
        .merge(off::outside())
        .merge(pages)
        .merge(otlp::routes(limits.bulk))
        .layer(from_fn_with_state(Arc::clone(&app), access::guard))
        .route("/version", get(async || MLFLOW_VERSION))
        .layer(from_fn_with_state(modes, modes::admit))
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
        .merge(webhooks::routes())
        .route("/artifacts/presigned-upload-url", post(multipart::no_presigned_upload))
        .route("/artifacts/presigned-download-url", post(multipart::no_presigned_download))
        .route("/metrics/get-history-bulk-interval", get(history::sampled))
        .route("/get-trace-artifact", get(trace_files::get))
        .nest("/traces", traces_v2::routes(bulk))
        .route("/traces", post(traces_v2::begin).get(traces_v2::search).layer(bulk))
}

/// What only MLflow's pages ask for, below `/ajax-api` alone.
fn for_pages(limits: Limits) -> Router<Arc<Mlflow>> {
    let bulk = DefaultBodyLimit::max(limits.bulk);
    Router::new()
        .route("/2.0/mlflow/metrics/get-history-bulk", get(history::bulk))
        .route("/2.0/mlflow/experiments/search-datasets", post(datasets::search))
        .route("/2.0/mlflow/runs/create-promptlab-run", post(promptlab::create).layer(bulk))
        .route("/2.0/mlflow/upload-artifact", upload::route())
        .merge(off::for_pages())
}

fn v3(limits: Limits) -> Router<Arc<Mlflow>> {
    let bulk = DefaultBodyLimit::max(limits.bulk);
    Router::new()
        .route("/get-trace-artifact", get(trace_files::get))
        .nest("/traces", traces::routes(bulk))
        .route("/traces", post(traces::start).layer(bulk))
        .nest("/datasets", evaluation_datasets::routes(bulk))
        .nest("/scorers", scorers::routes(bulk))
        .merge(issues::routes())
}

/// The answer, in MLflow's form, to a request that this server can't take now.
#[must_use]
pub fn unavailable(why: &str) -> Response {
    WireError::new(error::Code::TemporarilyUnavailable, why).into_response()
}

/// The switches that the client reads; each says what this server really offers.
async fn server_info(State(app): App) -> Response {
    let signs = app.modes != Modes::NoArtifacts && app.tracking.signs_addresses();
    reply::json(&json!({
        "store_type": "SqlStore",
        "workspaces_enabled": app.workspaces,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": signs,
        "multipart_downloads_enabled": signs,
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

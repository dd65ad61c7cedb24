//! Trueline's own REST API under `/api/v1`: plural nouns, snake_case JSON, RFC 3339 times, cursor pages, RFC 9457
//! problems with a stable code. A handler parses, calls one function, renders.

mod bandits;
mod collections;
mod datasets;
mod endpoints;
mod features;
mod identity;
mod ledger;
mod models;
mod monitors;
mod pipelines;
mod predictions;
mod problem;
mod queries;
mod rehearsals;
mod reproductions;
mod rollouts;
mod run_table;
mod runs;
mod tasks;
mod time;
mod webhooks;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::routing::{delete, get, post, put};
pub use problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
pub use time::rfc3339;
use trueline_data::Data;
use trueline_features::Features;
use trueline_flows::{
    Access, Deployments, Entry, LogQueries, Reach, Rehearsals, Releases, Retention, Session, StepRunner,
    Tracer,
};
use trueline_ledger::Ledger;
use trueline_monitoring::Monitoring;
use trueline_registry::Registry;
use trueline_tasks::Tasks;
use trueline_tracking::Tracking;
use trueline_webhooks::Webhooks;

/// The largest JSON body of most calls in bytes.
const LARGEST_BODY: usize = 1 << 20;
/// The largest capture in bytes: it names every file that git does not track.
const LARGEST_CAPTURE: usize = 16 << 20;
/// The largest batch of rows, keys or files' names in bytes.
const LARGEST_BATCH: usize = 16 << 20;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Rest {
    /// The door.
    pub access: Access,
    /// The ledger.
    pub ledger: Ledger,
    /// The folder of the ledger's files.
    pub ledger_folder: PathBuf,
    /// The ledger's public key.
    pub ledger_key: String,
    /// Tasks.
    pub tasks: Tasks,
    /// Tracking.
    pub tracking: Tracking,
    /// Datasets.
    pub data: Data,
    /// Features.
    pub features: Features,
    /// Endpoints.
    pub deployments: Deployments,
    /// Pipelines and their steps.
    pub steps: StepRunner,
    /// Rehearsals on logged traffic.
    pub rehearsals: Rehearsals,
    /// The lines of predictions.
    pub tracer: Tracer,
    /// Questions to the prediction log.
    pub queries: LogQueries,
    /// The registry.
    pub registry: Registry,
    /// The stories of a release.
    pub releases: Releases,
    /// Monitors, alerts, incidents.
    pub monitoring: Monitoring,
    /// Where alerts may be sent.
    pub reach: Reach,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// How long deleted things are kept.
    pub retention: Retention,
}

type App = axum::extract::State<Arc<Rest>>;

/// A session, or the refusal as a problem.
struct Caller(Session);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let encoded = parts.uri.path_and_query().map_or("", |p| p.as_str());
        trueline_flows::check_path_and_query(encoded)?;
        match parts.extensions.get::<Entry>() {
            Some(Entry(Ok(session))) => Ok(Self(session.clone())),
            Some(Entry(Err(error))) => Err(trueline_identity::IdentityError::clone(error).into()),
            None => Err(Problem::internal("the request came without a session")),
        }
    }
}

/// A body of JSON, or the refusal as a problem.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(body) =
            Json::<Value>::from_request(request, state).await.map_err(|e| Problem::of_body(&e))?;
        trueline_flows::check_texts(&body)?;
        T::deserialize(body).map(Self).map_err(|e| Problem::invalid(format!("the body does not fit: {e}")))
    }
}

/// The routes of datasets and features.
fn data_routes() -> Router<Arc<Rest>> {
    let batches = Router::new()
        .route("/dataset-files/missing", post(datasets::missing))
        .route("/datasets/{name}/versions", post(datasets::add))
        .route("/feature-views/{view}/lookups", post(features::lookup))
        .route("/feature-views/{view}/rows", post(features::push))
        .layer(DefaultBodyLimit::max(LARGEST_BATCH));
    Router::new()
        .route("/dataset-files/{sha256}", put(datasets::put_file))
        .route("/datasets", get(datasets::list))
        .route("/datasets/{name}", get(datasets::versions))
        .route("/datasets/{name}/versions/{version}", get(datasets::version))
        .route("/datasets/{name}/versions/{version}/files/{place}", get(datasets::file))
        .route("/entities", get(features::entities))
        .route("/feature-declarations", post(features::declare))
        .route("/feature-views", get(features::views))
        .route("/feature-views/{view}", get(features::view))
        .route("/feature-views/{view}/materialisations", post(features::materialise))
        .route("/training-sets", post(features::training_set))
        .merge(batches)
}

/// The routes of this face.
pub fn router(rest: Rest) -> Router {
    let v1 = Router::new()
        .route("/whoami", get(identity::whoami))
        .route("/projects", get(identity::projects).post(identity::create_project))
        .route("/users", get(identity::users).post(identity::create_user))
        .route("/users/{name}/roles", post(identity::grant).delete(identity::revoke))
        .route("/users/{name}/tokens", post(identity::create_token))
        .route("/tokens", get(identity::tokens))
        .route("/tokens/{id}", delete(identity::revoke_token))
        .route("/ledger", get(ledger::head))
        .route("/ledger/export", get(ledger::export))
        .route("/ledger/events", get(ledger::events))
        .route("/ledger/events/{id}", get(ledger::event))
        .route("/ledger/events/{id}/proof", get(ledger::proof))
        .route("/ledger/events/{id}/erasure", post(ledger::erase))
        .route("/ledger/verifications", post(ledger::verify))
        .route("/models/{name}", get(models::model).put(models::declare))
        .route("/models/{name}/policy", get(models::policy).put(models::declare_policy))
        .route("/models/{name}/versions/{version}/release", get(models::release))
        .route("/models/{name}/versions/{version}/gate-runs", get(models::gate_runs).post(models::run_gates))
        .route(
            "/models/{name}/versions/{version}/approvals",
            get(models::approvals).post(models::decide).delete(models::withdraw),
        )
        .route("/collections", get(collections::last).post(collections::collect))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::one))
        .route("/endpoints", get(endpoints::list).post(endpoints::create))
        .route("/endpoints/{name}", get(endpoints::show))
        .route("/endpoints/{name}/log", put(endpoints::declare_log))
        .route("/endpoints/{name}/routes", get(endpoints::routes).post(endpoints::deploy))
        .route("/endpoints/{name}/rollbacks", post(endpoints::roll_back))
        .route("/endpoints/{name}/predictions", get(predictions::of_endpoint))
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{name}", get(pipelines::show).put(pipelines::declare))
        .route("/pipelines/{name}/runs", get(pipelines::runs_of).post(pipelines::start))
        .route("/pipeline-runs", get(pipelines::runs))
        .route("/pipeline-runs/{id}", get(pipelines::run))
        .route("/pipeline-runs/{id}/cancellation", post(pipelines::cancel))
        .route("/pipeline-runs/{id}/steps/{step}/log", get(pipelines::log))
        .route("/runs/{id}/reproductions", get(reproductions::list).post(reproductions::record))
        .route("/capture-files/{sha256}", get(runs::capture_file))
        .route("/monitors", get(monitors::list).post(monitors::create))
        .route("/monitors/{name}", get(monitors::show).put(monitors::declare))
        .route("/monitors/{name}/windows", get(monitors::windows))
        .route("/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/alerts", get(monitors::alerts))
        .route("/incidents", get(monitors::incidents))
        .route("/incidents/{id}", get(monitors::incident))
        .route("/incidents/{id}/notes", post(monitors::note))
        .route("/incidents/{id}/resolution", put(monitors::resolve))
        .route("/queries", post(queries::ask))
        .route("/predictions/{id}", get(predictions::show))
        .route("/predictions/{id}/trace", get(predictions::trace))
        .route("/endpoints/{name}/rollouts", get(rollouts::of_endpoint).post(rollouts::start))
        .route("/endpoints/{name}/rehearsals", post(rehearsals::rehearse))
        .route("/endpoints/{name}/bandits", get(bandits::list).post(bandits::start))
        .route("/endpoints/{name}/bandits/end", post(bandits::end))
        .route("/rollouts", get(rollouts::list))
        .route("/rollouts/{id}", get(rollouts::show))
        .route("/rollouts/{id}/cancellation", post(rollouts::cancel))
        .route("/rollouts/{id}/promotion", post(rollouts::promote))
        .route(
            "/runs/{id}/capture",
            get(runs::capture).put(runs::set_capture).layer(DefaultBodyLimit::max(LARGEST_CAPTURE)),
        )
        .route("/runs", get(run_table::runs))
        .route("/experiments/{id}/columns", get(run_table::columns))
        .route("/runs/{id}/metrics/{*key}", get(runs::series))
        .route("/capture-files", post(runs::put_capture_file))
        .merge(data_routes())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .with_state(Arc::new(rest));
    Router::new().nest("/api/v1", v1)
}

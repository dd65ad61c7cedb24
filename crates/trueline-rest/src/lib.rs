//! Trueline's own REST API under `/api/v1`: plural nouns, snake_case JSON, RFC 3339 times, cursor pages, RFC 9457
//! problems with a stable code. A handler parses, calls one function, renders.

mod endpoints;
mod identity;
mod ledger;
mod pipelines;
mod problem;
mod reproductions;
mod runs;
mod tasks;
mod time;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
pub use problem::{ERROR_CODES, Problem};
use std::path::PathBuf;
use std::sync::Arc;
pub use time::rfc3339;
use trueline_flows::{Access, Deployments, Entry, Session, StepRunner};
use trueline_ledger::Ledger;
use trueline_tasks::Tasks;
use trueline_tracking::Tracking;

/// The largest body of this API in bytes; files go another way.
const LARGEST_BODY: usize = 256 << 20;

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
    /// Endpoints.
    pub deployments: Deployments,
    /// Pipelines and their steps.
    pub steps: StepRunner,
}

type App = axum::extract::State<Arc<Rest>>;

/// A session, or the refusal as a problem.
struct Caller(Session);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Entry>() {
            Some(Entry(Ok(session))) => Ok(Self(session.clone())),
            Some(Entry(Err(error))) => Err(Problem::identity(error)),
            None => Err(Problem::internal("the request came without a session")),
        }
    }
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
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::one))
        .route("/endpoints", get(endpoints::list).post(endpoints::create))
        .route("/endpoints/{name}", get(endpoints::show))
        .route("/endpoints/{name}/routes", get(endpoints::routes).post(endpoints::deploy))
        .route("/endpoints/{name}/rollbacks", post(endpoints::roll_back))
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{name}", get(pipelines::show).put(pipelines::declare))
        .route("/pipelines/{name}/runs", get(pipelines::runs_of).post(pipelines::start))
        .route("/pipeline-runs", get(pipelines::runs))
        .route("/pipeline-runs/{id}", get(pipelines::run))
        .route("/pipeline-runs/{id}/cancellation", post(pipelines::cancel))
        .route("/pipeline-runs/{id}/steps/{step}/log", get(pipelines::log))
        .route("/runs/{id}/reproductions", get(reproductions::list).post(reproductions::record))
        .route("/runs/{id}/capture", get(runs::capture).put(runs::set_capture))
        .route("/runs/{id}/metrics/{*key}", get(runs::series))
        .route("/capture-files", post(runs::put_capture_file))
        .route("/capture-files/{sha256}", get(runs::capture_file))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .with_state(Arc::new(rest));
    Router::new().nest("/api/v1", v1)
}

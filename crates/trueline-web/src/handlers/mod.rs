//! The handlers: fetch what a page shows, fill its view model, render. They hold no rules; what may be seen, the
//! policy says, and what was asked for, the URL.

mod artifacts;
mod ask_it;
mod bandits;
mod compare;
mod data;
mod endpoint_live;
mod endpoints;
mod experiments;
mod features;
mod history;
mod home;
mod incidents;
mod ledger;
mod logged_models;
mod logged_predictions;
mod mlmodel;
mod models;
mod monitors;
mod outside;
mod pipelines;
mod predictions;
mod release;
mod rollouts;
mod run_charts;
mod run_console;
mod run_lineage;
mod run_live;
mod run_table;
mod runs;
mod settings;
mod spans;
mod traces;

use crate::links::Links;
use crate::pages::{ErrorPage, Problem};
use crate::shell::{Caller, Section, Shell};
use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, RawForm, RawQuery, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use trueline_data::Data;
use trueline_features::Features;
use trueline_flows::{Access, Deployments, Entry, Fault, FaultKind, Releases, Session, StepRunner, Tracer};
use trueline_identity::IdentityError;
use trueline_ledger::{Ledger, Millis};
use trueline_monitoring::Monitoring;
use trueline_registry::Registry;
use trueline_tasks::Tasks;
use trueline_traces::Traces;
use trueline_tracking::Tracking;

/// What the pages need.
#[derive(Clone, Debug)]
pub struct Web {
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
    /// Traces of applications.
    pub traces: Traces,
    /// The registry.
    pub registry: Registry,
    /// Pipelines and their steps.
    pub steps: StepRunner,
    /// Datasets.
    pub data: Data,
    /// Features.
    pub features: Features,
    /// The stories of a release.
    pub releases: Releases,
    /// Monitors, alerts, incidents.
    pub monitoring: Monitoring,
    /// Endpoints in the database and those that answer.
    pub deployments: Deployments,
    /// Traces predictions back.
    pub tracer: Tracer,
    /// How long deleted things are kept.
    pub retention: trueline_flows::Retention,
}

type App = State<Arc<Web>>;
type Answer = Result<Response, Failure>;

/// The cookie in which a browser keeps its token.
pub const TOKEN_COOKIE: &str = "trueline_token";
/// The largest form in bytes.
const LARGEST_FORM: usize = 64 << 10;
/// Nothing is loaded from elsewhere, and nothing inline is run.
const CONTENT_POLICY: &str =
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'self'; form-action 'self'";

/// The routes of the pages.
pub fn router(web: Web) -> Router {
    let app = Arc::new(web);
    Router::new()
        .route("/", get(home::start))
        .route("/p/{project}", get(home::home))
        .route("/p/{project}/experiments", get(experiments::list))
        .route("/p/{project}/experiments/{id}", get(run_table::one))
        .route("/p/{project}/experiments/{id}/views", post(run_table::save_view))
        .route("/p/{project}/experiments/{id}/views/delete", post(run_table::delete_view))
        .route("/p/{project}/compare", get(compare::page_of))
        .route("/p/{project}/compare.csv", get(compare::csv))
        .route("/p/{project}/experiments/{id}/traces", get(traces::list))
        .route("/p/{project}/traces/{id}", get(traces::one))
        .route("/p/{project}/runs/{id}", get(runs::one))
        .route("/p/{project}/runs/{id}/live", get(run_live::answer))
        .route("/p/{project}/runs/{id}/artifacts/{*path}", get(artifacts::download_of_run))
        .route("/p/{project}/runs/{id}/preview/{*path}", get(artifacts::shown_of_run))
        .route("/p/{project}/experiments/{id}/models", get(logged_models::list))
        .route("/p/{project}/logged-models/{id}", get(logged_models::one))
        .route("/p/{project}/logged-models/{id}/artifacts/{*path}", get(artifacts::download_of_model))
        .route("/p/{project}/logged-models/{id}/preview/{*path}", get(artifacts::shown_of_model))
        .route("/p/{project}/models", get(models::list))
        .route("/p/{project}/models/{name}", get(models::one))
        .route("/p/{project}/models/{name}/versions/{version}", get(models::version))
        .route("/p/{project}/pipelines", get(pipelines::list))
        .route("/p/{project}/pipelines/{name}", get(pipelines::one))
        .route("/p/{project}/pipeline-runs/{id}", get(pipelines::run))
        .route("/p/{project}/data", get(data::list))
        .route("/p/{project}/data/{name}", get(data::one))
        .route("/p/{project}/data/{name}/versions/{number}", get(data::version))
        .route("/p/{project}/features", get(features::list))
        .route("/p/{project}/features/{view}", get(features::one))
        .route("/p/{project}/models/{name}/versions/{version}/gate-runs", post(release::run_gates))
        .route("/p/{project}/models/{name}/versions/{version}/approvals", post(release::decide))
        .route("/p/{project}/monitors", get(monitors::list))
        .route("/p/{project}/monitors/{name}", get(monitors::one))
        .route("/p/{project}/monitors/{name}/series/{subject}", get(monitors::series))
        .route("/p/{project}/incidents", get(incidents::list))
        .route("/p/{project}/incidents/{id}", get(incidents::one))
        .route("/p/{project}/endpoints", get(endpoints::list))
        .route("/p/{project}/endpoints/{name}", get(endpoints::one))
        .route("/p/{project}/endpoints/{name}/live", get(endpoint_live::live))
        .route("/p/{project}/endpoints/{name}/predictions", get(logged_predictions::list))
        .route("/p/{project}/endpoints/{name}/rollback", post(endpoints::roll_back))
        .route("/p/{project}/endpoints/{name}/bandit", post(bandits::stop))
        .route("/p/{project}/endpoints/{name}/rollouts/{id}", post(rollouts::decide))
        .route("/p/{project}/predictions", get(predictions::find))
        .route("/p/{project}/predictions/{id}", get(predictions::one))
        .route("/ledger", get(ledger::list))
        .route("/ledger/verify", post(ledger::verify))
        .route("/ledger/by-id/{id}", get(ledger::by_id))
        .route("/ledger/{index}", get(ledger::by_index))
        .route("/search", get(outside::search))
        .route("/settings/projects", get(settings::projects).post(settings::create_project))
        .route("/settings/users", get(settings::users).post(settings::create_user))
        .route("/settings/roles", get(settings::roles).post(settings::grant))
        .route("/settings/roles/revoke", post(settings::revoke_role))
        .route("/settings/storage", get(settings::storage).post(settings::collect))
        .route("/settings/tokens", get(settings::tokens).post(settings::create_token))
        .route("/settings/tokens/{id}/revoke", post(settings::revoke_token))
        .route("/sign-in", get(outside::sign_in_page).post(outside::sign_in))
        .route("/sign-out", post(outside::sign_out))
        .route("/docs/errors/{code}", get(outside::error_code))
        .fallback(outside::not_found)
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .with_state(app)
        .merge(crate::assets())
}

/// A page, as an answer.
fn page(template: &impl Template) -> Answer {
    let html = template.render().map_err(|e| Failure::internal(e.to_string()))?;
    Ok(([(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY)], Html(html)).into_response())
}

fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The pairs of a query, decoded, in their order.
fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let split = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    };
    query.unwrap_or_default().split('&').filter(|p| !p.is_empty()).map(split).collect()
}

/// The pairs of a form that was sent.
struct Form(Vec<(String, String)>);

impl FromRequest<Arc<Web>> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<Web>) -> Result<Self, Failure> {
        let refused = |why: String| Failure::new(FaultKind::Invalid, why);
        let RawForm(bytes) = RawForm::from_request(request, app).await.map_err(|e| refused(e.body_text()))?;
        let text = String::from_utf8_lossy(&bytes);
        trueline_flows::check_path_and_query(&text).map_err(|e| refused(e.to_string()))?;
        Ok(Self(pairs(Some(&text))))
    }
}

/// A page's place in a list, as the URL carries it.
fn offset(cursor: &str) -> u64 {
    cursor.parse().unwrap_or(0)
}

/// Someone who looks at a page.
struct Visitor {
    session: Session,
    /// The server's address as the browser reached it.
    address: String,
    /// Path and query, to come back to.
    query: Vec<(String, String)>,
    htmx: bool,
}

impl FromRequestParts<Arc<Web>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<Web>) -> Result<Self, Response> {
        let encoded = parts.uri.path_and_query().map_or("", |p| p.as_str());
        if let Err(nul) = trueline_flows::check_path_and_query(encoded) {
            let failure = Failure::new(FaultKind::Invalid, nul.to_string());
            return Err(outside::failed(app, None, failure).await);
        }
        let session = match parts.extensions.get::<Entry>() {
            Some(Entry(Ok(session))) => session.clone(),
            Some(Entry(Err(error))) => {
                if let IdentityError::Unauthenticated(_) = error.as_ref() {
                    // A part of a page must not turn into the sign-in page.
                    if parts.headers.contains_key("hx-request") {
                        return Err((StatusCode::UNAUTHORIZED, [("hx-refresh", "true")]).into_response());
                    }
                    let next = parts.uri.path_and_query().map_or("/", |p| p.as_str());
                    let next =
                        percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
                    return Err(Redirect::to(&format!("/sign-in?next={next}")).into_response());
                }
                let failure = Failure::from(error.as_ref().clone());
                return Err(outside::failed(app, None, failure).await);
            }
            None => return Err(Failure::internal("no session").into_response()),
        };
        let RawQuery(query) = RawQuery::from_request_parts(parts, app).await.unwrap_or(RawQuery(None));
        Ok(Self {
            session,
            address: address(&parts.headers),
            query: pairs(query.as_deref()),
            htmx: parts.headers.contains_key("hx-request"),
        })
    }
}

fn address(headers: &HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let scheme = header("x-forwarded-proto").unwrap_or("http");
    format!("{scheme}://{}", header("host").unwrap_or("127.0.0.1:5700"))
}

impl Visitor {
    fn project(&self) -> &str {
        &self.session.project().name
    }

    /// The address that an MLflow client of this project is pointed at.
    fn tracking_uri(&self) -> String {
        match self.project() {
            "default" => self.address.clone(),
            other => format!("{}/projects/{other}", self.address),
        }
    }

    /// What all pages share, for a page called `title` in `section`.
    async fn shell(&self, app: &Web, title: &str, section: Section) -> Result<Shell, Failure> {
        let mut shell = Shell::new(title, Some(self.project()), timestamp(app.ledger.sources().now()));
        let visible = app.access.visible_projects(&self.session).await?;
        shell.projects = visible.into_iter().map(|p| p.name).collect();
        shell.caller = Some(caller(&self.session));
        shell.current = Some(section);
        shell.request_id = self.session.caller().request().unwrap_or_default().to_owned();
        Ok(shell)
    }

    fn api(&self, path: &str) -> Option<String> {
        Some(format!("{}/projects/{}{path}", self.address, self.project()))
    }
}

fn caller(session: &Session) -> Caller {
    let who = session.caller();
    let name = who.principal();
    let roles = who.roles_in(&session.project().id);
    Caller {
        name: crate::words::person(&name).to_owned(),
        roles: roles.into_iter().map(|r| r.as_str().to_owned()).collect(),
        can_sign_out: who.has_token(),
    }
}

/// The names of projects by id.
async fn project_names(app: &Web) -> Result<BTreeMap<String, String>, Failure> {
    let all = app.access.identity().projects().await?;
    Ok(all.into_iter().map(|p| (p.id.to_string(), p.name)).collect())
}

/// What went wrong with a page.
#[derive(Debug)]
struct Failure(Box<Problem>);

impl Failure {
    fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = match status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::FORBIDDEN => "You may not see this",
            StatusCode::UNAUTHORIZED => "Sign in first",
            StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                "That did not work"
            }
            _ => "Something went wrong",
        };
        let what_to_do = match status {
            StatusCode::NOT_FOUND => "Check the address, or search for it by name or id.",
            StatusCode::FORBIDDEN => "Ask an admin for one of the roles that the message names.",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "Try again in a moment.",
            s if s.is_server_error() => {
                "Try again; if it stays, look for the request's id in the server's log."
            }
            _ => "",
        };
        Self(Box::new(Problem {
            status: status.as_u16(),
            title: title.to_owned(),
            detail: detail.into(),
            what_to_do: what_to_do.to_owned(),
            command: None,
            code: kind.code().to_owned(),
        }))
    }

    fn not_found(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, detail)
    }

    fn internal(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, detail)
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut shell = Shell::new(&self.0.title, None, Timestamp::now());
        shell.sections = Vec::new();
        let html = ErrorPage { shell, problem: *self.0 }.render().unwrap_or_default();
        (status, Html(html)).into_response()
    }
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(error: E) -> Self {
        let Fault { kind, detail } = error.into();
        Self::new(kind, detail)
    }
}

/// Where the thing that a lineage node or an event names is shown.
fn reference(to: &Links, kind: &str, id: &str) -> crate::parts::Reference {
    use crate::parts::Reference;
    let words = crate::words::noun(kind);
    let href = match kind {
        "run" => Some(to.run(id)),
        "experiment" => Some(to.experiment(id)),
        "model" => Some(to.model(id)),
        "logged_model" => Some(to.logged_model(id)),
        "version" => id.rsplit_once('/').map(|(model, number)| to.version(model, number)),
        "alias" => id.rsplit_once('@').map(|(model, _)| to.model(model)),
        "pipeline" => Some(to.pipeline(id)),
        "pipeline_run" => Some(to.pipeline_run(id)),
        "step" => id.split_once('/').map(|(run, _)| to.pipeline_run(run)),
        "dataset" => Some(to.dataset(id)),
        "dataset_version" => {
            let parts = id.rsplit_once('@').and_then(|(name, number)| Some((name, number.parse().ok()?)));
            parts.map(|(name, number): (&str, i64)| to.dataset_version(name, &number))
        }
        "feature_view" => Some(to.feature_view(id)),
        "entity" => Some(to.features()),
        "endpoint" => Some(to.endpoint(id)),
        "incident" => Some(to.incident(id)),
        "event" => Some(to.event_by_id(id)),
        "trace" => Some(to.trace(id)),
        "project" => Some(Links::new(Some(id)).home()),
        _ => None,
    };
    Reference { kind: words, label: crate::format::short_ids(id), href }
}

//! The HTTP layer around the faces: who calls and in which project, request ids, protection against other origins,
//! metrics, and the routes that need no session.

use super::compressed::{compressed, compressing};
use super::exposition;
use super::limits::{self, Gate, Limits};
use super::linger::lingering;
use super::meters::Meters;
use super::observe;
use super::origin::{Asked, OriginRules};
use super::ready::Readiness;
use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tower::ServiceExt;
use trueline_flows::{Access, CommonThreads, Entry, Knock, Predictor, STOPPING};
use trueline_identity::Credentials;
use trueline_inference::{Alone, Wires};
use trueline_ledger::{Ledger, Sources};
use trueline_mlflow::{MLFLOW_VERSION, Mlflow};
use trueline_predictions::PredictionLog;
use trueline_rest::Rest;
use trueline_serving::DataPlane;
use trueline_web::{TOKEN_COOKIE, Web};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Chooses a project by name; MLflow's header for the same is understood too.
const PROJECT: HeaderName = HeaderName::from_static("x-trueline-project");
const WORKSPACE: HeaderName = HeaderName::from_static("x-mlflow-workspace");
/// A path can begin with this and a project's name, so that one variable of a client chooses server and project.
const PROJECT_PREFIX: &str = "/projects/";
/// Pages have paths of their own below this and a project's name.
const PAGE_PREFIX: &str = "/p/";
const NO_DATABASE: &str =
    "the database can't be reached, so only endpoints answer; it is tried again every two seconds";
/// What a role says that is.
const READY: &str = "ready";
const NOTHING_ANSWERS: &str = "no endpoint's model can be loaded: `trueline endpoint show <name>` says why";
/// The cookie in which a browser keeps the project that it saw last, for the pages that belong to none.
const PROJECT_COOKIE: &str = "trueline_project";

/// What answers with the help of the database.
pub(crate) struct Control {
    access: Access,
    ledger: Ledger,
    readiness: Readiness,
    faces: Router,
}

/// Where [`Control`] stands once the database has been opened.
pub(crate) type ControlPlace = Arc<ArcSwapOption<Control>>;

impl Control {
    pub(crate) fn new(
        access: Access,
        ledger: Ledger,
        rest: Rest,
        mlflow: Mlflow,
        web: Web,
        limits: Limits,
    ) -> Self {
        let faces = Router::new()
            .merge(trueline_mlflow::router(mlflow))
            .merge(trueline_rest::router(rest))
            .merge(trueline_web::router(web));
        let readiness = Readiness::new(ledger.clone());
        let faces = compressing(faces);
        let gate = Gate::new(limits, limits::unavailable_control, None);
        Self { access, ledger, readiness, faces: faces.layer(from_fn_with_state(gate, limits::admit)) }
    }
}

/// What stands at the door.
struct Door {
    control: ControlPlace,
    plane: DataPlane,
    wires: Wires,
    sources: Sources,
    metrics: PrometheusHandle,
    meters: Meters,
    /// Where predictions are logged, if they are.
    log: Option<Arc<PredictionLog>>,
    origins: OriginRules,
    /// Where what takes long is answered.
    common: CommonThreads,
    /// Whether there is nothing but endpoints behind it.
    alone: bool,
}

/// What the door lets through.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// From where requests may come.
    pub(crate) origins: OriginRules,
    /// How many requests at a time, and for how long.
    pub(crate) limits: Limits,
}

/// All that a server answers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    door: Arc<Door>,
    /// What needs no caller.
    open: Router,
}

pub(crate) fn app(
    control: ControlPlace,
    predictor: Predictor,
    metrics: PrometheusHandle,
    guard: Guard,
) -> App {
    let log = predictor.log.clone();
    let door = door(predictor, trueline_inference::wires, metrics, guard);
    App::new(Door { control, log, alone: false, ..door })
}

/// The data plane with one model and no control plane.
pub(crate) fn app_alone(predictor: Predictor, alone: Alone, metrics: PrometheusHandle, guard: Guard) -> App {
    let wires = |predictor| trueline_inference::wires_alone(predictor, alone);
    App::new(door(predictor, wires, metrics, guard))
}

/// A door with nothing but endpoints behind it.
fn door(
    predictor: Predictor,
    wires: impl FnOnce(Predictor) -> Wires,
    metrics: PrometheusHandle,
    Guard { origins, limits }: Guard,
) -> Door {
    let (plane, sources, common) =
        (predictor.plane.clone(), predictor.sources.clone(), predictor.common.clone());
    // Places of its own: however busy the rest is, predictions are answered.
    let gate = Gate::new(limits, trueline_inference::unavailable, Some(common.clone()));
    let admitted = |routes: Router| routes.layer(from_fn_with_state(Arc::clone(&gate), limits::admit));
    let wires = wires(predictor).within(admitted);
    let (control, meters) = (ControlPlace::default(), Meters::default());
    Door { control, plane, wires, sources, metrics, meters, log: None, origins, common, alone: true }
}

impl App {
    fn new(door: Door) -> Self {
        let door = Arc::new(door);
        let mut open =
            Router::new().route("/ready/serving", get(ready_to_serve)).route("/metrics", get(metrics_text));
        if !door.alone {
            open = open
                .route("/health", get(async || "OK"))
                .route("/version", get(async || MLFLOW_VERSION))
                .route("/ready", get(ready));
        }
        Self { open: open.with_state(Arc::clone(&door)), door }
    }

    /// Whether nobody is asked who calls. A container has other things at some of these paths.
    fn is_open(&self, path: &str) -> bool {
        match path {
            "/ready/serving" | "/metrics" => true,
            "/health" | "/version" | "/ready" => !self.door.alone,
            _ => false,
        }
    }

    /// Answers a request. Sees to it that its body is read to its end, and adds the headers that browsers heed.
    pub(super) async fn answer(self, request: Request) -> Response {
        let asked = Asked::of(request.uri().path(), request.headers());
        let request = lingering(request);
        let mut response = if self.is_open(request.uri().path()) {
            let Ok(response) = self.open.oneshot(request).await;
            response
        } else {
            enter(&self.door, request).await
        };
        self.door.origins.mark(&asked, response.headers_mut());
        response
    }
}

async fn ready(State(door): State<Arc<Door>>) -> Response {
    let control = match door.control.load_full() {
        None => Err(NO_DATABASE.to_owned()),
        Some(control) => control.readiness.control().await,
    };
    let told = control.err().unwrap_or_else(|| READY.to_owned());
    answer_ready(&door, &[("control", &told), ("work", &told)])
}

/// It serves from its snapshot, whatever the database does.
async fn ready_to_serve(State(door): State<Arc<Door>>) -> Response {
    answer_ready(&door, &[])
}

/// Whether these roles are ready, or serving if none is named; how many endpoints answer, and how many should and do not.
/// Nobody is asked who calls, so no names are told.
fn answer_ready(door: &Door, others: &[(&str, &str)]) -> Response {
    let serving = door.plane.readiness();
    let told = if serving.is_ready() { READY } else { NOTHING_ANSWERS };
    let roles: BTreeMap<&str, &str> = others.iter().copied().chain([("serving", told)]).collect();
    // What repairs an endpoint must be within reach while none answers.
    let asked = if others.is_empty() { &[("serving", told)] } else { others };
    let ready = asked.iter().all(|(_, told)| *told == READY);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "roles": roles, "endpoints": serving.endpoints, "left_out": serving.left_out });
    (status, axum::Json(body)).into_response()
}

/// All figures, put together where nobody waits for it.
async fn metrics_text(State(door): State<Arc<Door>>) -> Response {
    let common = door.common.clone();
    let told = common.run(async move { metrics_of(&door) }).await;
    told.unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response())
}

fn metrics_of(door: &Door) -> Response {
    #[allow(clippy::cast_precision_loss)]
    if let Some(control) = door.control.load_full() {
        metrics::gauge!("trueline_database_queued_writes").set(control.ledger.db().queued_writes() as f64);
    }
    if let Some(log) = &door.log {
        observe::tell_log(log, &door.plane.project_names());
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, door.metrics.render() + &exposition::endpoints(&door.plane)).into_response()
}

async fn enter(door: &Door, mut request: Request) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers(), &door.sources);
    let method = request.method().clone();
    let mut response = match door.origins.turn_away(request.method(), request.uri().path(), request.headers())
    {
        Some(refusal) => refusal,
        None if request.uri().path().starts_with("//") => to_single_slash(request.uri()),
        None => {
            let project = take_project(&mut request);
            match door.alone || trueline_inference::is_inference(request.uri().path()) {
                true => predict(door, project, id.clone(), began, request).await,
                // Apart, so that what it needs room for is not moved about with each prediction.
                false => Box::pin(control(door, project, id.clone(), request)).await,
            }
        }
    };
    let route = response.extensions_mut().remove::<MatchedPath>();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let elapsed = began.elapsed();
    let status = response.status().as_u16();
    door.meters.count(known(&method), route, status, elapsed);
    if response.status().is_server_error() {
        tracing::warn!(%method, route, status, request_id = id, ms = elapsed.as_millis(), "request failed");
    } else {
        tracing::debug!(%method, route, status, request_id = id, ms = elapsed.as_millis(), "request");
    }
    with_headers(response, &id)
}

/// Clients put an address and a path together, and some with a slash too many: they are shown the way, as MLflow does.
fn to_single_slash(uri: &Uri) -> Response {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let place = format!("/{}{query}", uri.path().trim_start_matches(['/', '\\']));
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, place)]).into_response()
}

/// The faces that stand on the database.
async fn control(door: &Door, project: String, id: String, mut request: Request) -> Response {
    let Some(control) = door.control.load_full() else {
        let retry = [(header::RETRY_AFTER, "2")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, NO_DATABASE).into_response();
    };
    let (user, token) = (user(request.headers()), token(request.headers()));
    let credentials = Credentials { token, user, request: Some(id) };
    let answered = door.common.run(async move {
        let entry = Entry(control.access.enter(credentials, &project).await.map_err(Arc::new));
        request.extensions_mut().insert(entry);
        let Ok(response) = control.faces.clone().oneshot(request).await;
        compressed(response).await
    });
    answered.await.unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response())
}

/// The face that answers predictions, which asks nobody else.
async fn predict(door: &Door, project: String, id: String, began: Instant, mut request: Request) -> Response {
    let knock = Knock { project, token: token(request.headers()), request: id, began };
    request.extensions_mut().insert(knock);
    door.wires.answer(request).await
}

/// A method as a label. Anybody can make methods up, and each would be a time series that stays for good.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

fn with_headers(mut response: Response, id: &str) -> Response {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The caller's request id, if it is a sane one, or a fresh one.
fn request_id(headers: &HeaderMap, sources: &Sources) -> String {
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let sane = |id: &&str| !id.is_empty() && id.len() <= 100 && id.bytes().all(|b| b.is_ascii_graphic());
    given.filter(sane).map_or_else(|| sources.id(), ToOwned::to_owned)
}

/// The project that a request names: in its path, which is shortened by it, or in a header.
fn take_project(request: &mut Request<Body>) -> String {
    if let Some((project, rest)) = split_project(request.uri()) {
        *request.uri_mut() = rest;
        return project;
    }
    if let Some(page) = request.uri().path().strip_prefix(PAGE_PREFIX) {
        return decoded(page.split('/').next().unwrap_or_default());
    }
    let named = [&PROJECT, &WORKSPACE].into_iter().find_map(|h| request.headers().get(h));
    let named = named.and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
    named.or_else(|| cookie(request.headers(), PROJECT_COOKIE)).unwrap_or_else(|| "default".to_owned())
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn split_project(uri: &Uri) -> Option<(String, Uri)> {
    let below = uri.path().strip_prefix(PROJECT_PREFIX)?;
    let (project, rest) = below.split_once('/')?;
    // Pages have paths of their own below a project; only the faces for programs are reached this way.
    let face = ["api/", "ajax-api/"].iter().any(|face| rest.starts_with(face));
    let face = face || trueline_inference::is_inference(&format!("/{rest}"));
    if !face && !trueline_mlflow::OUTSIDE_API.contains(&rest) {
        return None;
    }
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    Some((decoded(project), format!("/{rest}{query}").parse().ok()?))
}

/// A bearer token, the password of basic authentication, or a browser's cookie.
fn token(headers: &HeaderMap) -> Option<String> {
    match authorization(headers) {
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => Some(value.trim().to_owned()),
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => Some(basic(value)?.1),
        _ => cookie(headers, TOKEN_COOKIE),
    }
}

/// The user that basic authentication names.
fn user(headers: &HeaderMap) -> Option<String> {
    let (_, value) = authorization(headers).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))?;
    Some(basic(value)?.0)
}

fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')
}

fn basic(value: &str) -> Option<(String, String)> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get(header::COOKIE).and_then(|v| v.to_str().ok())?;
    let named = |c: &str| c.trim().strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned);
    cookies.split(';').find_map(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(path: &str) -> Option<(String, String)> {
        split_project(&path.parse().unwrap()).map(|(p, u)| (p, u.to_string()))
    }

    #[test]
    fn a_project_in_the_path_is_taken_off() {
        let expected = Some(("fraud".to_owned(), "/api/2.0/mlflow/runs/get?run_id=1".to_owned()));
        assert_eq!(split("/projects/fraud/api/2.0/mlflow/runs/get?run_id=1"), expected);
        assert_eq!(split("/projects/fraud/v1/traces"), Some(("fraud".to_owned(), "/v1/traces".to_owned())));
        assert_eq!(split("/projects/fraud/runs"), None);
        assert_eq!(split("/api/2.0/mlflow/runs/get"), None);
    }

    #[test]
    fn tokens_come_in_three_ways() {
        let with = |name, value: &str| HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        assert_eq!(token(&with(header::AUTHORIZATION, "Bearer tl_1")).as_deref(), Some("tl_1"));
        assert_eq!(token(&with(header::AUTHORIZATION, "basic YW5uOnRsXzI=")).as_deref(), Some("tl_2"));
        assert_eq!(token(&with(header::COOKIE, "a=b; trueline_token=tl_3")).as_deref(), Some("tl_3"));
        assert_eq!(token(&HeaderMap::new()), None);
    }
}

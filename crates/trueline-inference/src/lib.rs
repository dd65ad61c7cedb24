//! The scoring wires. Every endpoint answers at `/projects/<project>/endpoints/<name>/` as MLflow's scoring server does at
//! its root, and takes labels; it is a model of the Open Inference Protocol below `/v2` and over gRPC, and of KServe's
//! first protocol below `/v1/models`. A handler parses, calls one function, renders; nothing here waits for the database.

mod alone;
mod ask;
mod body;
mod column_names;
mod columns;
mod csv_body;
mod deadline;
mod error;
mod invocations;
mod labels;
mod lacking;
mod multi_model;
mod oip;
mod parquet_body;
mod v1;
mod write;

pub use alone::{Alone, VertexRoutes, wires as wires_alone};

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::header::{self, AsHeaderName};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use error::{Refusal, Wording};
use std::sync::Arc;
use tower::ServiceExt as _;
use tower_http::decompression::RequestDecompressionLayer;
use trueline_flows::{CommonThreads, Knock, Predictor};
use trueline_serving::Admission;

/// The largest body in bytes.
pub const LARGEST_BODY: usize = 64 << 20;
/// From this size on, a body is read and answered apart from the threads that answer short ones.
const LONG_BODY: usize = 64 << 10;
const PARQUET: &str = "application/vnd.apache.parquet";

/// Whether a path, below its project, is one of this face's.
#[must_use]
pub fn is_inference(path: &str) -> bool {
    path == "/v2"
        || ["/endpoints/", "/v2/", "/v1/models", "/inference.GRPCInferenceService/"]
            .iter()
            .any(|own| path.starts_with(own))
}

/// Whether what a request asks for takes little, as far as can be seen before it is read: its body is short, and does not unfold
/// to more than it seems. What is not short must not be answered on a thread that others wait for.
#[must_use]
pub fn is_short(request: &Request) -> bool {
    let length = request.body().size_hint().exact();
    let headers = request.headers();
    let parquet =
        headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(PARQUET.as_bytes()));
    let folded =
        parquet || headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key("grpc-encoding");
    !folded && length.is_some_and(|length| length <= LONG_BODY as u64)
}

/// What the handlers share.
type App = Arc<Predictor>;

/// The routes of this face, below a project. Whoever asks them leaves a [`Knock`] with each request.
#[derive(Clone, Debug)]
pub struct Wires {
    /// For bodies as they come.
    plain: Router,
    /// For those that have to be decompressed.
    folded: Router,
}

/// The scoring wires of all endpoints.
#[must_use]
pub fn wires(predictor: Predictor) -> Wires {
    Wires::new(routes().with_state(Arc::new(predictor)))
}

impl Wires {
    fn new(routes: Router) -> Self {
        let plain = routes.fallback(no_route).method_not_allowed_fallback(no_method);
        let folded = plain.clone().layer(RequestDecompressionLayer::new()).layer(from_fn(say_what_is_read));
        Self { plain, folded }
    }

    /// With a layer around each route. Every one of them is paid for by every request.
    #[must_use]
    pub fn within(self, layered: impl Fn(Router) -> Router) -> Self {
        Self { plain: layered(self.plain), folded: layered(self.folded) }
    }

    /// Answers a request.
    pub async fn answer(&self, mut request: Request) -> Response {
        DefaultBodyLimit::max(LARGEST_BODY).apply(&mut request);
        let is_folded = request.headers().contains_key(header::CONTENT_ENCODING);
        let routes = if is_folded { &self.folded } else { &self.plain };
        let Ok(response) = routes.clone().oneshot(request).await;
        response
    }
}

fn routes() -> Router<App> {
    Router::new()
        .route("/endpoints/{endpoint}/invocations", post(invocations::invoke))
        .route("/endpoints/{endpoint}/labels", post(labels::tell))
        .route("/endpoints/{endpoint}/ping", get(ping))
        .route("/endpoints/{endpoint}/health", get(ping))
        .route("/inference.GRPCInferenceService/{method}", post(oip::grpc::call))
        .merge(oip::rest::routes())
        .merge(v1::routes())
}

async fn no_route(uri: Uri) -> Response {
    let told = Refusal::not_found("endpoints answer at /invocations, /labels, /ping and /health");
    Wording::of(uri.path()).say(told)
}

async fn no_method(uri: Uri) -> Response {
    Wording::of(uri.path()).say(Refusal::no_method())
}

/// The answer to a request that is not let in now, in the words of the protocol that its path, below its project, belongs to.
#[must_use]
pub fn unavailable(path: &str, why: &str) -> Response {
    Wording::of(path).say(Refusal::unavailable(why))
}

/// The layer that decompresses refuses what it does not read without a word, but for a header with what it reads.
async fn say_what_is_read(request: Request, next: Next) -> Response {
    let wording = Wording::of(request.uri().path());
    let response = next.run(request).await;
    match response.headers().get(header::ACCEPT_ENCODING) {
        Some(taken) if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            let mut told = wording.say(Refusal::not_read(taken));
            told.headers_mut().insert(header::ACCEPT_ENCODING, taken.clone());
            told
        }
        _ => response,
    }
}

/// Whether the endpoint answers, with the body that MLflow's scoring server gives.
async fn ping(
    State(app): State<App>,
    Extension(knock): Extension<Knock>,
    Path(endpoint): Path<String>,
) -> (StatusCode, &'static str) {
    match app.plane.answers(&knock.project, &endpoint) {
        true => (StatusCode::OK, "\n"),
        false => (StatusCode::NOT_FOUND, "\n"),
    }
}

/// Lets a caller in; answers whether the caller may say when things happened.
fn admit(app: &Predictor, knock: &Knock, endpoint: &str) -> Result<bool, Refusal> {
    match app.admit(knock, endpoint) {
        Admission::Admitted { replay } => Ok(replay),
        Admission::Unknown => Err(Refusal::unknown_caller()),
        // Like one that is not there, so that names do not leak.
        Admission::Elsewhere => {
            Err(Refusal::not_found(format!("there is no endpoint `{endpoint}` for this token")))
        }
    }
}

fn header(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty())
}

/// A time as milliseconds since 1970, or in RFC 3339.
fn time_ms(text: &str) -> Result<i64, Refusal> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| Refusal::bad(format!("`{text}` is no time: use RFC 3339 or milliseconds since 1970")))
}

/// Runs what may take long for a long body where it holds nobody up.
fn unhurried<T>(length: usize, work: impl FnOnce() -> T) -> T {
    if length > LONG_BODY { CommonThreads::undisturbed(work) } else { work() }
}

//! What all wires have in common: who asks, what headers say, and the question itself.

use crate::deadline::deadline;
use crate::error::Refusal;
use crate::{App, LARGEST_BODY, admit, header, time_ms, unhurried};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use trueline_flows::{CommonThreads, Knock, PredictError, Predicted, PredictionRequest, STOPPING};
use trueline_serving::{Cause, Cost, Frame, ModelCard};

/// Whose prediction it is: callers with one key stay with one variant.
static KEY: HeaderName = HeaderName::from_static("x-trueline-key");
/// When what is predicted happens, for those who may say so.
static EVENT_TIME: HeaderName = HeaderName::from_static("x-trueline-event-time");

/// A caller at an endpoint's door.
pub(crate) struct Caller<'c> {
    pub(crate) app: &'c App,
    pub(crate) knock: Knock,
    pub(crate) endpoint: String,
    /// The version that is wanted, whatever the weights say.
    pub(crate) version: Option<i64>,
    /// When reading the request began.
    pub(crate) began: Instant,
    replay: bool,
}

impl<'c> Caller<'c> {
    /// Lets a caller in.
    pub(crate) fn admitted(
        app: &'c App,
        knock: Knock,
        endpoint: String,
        version: Option<i64>,
    ) -> Result<Self, Refusal> {
        let began = Instant::now();
        let replay = admit(app, &knock, &endpoint)?;
        Ok(Self { app, knock, endpoint, version, began, replay })
    }

    /// Asks the endpoint with what `read` makes of the body.
    pub(crate) async fn ask_with(
        self,
        headers: &HeaderMap,
        body: Body,
        read: impl FnOnce(&Bytes) -> Result<Frame, String>,
    ) -> Result<Predicted, Refusal> {
        let bytes = self.counted(body.bytes())?;
        let frame = self.counted(unhurried(bytes.len(), || read(&bytes)).map_err(Refusal::bad))?;
        self.ask(headers, frame).await
    }

    /// Asks the endpoint.
    pub(crate) async fn ask(self, headers: &HeaderMap, frame: Frame) -> Result<Predicted, Refusal> {
        let (event_time_ms, deadline) = self.counted(self.times(headers))?;
        let sticky = self.app.plane.sticky_header(&self.knock.project, &self.endpoint);
        let key = sticky.as_deref().and_then(|name| header(headers, name)).or_else(|| header(headers, &KEY));
        let request = PredictionRequest {
            project: self.knock.project,
            endpoint: self.endpoint,
            version: self.version,
            frame,
            key: key.map(ToOwned::to_owned),
            event_time_ms,
            deadline,
            request: self.knock.request,
            began: self.began,
            parse_us: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        Ok(self.app.predict(request).await?)
    }

    /// Counts a request that is refused before its endpoint is asked.
    pub(crate) fn counted<T, E>(&self, read: Result<T, E>) -> Result<T, E> {
        read.inspect_err(|_| self.app.plane.refused(&self.knock.project, &self.endpoint, Cause::Unreadable))
    }

    /// When what is predicted happens, if the caller says so, and until when the caller waits.
    fn times(&self, headers: &HeaderMap) -> Result<(Option<i64>, Option<Instant>), Refusal> {
        let event_time_ms = header(headers, &EVENT_TIME).map(time_ms).transpose()?;
        if event_time_ms.is_some() && !self.replay {
            return Err(Refusal::no_replay());
        }
        Ok((event_time_ms, deadline(headers, self.knock.began)?))
    }
}

/// Has an answer written, and counts what that takes. A large one is written where it holds nobody up.
pub(crate) async fn written<T: Send + 'static>(
    app: &App,
    predicted: Predicted,
    write: impl FnOnce(Predicted) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let is_large = predicted.is_large;
    let counted = move || {
        let (served, began) = (Arc::clone(&predicted.served), Instant::now());
        let written = write(predicted);
        served.cost(Cost::Serialise, began.elapsed());
        written
    };
    if !is_large {
        return Ok(counted());
    }
    let written = Box::pin(app.common.run(async { CommonThreads::undisturbed(counted) })).await;
    written.ok_or_else(|| Refusal::unavailable(STOPPING))
}

/// A request that has come whole: who knocks, what its headers say and its bytes. Nothing of it is copied.
pub(crate) struct Arrived {
    pub(crate) knock: Knock,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// The bytes of a request, if they could be read.
pub(crate) struct Body(Result<Bytes, BytesRejection>);

impl Body {
    pub(crate) fn bytes(self) -> Result<Bytes, Refusal> {
        self.0.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(LARGEST_BODY),
            _ => Refusal::bad(e.body_text()),
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for Arrived {
    type Rejection = (StatusCode, &'static str);

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let knock = request.extensions_mut().remove();
        let knock = knock.ok_or((StatusCode::INTERNAL_SERVER_ERROR, "nobody said who knocks"))?;
        let headers = std::mem::take(request.headers_mut());
        Ok(Self { knock, headers, body: Body(Bytes::from_request(request, state).await) })
    }
}

/// The versions behind an endpoint that a caller may ask, those of one number if that is wanted.
pub(crate) fn cards(
    app: &App,
    knock: &Knock,
    endpoint: &str,
    version: Option<i64>,
) -> Result<Vec<ModelCard>, Refusal> {
    admit(app, knock, endpoint)?;
    if let Some(reason) = app.plane.why_left_out(&knock.project, endpoint) {
        return Err(Refusal::unavailable(format!("model `{endpoint}` can't be loaded: {reason}")));
    }
    let mut cards = app.plane.cards(&knock.project, endpoint);
    cards.retain(|card| version.is_none_or(|v| v == card.version));
    match (cards.is_empty(), version) {
        (false, _) => Ok(cards),
        (true, None) => Err(Refusal::not_found(format!("there is no model `{endpoint}`"))),
        (true, Some(version)) => {
            Err(Refusal::not_found(format!("version {version} of model `{endpoint}` does not answer here")))
        }
    }
}

/// A version that a caller may ask.
pub(crate) struct Known {
    /// The endpoint that it answers for.
    pub(crate) model: String,
    /// What it tells of itself.
    pub(crate) card: ModelCard,
    /// Why it can't be loaded again, if that was tried and failed.
    pub(crate) why_not: Option<String>,
}

impl Known {
    /// Whether it answers, in the protocol's words. One that was unloaded to make room does: it is loaded when it is asked.
    pub(crate) fn state(&self) -> &'static str {
        if self.why_not.is_none() { "READY" } else { "UNAVAILABLE" }
    }
}

/// The models that a caller may ask, each with the versions that answer.
pub(crate) fn known(app: &App, knock: &Knock) -> Vec<Known> {
    let visible = app.plane.names(&knock.project).into_iter().filter(|name| admit(app, knock, name).is_ok());
    visible
        .flat_map(|model| {
            let why_not = app.plane.why_left_out(&knock.project, &model);
            let cards = app.plane.cards(&knock.project, &model);
            cards.into_iter().map(move |card| Known { model: model.clone(), card, why_not: why_not.clone() })
        })
        .collect()
}

/// Has the versions behind an endpoint in memory when this returns.
pub(crate) async fn wake(
    app: &App,
    knock: &Knock,
    endpoint: &str,
    deadline: Option<Instant>,
) -> Result<(), Refusal> {
    admit(app, knock, endpoint)?;
    let woken = app.plane.wake(&knock.project, endpoint, deadline).await;
    Ok(woken.map_err(PredictError::from)?)
}

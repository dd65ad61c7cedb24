//! Errors as RFC 9457 problem documents with a stable code, each with a page in `docs/errors/`.

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use trueline_flows::{Fault, FaultKind};

/// A problem document in the making.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    kind: FaultKind,
    detail: String,
}

impl Problem {
    fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, kind, detail: detail.into() }
    }

    /// A body that is not what the call takes.
    pub(crate) fn of_body(rejection: &JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                FaultKind::TooLarge,
                "the body is larger than this call takes (1 MiB, 16 MiB for a capture); files are uploaded as artifacts",
            ),
            status => Self::invalid(rejection.body_text()).with(status),
        }
    }

    /// The same with a status that is finer than that of its kind.
    fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// This server can't take the request now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::Unavailable, detail)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, detail)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, detail)
    }
}

impl<E: Into<Fault>> From<E> for Problem {
    fn from(error: E) -> Self {
        let Fault { kind, detail } = error.into();
        Self::new(kind, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.kind.code();
        let body = json!({
            "type": format!("/docs/errors/{code}"),
            "title": code.replace('-', " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": code,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"trueline\""));
            }
            _ => {}
        }
        response
    }
}

pub(crate) async fn no_route() -> Problem {
    Problem::not_found("there is no such path in this API")
}

pub(crate) async fn no_method() -> Problem {
    Problem::invalid("this path does not take that method").with(StatusCode::METHOD_NOT_ALLOWED)
}

//! Errors as RFC 9457 problem documents with a stable code, each with a page in `docs/errors/`.

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use trueline_blobs::BlobError;
use trueline_data::DataError;
use trueline_db::DbError;
use trueline_features::{FeatureError, OnlineError};
use trueline_flows::{DeployError, FeatureFlowError, NulCharacter, ReleaseError, TraceError};
use trueline_identity::IdentityError;
use trueline_ledger::LedgerError;
use trueline_monitoring::MonitoringError;
use trueline_pipelines::PipelineError;
use trueline_registry::RegistryError;
use trueline_serving::ServingError;
use trueline_tasks::TaskError;
use trueline_tracking::TrackingError;

/// The codes that this API answers with, each of which has a page in `docs/errors/`.
pub const ERROR_CODES: &[&str] = &[
    "busy",
    "denied",
    "disk-full",
    "exists",
    "internal",
    "invalid",
    "not-found",
    "not-released",
    "state",
    "too-large",
    "unauthenticated",
    "unavailable",
    "unservable",
];

/// A problem document in the making.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    /// This server can't take the request now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn identity(error: &IdentityError) -> Self {
        let (status, code) = match error {
            IdentityError::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            IdentityError::Denied { .. } => (StatusCode::FORBIDDEN, "denied"),
            IdentityError::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            IdentityError::Exists { .. } => (StatusCode::CONFLICT, "exists"),
            IdentityError::Ledger(inner) => return Self::ledger(inner),
            IdentityError::Policy(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            IdentityError::LastAdmin(_) | IdentityError::FirstUserMustBeAdmin(_) => {
                (StatusCode::CONFLICT, "state")
            }
            _ => (StatusCode::BAD_REQUEST, "invalid"),
        };
        Self::new(status, code, error.to_string())
    }

    fn ledger(error: &LedgerError) -> Self {
        let (status, code) = match error {
            LedgerError::Db(DbError::Busy { .. }) => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            LedgerError::Db(DbError::DiskFull(_)) => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            LedgerError::Db(db) if db.is_transient() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            LedgerError::Db(DbError::Nul) => (StatusCode::BAD_REQUEST, "invalid"),
            LedgerError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            LedgerError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            LedgerError::Erased(_) => (StatusCode::CONFLICT, "state"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        Self::identity(&error)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Self::ledger(&error)
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        match &error {
            TaskError::NotFound(_) => Self::not_found(error.to_string()),
            TaskError::Ledger(inner) => Self::ledger(inner),
            _ => Self::new(StatusCode::CONFLICT, "state", error.to_string()),
        }
    }
}

impl From<TrackingError> for Problem {
    fn from(error: TrackingError) -> Self {
        let (status, code) = match &error {
            TrackingError::NotFound(_) | TrackingError::Blob(BlobError::NotFound(_)) => {
                (StatusCode::NOT_FOUND, "not-found")
            }
            TrackingError::Exists(_) => (StatusCode::CONFLICT, "exists"),
            TrackingError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            TrackingError::State(_) => (StatusCode::CONFLICT, "state"),
            TrackingError::Blob(BlobError::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            TrackingError::Blob(BlobError::DiskFull) => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            TrackingError::Ledger(inner) => return Self::ledger(inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let (status, code) = match &error {
            RegistryError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            RegistryError::Exists(_) => (StatusCode::CONFLICT, "exists"),
            RegistryError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            RegistryError::State(_) => (StatusCode::CONFLICT, "state"),
            RegistryError::NotReleasable(_) => (StatusCode::CONFLICT, "not-released"),
            RegistryError::Ledger(inner) => return Self::ledger(inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<ServingError> for Problem {
    fn from(error: ServingError) -> Self {
        let (status, code) = match &error {
            ServingError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            ServingError::Exists(_) => (StatusCode::CONFLICT, "exists"),
            ServingError::Invalid(_) | ServingError::Input(_) => (StatusCode::BAD_REQUEST, "invalid"),
            ServingError::State(_) => (StatusCode::CONFLICT, "state"),
            ServingError::Unservable { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unservable"),
            ServingError::Ledger(inner) => return Self::ledger(inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<PipelineError> for Problem {
    fn from(error: PipelineError) -> Self {
        let (status, code) = match error {
            PipelineError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            PipelineError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            PipelineError::State(_) => (StatusCode::CONFLICT, "state"),
            PipelineError::Task(inner) => return inner.into(),
            PipelineError::Ledger(inner) => return Self::ledger(&inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<MonitoringError> for Problem {
    fn from(error: MonitoringError) -> Self {
        let (status, code) = match &error {
            MonitoringError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            MonitoringError::Exists(_) => (StatusCode::CONFLICT, "exists"),
            MonitoringError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            MonitoringError::State(_) => (StatusCode::CONFLICT, "state"),
            MonitoringError::Ledger(inner) => return Self::ledger(inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Serving(inner) => inner.into(),
            DeployError::Registry(inner) => inner.into(),
        }
    }
}

impl From<TraceError> for Problem {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::NotFound(_) => Self::not_found(error.to_string()),
            TraceError::Serving(inner) => inner.into(),
            TraceError::Registry(inner) => inner.into(),
            TraceError::Tracking(inner) => inner.into(),
            TraceError::Data(inner) => inner.into(),
            TraceError::Log(_) | TraceError::Thread(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<NulCharacter> for Problem {
    fn from(error: NulCharacter) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ReleaseError> for Problem {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Registry(inner) => inner.into(),
            ReleaseError::Tracking(inner) => inner.into(),
        }
    }
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        let (status, code) = match &error {
            DataError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            DataError::Invalid(_) | DataError::Table(_) => (StatusCode::BAD_REQUEST, "invalid"),
            DataError::Blob(blob) => match blob.as_ref() {
                BlobError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
                BlobError::Interrupted { .. } => (StatusCode::BAD_REQUEST, "invalid"),
                BlobError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
                BlobError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            },
            DataError::Ledger(inner) => return Self::ledger(inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<FeatureError> for Problem {
    fn from(error: FeatureError) -> Self {
        let (status, code) = match &error {
            FeatureError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            FeatureError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            FeatureError::State(_) => (StatusCode::CONFLICT, "state"),
            FeatureError::Online(inner) => return inner.clone().into(),
            FeatureError::Ledger(inner) => return Self::ledger(inner),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<OnlineError> for Problem {
    fn from(error: OnlineError) -> Self {
        let (status, code) = match &error {
            OnlineError::UnknownView(_) => (StatusCode::NOT_FOUND, "not-found"),
            OnlineError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            OnlineError::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            OnlineError::Deadline { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<FeatureFlowError> for Problem {
    fn from(error: FeatureFlowError) -> Self {
        match error {
            FeatureFlowError::Data(inner) => inner.into(),
            FeatureFlowError::Features(inner) => inner.into(),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the body is larger than this call takes (1 MiB, 16 MiB for a capture); files are uploaded as artifacts",
            ),
            status => Self::new(status, "invalid", rejection.body_text()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("/docs/errors/{}", self.code),
            "title": self.code.replace('-', " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
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
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", "this path does not take that method")
}

#[cfg(test)]
mod tests {
    use super::ERROR_CODES;
    use std::path::Path;

    #[test]
    fn every_code_has_a_page() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for code in ERROR_CODES {
            assert!(pages.join(format!("{code}.md")).exists(), "docs/errors/{code}.md is missing");
        }
    }
}

//! Errors in MLflow's form: `{"error_code", "message", "sqlstate", "error_class"}` with its status for each code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use trueline_blobs::BlobError;
use trueline_flows::{KeepError, NulCharacter, RegisterError};
use trueline_identity::IdentityError;
use trueline_ledger::LedgerError;
use trueline_registry::RegistryError;
use trueline_traces::TraceError;
use trueline_tracking::TrackingError;
use trueline_webhooks::WebhookError;

/// MLflow's error codes that this face gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidParameterValue,
    BadRequest,
    /// MLflow has no code of its own for a body that is too large.
    TooLarge,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    Unauthenticated,
    PermissionDenied,
    InvalidState,
    InternalError,
    NotImplemented,
    FeatureDisabled,
    TemporarilyUnavailable,
    RequestLimitExceeded,
}

impl Code {
    /// Code, status, SQL state and class, as MLflow 3.17 gives them.
    fn facts(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidParameterValue => {
                ("INVALID_PARAMETER_VALUE", StatusCode::BAD_REQUEST, "KAM00", "INVALID_PARAMETER_VALUE")
            }
            Self::BadRequest => ("BAD_REQUEST", StatusCode::BAD_REQUEST, "KAM00", "BAD_REQUEST"),
            Self::TooLarge => {
                ("INVALID_PARAMETER_VALUE", StatusCode::PAYLOAD_TOO_LARGE, "KAM00", "INVALID_PARAMETER_VALUE")
            }
            Self::ResourceAlreadyExists => {
                ("RESOURCE_ALREADY_EXISTS", StatusCode::BAD_REQUEST, "KAM00", "RESOURCE_ALREADY_EXISTS")
            }
            Self::ResourceDoesNotExist => {
                ("RESOURCE_DOES_NOT_EXIST", StatusCode::NOT_FOUND, "KAM00", "RESOURCE_NOT_FOUND")
            }
            Self::Unauthenticated => {
                ("UNAUTHENTICATED", StatusCode::UNAUTHORIZED, "KAM00", "UNAUTHENTICATED")
            }
            Self::PermissionDenied => {
                ("PERMISSION_DENIED", StatusCode::FORBIDDEN, "KAM00", "PERMISSION_DENIED")
            }
            Self::InvalidState => {
                ("INVALID_STATE", StatusCode::INTERNAL_SERVER_ERROR, "XXM00", "CLIENT_INTERNAL_ERROR")
            }
            Self::InternalError => {
                ("INTERNAL_ERROR", StatusCode::INTERNAL_SERVER_ERROR, "XXM00", "CLIENT_INTERNAL_ERROR")
            }
            Self::NotImplemented => {
                ("NOT_IMPLEMENTED", StatusCode::NOT_IMPLEMENTED, "XXM00", "NOT_IMPLEMENTED")
            }
            Self::FeatureDisabled => {
                ("FEATURE_DISABLED", StatusCode::INTERNAL_SERVER_ERROR, "KAM00", "FEATURE_DISABLED")
            }
            Self::TemporarilyUnavailable => (
                "TEMPORARILY_UNAVAILABLE",
                StatusCode::SERVICE_UNAVAILABLE,
                "XXM00",
                "TEMPORARILY_UNAVAILABLE",
            ),
            Self::RequestLimitExceeded => {
                ("REQUEST_LIMIT_EXCEEDED", StatusCode::TOO_MANY_REQUESTS, "KAM00", "REQUEST_LIMIT_EXCEEDED")
            }
        }
    }
}

/// An error on the wire.
#[derive(Debug)]
pub(crate) struct WireError {
    code: Code,
    message: String,
}

impl WireError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What it says.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::InternalError, message)
    }

    pub(crate) fn identity(error: &IdentityError) -> Self {
        let code = match error {
            IdentityError::Unauthenticated(_) => Code::Unauthenticated,
            IdentityError::Denied { .. } => Code::PermissionDenied,
            IdentityError::NotFound { .. } | IdentityError::Missing(_) => Code::ResourceDoesNotExist,
            IdentityError::Exists { .. } | IdentityError::Taken(_) => Code::ResourceAlreadyExists,
            IdentityError::Ledger(inner) => return ledger(inner),
            _ => Code::InvalidParameterValue,
        };
        Self::new(code, error.to_string())
    }
}

fn ledger(error: &LedgerError) -> WireError {
    let code = match error {
        LedgerError::Db(trueline_db::DbError::Busy { .. }) => Code::RequestLimitExceeded,
        LedgerError::Db(db) if db.is_transient() => Code::TemporarilyUnavailable,
        LedgerError::TooLarge { .. } => Code::InvalidParameterValue,
        _ => Code::InternalError,
    };
    WireError::new(code, error.to_string())
}

fn blob(error: &BlobError) -> WireError {
    let code = match error {
        BlobError::Interrupted { .. } => Code::InvalidParameterValue,
        BlobError::TooLarge { .. } => Code::TooLarge,
        BlobError::NotFound(_) | BlobError::NoBucket(_) => Code::ResourceDoesNotExist,
        BlobError::Refused { .. } => Code::PermissionDenied,
        BlobError::DiskFull | BlobError::Away { .. } => Code::TemporarilyUnavailable,
        _ => Code::InternalError,
    };
    WireError::new(code, error.to_string())
}

impl From<IdentityError> for WireError {
    fn from(error: IdentityError) -> Self {
        Self::identity(&error)
    }
}

impl From<TrackingError> for WireError {
    fn from(error: TrackingError) -> Self {
        let code = match &error {
            TrackingError::NotFound(_) => Code::ResourceDoesNotExist,
            TrackingError::Exists(_) => Code::ResourceAlreadyExists,
            TrackingError::Invalid(_) => Code::InvalidParameterValue,
            TrackingError::State(_) => Code::InvalidState,
            TrackingError::Blob(inner) => return blob(inner),
            TrackingError::Ledger(inner) => return ledger(inner),
            _ => Code::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RegistryError> for WireError {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::NotFound(_) => Code::ResourceDoesNotExist,
            RegistryError::Exists(_) => Code::ResourceAlreadyExists,
            RegistryError::Invalid(_) => Code::InvalidParameterValue,
            RegistryError::State(_) => Code::InvalidState,
            RegistryError::NotReleasable(_) => Code::PermissionDenied,
            RegistryError::Ledger(inner) => return ledger(inner),
            _ => Code::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<WebhookError> for WireError {
    fn from(error: WebhookError) -> Self {
        let code = match &error {
            WebhookError::NotFound(_) => Code::ResourceDoesNotExist,
            WebhookError::Invalid(_) => Code::InvalidParameterValue,
            WebhookError::Ledger(inner) => return ledger(inner),
            _ => Code::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TraceError> for WireError {
    fn from(error: TraceError) -> Self {
        let code = match &error {
            TraceError::NotFound(_) => Code::ResourceDoesNotExist,
            TraceError::Invalid(_) => Code::InvalidParameterValue,
            TraceError::State(_) => Code::InvalidState,
            TraceError::Ledger(inner) => return ledger(inner),
            _ => Code::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<KeepError> for WireError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Tracking(inner) => inner.into(),
            KeepError::Traces(inner) => inner.into(),
        }
    }
}

impl From<NulCharacter> for WireError {
    fn from(error: NulCharacter) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<RegisterError> for WireError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Registry(inner) => inner.into(),
            RegisterError::Tracking(inner) => inner.into(),
            remote @ RegisterError::RemoteFile(_) => Self::internal(remote.to_string()),
        }
    }
}

impl IntoResponse for WireError {
    fn into_response(self) -> Response {
        let (code, status, sqlstate, class) = self.code.facts();
        let body = json!({
            "error_code": code, "message": self.message, "sqlstate": sqlstate, "error_class": class,
        });
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        match self.code {
            Code::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"mlflow\""));
            }
            Code::TemporarilyUnavailable | Code::RequestLimitExceeded => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

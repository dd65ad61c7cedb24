//! What went wrong, as every face tells it: one table from the errors of the domains to a kind, and from kinds to codes and
//! statuses. Faces add their own form: a problem document, a page.

use crate::{
    DeployError, FeatureFlowError, LogQueryError, NulCharacter, RegisterError, RehearseError, ReleaseError,
    TraceError,
};
use trueline_blobs::BlobError;
use trueline_data::DataError;
use trueline_db::DbError;
use trueline_features::{FeatureError, OnlineError};
use trueline_identity::IdentityError;
use trueline_ledger::LedgerError;
use trueline_monitoring::MonitoringError;
use trueline_pipelines::PipelineError;
use trueline_predictions::LogError;
use trueline_registry::RegistryError;
use trueline_serving::ServingError;
use trueline_tasks::TaskError;
use trueline_traces::TraceError as TracesError;
use trueline_tracking::TrackingError;
use trueline_webhooks::WebhookError;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Too many ask at once.
    Busy,
    /// The caller may not do this.
    Denied,
    /// Nothing more can be stored.
    DiskFull,
    /// There is one already.
    Exists,
    /// It is the server's fault.
    Internal,
    /// What was asked breaks a rule.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Gates or approvals are missing.
    NotReleased,
    /// As things stand, this can't be done.
    State,
    /// It is larger than the server takes.
    TooLarge,
    /// Who asks is not known.
    Unauthenticated,
    /// It can't be done now, but soon.
    Unavailable,
    /// The version can't be served.
    Unservable,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Busy,
        Self::Denied,
        Self::DiskFull,
        Self::Exists,
        Self::Internal,
        Self::Invalid,
        Self::NotFound,
        Self::NotReleased,
        Self::State,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Unservable,
    ];

    /// Its stable code, which has a page in `docs/errors/`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Denied => "denied",
            Self::DiskFull => "disk-full",
            Self::Exists => "exists",
            Self::Internal => "internal",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::NotReleased => "not-released",
            Self::State => "state",
            Self::TooLarge => "too-large",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unservable => "unservable",
        }
    }

    /// Its status in HTTP.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Exists | Self::NotReleased | Self::State => 409,
            Self::TooLarge => 413,
            Self::Unservable => 422,
            Self::Busy => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::DiskFull => 507,
        }
    }
}

/// What went wrong: its kind, and in words what, why and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// In words.
    pub detail: String,
}

/// The kind of an error.
trait Kind {
    fn kind(&self) -> FaultKind;
}

macro_rules! faults {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self { kind: error.kind(), detail: error.to_string() }
            }
        }
    )*};
}

faults!(
    DataError,
    DeployError,
    FeatureError,
    FeatureFlowError,
    IdentityError,
    LedgerError,
    LogQueryError,
    MonitoringError,
    NulCharacter,
    OnlineError,
    PipelineError,
    RegisterError,
    RegistryError,
    RehearseError,
    ReleaseError,
    ServingError,
    TaskError,
    TraceError,
    TrackingError,
    TracesError,
    WebhookError,
);

impl Kind for LedgerError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Db(DbError::Busy { .. }) => FaultKind::Busy,
            Self::Db(DbError::DiskFull(_)) => FaultKind::DiskFull,
            Self::Db(db) if db.is_transient() => FaultKind::Unavailable,
            Self::Db(DbError::Nul) => FaultKind::Invalid,
            Self::TooLarge { .. } => FaultKind::TooLarge,
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Erased(_) => FaultKind::State,
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for TracesError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for IdentityError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Unauthenticated(_) => FaultKind::Unauthenticated,
            Self::Denied { .. } => FaultKind::Denied,
            Self::NotFound { .. } | Self::Missing(_) => FaultKind::NotFound,
            Self::Exists { .. } | Self::Taken(_) => FaultKind::Exists,
            Self::Ledger(inner) => inner.kind(),
            Self::Policy(_) => FaultKind::Internal,
            Self::LastAdmin(_) | Self::FirstUserMustBeAdmin(_) => FaultKind::State,
            _ => FaultKind::Invalid,
        }
    }
}

impl Kind for TaskError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::State,
        }
    }
}

impl Kind for BlobError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Interrupted { .. } => FaultKind::Invalid,
            Self::TooLarge { .. } => FaultKind::TooLarge,
            Self::DiskFull => FaultKind::DiskFull,
            Self::Away { .. } => FaultKind::Unavailable,
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for TrackingError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Exists(_) => FaultKind::Exists,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::Blob(inner) => inner.kind(),
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for RegistryError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Exists(_) => FaultKind::Exists,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::NotReleasable(_) => FaultKind::NotReleased,
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for ServingError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Exists(_) => FaultKind::Exists,
            Self::Invalid(_) | Self::Input(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::Unservable { .. } | Self::Implausible { .. } => FaultKind::Unservable,
            Self::Busy(_) | Self::NotLoaded(_) | Self::WorkerDied(_) => FaultKind::Busy,
            Self::TimedOut(_) | Self::Features(_) => FaultKind::Unavailable,
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for PipelineError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::Task(inner) => inner.kind(),
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for MonitoringError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Exists(_) => FaultKind::Exists,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for DataError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Invalid(_) | Self::Table(_) => FaultKind::Invalid,
            Self::Blob(inner) => inner.kind(),
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for OnlineError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::UnknownView(_) => FaultKind::NotFound,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::Busy { .. } => FaultKind::Busy,
            Self::Deadline { .. } => FaultKind::Unavailable,
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for FeatureError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::State(_) => FaultKind::State,
            Self::Online(inner) => inner.kind(),
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for WebhookError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) => FaultKind::NotFound,
            Self::Invalid(_) => FaultKind::Invalid,
            Self::Sealed { .. } => FaultKind::State,
            Self::Ledger(inner) => inner.kind(),
            _ => FaultKind::Internal,
        }
    }
}

impl Kind for NulCharacter {
    fn kind(&self) -> FaultKind {
        FaultKind::Invalid
    }
}

/// Errors of flows that only pass on what a domain says.
macro_rules! passed_on {
    ($($error:ident { $($domain:ident),* })*) => {$(
        impl Kind for $error {
            fn kind(&self) -> FaultKind {
                match self { $(Self::$domain(inner) => inner.kind()),* }
            }
        }
    )*};
}

passed_on! {
    DeployError { Serving, Registry }
    FeatureFlowError { Data, Features }
    ReleaseError { Registry, Tracking }
}

impl Kind for RegisterError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Registry(inner) => inner.kind(),
            Self::Tracking(inner) => inner.kind(),
            Self::RemoteFile(_) => FaultKind::Invalid,
        }
    }
}

impl Kind for RehearseError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Deploy(inner) => inner.kind(),
            Self::Busy => FaultKind::Busy,
            Self::Log(_) | Self::Stopped(_) => FaultKind::Internal,
        }
    }
}

impl Kind for LogQueryError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Query(_) | Self::TooMuch => FaultKind::Invalid,
            Self::Busy | Self::Swept => FaultKind::Busy,
            Self::Serving(inner) => inner.kind(),
            Self::Log(_) | Self::Archive(_) | Self::Changed(_) | Self::Thread(_) => FaultKind::Internal,
        }
    }
}

impl Kind for TraceError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound(_) | Self::Deleted { .. } => FaultKind::NotFound,
            Self::Serving(inner) => inner.kind(),
            Self::Registry(inner) => inner.kind(),
            Self::Tracking(inner) => inner.kind(),
            Self::Data(inner) => inner.kind(),
            Self::Query(_) | Self::Log(LogError::Cursor(_)) => FaultKind::Invalid,
            Self::Log(_) | Self::Thread(_) => FaultKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_domain_says_keeps_its_kind_through_the_flows() {
        let fault =
            Fault::from(DeployError::Serving(ServingError::State("a rollout is under way".to_owned())));
        assert_eq!((fault.kind, fault.kind.status()), (FaultKind::State, 409));
        assert_eq!(fault.detail, "a rollout is under way");
        let full = LedgerError::Db(DbError::DiskFull("no space".to_owned()));
        assert_eq!(Fault::from(TrackingError::Ledger(full)).kind.status(), 507);
    }

    #[test]
    fn every_code_is_one_kind() {
        let codes: std::collections::BTreeSet<&str> = FaultKind::ALL.map(FaultKind::code).into();
        assert_eq!(codes.len(), FaultKind::ALL.len());
    }

    #[test]
    fn every_code_has_a_page() {
        let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for code in FaultKind::ALL.map(FaultKind::code) {
            assert!(pages.join(format!("{code}.md")).exists(), "docs/errors/{code}.md is missing");
        }
    }
}

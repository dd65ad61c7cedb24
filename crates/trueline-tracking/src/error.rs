//! What can go wrong in tracking. The words are MLflow's where MLflow has words for it, since people search for
//! them.

use trueline_blobs::BlobError;
use trueline_db::DbError;
use trueline_ledger::LedgerError;

/// A refusal or failure of tracking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackingError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// What should be made exists.
    #[error("{0}")]
    Exists(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The thing is in a state that does not allow it.
    #[error("{0}")]
    State(String),
    /// What was kept can't be read.
    #[error("{0}")]
    Damaged(String),
    /// Bytes could not be kept or given.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for TrackingError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

impl TrackingError {
    pub(crate) fn no_run(id: &str) -> Self {
        Self::NotFound(format!("Run with id={id} not found"))
    }

    pub(crate) fn no_experiment(id: impl std::fmt::Display) -> Self {
        Self::NotFound(format!("No Experiment with id={id} exists"))
    }
}

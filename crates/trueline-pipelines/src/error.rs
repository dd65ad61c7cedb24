//! What can go wrong with a pipeline.

use trueline_blobs::BlobError;
use trueline_db::DbError;
use trueline_ledger::LedgerError;
use trueline_tasks::TaskError;

/// A refusal or failure of pipelines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A declaration breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The thing is in a state that does not allow it.
    #[error("{0}")]
    State(String),
    /// A file of a step could not be read or written.
    #[error("{path}: {message}")]
    Files {
        /// Which.
        path: String,
        /// What the system said.
        message: String,
    },
    /// Bytes could not be kept or given.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The attempt is no longer this worker's.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for PipelineError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

impl PipelineError {
    pub(crate) fn files(path: &std::path::Path, error: impl std::fmt::Display) -> Self {
        Self::Files { path: path.display().to_string(), message: error.to_string() }
    }
}

//! What can go wrong with data.

use std::sync::Arc;
use trueline_blobs::BlobError;
use trueline_db::DbError;
use trueline_ledger::LedgerError;
use trueline_query::QueryError;
use trueline_tasks::TaskError;

/// A refusal or failure of the data domain.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The files are no table, or none that fits.
    #[error(transparent)]
    Table(Arc<QueryError>),
    /// The bytes.
    #[error(transparent)]
    Blob(Arc<BlobError>),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The task that does the work.
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl From<DbError> for DataError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<QueryError> for DataError {
    fn from(error: QueryError) -> Self {
        Self::Table(Arc::new(error))
    }
}

impl From<BlobError> for DataError {
    fn from(error: BlobError) -> Self {
        Self::Blob(Arc::new(error))
    }
}

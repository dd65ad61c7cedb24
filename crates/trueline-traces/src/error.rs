//! What can go wrong with traces. The words are MLflow's where MLflow has words for it, since people search for them.

use trueline_db::DbError;
use trueline_ledger::LedgerError;
use trueline_search::mlflow::FilterError;
use trueline_search::sql::SqlError;

/// A refusal or failure of traces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The thing is in a state that does not allow it.
    #[error("{0}")]
    State(String),
    /// What MLflow answers with a 500, though the caller is to blame.
    #[error("{0}")]
    Internal(String),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for TraceError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<SqlError> for TraceError {
    fn from(error: SqlError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<FilterError> for TraceError {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::Invalid(message) => Self::Invalid(message),
            FilterError::Internal(message) => Self::Internal(message),
        }
    }
}

impl TraceError {
    pub(crate) fn no_trace(id: &str) -> Self {
        Self::NotFound(format!("Trace with ID '{id}' not found."))
    }

    pub(crate) fn invalid<T>(message: impl Into<String>) -> Result<T, Self> {
        Err(Self::Invalid(message.into()))
    }
}

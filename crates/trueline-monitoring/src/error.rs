//! What can go wrong with a monitor, an alert or an incident.

use trueline_db::DbError;
use trueline_ledger::LedgerError;
use trueline_stats::StatsError;
use trueline_tasks::TaskError;

/// A refusal or failure of monitoring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitoringError {
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
    /// Something stored can't be read.
    #[error(
        "{what} can't be read: {why}; the database was changed by another program, or by a newer version"
    )]
    Stored {
        /// What was stored.
        what: &'static str,
        /// Why it can't be read.
        why: String,
    },
    /// A number could not be computed.
    #[error(transparent)]
    Stats(#[from] StatsError),
    /// A task could not be ended.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for MonitoringError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Reads what a column holds as JSON.
pub(crate) fn stored<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, MonitoringError> {
    serde_json::from_str(text).map_err(|e| MonitoringError::Stored { what, why: e.to_string() })
}

/// Writes what a column is to hold as JSON.
pub(crate) fn to_store<T: serde::Serialize>(
    what: &'static str,
    value: &T,
) -> Result<String, MonitoringError> {
    serde_json::to_string(value).map_err(|e| MonitoringError::Stored { what, why: e.to_string() })
}

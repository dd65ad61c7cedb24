//! What can go wrong with features.

use crate::online::OnlineError;
use trueline_db::DbError;
use trueline_ledger::LedgerError;

/// A refusal or failure of the features domain.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// It contradicts what is declared already.
    #[error("{0}")]
    State(String),
    /// The online store.
    #[error(transparent)]
    Online(#[from] OnlineError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for FeatureError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

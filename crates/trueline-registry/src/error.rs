//! What can go wrong in the registry. The words are MLflow's where MLflow has words for it.

use crate::VersionKey;
use trueline_db::DbError;
use trueline_ledger::LedgerError;

/// A refusal or failure of the registry.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
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
    /// A manifest in the database is not one.
    #[error(
        "the manifest {digest} can't be read ({why}): check the server with `trueline ledger verify --state`"
    )]
    Manifest {
        /// Its digest.
        digest: String,
        /// What is wrong with it.
        why: String,
    },
    /// A version has not passed what its model's policy asks for.
    #[error(transparent)]
    NotReleasable(#[from] NotReleasable),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a version may not be taken by an alias or an endpoint yet, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{taker} takes only a released version, and {version} is not released: {}. `trueline model show {version}` tells \
     more{}",
    missing.join("; "),
    advice.iter().map(|a| format!("; {a}")).collect::<String>()
)]
pub struct NotReleasable {
    /// The version.
    pub version: VersionKey,
    /// Who was to take it: `alias @champion`, `an endpoint`.
    pub taker: String,
    /// What is missing, a sentence each.
    pub missing: Vec<String>,
    /// What to do, with the command to type.
    pub advice: Vec<String>,
}

impl From<DbError> for RegistryError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

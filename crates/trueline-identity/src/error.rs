//! What can go wrong with identity and leave.

use trueline_db::DbError;
use trueline_ledger::LedgerError;

/// A refusal or failure of this domain.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No or an unknown token where one is needed.
    #[error("{0}")]
    Unauthenticated(String),
    /// The policy says no.
    #[error("{principal} may not do {action} in project {project}; it takes the role {needed}")]
    Denied {
        /// Who asked.
        principal: String,
        /// For what.
        action: String,
        /// Where.
        project: String,
        /// The roles that would allow it.
        needed: String,
    },
    /// No such project, user or token.
    #[error("there is no {kind} called `{name}`; `trueline {kind} list` shows those there are")]
    NotFound {
        /// `project`, `user` or `token`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The name is taken.
    #[error("a {kind} called `{name}` exists already")]
    Exists {
        /// `project` or `user`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A name that can't be one.
    #[error(
        "`{name}` can't be a name: use 1 to 63 lower-case letters, digits and hyphens, starting and ending with a letter or digit"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The first user would lock everybody out.
    #[error(
        "the first user must be an admin of the whole server, or nobody could add others: `trueline user add {0} --role admin`"
    )]
    FirstUserMustBeAdmin(String),
    /// The last admin can't go.
    #[error("`{0}` is the last admin of the server; make another one first")]
    LastAdmin(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// What was named does not exist; the words say what.
    #[error("{0}")]
    Missing(String),
    /// What should be made exists; the words say what.
    #[error("{0}")]
    Taken(String),
    /// The policy engine failed; nothing is allowed then.
    #[error("the policy could not be evaluated: {0}")]
    Policy(String),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for IdentityError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

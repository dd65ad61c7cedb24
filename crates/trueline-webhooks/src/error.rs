//! What can go wrong with a webhook.

use trueline_db::DbError;
use trueline_ledger::LedgerError;

/// A refusal or failure of this domain.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// No such webhook.
    #[error("Webhook with ID {0} not found.")]
    NotFound(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// A secret is kept under another key than this server's.
    #[error(
        "the secret of webhook {webhook} can't be read: it was kept under another key. Put the data directory's old \
         `secrets.key` back (servers that share a database share MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY), or give the webhook \
         its secret again"
    )]
    Sealed {
        /// Whose secret.
        webhook: String,
    },
    /// The key for secrets can't be read or made.
    #[error("{path}: {why}")]
    Key {
        /// The key's file.
        path: String,
        /// What the system says.
        why: String,
    },
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
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for WebhookError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

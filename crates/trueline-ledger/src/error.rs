//! What can go wrong in the ledger itself.

use trueline_db::DbError;

/// A failure of the ledger.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Rows changed without an event: a bug, and nothing was kept.
    #[error("{rows} rows were changed without an event; nothing was kept (this is a bug)")]
    Silent {
        /// Rows changed.
        rows: u64,
    },
    /// An event that does not fit into a leaf of the log.
    #[error("the event's header takes {bytes} bytes, the log allows 65535; shorten the names in it")]
    TooLarge {
        /// Size of the entry.
        bytes: usize,
    },
    /// The log's files could not be read or written.
    #[error("the ledger's files under {path} can't be used: {message}")]
    Files {
        /// Folder or file.
        path: String,
        /// What the system said.
        message: String,
    },
    /// The log was signed, and the key that signed it is gone.
    #[error(
        "there is no key at {path}, but the log under {ledger} was signed with one; restore the key from a backup: with \
         another one nobody could tell this log from a forged one"
    )]
    KeyLost {
        /// Where the key should be.
        path: String,
        /// The folder of the log.
        ledger: String,
    },
    /// The database is behind its own signed log.
    #[error(
        "the database holds {rows} sequenced events, but the signed checkpoint covers {signed}: it was rolled \
         back or damaged; restore the newer database, then run `trueline ledger verify`"
    )]
    Behind {
        /// Events in the database.
        rows: u64,
        /// Events under the checkpoint.
        signed: u64,
    },
    /// The files and the rows tell different stories.
    #[error("the ledger's files disagree with the database: {0}; run `trueline ledger verify` to see where")]
    Diverged(String),
    /// No such event.
    #[error("there is no event {0}")]
    NotFound(String),
    /// Its payload was erased before.
    #[error("the payload of event {0} has been erased already")]
    Erased(String),
}

impl LedgerError {
    pub(crate) fn files(path: &std::path::Path, error: impl std::fmt::Display) -> Self {
        Self::Files { path: path.display().to_string(), message: error.to_string() }
    }
}

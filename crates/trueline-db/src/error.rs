//! What can go wrong between a job and the disk, told apart by what the caller can do about it.

/// A failure of the database rather than of a domain's rule.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The queue to the database is full; come back later (429 or 503 with `Retry-After`).
    #[error("the database is busy: {waiting} requests wait already; try again in a second")]
    Busy {
        /// How many jobs were waiting.
        waiting: usize,
    },
    /// The server is stopping or its database threads have ended.
    #[error("the database is closed because the server is stopping")]
    Gone,
    /// No room on the disk; nothing of the failed write was kept.
    #[error("the disk that holds the database is full; free some space, then try again ({0})")]
    DiskFull(String),
    /// A row that must be unique exists already.
    #[error("a row with this key exists already ({0})")]
    Unique(String),
    /// The database refused a job that conflicted with others too many times.
    #[error("the write conflicted with others {tries} times in a row; try again ({message})")]
    Contention {
        /// Attempts made.
        tries: u32,
        /// What the database said last.
        message: String,
    },
    /// A newer binary has migrated this database.
    #[error(
        "the database was migrated by a newer trueline: module `{module}` is at {found}, this binary knows \
         {known}; start the newer binary, or restore the backup from before the upgrade"
    )]
    TooNew {
        /// The module whose schema is ahead.
        module: String,
        /// The migration that the database has.
        found: i64,
        /// The newest migration of this binary.
        known: i64,
    },
    /// A migration that ran differs from the one in this binary.
    #[error(
        "migration {module}/{version} of this binary differs from the one that created the database; use the \
         binary that fits, or restore a backup"
    )]
    Altered {
        /// The module.
        module: String,
        /// The migration.
        version: i64,
    },
    /// A value had another type than the code expected: a bug or a hand-edited row.
    #[error("column {column} holds {found}, expected {expected}")]
    Type {
        /// Position in the row, from 0.
        column: usize,
        /// What is there.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
    /// The database can't be reached or lost its connection.
    #[error("the database can't be reached: {0}")]
    Unreachable(String),
    /// A statement ran longer than the database allows, and was stopped.
    #[error(
        "the database gave up on a statement that took too long ({0}); try again, or ask for less at once"
    )]
    TooSlow(String),
    /// Text with a character that not every database can keep.
    #[error("text can't hold the character NUL (U+0000); take it out and try again")]
    Nul,
    /// Passwords and data would cross a network in the clear.
    #[error(
        "refusing to talk to PostgreSQL on {host} without encryption, which this build does not have: add \
         `?sslmode=disable` to the URL if the network in between is trusted, or go through an encrypted tunnel that ends \
         on this machine"
    )]
    Unencrypted {
        /// The host that is not this machine.
        host: String,
    },
    /// A job panicked; its writes were rolled back.
    #[error("a database job stopped with a bug: {0}; nothing of it was kept")]
    Panicked(String),
    /// Anything else that the database says.
    #[error("the database says: {0}")]
    Other(String),
}

impl DbError {
    /// Whether the same request may succeed later without a change.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Gone
                | Self::Contention { .. }
                | Self::Unreachable(_)
                | Self::TooSlow(_)
                | Self::DiskFull(_)
        )
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull(text),
            Some(ErrorCode::ConstraintViolation) if text.contains("UNIQUE") => Self::Unique(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Contention { tries: 1, message: text }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::NotADatabase) => {
                Self::Unreachable(text)
            }
            _ => Self::Other(text),
        }
    }
}

impl From<postgres::Error> for DbError {
    fn from(error: postgres::Error) -> Self {
        use postgres::error::{Severity, SqlState};
        // The connection is gone then, whatever the reason, and of a commit nobody knows what became.
        let severity = error.as_db_error().and_then(postgres::error::DbError::parsed_severity);
        let is_over = matches!(severity, Some(Severity::Fatal | Severity::Panic));
        let text = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        match error.code() {
            _ if is_over => Self::Unreachable(text),
            Some(&SqlState::UNIQUE_VIOLATION) => Self::Unique(text),
            Some(&SqlState::DISK_FULL) => Self::DiskFull(text),
            Some(
                &SqlState::T_R_SERIALIZATION_FAILURE
                | &SqlState::T_R_DEADLOCK_DETECTED
                | &SqlState::LOCK_NOT_AVAILABLE,
            ) => Self::Contention { tries: 1, message: text },
            // The server stops, starts or has no place for one more: the connection is of no use, another may be.
            Some(
                &SqlState::ADMIN_SHUTDOWN
                | &SqlState::CRASH_SHUTDOWN
                | &SqlState::CANNOT_CONNECT_NOW
                | &SqlState::TOO_MANY_CONNECTIONS
                | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ) => Self::Unreachable(text),
            Some(&SqlState::QUERY_CANCELED) => Self::TooSlow(text),
            Some(_) => Self::Other(text),
            None => Self::Unreachable(text),
        }
    }
}

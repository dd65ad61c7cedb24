//! What can go wrong with the log of predictions.

use std::path::Path;

/// A failure of the log. It can be cloned, because one failed fsync is the answer to a whole group of callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The disk has no room left; nothing of the call was kept.
    #[error("the disk that holds {path} is full; nothing was logged: free some space, then try again")]
    DiskFull {
        /// File that could not grow.
        path: String,
    },
    /// The system refused to read or write; nothing of the call was kept.
    #[error("{path} can't be used: {message}; see the system's log for the state of the disk")]
    Files {
        /// File or folder.
        path: String,
        /// What the system said.
        message: String,
    },
    /// The queue to the writer is full.
    #[error("the prediction log has {waiting} appends waiting and takes no more; try again in a moment")]
    Busy {
        /// Appends in the queue.
        waiting: usize,
    },
    /// The writer has ended.
    #[error("the prediction log is closed; open it again")]
    Closed,
    /// A record or batch beyond the limits.
    #[error("{what} takes {bytes} bytes, the log allows {limit}; log fewer or shorter values")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// One append holds records of two endpoints.
    #[error(
        "one append holds records of {first} and of {other}; append each endpoint's records by themselves"
    )]
    Mixed {
        /// `project/endpoint` of the first record.
        first: String,
        /// `project/endpoint` of another.
        other: String,
    },
    /// A name that can't be a folder.
    #[error("{0:?} can't name a folder of the log; names have 1 to 64 bytes")]
    Name(String),
    /// Bytes in the middle of the log are not what was written.
    #[error("{path} is damaged at byte {offset}: {message}; restore this file from a backup")]
    Damaged {
        /// The segment or index.
        path: String,
        /// Where reading stopped.
        offset: u64,
        /// What was wrong.
        message: String,
    },
    /// A position that this log never gave, as after an older backup was restored.
    #[error("the position {0} lies beyond the end of the log; follow it from the start again")]
    Cursor(String),
    /// Another process has the log open.
    #[error("another process writes to the prediction log under {0}; stop it first")]
    InUse(String),
}

impl LogError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.display().to_string();
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull { path },
            _ => Self::Files { path, message: error.to_string() },
        }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, message: impl ToString) -> Self {
        Self::Damaged { path: path.display().to_string(), offset, message: message.to_string() }
    }
}

/// Why a best-effort append was not taken. It was counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Dropped {
    /// The queue to the writer is full.
    #[error("the prediction log's queue is full; the record was dropped and counted")]
    QueueFull,
    /// The record itself can't be logged.
    #[error(transparent)]
    Refused(#[from] LogError),
}

/// Bytes that are no record, label or frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub(crate) &'static str);

//! What can go wrong with the online store.

/// A refusal or failure of the online store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OnlineError {
    /// No such view.
    #[error("the online store knows no feature view {0}: declare it with `trueline features apply`")]
    UnknownView(String),
    /// A key or row that does not fit its view.
    #[error("{0}")]
    Invalid(String),
    /// Too much waits to be written.
    #[error("the online store is busy: {waiting} writes wait; try again in a second")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The disk did not answer in time.
    #[error("the online store did not answer within {limit_ms} ms")]
    Deadline {
        /// The limit.
        limit_ms: u128,
    },
    /// The store or its disk.
    #[error("the online store says: {0}")]
    Store(String),
}

macro_rules! from {
    ($($t:ty),* $(,)?) => { $(
        impl From<$t> for OnlineError {
            fn from(error: $t) -> Self {
                Self::Store(error.to_string())
            }
        }
    )* };
}

from!(
    redb::CommitError,
    redb::DatabaseError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::SetDurabilityError,
    std::io::Error,
);

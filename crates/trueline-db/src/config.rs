//! What a database is opened with. Limits are explicit (rule 12) and have defaults for a small server.

use std::path::PathBuf;
use std::time::Duration;

/// Where the database is and how it is used.
#[derive(Clone, Debug)]
pub enum Config {
    /// One file in the data directory.
    Sqlite {
        /// The database file; its folder must exist.
        path: PathBuf,
        /// What a commit waits for.
        durability: Durability,
        /// Queue lengths and thread counts.
        limits: Limits,
    },
    /// A PostgreSQL server of version 13 or newer.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
        /// Queue lengths and thread counts.
        limits: Limits,
    },
}

/// What a commit waits for on SQLite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `synchronous=FULL`: a commit returns after its fsync. The only setting that keeps "acknowledged means
    /// durable".
    #[default]
    Full,
    /// `synchronous=OFF`: a test hook, so that the crash tests can show that they would notice. A database that is
    /// opened so says so in the log, loudly.
    OffForCrashTests,
}

/// Queue lengths and thread counts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that may wait for a writer before callers are told to come back.
    pub queued_writes: usize,
    /// Jobs that may wait for a reader before callers are told to come back.
    pub queued_reads: usize,
    /// Reader threads, each with a connection.
    pub readers: usize,
    /// Writer threads on PostgreSQL; SQLite always has one.
    pub postgres_writers: usize,
    /// Jobs in one SQLite group at the most.
    pub group: usize,
    /// A group, on PostgreSQL too, closes after this long even if more jobs wait, so that the first of it is not kept from
    /// its answer.
    pub group_time: Duration,
    /// How often a PostgreSQL job is run again after a conflict before it gives up.
    pub retries: u32,
    /// How large the SQLite file may grow before writes are refused as on a full disk; none for as large as the disk.
    pub largest_sqlite_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queued_writes: 4096,
            queued_reads: 4096,
            readers: 4,
            postgres_writers: 8,
            group: 512,
            group_time: Duration::from_millis(20),
            retries: 20,
            largest_sqlite_bytes: None,
        }
    }
}

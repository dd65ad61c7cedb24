//! One handle over SQLite and PostgreSQL: synchronous transactions on threads of their own, group commit,
//! forward-only migrations. What the rows mean lives in the crates above; no table of theirs is named here.
//!
//! ```text
//!            async caller                       own threads
//!   db.write(job) ──► bounded queue ──► writer ── BEGIN
//!   db.write(job) ──►                            ├─ SAVEPOINT, job, RELEASE   ┐ one group,
//!   db.write(job) ──►                            ├─ SAVEPOINT, job, RELEASE   ┘ one fsync
//!                 ◄── answers leave after ─────── COMMIT
//!   db.read(job)  ──► bounded queue ──► readers (a snapshot each)
//! ```
//!
//! On PostgreSQL the writer is a pool of threads with serialisable transactions, each of one job or, when many wait, of several;
//! these are run one by one when any of them conflicts or must be taken back. What conflicts is run again, and alone when that
//! does not help, so that domain code sees the same law on both: as if jobs ran one after another.

mod config;
mod error;
mod job;
mod migrate;
mod new_database;
mod postgres_backend;
mod queue;
mod sqlite_backend;
mod sqlite_regexp;
mod tx;
mod value;

pub use config::{Config, Durability, Limits};
pub use error::DbError;
pub use migrate::{Migration, Module};
pub use new_database::NewDatabase;
pub use tx::{Dialect, Row, Tx};
pub use value::{FromValue, Value};

/// The tables that may be written without an event (rule 2). They hold positions in the log, leases, attempts, caches,
/// counts that the prediction log gives again, and what rollouts and bandits have seen so far; their decisions, with their
/// numbers, are events.
pub const BOOKKEEPING: &[&str] = &[
    "bucket_uploads",
    "ledger_cursors",
    "ledger_heartbeats",
    "ledger_verifications",
    "monitor_progress",
    "monitor_windows",
    "object_digests",
    "tasks",
    "trial_batches",
    "trial_evidence",
    "webhook_attempts",
];

use job::Work;
use queue::Queue;
use std::path::PathBuf;
use std::sync::Arc;

/// The database of one server: a queue to the writers and one to the readers.
///
/// Cheap to clone. Dropping the last clone lets the threads finish what is queued and end.
#[derive(Clone, Debug)]
pub struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dialect: Dialect,
    /// The file of an SQLite database.
    path: Option<PathBuf>,
    writers: Queue,
    readers: Queue,
}

impl Db {
    /// Opens the database, brings its schema forward and starts the threads.
    ///
    /// # Errors
    /// [`DbError::TooNew`] when a newer binary has migrated it, [`DbError::Altered`] when a migration that ran
    /// differs from the one in this binary, or what the database says when it can't be opened.
    pub fn open(config: &Config, modules: &[Module]) -> Result<Self, DbError> {
        let inner = match config {
            Config::Sqlite { path, durability, limits } => {
                let (writers, readers) = sqlite_backend::start(path, *durability, limits, modules)?;
                Inner { dialect: Dialect::Sqlite, path: Some(path.clone()), writers, readers }
            }
            Config::Postgres { url, limits } => {
                let (writers, readers) = postgres_backend::start(url, limits, modules)?;
                Inner { dialect: Dialect::Postgres, path: None, writers, readers }
            }
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads an SQLite file that no server uses, without migrating or changing it: for offline checks.
    ///
    /// # Errors
    /// The job's own, or what the database says.
    pub fn inspect<T, E: From<DbError>>(
        path: &std::path::Path,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = sqlite_backend::open_read_only(path)?;
        job(&mut Tx::new(tx::Backend::Sqlite(&connection)))
    }

    /// Reads a PostgreSQL database of anybody in one read-only snapshot, for as long as it takes.
    ///
    /// # Errors
    /// The job's own, or what the database says.
    pub fn inspect_postgres<T, E: From<DbError>>(
        url: &str,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = postgres_backend::connect_to_read(url)?;
        job(&mut Tx::new(tx::Backend::Postgres(&mut connection)))
    }

    /// Which database stands behind this handle.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Runs `job` in a transaction and answers once its commit is durable.
    ///
    /// The job may run more than once (a failed group, a serialisation conflict), so it touches nothing but its
    /// `Tx`. An `Err` from it rolls back its own writes and leaves what the others of its group write as it is.
    ///
    /// This is the raw door: domain code goes through the ledger, which is the only caller besides the
    /// bookkeeping of the spine.
    ///
    /// # Errors
    /// The job's own error, or a [`DbError`] turned into it: queue full, database gone, disk full.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (work, answer) = Work::new(job);
        self.inner.writers.push(work)?;
        answer.await.map_err(|_| E::from(DbError::Gone))?
    }

    /// Runs `job` in a transaction that may write to the named tables alone.
    ///
    /// # Errors
    /// As for [`Db::write`], and when the job writes to another table.
    pub async fn write_only<T, E, F>(&self, tables: &'static [&'static str], job: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.write(move |tx: &mut Tx<'_>| {
            tx.restrict(tables);
            job(tx)
        })
        .await
    }

    /// Writes without an event, to the tables of [`BOOKKEEPING`] alone: cursors, leases, heartbeats, caches.
    ///
    /// # Errors
    /// As for [`Db::write_only`].
    pub async fn bookkeep<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.write_only(BOOKKEEPING, job).await
    }

    /// Runs `job` in a read-only snapshot on one of the reader threads.
    ///
    /// # Errors
    /// As for [`Db::write`].
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (work, answer) = Work::new(job);
        self.inner.readers.push(work)?;
        answer.await.map_err(|_| E::from(DbError::Gone))?
    }

    /// Asks with one statement. It sees a snapshot by itself, so that no transaction is begun and ended around it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn ask(&self, sql: &'static str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let (mut work, answer) = Work::new(move |tx: &mut Tx<'_>| tx.query(sql, &params));
        work.is_statement = true;
        self.inner.readers.push(work)?;
        answer.await.map_err(|_| DbError::Gone)?
    }

    /// Has what was deleted so far vanish from the files of an SQLite database: deleted rows are overwritten, and the
    /// write-ahead log, which may hold them still, is emptied. On PostgreSQL that is the matter of its vacuum.
    ///
    /// # Errors
    /// [`DbError::Busy`] when readers were in the way for long, or what the disk says.
    pub async fn wipe_deleted(&self) -> Result<(), DbError> {
        let Some(path) = self.inner.path.clone() else { return Ok(()) };
        let wiped = tokio::task::spawn_blocking(move || sqlite_backend::truncate_log(&path));
        wiped.await.map_err(|e| DbError::Panicked(e.to_string()))?
    }

    /// How many jobs wait for a writer right now.
    #[must_use]
    pub fn queued_writes(&self) -> usize {
        self.inner.writers.len()
    }
}

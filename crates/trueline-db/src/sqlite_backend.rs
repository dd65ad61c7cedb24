//! SQLite: one writer thread with group commit, a few readers with a snapshot each.

use crate::DbError;
use crate::config::{Durability, Limits};
use crate::job::{Outcome, Work};
use crate::migrate::{self, Module};
use crate::queue::Queue;
use crate::sqlite_regexp;
use crate::tx::{Backend, Tx};
use crossbeam_channel::Receiver;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// The writer is held up for so long at the most while the log is cut off; a read lasts a second at the most.
const TRUNCATE_WAIT: Duration = Duration::from_millis(200);
const TRUNCATE_TRIES: u32 = 25;
const CACHED_STATEMENTS: usize = 256;
/// Pages that a reader keeps: a search comes back to the same ones.
const READER_CACHE_KIB: i64 = 8 << 10;
/// Pages that the writer keeps. Its cache is filled by what is written, whether that is wanted again or not, so what it may hold it
/// comes to hold; a page that went is in the system's page cache.
const WRITER_CACHE_KIB: i64 = 2 << 10;

pub(crate) fn start(
    path: &Path,
    durability: Durability,
    limits: &Limits,
    modules: &[Module],
) -> Result<(Queue, Queue), DbError> {
    if durability == Durability::OffForCrashTests {
        tracing::warn!(
            "THIS DATABASE DOES NOT KEEP WHAT IT ACKNOWLEDGES: it runs with synchronous=OFF, which is for crash tests \
             alone; unset TRUELINE_TEST_SYNCHRONOUS_OFF and start again"
        );
    }
    let mut writer = open(path, durability, WRITER_CACHE_KIB)?;
    if durability == Durability::Full {
        keep_what_is_shown(path)?;
    }
    migrate::run_sqlite(&mut writer, modules)?;
    if let Some(bytes) = limits.largest_sqlite_bytes {
        let page: i64 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        writer.pragma_update(None, "max_page_count", bytes / page.max(1))?;
    }
    let (writes, write_work) = Queue::new(limits.queued_writes);
    let of_writer = *limits;
    spawn("db-writer", move || write_loop(&writer, &write_work, &of_writer))?;

    let (reads, read_work) = Queue::new(limits.queued_reads);
    for _ in 0..limits.readers.max(1) {
        let connection = open(path, durability, READER_CACHE_KIB)?;
        connection.pragma_update(None, "query_only", true)?;
        let work = read_work.clone();
        spawn("db-reader", move || read_loop(&connection, &work))?;
    }
    Ok((writes, reads))
}

pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|e| DbError::Other(format!("no thread for {name}: {e}")))
}

fn open(path: &Path, durability: Durability, cache_kib: i64) -> Result<Connection, DbError> {
    let c = Connection::open(path)?;
    c.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::OffForCrashTests => "OFF",
    };
    c.pragma_update(None, "synchronous", synchronous)?;
    c.pragma_update(None, "foreign_keys", true)?;
    // LIKE means the same on both databases then; ILIKE is written with LOWER().
    c.pragma_update(None, "case_sensitive_like", true)?;
    c.pragma_update(None, "temp_store", "MEMORY")?;
    // What is deleted is overwritten, so that an erased payload does not stay on a free page.
    c.pragma_update(None, "secure_delete", true)?;
    // In KiB if negative, else in pages.
    c.pragma_update(None, "cache_size", -cache_kib)?;
    // A plan depends on the statement alone: with values in it, each new LIMIT would have the statement prepared again.
    c.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    c.busy_timeout(Duration::from_secs(10))?;
    sqlite_regexp::install(&c)?;
    c.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(c)
}

/// Brings the write-ahead log into the database and cuts it off; fails while readers or the writer are in the way.
pub(crate) fn truncate_log(path: &Path) -> Result<(), DbError> {
    let c = Connection::open(path)?;
    c.busy_timeout(TRUNCATE_WAIT)?;
    for _ in 0..TRUNCATE_TRIES {
        let busy: i64 = c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 {
            return Ok(());
        }
    }
    Err(DbError::Busy { waiting: 1 })
}

/// A process that was killed between the write of a commit and its fsync leaves a commit in the log that is shown from now
/// on, but that a power cut would still take. It is fsynced before anybody can build on it: a signed checkpoint, or the
/// answer to a repeated request.
fn keep_what_is_shown(path: &Path) -> Result<(), DbError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let synced = match File::open(Path::new(&log)) {
        Ok(log) => log.sync_all(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    synced.map_err(|e| DbError::Other(format!("can't fsync {}: {e}", Path::new(&log).display())))
}

pub(crate) fn open_read_only(path: &Path) -> Result<Connection, DbError> {
    let c = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    c.busy_timeout(Duration::from_secs(10))?;
    Ok(c)
}

fn statement(c: &Connection, sql: &str) -> Result<(), DbError> {
    c.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Takes what waits, runs it in one transaction, commits once, then answers.
fn write_loop(c: &Connection, work: &Receiver<Work>, limits: &Limits) {
    while let Ok(first) = work.recv() {
        let began = Instant::now();
        let mut jobs = Group::default();
        if let Err(error) = statement(c, "BEGIN IMMEDIATE") {
            first.fail(error);
            continue;
        }
        jobs.run(c, first);
        while jobs.len() < limits.group && began.elapsed() < limits.group_time && !jobs.broken {
            match work.try_recv() {
                Ok(next) => jobs.run(c, next),
                Err(_) => break,
            }
        }
        jobs.commit(c);
    }
}

/// The jobs of one transaction, in the order of their arrival.
#[derive(Default)]
struct Group {
    jobs: Vec<Work>,
    /// Whether any of them wants something to be kept.
    wrote: bool,
    /// The transaction is gone (full disk, I/O error): every job must be run again alone.
    broken: bool,
}

impl Group {
    fn len(&self) -> usize {
        self.jobs.len()
    }

    fn run(&mut self, c: &Connection, mut work: Work) {
        if work.abandoned() {
            return;
        }
        let outcome = match statement(c, "SAVEPOINT job") {
            Ok(()) => work.run(&mut Tx::new(Backend::Sqlite(c))),
            Err(error) => Outcome::Failed(error),
        };
        let ended = match outcome {
            Outcome::Done => statement(c, "RELEASE job"),
            Outcome::Refused | Outcome::Failed(_) => {
                statement(c, "ROLLBACK TO job").and_then(|()| statement(c, "RELEASE job"))
            }
        };
        // SQLite rolls the whole transaction back on its own after some errors, a full disk among them.
        self.broken = ended.is_err() || c.is_autocommit();
        let disk = matches!(outcome, Outcome::Failed(DbError::DiskFull(_) | DbError::Unreachable(_)));
        self.broken |= disk && self.wrote;
        self.wrote |= matches!(outcome, Outcome::Done);
        self.jobs.push(work);
    }

    fn commit(self, c: &Connection) {
        let committed = !self.broken
            && statement(c, "COMMIT")
                .inspect_err(|error| {
                    tracing::warn!(%error, jobs = self.jobs.len(), "a group commit failed; running its jobs alone");
                })
                .is_ok();
        if committed {
            self.jobs.into_iter().for_each(Work::answer);
            return;
        }
        roll_back(c);
        // A job that refused did so after what others had written, which is gone now: it is asked again too.
        for work in self.jobs {
            run_alone(c, work);
        }
    }
}

fn roll_back(c: &Connection) {
    if !c.is_autocommit()
        && let Err(error) = statement(c, "ROLLBACK")
    {
        tracing::warn!(%error, "a transaction could not be rolled back");
    }
}

fn run_alone(c: &Connection, mut work: Work) {
    if let Err(error) = statement(c, "BEGIN IMMEDIATE") {
        return work.fail(error);
    }
    let outcome = work.run(&mut Tx::new(Backend::Sqlite(c)));
    let committed = match outcome {
        Outcome::Done => statement(c, "COMMIT"),
        Outcome::Refused | Outcome::Failed(_) => Ok(()),
    };
    roll_back(c);
    match committed {
        Ok(()) => work.answer(),
        Err(error) => work.fail(error),
    }
}

fn read_loop(c: &Connection, work: &Receiver<Work>) {
    while let Ok(mut job) = work.recv() {
        if job.abandoned() {
            continue;
        }
        if !job.is_statement
            && let Err(error) = statement(c, "BEGIN")
        {
            job.fail(error);
            continue;
        }
        job.run(&mut Tx::new(Backend::Sqlite(c)));
        if !job.is_statement {
            drop(statement(c, "ROLLBACK"));
        }
        job.answer();
    }
}

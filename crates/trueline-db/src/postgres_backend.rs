//! PostgreSQL: a bounded pool of threads, each with a connection. Writers run serialisable transactions, several jobs in
//! each when many wait, and run a job again when it conflicted; readers run read-only snapshots.

use crate::DbError;
use crate::config::Limits;
use crate::job::{Outcome, Work};
use crate::migrate::{self, Module};
use crate::queue::Queue;
use crate::sqlite_backend::spawn;
use crate::tx::{Backend, PgConnection, Tx};
use crossbeam_channel::Receiver;
use postgres::config::{Host, SslMode};
use postgres::{Client, NoTls};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A job that has conflicted so often is run while no other job of this server writes, so that it gets through however
/// many want the same rows. Several servers on one database can still meet.
const ALONE_AFTER: u32 = 3;

/// Jobs that go with one transaction at the most. The first of them waits for the last.
const TOGETHER: usize = 16;

/// What several jobs have locked, they keep until the last of them has run: so none of them may wait long, not for those of
/// another transaction that want the same in another order either. One that needs longer is run alone.
const BOUNDS_TOGETHER: &str = "SET LOCAL lock_timeout = '50ms'; SET LOCAL statement_timeout = '1s'";

/// What is asked is made for indexes, and tables that grow quickly have no statistics yet by which the planner would know;
/// a table that is read as a whole would also make each writer conflict with each other one.
const PLANS: &str = "SET enable_seqscan = off";

/// Nothing waits unbounded: not a statement, not for a lock, and not a transaction whose server has hung.
const TIMEOUTS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '60s'";

pub(crate) fn start(url: &str, limits: &Limits, modules: &[Module]) -> Result<(Queue, Queue), DbError> {
    let mut first = connect(url)?;
    migrate::run_postgres(&mut first, modules)?;

    let (writes, write_work) = Queue::new(limits.queued_writes);
    let turns = Arc::new(RwLock::new(()));
    for _ in 0..limits.postgres_writers.max(1) {
        let mut worker = Worker::new(url, BEGIN_WRITE, limits.retries, &turns);
        let (work, limits) = (write_work.clone(), *limits);
        spawn("db-writer", move || worker.write(&work, &limits))?;
    }
    let (reads, read_work) = Queue::new(limits.queued_reads);
    let turns = Arc::default();
    for _ in 0..limits.readers.max(1) {
        let mut worker = Worker::new(url, BEGIN_READ, limits.retries, &turns);
        let work = read_work.clone();
        spawn("db-reader", move || worker.serve(&work))?;
    }
    Ok((writes, reads))
}

pub(crate) fn connect(url: &str) -> Result<PgConnection, DbError> {
    let mut config: postgres::Config =
        url.parse().map_err(|e: postgres::Error| DbError::Unreachable(e.to_string()))?;
    refuse_unencrypted(&config)?;
    config.application_name("trueline").connect_timeout(Duration::from_secs(5));
    let mut client: Client = config.connect(NoTls).map_err(|e| DbError::Unreachable(connect_error(&e)))?;
    client.batch_execute(TIMEOUTS)?;
    Ok(PgConnection::new(client))
}

/// A connection in a read-only snapshot whose statements may take long.
pub(crate) fn connect_to_read(url: &str) -> Result<PgConnection, DbError> {
    let mut connection = connect(url)?;
    connection.client.batch_execute(
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET TIME ZONE 'UTC'",
    )?;
    connection.client.batch_execute(BEGIN_READ)?;
    Ok(connection)
}

/// What is said to PostgreSQL is not encrypted as yet, passwords among it: beyond this machine only to whoever asks for it.
fn refuse_unencrypted(config: &postgres::Config) -> Result<(), DbError> {
    if config.get_ssl_mode() == SslMode::Disable {
        return Ok(());
    }
    let named = config.get_hosts().iter().filter_map(|host| match host {
        Host::Tcp(name) => Some(name.clone()),
        Host::Unix(_) => None,
    });
    let outside = |host: &String| {
        host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    match named.chain(config.get_hostaddrs().iter().map(ToString::to_string)).find(outside) {
        None => Ok(()),
        Some(host) => Err(DbError::Unencrypted { host }),
    }
}

/// The driver's own text for a refused connection leaves out the cause.
fn connect_error(error: &postgres::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// One thread's connection, made when first needed and again when it was lost.
struct Worker {
    url: String,
    begin: &'static str,
    retries: u32,
    /// Held by each that has a transaction, by one alone when it must.
    turns: Arc<RwLock<()>>,
    connection: Option<PgConnection>,
}

impl Worker {
    fn new(url: &str, begin: &'static str, retries: u32, turns: &Arc<RwLock<()>>) -> Self {
        Self { url: url.to_owned(), begin, retries, turns: Arc::clone(turns), connection: None }
    }

    fn serve(&mut self, work: &Receiver<Work>) {
        while let Ok(job) = work.recv() {
            if !job.abandoned() {
                self.handle(job);
            }
        }
    }

    /// As [`Worker::serve`] for one of several writers: with each job go some of those that wait behind it, as many as leave
    /// the other writers theirs.
    fn write(&mut self, work: &Receiver<Work>, limits: &Limits) {
        while let Ok(first) = work.recv() {
            let share = (work.len() / limits.postgres_writers.max(1)).min(TOGETHER - 1);
            let mut waiting: VecDeque<Work> =
                std::iter::once(first).chain(work.try_iter().take(share)).collect();
            while !waiting.is_empty() {
                let mut ran = Vec::new();
                if waiting.len() > 1 && self.handled_together(&mut waiting, &mut ran, limits.group_time) {
                    continue;
                }
                let alone = ran.into_iter().chain(waiting.drain(..));
                alone.filter(|job| !job.abandoned()).for_each(|job| self.handle(job));
            }
        }
    }

    /// Whether the first of these jobs could be run as one transaction and were answered. If not, because one of them
    /// conflicted, failed or has to take back what it wrote, nothing of them is kept, and each must be run alone.
    fn handled_together(
        &mut self,
        waiting: &mut VecDeque<Work>,
        ran: &mut Vec<Work>,
        time: Duration,
    ) -> bool {
        let turns = Arc::clone(&self.turns);
        let _turn = turns.read().unwrap_or_else(PoisonError::into_inner);
        match self.run_together(waiting, ran, time).and_then(|()| self.commit()) {
            Ok(Committed::Yes) => ran.drain(..).for_each(Work::answer),
            Ok(Committed::Unknown(error)) => ran.drain(..).for_each(|job| job.fail(error.clone())),
            Ok(Committed::No(error)) | Err(error) => {
                tracing::debug!(%error, jobs = ran.len(), "jobs that went together are run alone");
                return false;
            }
        }
        true
    }

    /// Runs jobs up to the commit, for so long.
    ///
    /// # Errors
    /// When one of them has failed, or refused after it wrote; all is taken back then.
    fn run_together(
        &mut self,
        waiting: &mut VecDeque<Work>,
        ran: &mut Vec<Work>,
        time: Duration,
    ) -> Result<(), DbError> {
        let began = Instant::now();
        let begin = format!("{}; {BOUNDS_TOGETHER}", self.begin);
        let connection = self.connection()?;
        connection.client.batch_execute(&begin)?;
        while let Some(mut job) = waiting.pop_front() {
            if job.abandoned() {
                continue;
            }
            let mut tx = Tx::new(Backend::Postgres(connection));
            let outcome = job.run(&mut tx);
            let wrote = tx.changed() > 0;
            ran.push(job);
            let taken_back = match outcome {
                Outcome::Failed(error) => error,
                Outcome::Refused if wrote => DbError::Other("a job refused after it wrote".to_owned()),
                Outcome::Refused | Outcome::Done if began.elapsed() < time => continue,
                Outcome::Refused | Outcome::Done => break,
            };
            connection.client.batch_execute("ROLLBACK")?;
            return Err(taken_back);
        }
        Ok(())
    }

    fn handle(&mut self, mut job: Work) {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.take_turn(&mut job, tries > ALONE_AFTER) {
                Ok(()) => return job.answer(),
                Err(DbError::Contention { message, .. }) => {
                    if tries >= self.retries {
                        return job.fail(DbError::Contention { tries, message });
                    }
                    back_off(tries);
                }
                // A connection that was idle may have been closed by the server: one fresh one, then give up.
                Err(DbError::Unreachable(message)) => {
                    let was_open = self.connection.take().is_some();
                    if !was_open || tries > 1 {
                        return job.fail(DbError::Unreachable(message));
                    }
                }
                Err(error) => return job.fail(error),
            }
        }
    }

    fn take_turn(&mut self, job: &mut Work, alone: bool) -> Result<(), DbError> {
        let turns = Arc::clone(&self.turns);
        if alone {
            let _turn = turns.write().unwrap_or_else(PoisonError::into_inner);
            return self.attempt(job);
        }
        let _turn = turns.read().unwrap_or_else(PoisonError::into_inner);
        self.attempt(job)
    }

    /// Runs the job once. `Ok` means that its answer may leave, be it a refusal.
    fn attempt(&mut self, job: &mut Work) -> Result<(), DbError> {
        let begin = self.begin;
        let connection = self.connection()?;
        if job.is_statement {
            return match job.run(&mut Tx::new(Backend::Postgres(connection))) {
                Outcome::Failed(error @ (DbError::Contention { .. } | DbError::Unreachable(_))) => Err(error),
                Outcome::Done | Outcome::Refused | Outcome::Failed(_) => Ok(()),
            };
        }
        connection.client.batch_execute(begin)?;
        let outcome = job.run(&mut Tx::new(Backend::Postgres(connection)));
        match outcome {
            Outcome::Done => match self.commit()? {
                Committed::Yes => Ok(()),
                Committed::No(error) | Committed::Unknown(error) => Err(error),
            },
            Outcome::Refused => connection.client.batch_execute("ROLLBACK").map_err(DbError::from),
            Outcome::Failed(error) => {
                let rolled_back = connection.client.batch_execute("ROLLBACK");
                match error {
                    DbError::Contention { .. } | DbError::Unreachable(_) => Err(error),
                    _ => rolled_back.map_err(DbError::from),
                }
            }
        }
    }

    fn connection(&mut self) -> Result<&mut PgConnection, DbError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => {
                let mut connection = connect(&self.url)?;
                connection.client.batch_execute(PLANS)?;
                Ok(none.insert(connection))
            }
        }
    }

    fn commit(&mut self) -> Result<Committed, DbError> {
        Ok(match self.connection()?.client.batch_execute("COMMIT").map_err(DbError::from) {
            Ok(()) => Committed::Yes,
            Err(DbError::Unreachable(m)) => {
                self.connection = None;
                Committed::Unknown(DbError::Other(format!("the connection was lost during the commit: {m}")))
            }
            Err(error) => Committed::No(error),
        })
    }
}

/// What became of a transaction.
enum Committed {
    Yes,
    No(DbError),
    /// The connection was lost on the way; the caller is told that it is not acknowledged.
    Unknown(DbError),
}

/// Waits a little longer each time, each thread a different while.
fn back_off(tries: u32) {
    use std::hash::{BuildHasher, RandomState};
    let jitter = RandomState::new().hash_one(tries) % 1000;
    std::thread::sleep(Duration::from_micros(u64::from(tries.min(8)) * (500 + jitter)));
}

#[cfg(test)]
mod tests {
    use super::refuse_unencrypted;
    use crate::DbError;

    fn refused(url: &str) -> bool {
        let refused = refuse_unencrypted(&url.parse().unwrap());
        assert!(matches!(refused, Ok(()) | Err(DbError::Unencrypted { .. })));
        refused.is_err()
    }

    #[test]
    fn an_unencrypted_connection_beyond_this_machine_must_be_asked_for() {
        for near in [
            "postgres://u:p@localhost/d",
            "postgres://u:p@127.0.0.1:5432/d",
            "postgres://u:p@[::1]/d",
            "host=/run/postgresql user=u dbname=d",
            "postgres://u:p@db.example.org/d?sslmode=disable",
        ] {
            assert!(!refused(near), "{near}");
        }
        for far in [
            "postgres://u:p@db.example.org/d",
            "postgres://u:p@10.0.0.7/d",
            "postgres://u:p@localhost,db.example.org/d",
            "postgres://u:p@db.example.org/d?sslmode=require",
            "host=localhost hostaddr=10.0.0.7 user=u dbname=d",
        ] {
            assert!(refused(far), "{far}");
        }
    }
}

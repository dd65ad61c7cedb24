//! A task's life in the database: queued, running under a lease, done or failed.

use serde::Serialize;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use trueline_db::{Db, DbError, Row, Tx};
use trueline_identity::{Authorized, ReadLedger, ReadProject};
use trueline_ledger::{LedgerError, LedgerTx, Millis, NewEvent, ProjectId, Sources};

/// What can go wrong with a task.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Another worker has it now.
    #[error("task {id} was taken over by another worker (epoch {epoch} is no longer the newest)")]
    Fenced {
        /// The task.
        id: String,
        /// The epoch that was lost.
        epoch: i64,
    },
    /// No such task.
    #[error("there is no task {0}")]
    NotFound(String),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for TaskError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a worker.
    Queued,
    /// Leased to a worker.
    Running,
    /// Finished well.
    Done,
    /// Given up.
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "done" => Self::Done,
            _ => Self::Failed,
        }
    }
}

/// Work to be done.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Where it belongs.
    pub project: ProjectId,
    /// Which handler does it.
    pub kind: &'static str,
    /// What the handler needs to know.
    pub payload: Json,
    /// How often it is tried.
    pub max_attempts: u32,
}

/// A task as it is read.
#[derive(Clone, Debug, Serialize)]
pub struct TaskRow {
    /// Its id.
    pub id: String,
    /// The project's id.
    pub project: String,
    /// Which handler does it.
    pub kind: String,
    /// What the handler was told.
    pub payload: Json,
    /// Where it stands.
    pub state: State,
    /// How often it was started.
    pub attempts: i64,
    /// What came of it, or the error that ended it.
    pub result: Option<Json>,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it ended.
    pub finished_at_ms: Option<Millis>,
}

/// The right to work on a task, until the lease runs out.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The task's id.
    pub id: String,
    /// Where it belongs.
    pub project: ProjectId,
    /// Which handler does it.
    pub kind: String,
    /// What the handler needs to know.
    pub payload: Json,
    /// Which attempt this is, from 1.
    pub attempt: i64,
    epoch: i64,
    max_attempts: i64,
}

impl Lease {
    /// Whether this attempt is beyond those that the task was given.
    pub(crate) fn has_had_its_tries(&self) -> bool {
        self.attempt > self.max_attempts
    }

    /// Whether an error ends the task, because no attempt is left.
    #[must_use]
    pub fn is_last_try(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// The number of this lease: of two leases of one task, the one with the higher number holds.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}

/// Records a task in the same transaction as whatever asked for it.
///
/// # Errors
/// What the ledger says.
pub fn enqueue(tx: &mut LedgerTx<'_, '_>, task: &NewTask) -> Result<String, LedgerError> {
    enqueue_after(tx, task, 0)
}

/// The same, to be started after `wait_ms` at the earliest.
///
/// # Errors
/// What the ledger says.
pub fn enqueue_after(
    tx: &mut LedgerTx<'_, '_>,
    task: &NewTask,
    wait_ms: Millis,
) -> Result<String, LedgerError> {
    let id = tx.derived_id(&format!("task {} {}", task.kind, task.payload));
    let now = tx.now();
    tx.execute(
        "INSERT INTO tasks (id, project, kind, payload, state, epoch, attempts, max_attempts, run_after_ms,
                            created_at_ms)
         VALUES (?1, ?2, ?3, ?4, 'queued', 0, 0, ?5, ?6, ?7)",
        &[
            (&id).into(),
            (&task.project).into(),
            task.kind.into(),
            task.payload.to_string().into(),
            task.max_attempts.into(),
            (now + wait_ms).into(),
            now.into(),
        ],
    )?;
    tx.emit(
        NewEvent::new(&task.project, "task.created", "task", &id)
            .with(json!({ "kind": task.kind, "payload": task.payload })),
    )?;
    Ok(id)
}

/// Ends a task well, in the same transaction as its result.
///
/// # Errors
/// [`TaskError::Fenced`] when the lease was lost: nothing of the transaction may stay then.
pub fn complete(tx: &mut LedgerTx<'_, '_>, lease: &Lease, result: &Json) -> Result<(), TaskError> {
    finish(tx, lease, State::Done, result)?;
    let event = NewEvent::new(&lease.project, "task.done", "task", &lease.id);
    tx.emit(event.with(json!({ "kind": lease.kind, "attempt": lease.attempt, "result": result })))?;
    Ok(())
}

/// Ends an attempt badly: the task is queued again after `retry_after_ms`, or failed when it has had its tries.
///
/// # Errors
/// [`TaskError::Fenced`] when the lease was lost.
pub fn fail(
    tx: &mut LedgerTx<'_, '_>,
    lease: &Lease,
    error: &str,
    retry_after_ms: Millis,
) -> Result<(), TaskError> {
    if lease.is_last_try() {
        return give_up(tx, lease, error);
    }
    let result = json!({ "error": error });
    let again = tx.now() + retry_after_ms;
    let touched = tx.execute(
        "UPDATE tasks SET state = 'queued', run_after_ms = ?3, result = ?4, lease_until_ms = NULL
         WHERE id = ?1 AND epoch = ?2 AND state = 'running'",
        &[(&lease.id).into(), lease.epoch.into(), again.into(), result.to_string().into()],
    )?;
    fenced_unless(touched, lease)?;
    let event = NewEvent::new(&lease.project, "task.retried", "task", &lease.id);
    tx.emit(event.with(json!({ "kind": lease.kind, "attempt": lease.attempt, "error": error })))?;
    Ok(())
}

/// Ends a task badly at once, when no further attempt can help.
///
/// # Errors
/// [`TaskError::Fenced`] when the lease was lost.
pub fn give_up(tx: &mut LedgerTx<'_, '_>, lease: &Lease, error: &str) -> Result<(), TaskError> {
    finish(tx, lease, State::Failed, &json!({ "error": error }))?;
    let event = NewEvent::new(&lease.project, "task.failed", "task", &lease.id);
    tx.emit(event.with(json!({ "kind": lease.kind, "attempt": lease.attempt, "error": error })))?;
    Ok(())
}

fn finish(tx: &mut LedgerTx<'_, '_>, lease: &Lease, state: State, result: &Json) -> Result<(), TaskError> {
    let now = tx.now();
    let touched = tx.execute(
        "UPDATE tasks SET state = ?3, result = ?4, finished_at_ms = ?5, lease_until_ms = NULL
         WHERE id = ?1 AND epoch = ?2 AND state = 'running'",
        &[
            (&lease.id).into(),
            lease.epoch.into(),
            state.as_str().into(),
            result.to_string().into(),
            now.into(),
        ],
    )?;
    fenced_unless(touched, lease)
}

/// Refuses when the lease was lost, for what a worker records before its task ends.
///
/// # Errors
/// [`TaskError::Fenced`].
pub fn still_leased(tx: &mut Tx<'_>, lease: &Lease) -> Result<(), TaskError> {
    let held = tx.query_opt(
        "SELECT id FROM tasks WHERE id = ?1 AND epoch = ?2 AND state = 'running'",
        &[(&lease.id).into(), lease.epoch.into()],
    )?;
    fenced_unless(u64::from(held.is_some()), lease)
}

fn fenced_unless(touched: u64, lease: &Lease) -> Result<(), TaskError> {
    if touched == 1 {
        return Ok(());
    }
    Err(TaskError::Fenced { id: lease.id.clone(), epoch: lease.epoch })
}

/// No lease and no pause before another try lasts as long as this. A time beyond it was set by a clock that has been put
/// back since, and is not waited for.
const LONGEST_WAIT_MS: Millis = 10 * 60_000;

/// The queue as a worker and the pages see it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    db: Db,
    sources: Sources,
    bell: Arc<Notify>,
}

const COLUMNS: &str =
    "id, project, kind, payload, state, attempts, result, created_at_ms, finished_at_ms FROM tasks";

impl Tasks {
    /// Over a database.
    #[must_use]
    pub fn new(db: Db, sources: Sources) -> Self {
        Self { db, sources, bell: Arc::default() }
    }

    /// Tells the workers of this process that there may be work, so that they need not wait for their next look.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Waits until somebody [rings](Self::ring).
    pub(crate) fn rung(&self) -> Notified<'_> {
        self.bell.notified()
    }

    /// Gives up all leases of a worker that is known to be gone, so that its tasks are taken up at once.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release(&self, worker: &str) -> Result<(), TaskError> {
        let worker = worker.to_owned();
        self.db
            .bookkeep(move |tx: &mut Tx<'_>| {
                tx.execute(
                    "UPDATE tasks SET lease_until_ms = 0 WHERE worker = ?1 AND state = 'running'",
                    &[(&worker).into()],
                )?;
                Ok(())
            })
            .await
    }

    /// Leases the next task of these kinds: one that waits, or one whose worker was lost.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(
        &self,
        kinds: &[&'static str],
        worker: &str,
        lease_ms: Millis,
    ) -> Result<Option<Lease>, TaskError> {
        let now = self.sources.now();
        let absurd = now + LONGEST_WAIT_MS;
        let worker = worker.to_owned();
        let kinds = kinds.join("', '");
        let waiting = format!(
            "SELECT id FROM tasks
             WHERE kind IN ('{kinds}')
               AND ((state = 'queued' AND (run_after_ms <= ?1 OR run_after_ms > ?2))
                 OR (state = 'running' AND (lease_until_ms < ?1 OR lease_until_ms > ?2)))
             ORDER BY run_after_ms, id LIMIT 1"
        );
        let sql = format!(
            "UPDATE tasks SET state = 'running', epoch = epoch + 1, attempts = attempts + 1, worker = ?3,
                    lease_until_ms = ?4
             WHERE id = ({waiting})
             RETURNING id, project, kind, payload, attempts, epoch, max_attempts"
        );
        // Mostly nothing waits, and then the writer need not be asked.
        let any = self.db.read(move |tx: &mut Tx<'_>| {
            Ok::<_, TaskError>(tx.query_opt(&waiting, &[now.into(), absurd.into()])?.is_some())
        });
        if !any.await? {
            return Ok(None);
        }
        self.db
            .bookkeep(move |tx: &mut Tx<'_>| {
                let params = [now.into(), absurd.into(), (&worker).into(), (now + lease_ms).into()];
                let row = tx.query_opt(&sql, &params)?;
                row.map(|mut row| lease_from(&mut row)).transpose()
            })
            .await
    }

    /// Prolongs a lease.
    ///
    /// # Errors
    /// [`TaskError::Fenced`] when it was lost.
    pub async fn heartbeat(&self, lease: &Lease, lease_ms: Millis) -> Result<(), TaskError> {
        let until = self.sources.now() + lease_ms;
        let lease = lease.clone();
        self.db
            .bookkeep(move |tx: &mut Tx<'_>| {
                let touched = tx.execute(
                    "UPDATE tasks SET lease_until_ms = ?3 WHERE id = ?1 AND epoch = ?2 AND state = 'running'",
                    &[(&lease.id).into(), lease.epoch.into(), until.into()],
                )?;
                fenced_unless(touched, &lease)
            })
            .await
    }

    /// One task of the project that the leave is for, or of the server when it is for that.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], or what the database says.
    pub async fn get(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<TaskRow, TaskError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.db
            .read(move |tx: &mut Tx<'_>| {
                let sql = format!("SELECT {COLUMNS} WHERE id = ?1 AND project = ?2");
                let row = tx.query_opt(&sql, &[(&id).into(), (&project).into()])?;
                row.map(|mut row| task_from(&mut row))
                    .transpose()?
                    .ok_or_else(|| TaskError::NotFound(id.clone()))
            })
            .await
    }

    /// The newest tasks of the project that the leave is for, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest(
        &self,
        leave: &Authorized<ReadProject>,
        limit: u32,
    ) -> Result<Vec<TaskRow>, TaskError> {
        let project = leave.project().clone();
        self.db
            .read(move |tx: &mut Tx<'_>| {
                let sql = format!("SELECT {COLUMNS} WHERE project = ?1 ORDER BY created_at_ms DESC LIMIT ?2");
                let rows = tx.query(&sql, &[(&project).into(), limit.into()])?;
                rows.into_iter().map(|mut row| task_from(&mut row)).collect()
            })
            .await
    }

    /// The newest of the server's own tasks of one kind whose payload fits, among the last fifty; for the server itself.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest_where(
        &self,
        kind: &'static str,
        fits: impl Fn(&Json) -> bool,
    ) -> Result<Option<TaskRow>, TaskError> {
        let newest = self.db.read(move |tx: &mut Tx<'_>| {
            let sql = format!(
                "SELECT {COLUMNS} WHERE project = ?1 AND kind = ?2 ORDER BY created_at_ms DESC LIMIT 50"
            );
            let rows = tx.query(&sql, &[(&ProjectId::server()).into(), kind.into()])?;
            rows.into_iter().map(|mut row| task_from(&mut row)).collect::<Result<Vec<_>, TaskError>>()
        });
        Ok(newest.await?.into_iter().find(|task| fits(&task.payload)))
    }

    /// The newest of the server's own tasks of one kind, for those who may read the ledger that tells of it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest_of_server(
        &self,
        _leave: &Authorized<ReadLedger>,
        kind: &'static str,
    ) -> Result<Option<TaskRow>, TaskError> {
        self.db
            .read(move |tx: &mut Tx<'_>| {
                let sql = format!(
                    "SELECT {COLUMNS} WHERE project = ?1 AND kind = ?2 ORDER BY created_at_ms DESC LIMIT 1"
                );
                let row = tx.query_opt(&sql, &[(&ProjectId::server()).into(), kind.into()])?;
                row.map(|mut row| task_from(&mut row)).transpose()
            })
            .await
    }
}

/// What the tasks of a kind that are not finished were told.
///
/// # Errors
/// What the database says.
pub fn unfinished(tx: &mut Tx<'_>, project: &ProjectId, kind: &'static str) -> Result<Vec<Json>, TaskError> {
    let sql = "SELECT payload FROM tasks WHERE project = ?1 AND kind = ?2 AND state IN ('queued', 'running')";
    let rows = tx.query(sql, &[project.into(), kind.into()])?;
    rows.into_iter().map(|mut row| Ok(parse(&row.take::<String>(0)?))).collect()
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or(Json::Null)
}

fn lease_from(row: &mut Row) -> Result<Lease, TaskError> {
    Ok(Lease {
        id: row.take(0)?,
        project: ProjectId::new(row.take::<String>(1)?),
        kind: row.take(2)?,
        payload: parse(&row.take::<String>(3)?),
        attempt: row.take(4)?,
        epoch: row.take(5)?,
        max_attempts: row.take(6)?,
    })
}

fn task_from(row: &mut Row) -> Result<TaskRow, TaskError> {
    Ok(TaskRow {
        id: row.take(0)?,
        project: row.take(1)?,
        kind: row.take(2)?,
        payload: parse(&row.take::<String>(3)?),
        state: State::parse(&row.take::<String>(4)?),
        attempts: row.take(5)?,
        result: row.take::<Option<String>>(6)?.map(|r| parse(&r)),
        created_at_ms: row.take(7)?,
        finished_at_ms: row.take(8)?,
    })
}

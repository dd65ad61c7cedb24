//! A collection as a task of the server: asked for by somebody or due by the clock, one at a time, taken up again after a
//! crash.

use crate::{CollectError, CollectOrder, Collector};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;
use trueline_identity::{Authorized, CollectStorage, Identity, ReadLedger};
use trueline_ledger::{Actor, Ledger, LedgerError, Millis, ProjectId};
use trueline_tasks::{Lease, NewTask, State, TaskError, TaskRow, Tasks, complete, enqueue};

/// The kind of the task that collects.
pub const COLLECT_TASK: &str = "storage.collect";
/// How often it is looked whether a collection is due.
const LOOK: Duration = Duration::from_secs(10);

/// How long deleted things are kept, and how often a server collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What was deleted so long ago is deleted for good; never, when there is no such time.
    pub keep_ms: Option<Millis>,
    /// Blobs that were put less long ago are not collected.
    pub grace_ms: Millis,
    /// A server collects so often by itself; never, when there is no such time.
    pub every_ms: Option<Millis>,
    /// Predictions are kept for so long where their endpoint declares nothing; for ever, when there is no such time.
    pub predictions_ms: Option<Millis>,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Millis = 24 * 60 * 60 * 1000;
        Self { keep_ms: Some(30 * DAY), grace_ms: DAY, every_ms: Some(DAY), predictions_ms: None }
    }
}

impl Retention {
    /// A collection by these rules.
    #[must_use]
    pub fn order(self, dry_run: bool) -> CollectOrder {
        CollectOrder { keep_ms: self.keep_ms, grace_ms: self.grace_ms, dry_run }
    }
}

/// What the task is told.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    #[serde(flatten)]
    order: CollectOrder,
    /// Who asked; the server itself when nobody did.
    by: Option<String>,
}

fn task(order: CollectOrder, by: Option<String>) -> NewTask {
    let payload = json!(Payload { order, by });
    NewTask { project: ProjectId::server(), kind: COLLECT_TASK, payload, max_attempts: 3 }
}

/// Asks for a collection; answers the task that does it.
///
/// # Errors
/// What the ledger says.
pub async fn request_collection(
    ledger: &Ledger,
    leave: &Authorized<CollectStorage>,
    order: CollectOrder,
) -> Result<String, LedgerError> {
    let task = task(order, Some(leave.actor().principal.clone()));
    ledger.write(leave.actor(), move |tx| enqueue(tx, &task)).await
}

/// The newest collection, at work or done.
///
/// # Errors
/// What the database says.
pub async fn last_collection(
    tasks: &Tasks,
    leave: &Authorized<ReadLedger>,
) -> Result<Option<TaskRow>, TaskError> {
    tasks.newest_of_server(leave, COLLECT_TASK).await
}

/// What the task does.
///
/// # Errors
/// What went wrong, as text for the task's record.
pub async fn collect_task(collector: Collector, lease: Lease) -> Result<(), String> {
    let payload: Payload = serde_json::from_value(lease.payload.clone())
        .map_err(|e| format!("the task's payload is broken: {e}"))?;
    let actor = Actor { on_behalf_of: payload.by, ..Actor::system("collector") };
    let found = collector.collect(payload.order, &actor).await.map_err(|e| e.to_string())?;
    let result = json!(found);
    let done: Result<(), TaskError> =
        collector.ledger.write(&actor, move |tx| complete(tx, &lease, &result)).await;
    done.map_err(|e| e.to_string())
}

/// Has the server collect when it is time, until `stopping`: so long after the last collection, or after the first project
/// was made.
pub async fn run_collections(
    identity: Identity,
    ledger: Ledger,
    tasks: Tasks,
    retention: Retention,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(every_ms) = retention.every_ms else { return };
    loop {
        if let Err(error) = collect_if_due((&identity, &ledger, &tasks), retention, every_ms).await {
            tracing::warn!(%error, "it could not be seen whether a collection is due; trying again");
        }
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK.min(Duration::from_millis(every_ms.max(1).unsigned_abs()))) => {}
        }
    }
}

async fn collect_if_due(
    (identity, ledger, tasks): (&Identity, &Ledger, &Tasks),
    retention: Retention,
    every_ms: Millis,
) -> Result<(), CollectError> {
    let now = ledger.sources().now();
    let last = tasks.newest_where(COLLECT_TASK, |payload| payload["dry_run"] == false).await?;
    let since = match &last {
        Some(last) if matches!(last.state, State::Queued | State::Running) => return Ok(()),
        Some(last) => Some(last.created_at_ms),
        None => identity.projects().await?.iter().map(|project| project.created_at_ms).min(),
    };
    if since.is_none_or(|since| now.saturating_sub(since) < every_ms) {
        return Ok(());
    }
    let task = task(retention.order(false), None);
    let server = Actor::system("collector");
    let asked: Result<String, LedgerError> = ledger.write(&server, move |tx| enqueue(tx, &task)).await;
    asked?;
    tasks.ring();
    Ok(())
}

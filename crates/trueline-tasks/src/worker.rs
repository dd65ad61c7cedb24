//! A worker: claims tasks, keeps their leases alive while their handlers run, records how they ended.

use crate::task::{Lease, TaskError, Tasks, fail};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use trueline_ledger::{Actor, Ledger, Millis};

/// How long a worker may be silent before its task is given to another.
const LEASE_MS: Millis = 30_000;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the queue is looked at when nothing says that there is work.
const POLL: Duration = Duration::from_millis(250);
const FIRST_RETRY_MS: Millis = 1_000;

type Work = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What does the tasks of one kind. It completes the task itself, with its result, in one transaction; an error is
/// recorded by the worker.
pub type Handler = Arc<dyn Fn(Lease) -> Work + Send + Sync>;

/// A worker with its handlers.
pub struct Worker {
    ledger: Ledger,
    tasks: Tasks,
    name: String,
    handlers: BTreeMap<&'static str, Handler>,
}

impl Worker {
    /// A worker called `name` without handlers yet.
    #[must_use]
    pub fn new(ledger: Ledger, tasks: Tasks, name: String) -> Self {
        Self { ledger, tasks, name, handlers: BTreeMap::new() }
    }

    /// Adds the handler for tasks of `kind`.
    #[must_use]
    pub fn with<F, R>(mut self, kind: &'static str, handler: F) -> Self
    where
        F: Fn(Lease) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.handlers.insert(kind, Arc::new(move |lease| Box::pin(handler(lease))));
        self
    }

    /// Works until `stop` says so; the task at hand is finished first.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let kinds: Vec<&'static str> = self.handlers.keys().copied().collect();
        while !*stop.borrow() {
            // From before the look, so that a ring during it is heard.
            let rung = self.tasks.rung();
            match self.tasks.claim(&kinds, &self.name, LEASE_MS).await {
                Ok(Some(lease)) => self.work(lease).await,
                Ok(None) => {
                    tokio::select! {
                        () = tokio::time::sleep(POLL) => {}
                        () = rung => {}
                        _ = stop.changed() => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the task queue can't be read; trying again");
                    tokio::time::sleep(POLL * 8).await;
                }
            }
        }
    }

    async fn work(&self, lease: Lease) {
        if lease.has_had_its_tries() {
            // Its last worker died without a word; so would the next.
            return self.record_failure(&lease, "the worker was lost on the last attempt").await;
        }
        let Some(handler) = self.handlers.get(lease.kind.as_str()) else { return };
        let mut work = tokio::spawn(handler(lease.clone()));
        let outcome = loop {
            tokio::select! {
                done = &mut work => break done.unwrap_or_else(|e| Err(format!("the handler stopped: {e}"))),
                () = tokio::time::sleep(HEARTBEAT) => {
                    if let Err(TaskError::Fenced { .. }) = self.tasks.heartbeat(&lease, LEASE_MS).await {
                        tracing::warn!(task = lease.id, "lost the lease; stopping the work");
                        work.abort();
                        return;
                    }
                }
            }
        };
        if let Err(message) = outcome {
            self.record_failure(&lease, &message).await;
        }
    }

    async fn record_failure(&self, lease: &Lease, message: &str) {
        tracing::warn!(task = lease.id, kind = lease.kind, error = message, "a task failed");
        let wait = FIRST_RETRY_MS << lease.attempt.clamp(0, 8);
        let (lease, message) = (lease.clone(), message.to_owned());
        let recorded: Result<(), TaskError> =
            self.ledger.write(&Actor::system("worker"), move |tx| fail(tx, &lease, &message, wait)).await;
        if let Err(error) = recorded {
            tracing::warn!(%error, "a task's failure could not be recorded; its lease will run out");
        }
    }
}

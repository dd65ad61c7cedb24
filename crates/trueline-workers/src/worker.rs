//! The handle of a worker.

use crate::error::{StartError, WorkerError};
use crate::launch::launch;
use crate::process::{proportional_bytes, resident_bytes};
use crate::queue::{Queue, Refusal};
use crate::request::{Columns, Invocation, Prediction, Reply, Timings};
use crate::spec::WorkerSpec;
use crate::state::{State, Wish};
use crate::supervisor::{Answered, Job, Shared, supervise};
use crate::wire::{self, Packed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

/// A process that serves one model. Cheap to clone; when the last clone is dropped, the process is killed.
#[derive(Clone, Debug)]
pub struct Worker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // With the task goes the process, and all of its group.
        self.task.abort();
        self.shared.queue.close();
        self.shared.state.send_replace(State::Stopped);
    }
}

impl Worker {
    /// Starts a process, has it load its model and answer its example.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then, and nothing when this is dropped before it is done.
    pub async fn start(spec: WorkerSpec) -> Result<Self, StartError> {
        let running = launch(&spec).await?;
        let shared = Arc::new(Shared {
            queue: Queue::new(spec.limits.queue),
            state: watch::Sender::new(State::Ready(running.facts.clone())),
            wish: watch::Sender::new(Wish::Run),
            spec,
        });
        let task = tokio::spawn(supervise(Arc::clone(&shared), running)).abort_handle();
        Ok(Self { inner: Arc::new(Inner { shared, task }) })
    }

    /// How it does.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.shared.state.borrow().clone()
    }

    /// How it does, from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.inner.shared.state.subscribe()
    }

    /// What it was to be.
    #[must_use]
    pub fn spec(&self) -> &WorkerSpec {
        &self.inner.shared.spec
    }

    /// The memory that its process holds now, in bytes, when there is one.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        match &*self.inner.shared.state.borrow() {
            State::Ready(facts) => resident_bytes(facts.pid),
            _ => None,
        }
    }

    /// What its process takes of memory now, in bytes, when there is one: what it has alone, and its part of what it shares with
    /// other processes, such as the code of its libraries.
    #[must_use]
    pub fn proportional_bytes(&self) -> Option<u64> {
        match &*self.inner.shared.state.borrow() {
            State::Ready(facts) => proportional_bytes(facts.pid),
            _ => None,
        }
    }

    /// Requests that wait for it, without those that it has.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.shared.queue.len()
    }

    /// Predicts by typed tensors. A request that waits goes away with the future; one that was sent is answered to nobody.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn predict(&self, columns: &Columns, deadline: Instant) -> Result<Prediction, WorkerError> {
        let packed = wire::pack_columns(columns, &self.spec().limits).map_err(|why| self.unsendable(why))?;
        let (answered, queued) = self.ask(packed, deadline).await?;
        let mut prediction = wire::prediction(&self.spec().name, &answered.message)?;
        complete(&mut prediction.timings, &answered, queued);
        Ok(prediction)
    }

    /// Has MLflow's own scoring server answer a body. What it refuses is an answer too, with its status.
    ///
    /// # Errors
    /// [`WorkerError`], but never [`WorkerError::Input`] nor [`WorkerError::Model`].
    pub async fn invoke(&self, invocation: &Invocation, deadline: Instant) -> Result<Reply, WorkerError> {
        let packed =
            wire::pack_invocation(invocation, &self.spec().limits).map_err(|why| self.unsendable(why))?;
        let (answered, queued) = self.ask(packed, deadline).await?;
        let mut reply = wire::reply(&self.spec().name, &answered.message)?;
        complete(&mut reply.timings, &answered, queued);
        Ok(reply)
    }

    /// Takes no more requests, answers those that came, and stops: by SIGTERM, and by SIGKILL after the grace of the limits.
    /// What is not answered within `patience` is not.
    pub async fn drain(&self, patience: Duration) {
        let shared = &self.inner.shared;
        shared.queue.close();
        shared.wish.send_replace(Wish::Drain);
        let mut state = shared.state.subscribe();
        if tokio::time::timeout(patience, state.wait_for(|s| *s == State::Stopped)).await.is_err() {
            shared.wish.send_replace(Wish::Stop);
            let _ = state.wait_for(|s| *s == State::Stopped).await;
        }
    }

    fn unsendable(&self, why: String) -> WorkerError {
        WorkerError::Unsendable { worker: self.spec().name.clone(), why }
    }

    async fn ask(&self, packed: Packed, deadline: Instant) -> Result<(Answered, Instant), WorkerError> {
        let (shared, queued) = (&self.inner.shared, Instant::now());
        let worker = || shared.spec.name.clone();
        if let State::Restarting { failures, last_error, .. } = &*shared.state.borrow()
            && *failures >= shared.spec.limits.patience
        {
            let last_error = last_error.clone();
            return Err(WorkerError::Down { worker: worker(), failures: *failures, last_error });
        }
        let (reply, answer) = oneshot::channel();
        let ticket = shared.queue.push(Job { packed, deadline, reply }).map_err(|refusal| match refusal {
            Refusal::Full(waiting) => WorkerError::Busy { worker: worker(), waiting },
            Refusal::Closed => WorkerError::Stopped { worker: worker() },
        })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answered)) => Ok((answered?, queued)),
            // Whoever lets go of a job does so because its time is over, or because the worker stops.
            Ok(Err(_)) if deadline > Instant::now() => Err(WorkerError::Stopped { worker: worker() }),
            Ok(Err(_)) | Err(_) => {
                let sent = !ticket.leave();
                Err(WorkerError::Deadline { worker: worker(), waited: queued.elapsed(), sent })
            }
        }
    }
}

fn complete(timings: &mut Timings, answered: &Answered, queued: Instant) {
    timings.queued = answered.sent - queued;
    timings.total = answered.came - answered.sent;
}

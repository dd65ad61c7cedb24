//! The plumbing of [`super::gather`]: callers who wait, calls that run, and a timer. A request that finds nobody before it is
//! answered in its caller's own future; one that waited is answered in a task, since a caller who goes away must not take the
//! answers of others along.

use super::Batched;
use super::batch::{Asked, Batch, Single, Told};
use super::gather::{Full, Gather, Limits, Next};
use super::join::{Proof, fits};
use crate::frame::Frame;
use crate::runtime::{LONGEST, RunError, Together};
use crate::signature::Signature;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Batches in a row that failed although each of their requests could be answered by itself, after which no more are tried.
const MOST_REFUSALS: u32 = 3;

/// Stands before a model's runtime and has requests answered together that come while it is busy.
#[derive(Debug)]
pub(crate) struct Batcher {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    /// The version, for messages.
    model: String,
    /// Whether a request that the model's process died with is asked once more.
    asks_again: bool,
    runtime: Arc<dyn Together>,
    signature: Arc<Signature>,
    state: Mutex<State>,
    /// Where the model was loaded, which is there for longer than the thread of any request.
    home: Option<Handle>,
}

#[derive(Debug)]
struct State {
    gather: Gather<Asked>,
    proof: Proof,
    /// Batches in a row that failed although their requests did not.
    refusals: u32,
    /// When the timer looks again, if it runs.
    armed: Option<Instant>,
}

impl Batcher {
    /// Before this runtime of a version, whose requests are held to this signature. `asks_again`: whether a request may be put
    /// to it twice, should its process die the first time.
    pub(crate) fn new(
        model: String,
        runtime: Arc<dyn Together>,
        signature: Arc<Signature>,
        limits: Limits,
        asks_again: bool,
    ) -> Self {
        let state = State { gather: Gather::new(limits), proof: Proof::default(), refusals: 0, armed: None };
        let (state, home) = (Mutex::new(state), Handle::try_current().ok());
        let line = Line { model, asks_again, runtime, signature, state, home };
        Self { line: Arc::new(line) }
    }

    /// Answers a request before its deadline, by itself or together with others. It leaves the queue with the future.
    pub(crate) async fn predict(&self, frame: &Frame, deadline: Option<Instant>) -> Told {
        let line = &self.line;
        let typed = match line.signature.typed(frame) {
            Ok(typed) => typed.with_params(frame.params().cloned()),
            Err(error) => return (Err(error.into()), Batched::default()),
        };
        let came = Instant::now();
        let deadline = deadline.unwrap_or(came + LONGEST);
        let passes = line.state().gather.pass();
        if passes {
            let _lane = Lane(Arc::clone(line));
            return line.ask_alone(&typed, came, deadline, line.asks_again).await;
        }
        let (reply, answer) = oneshot::channel();
        let (rows, asked) = (typed.rows(), Asked { frame: typed, reply });
        let arrived = line.state().gather.arrive(came, rows, deadline, asked);
        let _place = match arrived {
            Ok(ticket) => Place { line, ticket },
            Err(full) => return (Err(line.full(full)), Batched::default()),
        };
        // Somebody may have given the last lane back in between, or this one fills a batch that is being gathered.
        line.pump();
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(told)) => told,
            // What waits is let go of when its time is over, or when there is nothing any more that could answer.
            Ok(Err(_)) if deadline > Instant::now() => {
                let why = format!("{} stopped before it answered; ask again", line.model);
                (Err(RunError::Busy(why)), Batched { queued: came.elapsed(), ..Batched::default() })
            }
            Ok(Err(_)) | Err(_) => {
                let queued = came.elapsed();
                let why = format!(
                    "{} did not answer within {queued:?}; allow more time or give it more workers",
                    line.model
                );
                (Err(RunError::TimedOut(why)), Batched { queued, ..Batched::default() })
            }
        }
    }
}

#[cfg(test)]
impl Batcher {
    /// Has it believe that a call takes so long, and that requests wait as long anyway.
    pub(super) fn teach(&self, took: std::time::Duration) {
        let mut state = self.line.state();
        for _ in 0..10 {
            state.gather.note(Instant::now(), 1, took, took);
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        let waiting = self.line.state().gather.drain();
        drop(waiting);
    }
}

/// A place in the queue, which is left when nobody waits for the answer any more.
struct Place<'l> {
    line: &'l Line,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.line.state().gather.leave(self.ticket);
        drop(left);
    }
}

/// A lane that is taken. Given back, it goes to those who wait.
struct Lane(Arc<Line>);

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.state().gather.done();
        self.0.pump();
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self, Full { requests, rows }: Full) -> RunError {
        RunError::Busy(format!(
            "{requests} requests of {rows} rows wait for {} already; ask again in a moment, or give it more workers",
            self.model
        ))
    }

    /// Sends what can be sent now.
    fn pump(self: &Arc<Self>) {
        // Without it nothing can run any more, and nobody waits.
        let Some(handle) = self.home.clone().or_else(|| Handle::try_current().ok()) else { return };
        loop {
            // Not held while a task is made: one that can't be is dropped at once, and gives its lane back.
            let next = self.state().gather.next(Instant::now());
            match next {
                Next::Send(batch) => {
                    let lane = Lane(Arc::clone(self));
                    handle.spawn(async move {
                        if let Some(batch) = Batch::of(batch) {
                            lane.0.send(batch).await;
                        }
                    });
                }
                Next::WaitUntil(at) => return self.arm(&handle, at),
                Next::Nothing => return,
            }
        }
    }

    /// Looks again at that moment, unless it will do so earlier anyway.
    fn arm(self: &Arc<Self>, handle: &Handle, at: Instant) {
        let mut state = self.state();
        if state.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        state.armed = Some(at);
        drop(state);
        let line: Weak<Self> = Arc::downgrade(self);
        handle.spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let Some(line) = line.upgrade() else { return };
            line.state().armed.take_if(|armed| *armed <= at);
            line.pump();
        });
    }

    /// Answers those who go together.
    async fn send(&self, batch: Batch) {
        if batch.requests() == 1 {
            self.send_each(batch, self.asks_again).await;
            return;
        }
        let (sent, rows) = (Instant::now(), batch.rows());
        match self.runtime.answer(&self.signature, batch.frame(), batch.deadline()).await {
            Ok(answer) => {
                let now = Instant::now();
                let fit = fits(&answer, rows);
                let covered = {
                    let mut state = self.state();
                    state.gather.note(now, rows, now - sent, batch.waited(sent));
                    state.refusals = 0;
                    state.proof.covers(rows)
                };
                if fit && covered {
                    return batch.give(answer, sent);
                }
                if !fit {
                    self.go_alone("its answer to several requests has not one part for each of their rows");
                }
                self.send_each(batch, self.asks_again).await;
            }
            Err(gone @ RunError::Gone(_)) if !self.asks_again => batch.fail(&gone, sent),
            // One request may be the cause, and the others are not to suffer from it. Where the process died, this is the
            // second time already that each is asked.
            Err(
                error @ (RunError::Input(_)
                | RunError::Failed(_)
                | RunError::Raised { .. }
                | RunError::Gone(_)),
            ) => {
                let again = self.asks_again && !matches!(error, RunError::Gone(_));
                let innocent = self.send_each(batch, again).await;
                let refused = {
                    let mut state = self.state();
                    state.refusals = if innocent { state.refusals + 1 } else { 0 };
                    state.refusals >= MOST_REFUSALS
                };
                if refused {
                    self.go_alone("it fails when it is asked by several requests and answers each of them");
                }
            }
            Err(error) => batch.fail(&error, sent),
        }
    }

    /// Answers the requests of a batch one by one, those at least that somebody waits for. Says whether all were answered.
    async fn send_each(&self, batch: Batch, again: bool) -> bool {
        let mut all = true;
        for Single { frame, came, deadline, reply } in batch.singles() {
            if reply.is_closed() || deadline <= Instant::now() {
                all = false;
                continue;
            }
            let told = self.ask_alone(&frame, came, deadline, again).await;
            all &= told.0.is_ok();
            // Who has gone needs no answer.
            drop(reply.send(told));
        }
        all
    }

    /// Asks by one request, and learns from the answer whether several may be asked together. Where the process that had the
    /// request died, it is asked once more, if it may be (`again`): of the process that takes its place, or of another one. A
    /// request that kills whatever it is put to so kills two processes and no more.
    async fn ask_alone(&self, typed: &Frame, came: Instant, deadline: Instant, again: bool) -> Told {
        let mut sent = Instant::now();
        let (rows, queued) = (typed.rows(), sent - came);
        let mut answer = self.runtime.answer(&self.signature, typed, deadline).await;
        if again && matches!(answer, Err(RunError::Gone(_))) && deadline > Instant::now() {
            tracing::info!(model = self.model, "a request whose worker died is asked again");
            sent = Instant::now();
            answer = self.runtime.answer(&self.signature, typed, deadline).await;
        }
        if let Ok(answer) = &answer {
            let (now, fit) = (Instant::now(), fits(answer, rows));
            let mut state = self.state();
            state.gather.note(now, rows, now - sent, queued);
            match fit {
                // An answer to nothing shows nothing.
                _ if rows == 0 => {}
                true => state.proof.show(rows),
                false => {
                    drop(state);
                    self.go_alone("its answer has not one part for each row of the request");
                }
            }
        }
        (answer, Batched { queued, requests: 1, rows })
    }

    /// No more batches for this model.
    fn go_alone(&self, why: &str) {
        let mut state = self.state();
        if state.gather.joins() {
            state.gather.go_alone();
            drop(state);
            tracing::warn!(model = self.model, "requests are answered one by one from now on: {why}");
        }
    }
}

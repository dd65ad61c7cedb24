//! The task that holds a worker's process: sends it what waits, gives out its answers, watches it, starts it again.

use crate::channel::{ChannelError, Message};
use crate::error::WorkerError;
use crate::frame::Kind;
use crate::launch::{LOOK, Running, SHOWN_LINES, launch, over};
use crate::process::ending;
use crate::queue::Queue;
use crate::spec::WorkerSpec;
use crate::state::{State, Wish};
use crate::wire::Packed;
use rustix::process::Signal;
use std::collections::HashMap;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How long the last frames of a process that has ended are waited for.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// How often a worker that has nothing to do is looked at.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) packed: Packed,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Answered, WorkerError>>,
}

/// An answer as it came, and when.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) message: Message,
    pub(crate) sent: Instant,
    pub(crate) came: Instant,
}

/// What a worker's handles and its task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) spec: WorkerSpec,
    pub(crate) queue: Queue<Job>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) wish: watch::Sender<Wish>,
}

/// A request that the process has.
struct Flight {
    reply: oneshot::Sender<Result<Answered, WorkerError>>,
    sent: Instant,
    deadline: Instant,
}

/// Why a process is served no longer.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    /// It ended, or had to be ended: how, in words.
    Gone(String),
}

/// Keeps a worker going until nobody wants it.
pub(crate) async fn supervise(shared: Arc<Shared>, mut running: Running) {
    let mut failures = 0;
    loop {
        let ready = Instant::now();
        shared.state.send_replace(State::Ready(running.facts.clone()));
        let end = Serving::new(&shared, &mut running).until_end().await;
        let End::Gone(why) = end else {
            stop(&mut running, shared.spec.limits.grace).await;
            break;
        };
        tracing::warn!(worker = shared.spec.name, pid = running.facts.pid, "the worker {why}");
        drop(running);
        if ready.elapsed() >= shared.spec.limits.stable {
            failures = 0;
        }
        match restart(&shared, &mut failures, why).await {
            Some(again) => running = again,
            None => break,
        }
    }
    shared.queue.close();
    while let Some(job) = shared.queue.try_pop() {
        let _ = job.reply.send(Err(WorkerError::Stopped { worker: shared.spec.name.clone() }));
    }
    shared.state.send_replace(State::Stopped);
}

/// Starts the process again, as often as it takes. None when nobody wants it any more.
async fn restart(shared: &Shared, failures: &mut u32, mut last_error: String) -> Option<Running> {
    let (since, limits, worker) = (Instant::now(), &shared.spec.limits, &shared.spec.name);
    let mut wish = shared.wish.subscribe();
    loop {
        *failures = failures.saturating_add(1);
        let restarting = State::Restarting { since, failures: *failures, last_error: last_error.clone() };
        shared.state.send_replace(restarting);
        if *failures >= limits.patience {
            while let Some(job) = shared.queue.try_pop() {
                let (worker, last_error) = (worker.clone(), last_error.clone());
                let _ = job.reply.send(Err(WorkerError::Down { worker, failures: *failures, last_error }));
            }
        }
        let lot = getrandom::u64().unwrap_or(u64::MAX);
        let attempt = async {
            tokio::time::sleep(limits.backoff.wait(*failures, lot)).await;
            launch(&shared.spec).await
        };
        tokio::select! {
            _ = wish.wait_for(|wish| *wish != Wish::Run) => return None,
            launched = attempt => match launched {
                Ok(running) => return Some(running),
                Err(error) => {
                    tracing::warn!(worker, %error, "the worker was not restarted");
                    last_error = error.to_string();
                }
            },
        }
    }
}

/// Has a process end by itself, or ends it.
async fn stop(running: &mut Running, grace: Duration) {
    running.process.signal(Signal::TERM);
    if tokio::time::timeout(grace, running.process.ended()).await.is_err() {
        running.process.signal(Signal::KILL);
        let _ = running.process.ended().await;
    }
}

struct Serving<'a> {
    shared: &'a Shared,
    running: &'a mut Running,
    flights: HashMap<u32, Flight>,
    next_id: u32,
    next_look: Instant,
}

impl<'a> Serving<'a> {
    fn new(shared: &'a Shared, running: &'a mut Running) -> Self {
        Self { shared, running, flights: HashMap::new(), next_id: 1, next_look: Instant::now() }
    }

    async fn until_end(mut self) -> End {
        let end = self.serve().await;
        if let End::Gone(why) = &end {
            let tail = self.running.tail.last(SHOWN_LINES);
            for (_, flight) in self.flights.drain() {
                let (worker, why, tail) = (self.shared.spec.name.clone(), why.clone(), tail.clone());
                let _ = flight.reply.send(Err(WorkerError::Gone { worker, why, tail }));
            }
        }
        end
    }

    async fn serve(&mut self) -> End {
        let mut wishes = self.shared.wish.subscribe();
        loop {
            let wish = *wishes.borrow_and_update();
            let idle = self.flights.is_empty() && self.shared.queue.len() == 0;
            if wish == Wish::Stop || (wish == Wish::Drain && idle) {
                return End::Unwanted;
            }
            let may_send = self.flights.len() < self.shared.spec.concurrency.max(1);
            let look = self.next_look.into();
            let gone = tokio::select! {
                biased;
                received = self.running.channel.receive() => match received {
                    Ok(message) => self.deliver(message),
                    Err(error) => Some(self.broken(error).await),
                },
                ended = self.running.process.ended() => Some(self.last_frames(ended).await),
                _ = wishes.changed() => None,
                () = tokio::time::sleep_until(look) => self.look(),
                job = self.shared.queue.pop(), if may_send => self.send(job).await,
            };
            if let Some(why) = gone {
                return End::Gone(why);
            }
        }
    }

    async fn send(&mut self, job: Job) -> Option<String> {
        let sent = Instant::now();
        if job.reply.is_closed() || job.deadline <= sent {
            // Who asked has gone or is about to: their own clock tells them.
            return None;
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let Packed { kind, head, body } = job.packed;
        self.flights.insert(id, Flight { reply: job.reply, sent, deadline: job.deadline });
        self.next_look = self.next_look.min(sent + LOOK);
        let Running { channel, process, .. } = &mut *self.running;
        tokio::select! {
            biased;
            sent = channel.send(kind, id, &head, &body, None) => {
                sent.err().map(|e| format!("closed its socket ({e})"))
            }
            ended = process.ended() => Some(words(ended)),
            () = tokio::time::sleep(self.shared.spec.limits.overrun) => {
                Some(format!("did not read a request for {:?} and was killed", self.shared.spec.limits.overrun))
            }
        }
    }

    fn deliver(&mut self, message: Message) -> Option<String> {
        if message.kind != Kind::Answer {
            return Some(format!("sent {:?} where an answer belongs and was killed", message.kind));
        }
        let Some(flight) = self.flights.remove(&message.id) else {
            return Some("answered what it was not asked and was killed".to_owned());
        };
        let answered = Answered { message, sent: flight.sent, came: Instant::now() };
        let _ = flight.reply.send(Ok(answered));
        None
    }

    /// Looks at memory, and at requests that nobody waits for any more.
    fn look(&mut self) -> Option<String> {
        let (now, limits) = (Instant::now(), &self.shared.spec.limits);
        self.next_look = now + if self.flights.is_empty() { IDLE_LOOK } else { LOOK };
        if let Some((held, limit)) = over(&self.running.process, limits) {
            return Some(format!("held {held} bytes of memory of the {limit} that it may and was killed"));
        }
        let hangs = |flight: &Flight| now > flight.deadline + limits.overrun;
        self.flights
            .values()
            .any(hangs)
            .then(|| format!("went on {:?} behind the deadline of a request and was killed", limits.overrun))
    }

    async fn broken(&mut self, error: ChannelError) -> String {
        if !matches!(error, ChannelError::Closed) {
            return format!("broke the protocol ({error}) and was killed");
        }
        match tokio::time::timeout(LAST_FRAMES, self.running.process.ended()).await {
            Ok(ended) => words(ended),
            Err(_) => "closed its socket and was killed".to_owned(),
        }
    }

    /// What a process that has ended sent before.
    async fn last_frames(&mut self, ended: std::io::Result<ExitStatus>) -> String {
        let last = async {
            while let Ok(message) = self.running.channel.receive().await {
                if let Some(why) = self.deliver(message) {
                    return Some(why);
                }
            }
            None
        };
        let broken = tokio::time::timeout(LAST_FRAMES, last).await.ok().flatten();
        broken.unwrap_or_else(|| words(ended))
    }
}

fn words(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|e| format!("ended, and the system does not tell how ({e})"), ending)
}

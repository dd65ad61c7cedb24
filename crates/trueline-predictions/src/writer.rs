//! The writer: the one thread that appends, so that concurrent callers share one fsync.
//!
//! It takes what is in the queue, writes it stream by stream, and answers. While the disk works, the queue fills again:
//! groups form by themselves, and a caller alone does not wait for company.

use crate::frame::Frames;
use crate::sealer::Sealing;
use crate::stream::Stream;
use crate::tail::{Tail, Waiter};
use crate::{LogError, Options};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A stream's waiting bytes are written when they are this many, whoever waits.
const FULL_TAIL: usize = 1 << 20;
/// Jobs are taken from the queue until they have this many bytes.
const FULL_ROUND: usize = 4 << 20;

/// Best effort is durable within 100 ms: half of them to wait for company, half for the disk.
pub(crate) const MAX_FLUSH_AFTER: Duration = Duration::from_millis(50);

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Append frames; nobody waits for best effort.
    Append { stream: Arc<Stream>, frames: Frames, waiter: Option<Waiter> },
    /// Close the open segment of a stream, which nothing was appended to for long.
    Close(Arc<Stream>),
    /// Close every open segment and seal what is closed.
    SealAll(oneshot::Sender<Result<(), LogError>>),
}

impl Job {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append { frames, .. } => frames.bytes.len(),
            Self::Close(_) | Self::SealAll(_) => 0,
        }
    }
}

pub(crate) struct Writer {
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) queued_bytes: Arc<AtomicUsize>,
    pub(crate) sealer: Sender<Sealing>,
    /// By the stream's ordinal.
    pub(crate) tails: BTreeMap<usize, Tail>,
    /// When to look again for segments that are old enough to be sealed.
    pub(crate) look_for_old: Option<Instant>,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            match self.wait() {
                Ok(job) => self.round(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.commit_due();
            self.close_old();
        }
        self.commit_all();
    }

    fn wait(&self) -> Result<Job, RecvTimeoutError> {
        let flush = self.tails.values().filter_map(Tail::waiting_since).min();
        let flush = flush.map(|since| since + self.options.flush_after);
        match flush.into_iter().chain(self.look_for_old).min() {
            Some(deadline) => self.jobs.recv_deadline(deadline),
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn round(&mut self, first: Job) {
        let mut bytes = first.bytes();
        self.take(first);
        while bytes < FULL_ROUND {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.bytes();
            self.take(job);
        }
    }

    fn take(&mut self, job: Job) {
        self.queued_bytes.fetch_sub(job.bytes(), Relaxed);
        match job {
            Job::Append { stream, frames, waiter } => {
                let root = &self.root;
                let tail = self.tails.entry(stream.ordinal).or_insert_with(|| Tail::new(stream, root));
                if tail.overflows(frames.bytes.len(), self.options.segment_bytes) {
                    tail.commit();
                    tail.close();
                    tell(&self.sealer, Sealing::Closed(tail.stream.clone()));
                }
                tail.push(frames, waiter, Instant::now());
            }
            Job::Close(stream) => {
                // After a start nothing of it need be in hand yet.
                if let Some(tail) = self.tails.get_mut(&stream.ordinal) {
                    tail.commit();
                    tail.close();
                }
                stream.segments.close();
                tell(&self.sealer, Sealing::Closed(stream));
            }
            Job::SealAll(reply) => {
                self.commit_all();
                for tail in self.tails.values_mut() {
                    tail.close();
                }
                tell(&self.sealer, Sealing::All(reply));
            }
        }
    }

    fn commit_due(&mut self) {
        let now = Instant::now();
        let flush_after = self.options.flush_after;
        let due = |tail: &Tail| {
            tail.is_waited_for()
                || tail.waiting_bytes() >= FULL_TAIL
                || tail.waiting_since().is_some_and(|since| now >= since + flush_after)
        };
        for tail in self.tails.values_mut().filter(|tail| due(tail)) {
            commit(tail, &self.sealer);
            if let Some(since) = tail.open_since() {
                let old = since + self.options.seal_after;
                self.look_for_old = Some(self.look_for_old.map_or(old, |look| look.min(old)));
            }
        }
    }

    fn commit_all(&mut self) {
        self.tails.values_mut().for_each(|tail| commit(tail, &self.sealer));
    }

    fn close_old(&mut self) {
        let now = Instant::now();
        if self.look_for_old.is_none_or(|look| now < look) {
            return;
        }
        let seal_after = self.options.seal_after;
        for tail in self.tails.values_mut() {
            if tail.open_since().is_some_and(|since| now >= since + seal_after) {
                commit(tail, &self.sealer);
                tail.close();
                tell(&self.sealer, Sealing::Closed(tail.stream.clone()));
            }
        }
        self.look_for_old =
            self.tails.values().filter_map(Tail::open_since).min().map(|since| since + seal_after);
    }
}

fn commit(tail: &mut Tail, sealer: &Sender<Sealing>) {
    if tail.commit() {
        tell(sealer, Sealing::Closed(tail.stream.clone()));
    }
}

/// The sealer ends after the writer, so it is there.
fn tell(sealer: &Sender<Sealing>, what: Sealing) {
    let _ = sealer.send(what);
}

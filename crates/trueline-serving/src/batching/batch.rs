//! Requests that go together: their rows one after the other, and who waits for which of them.

use super::Batched;
use super::gather::{Alike, Waiting};
use super::join::cut;
use crate::frame::Frame;
use crate::predictions::Predictions;
use crate::runtime::RunError;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a caller is told.
pub(super) type Told = (Result<Predictions, RunError>, Batched);

/// A request that waits, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) frame: Frame,
    pub(super) reply: oneshot::Sender<Told>,
}

impl Alike for Asked {
    fn alike(&self, other: &Self) -> bool {
        self.frame.joins(&other.frame)
    }
}

/// Requests that go together, at least one.
#[derive(Debug)]
pub(super) struct Batch {
    joined: Frame,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    rows: usize,
    came: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Told>,
}

/// One of them by itself.
pub(super) struct Single {
    pub(super) frame: Frame,
    pub(super) came: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Told>,
}

impl Batch {
    /// Of these, whose rows are moved together.
    pub(super) fn of(batch: Vec<Waiting<Asked>>) -> Option<Self> {
        let (mut joined, mut members) = (None::<Frame>, Vec::with_capacity(batch.len()));
        for Waiting { rows, came, deadline, load: Asked { frame, reply }, .. } in batch {
            match &mut joined {
                None => joined = Some(frame),
                Some(joined) => {
                    if let Err(why) = joined.append(frame) {
                        drop(reply.send((Err(RunError::Failed(why)), Batched::default())));
                        continue;
                    }
                }
            }
            members.push(Member { rows, came, deadline, reply });
        }
        Some(Self { joined: joined?, members })
    }

    /// All rows.
    pub(super) fn frame(&self) -> &Frame {
        &self.joined
    }

    pub(super) fn rows(&self) -> usize {
        self.joined.rows()
    }

    pub(super) fn requests(&self) -> usize {
        self.members.len()
    }

    /// When nobody waits any more. Who has less time than others keeps a clock of his own.
    pub(super) fn deadline(&self) -> Instant {
        self.members.iter().map(|m| m.deadline).max().unwrap_or_else(Instant::now)
    }

    /// How long the last of them had waited.
    pub(super) fn waited(&self, sent: Instant) -> Duration {
        self.members.last().map_or(Duration::ZERO, |last| sent - last.came)
    }

    /// Gives each its rows of an answer that has as many as all of them.
    pub(super) fn give(self, answer: Predictions, sent: Instant) {
        let rows: Vec<usize> = self.members.iter().map(|m| m.rows).collect();
        let parts = cut(answer, &rows);
        self.tell(sent, parts.into_iter().map(Ok));
    }

    /// Tells each that there is no answer.
    pub(super) fn fail(self, error: &RunError, sent: Instant) {
        self.tell(sent, std::iter::repeat_with(|| Err(error.clone())));
    }

    fn tell(self, sent: Instant, answers: impl Iterator<Item = Result<Predictions, RunError>>) {
        let (requests, rows) = (self.requests(), self.rows());
        for (member, answer) in self.members.into_iter().zip(answers) {
            let batched = Batched { queued: sent - member.came, requests, rows };
            // Who has gone needs no answer.
            drop(member.reply.send((answer, batched)));
        }
    }

    /// Each by itself, with the rows that were its own.
    pub(super) fn singles(self) -> impl Iterator<Item = Single> {
        let Self { joined, members } = self;
        let mut end = 0;
        members.into_iter().map(move |Member { rows, came, deadline, reply }| {
            let begin = end;
            end += rows;
            Single { frame: joined.slice(begin, end), came, deadline, reply }
        })
    }
}

//! One trial at one server: judged here, or handed to the server that does. What others saw is taken in before what was seen
//! here, so that this server's own part is in its order, whoever judged before.

use super::{Gathered, Sits, TrialKind};
use crate::deploy::publish;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use trueline_identity::Project;
use trueline_ledger::Millis;
use trueline_serving::ServingError;
use trueline_serving::trial::{Batch, Hold, Kept, Lease, Outgoing, Position, Positions, SetAside};

/// How often what was seen is written down, in milliseconds.
const SAVE: Millis = 1_000;
/// The same once keys are remembered, which takes some hundred kilobytes.
const SAVE_WITH_KEYS: Millis = 5_000;
/// How long one trial may read at a sitting, so that others have their turn; it goes on a second later.
const READING: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Desk<T: TrialKind> {
    trial: T,
    memory: T::Memory,
    role: Role<T>,
    /// Batches on their way to whoever judges.
    unsent: VecDeque<Outgoing>,
}

/// What this server is to a trial.
#[derive(Debug)]
enum Role<T: TrialKind> {
    /// Nothing yet, or no longer.
    Unknown,
    /// It judges.
    Judges(Box<Judging<T>>),
    /// It hands over what it sees, and has until there.
    Sends(Position),
}

/// What the server that judges has in memory.
#[derive(Debug)]
struct Judging<T: TrialKind> {
    lease: Lease,
    evidence: T::Evidence,
    positions: Positions,
    /// What the evidence says; none when something came since.
    numbers: Option<T::Numbers>,
    saved_at_ms: Millis,
    unsaved: bool,
    /// Batches that could not be taken in since it was written down last.
    aside: Vec<SetAside>,
}

impl<T: TrialKind> Desk<T> {
    pub(super) fn new(trial: T) -> Self {
        Self { trial, memory: T::Memory::default(), role: Role::Unknown, unsent: VecDeque::new() }
    }

    /// Sees to the trial as it is now.
    pub(super) async fn turn(
        &mut self,
        with: &Sits,
        project: &Project,
        trial: T,
    ) -> Result<(), ServingError> {
        let before = std::mem::replace(&mut self.trial, trial);
        self.take_role(with).await?;
        self.trial.remember(&with.parts, &mut self.memory).await?;
        let Role::Judges(judging) = &mut self.role else { return self.send(with).await };
        if before != self.trial {
            judging.numbers = None;
        }
        self.trial.follow(None, &mut judging.evidence);
        let own = self.take_in_all(with).await?;
        // Also when this server's log can't be read: what the others see goes on counting.
        self.decide(with, project).await?;
        own
    }

    /// Judges, if nobody else does.
    async fn take_role(&mut self, with: &Sits) -> Result<(), ServingError> {
        let (key, shared) = (self.trial.key(), &with.parts.evidence);
        let lease = match &self.role {
            Role::Judges(judging) => Some(&judging.lease),
            Role::Unknown | Role::Sends(_) => None,
        };
        let role = match (shared.hold(&key, lease).await?, &self.role) {
            (Hold::Still, _) | (Hold::Others, Role::Sends(_)) => return Ok(()),
            (Hold::Taken(lease, kept), _) => {
                Role::Judges(Box::new(Judging::go_on(&self.trial, lease, kept)?))
            }
            (Hold::Others, _) => Role::Sends(shared.own_position(&key).await?.unwrap_or_default()),
        };
        (self.role, self.memory) = (role, T::Memory::default());
        Ok(())
    }

    /// Takes in what others have handed over, then what was seen here; why that could not be read, apart. While more waits than
    /// can be taken in at a time, what was seen here waits too.
    async fn take_in_all(&mut self, with: &Sits) -> Result<Result<(), ServingError>, ServingError> {
        let Role::Judges(judging) = &mut self.role else { return Ok(Ok(())) };
        let (trial, key, shared) = (&self.trial, self.trial.key(), &with.parts.evidence);
        let began = Instant::now();
        loop {
            let waiting = shared.waiting::<T::Seen>(&key, &judging.positions).await?;
            if waiting.is_empty() {
                break;
            }
            // It may be a hundred thousand requests, which would keep others from being answered.
            tokio::task::block_in_place(|| {
                waiting.into_iter().for_each(|batch| judging.take_in_batch(trial, batch));
            });
            if began.elapsed() >= READING {
                return Ok(Ok(()));
            }
        }
        while let Some(own) = self.unsent.pop_front() {
            if own.position.batch > judging.own(shared.server()).batch {
                let (server, seen) = (shared.server().to_owned(), own.seen().map_err(|e| e.to_string()));
                judging.take_in_batch(trial, Batch { server, position: own.position, seen });
            }
        }
        let memory = &mut self.memory;
        Ok(tokio::task::block_in_place(|| judging.take_in_own(trial, with, memory)))
    }

    /// Looks at it all, and does what is to be done.
    async fn decide(&mut self, with: &Sits, project: &Project) -> Result<(), ServingError> {
        let Role::Judges(judging) = &mut self.role else { return Ok(()) };
        let (trial, now) = (&self.trial, with.sources.now());
        let numbers = tokio::task::block_in_place(|| judging.look(trial))?;
        let what = trial.decide(&judging.evidence, &numbers, now);
        // Before it acts, too: that may fail for as long as a model can't be loaded.
        if !judging.save_when_due(trial, with).await? {
            self.role = Role::Unknown;
            return Ok(());
        }
        let Some(what) = what else { return Ok(()) };
        let done = trial.act(&with.parts, &judging.lease, what, numbers).await?;
        let Some((moved, endpoint)) = done else { return Ok(()) };
        moved.follow(Some(trial), &mut judging.evidence);
        judging.unsaved = true;
        publish(&with.parts.plane, project, &endpoint).await?;
        let ((state, reason), id) = (moved.state(), trial.key().id);
        tracing::info!(endpoint = %endpoint.name, trial = id, state, reason, "{}", T::MOVED);
        // One that has ended is swept; until then nobody asks for its evidence.
        if !judging.save(trial, with).await? {
            self.role = Role::Unknown;
        } else if let Role::Judges(judging) = &mut self.role {
            judging.numbers = None;
        }
        self.trial = moved;
        Ok(())
    }

    /// Hands over what was seen here.
    async fn send(&mut self, with: &Sits) -> Result<(), ServingError> {
        let began = Instant::now();
        loop {
            if !self.flush(with).await? {
                return Ok(());
            }
            let Role::Sends(at) = &mut self.role else { return Ok(()) };
            let (trial, memory, mut next) = (&self.trial, &mut self.memory, at.clone());
            let Gathered { seen, more } =
                tokio::task::block_in_place(|| trial.gather(with, memory, &mut next))?;
            if let Some(seen) = seen {
                next.batch += 1;
                self.unsent.push_back(Outgoing::new(next.clone(), &seen)?);
                *at = next;
            }
            if !more || began.elapsed() >= READING {
                return self.flush(with).await.map(drop);
            }
        }
    }

    /// Sends what is on its way; whether all of it went.
    async fn flush(&mut self, with: &Sits) -> Result<bool, ServingError> {
        let key = self.trial.key();
        while let Some(first) = self.unsent.front() {
            if !with.parts.evidence.send(&key, first).await? {
                return Ok(false);
            }
            self.unsent.pop_front();
        }
        Ok(true)
    }

    /// Takes in or hands over what came last, and leaves the judging to others.
    pub(super) async fn close(&mut self, with: &Sits) -> Result<(), ServingError> {
        if matches!(self.role, Role::Sends(_)) {
            return self.send(with).await;
        }
        let own = self.take_in_all(with).await?;
        let Role::Judges(judging) = &mut self.role else { return Ok(()) };
        judging.save(&self.trial, with).await?;
        with.parts.evidence.release(&judging.lease).await?;
        own
    }
}

impl<T: TrialKind> Judging<T> {
    /// Goes on from what was written down, or begins.
    fn go_on(trial: &T, lease: Lease, kept: Kept<T::Evidence>) -> Result<Self, ServingError> {
        let mut evidence = match kept.evidence {
            Some(kept) => kept,
            None => trial.nothing_seen()?,
        };
        T::forget_cursor(&mut evidence);
        let (positions, numbers, aside) = (kept.positions, None, Vec::new());
        Ok(Self { lease, evidence, positions, numbers, saved_at_ms: 0, unsaved: false, aside })
    }

    fn own(&self, server: &str) -> Position {
        self.positions.get(server).cloned().unwrap_or_default()
    }

    /// Takes in all of it or nothing: evidence that has some of it would count that again.
    fn take_in(
        &mut self,
        trial: &T,
        server: &str,
        position: Position,
        seen: T::Seen,
    ) -> Result<(), ServingError> {
        let mut evidence = self.evidence.clone();
        trial.take_in(&mut evidence, server, seen)?;
        self.evidence = evidence;
        self.positions.insert(server.to_owned(), position);
        (self.numbers, self.unsaved) = (None, true);
        Ok(())
    }

    /// Takes in a batch; one that can't be is set aside, and keeps those behind it from nothing. That it is missing is told,
    /// since it may be missing for what it showed.
    fn take_in_batch(&mut self, trial: &T, batch: Batch<T::Seen>) {
        let Batch { server, position, seen } = batch;
        let number = position.batch;
        let taken = seen
            .and_then(|seen| self.take_in(trial, &server, position.clone(), seen).map_err(|e| e.to_string()));
        let Err(reason) = taken else { return };
        tracing::warn!(
            trial = trial.key().id,
            server,
            batch = number,
            reason,
            "what a server saw can't be read, and is lost for the judgement: nothing is promoted without a person"
        );
        T::lose_batch(&mut self.evidence);
        self.positions.insert(server.clone(), position);
        self.aside.push(SetAside { server, number, reason });
        (self.numbers, self.unsaved) = (None, true);
    }

    fn take_in_own(&mut self, trial: &T, with: &Sits, memory: &mut T::Memory) -> Result<(), ServingError> {
        let (own, began) = (with.parts.evidence.server(), Instant::now());
        loop {
            let mut at = self.own(own);
            let Gathered { seen, more } = trial.gather(with, memory, &mut at)?;
            if let Some(seen) = seen {
                self.take_in(trial, own, at, seen)?;
            }
            if !more || began.elapsed() >= READING {
                return Ok(());
            }
        }
    }

    /// What the evidence says; it is reckoned when something came.
    fn look(&mut self, trial: &T) -> Result<T::Numbers, ServingError> {
        if let Some(known) = &self.numbers {
            return Ok(known.clone());
        }
        let numbers = trial.look(&mut self.evidence)?;
        self.numbers = Some(numbers.clone());
        Ok(numbers)
    }

    /// Whether this server judges still.
    async fn save_when_due(&mut self, trial: &T, with: &Sits) -> Result<bool, ServingError> {
        let wait = if T::has_keys(&self.evidence) { SAVE_WITH_KEYS } else { SAVE };
        if with.sources.now().saturating_sub(self.saved_at_ms) < wait {
            return Ok(true);
        }
        self.save(trial, with).await
    }

    async fn save(&mut self, trial: &T, with: &Sits) -> Result<bool, ServingError> {
        if !self.unsaved {
            return Ok(true);
        }
        let numbers = tokio::task::block_in_place(|| self.look(trial))?;
        let (shared, seen) = (&with.parts.evidence, (&self.evidence, &numbers));
        if !shared.save(&self.lease, seen, &self.positions, &self.aside).await? {
            let id = trial.key().id;
            tracing::warn!(trial = id, "another server judges by now; it goes on from what was written down");
            return Ok(false);
        }
        (self.saved_at_ms, self.unsaved) = (with.sources.now(), false);
        self.aside.clear();
        Ok(true)
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;

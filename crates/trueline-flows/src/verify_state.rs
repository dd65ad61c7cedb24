//! What the rows should be, as the events tell it: events are folded stretch by stretch in short reads, so that a ledger
//! of any length is checked in little memory and no read outlives a second.

use std::sync::Arc;
use trueline_db::{Db, DbError, Tx};
use trueline_ledger::{
    EventRow, LedgerError, events_of, happened_after, newest_index, unsequenced_events_of,
};
use trueline_registry::{Compared, Disagreement, Replay};
use trueline_serving::SegmentReplay;
use trueline_serving::bandit::BanditReplay;
use trueline_serving::rollout::{Mismatch, RolloutReplay};
use trueline_tracking::{Broken, Seal};

/// Entries of the log looked through in one read.
const STRETCH: i64 = 10_000;

/// What the events up to an index say.
#[derive(Clone, Debug)]
struct Told {
    upto: i64,
    registry: Replay,
    rollouts: RolloutReplay,
    bandits: BanditReplay,
    segments: SegmentReplay,
}

/// What the rows came to, and what else is not in the database and has to be looked at.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) compared: Compared,
    /// Sealed segments of the prediction log, which are files.
    pub(crate) segments: SegmentReplay,
}

/// Events that come next, and up to which index they tell all.
struct Stretch {
    events: Vec<EventRow>,
    upto: i64,
}

impl Told {
    fn new() -> Self {
        let (registry, rollouts, bandits, segments) = Default::default();
        Self { upto: -1, registry, rollouts, bandits, segments }
    }

    fn apply(&mut self, stretch: &Stretch) {
        for event in &stretch.events {
            self.registry.apply(event);
            self.rollouts.apply(event);
            self.bandits.apply(event);
            self.segments.apply(event);
        }
        self.upto = stretch.upto;
    }

    fn actions() -> Vec<&'static str> {
        let own = [RolloutReplay::ACTIONS, BanditReplay::ACTIONS, SegmentReplay::ACTIONS].concat();
        [Replay::ACTIONS, &own, Seal::ACTIONS].concat()
    }

    /// The next stretch; nothing when all events that have an index are in.
    fn next(tx: &mut Tx<'_>, after: i64) -> Result<Option<Stretch>, LedgerError> {
        let newest = newest_index(tx)?;
        if after >= newest {
            return Ok(None);
        }
        let upto = newest.min(after + STRETCH);
        Ok(Some(Stretch { events: events_of(tx, &Self::actions(), after, upto)?, upto }))
    }

    /// Takes in what came last, sequenced or not, and compares it all with the rows of the same moment; answers the
    /// events that were taken in, too.
    fn compare(mut self, tx: &mut Tx<'_>) -> Result<(State, Vec<EventRow>), LedgerError> {
        let mut last = Vec::new();
        while let Some(stretch) = Self::next(tx, self.upto)? {
            self.apply(&stretch);
            last.extend(stretch.events);
        }
        let events = unsequenced_events_of(tx, &Self::actions())?;
        self.apply(&Stretch { events: events.clone(), upto: self.upto });
        last.extend(events);
        let registry = self.registry.compare(tx).map_err(failed)?;
        let rollouts = compared(self.rollouts.compare(tx).map_err(failed)?);
        let bandits = compared(self.bandits.compare(tx).map_err(failed)?);
        let segments = compared(self.segments.compare(tx).map_err(failed)?);
        let compared = registry.and(rollouts).and(bandits).and(segments);
        Ok((State { compared, segments: self.segments }, last))
    }
}

fn compared((mismatches, unknowable): (Vec<Mismatch>, u64)) -> Compared {
    let disagreement = |m: Mismatch| Disagreement { row: m.row, ledger: m.ledger, database: m.database };
    Compared { disagreements: mismatches.into_iter().map(disagreement).collect(), unknowable }
}

fn failed(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Db(DbError::Other(error.to_string()))
}

/// A seal that does not hold, unless its owner was purged after that place.
#[derive(Clone, Debug)]
struct Doubt {
    seal: Seal,
    position: i64,
    broken: Broken,
}

impl Doubt {
    /// Whether a later event tells why the points are gone.
    fn is_explained(&self, tx: &mut Tx<'_>) -> Result<bool, LedgerError> {
        let (project, owner, action) = self.seal.purge();
        happened_after(tx, project, (action, &owner), self.position)
    }
}

/// The seals among events, each with its place; those whose payload was erased are only counted.
fn seals(events: &[EventRow], compared: &mut Compared) -> Vec<(Seal, i64)> {
    let mut found = Vec::new();
    for event in events.iter().filter(|event| Seal::ACTIONS.contains(&event.action.as_str())) {
        match Seal::of(event) {
            Some(seals) => found.extend(seals.into_iter().map(|seal| (seal, event.position()))),
            None => compared.unknowable += 1,
        }
    }
    found
}

fn disagreement(broken: Broken) -> Disagreement {
    Disagreement { row: broken.owner, ledger: broken.sealed, database: broken.found }
}

/// Replays what the domains can replay and names the rows that disagree with the ledger.
///
/// # Errors
/// What the database says.
pub(crate) async fn verify_state(db: &Db) -> Result<State, LedgerError> {
    let (mut told, mut out, mut doubts) = (Told::new(), Compared::default(), Vec::new());
    loop {
        let after = told.upto;
        let Some(stretch) = db.read(move |tx| Told::next(tx, after)).await? else { break };
        told.apply(&stretch);
        doubts.extend(check_seals(db, &stretch.events, &mut out).await?);
    }
    let told = Arc::new(told);
    let (state, last) = db.read(move |tx| Told::clone(&told).compare(tx)).await?;
    doubts.extend(check_seals(db, &last, &mut out).await?);
    for doubt in doubts {
        let asked = doubt.clone();
        if !db.read(move |tx| asked.is_explained(tx)).await? {
            out.disagreements.push(disagreement(doubt.broken));
        }
    }
    Ok(State { compared: out.and(state.compared), ..state })
}

async fn check_seals(db: &Db, events: &[EventRow], out: &mut Compared) -> Result<Vec<Doubt>, LedgerError> {
    let mut doubts = Vec::new();
    for (seal, position) in seals(events, out) {
        let broken = seal.check(db).await.map_err(failed)?;
        doubts.extend(broken.map(|broken| Doubt { seal, position, broken }));
    }
    Ok(doubts)
}

/// The same over one connection, to a database that nobody writes to.
///
/// # Errors
/// What the database says.
pub(crate) fn verify_state_offline(tx: &mut Tx<'_>) -> Result<State, LedgerError> {
    let (mut told, mut out, mut doubts) = (Told::new(), Compared::default(), Vec::new());
    while let Some(stretch) = Told::next(tx, told.upto)? {
        told.apply(&stretch);
        doubts.extend(check_seals_offline(tx, &stretch.events, &mut out)?);
    }
    let (state, last) = told.compare(tx)?;
    doubts.extend(check_seals_offline(tx, &last, &mut out)?);
    for doubt in doubts {
        if !doubt.is_explained(tx)? {
            out.disagreements.push(disagreement(doubt.broken));
        }
    }
    Ok(State { compared: out.and(state.compared), ..state })
}

fn check_seals_offline(
    tx: &mut Tx<'_>,
    events: &[EventRow],
    out: &mut Compared,
) -> Result<Vec<Doubt>, LedgerError> {
    let mut doubts = Vec::new();
    for (seal, position) in seals(events, out) {
        let broken = seal.check_offline(tx).map_err(failed)?;
        doubts.extend(broken.map(|broken| Doubt { seal, position, broken }));
    }
    Ok(doubts)
}

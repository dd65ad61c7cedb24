//! What the rows should be, as the events tell it: events are folded stretch by stretch in short reads, so that a ledger
//! of any length is checked in little memory and no read outlives a second.

use std::sync::Arc;
use trueline_db::{Db, DbError, Tx};
use trueline_ledger::{EventRow, LedgerError, events_of, newest_index, unsequenced_events_of};
use trueline_registry::{Compared, Replay};

/// Entries of the log looked through in one read.
const STRETCH: i64 = 10_000;

/// What the events up to an index say.
#[derive(Clone, Debug)]
struct Told {
    upto: i64,
    registry: Replay,
}

impl Told {
    fn new() -> Self {
        Self { upto: -1, registry: Replay::default() }
    }

    fn apply(&mut self, events: &[EventRow], upto: i64) {
        events.iter().for_each(|event| self.registry.apply(event));
        self.upto = upto;
    }

    /// The events of the next stretch and where it ends; nothing when all that have an index are in.
    fn next(tx: &mut Tx<'_>, after: i64) -> Result<Option<(Vec<EventRow>, i64)>, LedgerError> {
        let newest = newest_index(tx)?;
        if after >= newest {
            return Ok(None);
        }
        let until = newest.min(after + STRETCH);
        Ok(Some((events_of(tx, Replay::ACTIONS, after, until)?, until)))
    }

    /// Takes in what came last, sequenced or not, and compares it all with the rows of the same moment.
    fn compare(mut self, tx: &mut Tx<'_>) -> Result<Compared, LedgerError> {
        while let Some((events, upto)) = Self::next(tx, self.upto)? {
            self.apply(&events, upto);
        }
        let waiting = unsequenced_events_of(tx, Replay::ACTIONS)?;
        waiting.iter().for_each(|event| self.registry.apply(event));
        self.registry.compare(tx).map_err(|e| LedgerError::Db(DbError::Other(e.to_string())))
    }
}

/// Replays what the domains can replay and names the rows that disagree with the ledger.
///
/// # Errors
/// What the database says.
pub(crate) async fn verify_state(db: &Db) -> Result<Compared, LedgerError> {
    let mut told = Told::new();
    loop {
        let after = told.upto;
        let Some((events, upto)) = db.read(move |tx| Told::next(tx, after)).await? else { break };
        told.apply(&events, upto);
    }
    let told = Arc::new(told);
    db.read(move |tx| Told::clone(&told).compare(tx)).await
}

/// The same over one connection, to a database that nobody writes to.
///
/// # Errors
/// What the database says.
pub(crate) fn verify_state_offline(tx: &mut Tx<'_>) -> Result<Compared, LedgerError> {
    Told::new().compare(tx)
}

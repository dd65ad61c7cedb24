//! Where a reactor stands in the log. A reactor reads sequenced events after its cursor, does its work
//! idempotently, then moves the cursor: at least once, in order.

use crate::LedgerError;
use crate::query::{EventRow, events_after, events_of, newest_index};
use trueline_db::{Db, DbError, Tx};

/// A stored position in the log, by the reactor's name.
#[derive(Clone, Debug)]
pub struct Cursor {
    db: Db,
    name: &'static str,
}

impl Cursor {
    /// The cursor called `name`; it starts at the beginning of the log.
    #[must_use]
    pub fn new(db: Db, name: &'static str) -> Self {
        Self { db, name }
    }

    /// The next events after the cursor, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next(&self, limit: u32) -> Result<Vec<EventRow>, LedgerError> {
        let name = self.name;
        self.db
            .read(move |tx: &mut Tx<'_>| {
                let at =
                    tx.scalar::<i64>("SELECT idx FROM ledger_cursors WHERE name = ?1", &[name.into()])?;
                events_after(tx, at.unwrap_or(-1), limit)
            })
            .await
    }

    /// The next events of these actions after the cursor, looking at a stretch of `stretch` indexes at most, with the index
    /// of the last one that was looked at: where the cursor goes when they are handled. None when there is nothing new.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_of(
        &self,
        actions: &'static [&'static str],
        stretch: i64,
    ) -> Result<Option<(Vec<EventRow>, i64)>, LedgerError> {
        let name = self.name;
        self.db
            .read(move |tx: &mut Tx<'_>| {
                let at =
                    tx.scalar::<i64>("SELECT idx FROM ledger_cursors WHERE name = ?1", &[name.into()])?;
                stretch_after(tx, actions, at.unwrap_or(-1), stretch)
            })
            .await
    }

    /// Moves the cursor to `idx`, the last event that was handled.
    ///
    /// # Errors
    /// What the database says.
    pub async fn advance(&self, idx: i64) -> Result<(), LedgerError> {
        let name = self.name;
        self.db
            .bookkeep(move |tx: &mut Tx<'_>| {
                tx.execute(
                    "INSERT INTO ledger_cursors (name, idx) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET idx = excluded.idx",
                    &[name.into(), idx.into()],
                )?;
                Ok::<_, DbError>(())
            })
            .await?;
        Ok(())
    }
}

/// A position in the log that nobody stores: for a reactor of which each server has its own, and which knows from elsewhere what
/// happened before it started.
#[derive(Clone, Debug)]
pub struct Tail {
    db: Db,
    at: i64,
}

impl Tail {
    /// At the end of the log as it is now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn at_end(db: Db) -> Result<Self, LedgerError> {
        let at = db.read(|tx: &mut Tx<'_>| newest_index(tx)).await?;
        Ok(Self { db, at })
    }

    /// As [`Cursor::next_of`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_of(
        &self,
        actions: &'static [&'static str],
        stretch: i64,
    ) -> Result<Option<(Vec<EventRow>, i64)>, LedgerError> {
        let at = self.at;
        self.db.read(move |tx: &mut Tx<'_>| stretch_after(tx, actions, at, stretch)).await
    }

    /// Moves to `idx`, the last event that was handled.
    pub fn advance(&mut self, idx: i64) {
        self.at = idx;
    }
}

/// The events of these actions behind `at`, within a stretch of the log, and where that ends.
fn stretch_after(
    tx: &mut Tx<'_>,
    actions: &[&str],
    at: i64,
    stretch: i64,
) -> Result<Option<(Vec<EventRow>, i64)>, LedgerError> {
    let until = newest_index(tx)?.min(at + stretch);
    if until <= at {
        return Ok(None);
    }
    Ok(Some((events_of(tx, actions, at, until)?, until)))
}

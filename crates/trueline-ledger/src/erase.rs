//! Erasing a payload: the row goes, an event says so, and the proof of the entry still holds, because the leaf has
//! only the payload's salted hash and the salt goes with it.

use crate::query;
use crate::{EventId, Ledger, LedgerError, LedgerTx, NewEvent, ProjectId};
use serde_json::json;

/// Erases the payload of an event, for a reason that is recorded. Afterwards [`Ledger::wipe_erased`] has it vanish from
/// the database's files.
///
/// # Errors
/// [`LedgerError::NotFound`], [`LedgerError::Erased`].
pub fn erase(tx: &mut LedgerTx<'_, '_>, event: &EventId, reason: &str) -> Result<EventId, LedgerError> {
    let found = query::event(tx, event)?;
    let gone = tx.execute("DELETE FROM ledger_payloads WHERE event_id = ?1", &[event.as_str().into()])?;
    if gone == 0 {
        return Err(LedgerError::Erased(event.clone()));
    }
    let project = ProjectId::new(found.project);
    tx.emit(
        NewEvent::new(&project, "event.erased", "event", event)
            .with(json!({ "reason": reason, "index": found.index })),
    )
}

impl Ledger {
    /// Has erased payloads vanish from the database's files.
    ///
    /// # Errors
    /// What the database says.
    pub async fn wipe_erased(&self) -> Result<(), LedgerError> {
        Ok(self.db().wipe_deleted().await?)
    }

    /// Checks at start that the database is not behind the signed log.
    ///
    /// # Errors
    /// [`LedgerError::Behind`].
    pub async fn check_not_behind(&self, signed: u64) -> Result<(), LedgerError> {
        let size: Option<i64> =
            self.db().read(|tx| tx.scalar("SELECT size FROM ledger_head WHERE one = 1", &[])).await?;
        let rows = size.unwrap_or(0).unsigned_abs();
        if rows < signed {
            return Err(LedgerError::Behind { rows, signed });
        }
        Ok(())
    }
}

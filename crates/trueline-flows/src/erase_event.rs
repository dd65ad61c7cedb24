//! Erasing the payload of an event: out of its row, then out of the database's files.

use trueline_identity::{Authorized, EraseEvent};
use trueline_ledger::{EventId, Ledger, LedgerError, erase};

/// Erases the payload of an event, for a reason that the ledger keeps; answers the event that says so.
///
/// # Errors
/// [`LedgerError::NotFound`], [`LedgerError::Erased`].
pub async fn erase_event(
    ledger: &Ledger,
    leave: &Authorized<EraseEvent>,
    event: &EventId,
    reason: &str,
) -> Result<EventId, LedgerError> {
    let (event, reason) = (event.clone(), reason.to_owned());
    let by = ledger.write(leave.actor(), move |tx| erase(tx, &event, &reason)).await?;
    if let Err(error) = ledger.wipe_erased().await {
        tracing::warn!(%error, by, "an erased payload is out of its row, but may be in the write-ahead log for a while");
    }
    Ok(by)
}

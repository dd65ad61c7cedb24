//! A sign of life that is written, because a database that can be read may still refuse every change: its disk is full,
//! or it has become a standby.

use crate::{Ledger, LedgerError};
use trueline_db::{DbError, Tx};

impl Ledger {
    /// Writes that the server called `name` is alive.
    ///
    /// # Errors
    /// What the database says.
    pub async fn heartbeat(&self, name: &'static str) -> Result<(), LedgerError> {
        let now = self.sources().now();
        let written = self.db().bookkeep(move |tx: &mut Tx<'_>| {
            tx.execute(
                "INSERT INTO ledger_heartbeats (name, at_ms) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET at_ms = excluded.at_ms",
                &[name.into(), now.into()],
            )?;
            Ok::<_, DbError>(())
        });
        Ok(written.await?)
    }
}

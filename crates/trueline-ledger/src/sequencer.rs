//! The sequencer: gives committed events their indexes, in batches and in the order of commit, then has the files
//! and the checkpoint follow. One at a time per database: the writer on SQLite, an advisory lock on PostgreSQL.

use crate::files::LedgerFiles;
use crate::{Ledger, LedgerError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use trueline_db::{Dialect, Tx};

/// Events sequenced in one transaction at the most.
const BATCH: i64 = 4096;
/// How long events are gathered before they are sequenced: a checkpoint costs a few fsyncs.
const GATHER: Duration = Duration::from_millis(200);
/// On PostgreSQL other servers write events that nobody here rings for.
const POLL: Duration = Duration::from_secs(1);
/// `LEDGER` on a telephone's keys.
const ADVISORY_LOCK: i64 = 533_437;

const TABLES: &[&str] = &["ledger_events", "ledger_head"];

/// Says that there are events to sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wake(Arc<Notify>);

impl Wake {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

impl Ledger {
    /// Sequences events and writes the log's files until `stop` says so; what is committed by then is still taken in.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] or [`LedgerError::Behind`] when files and database disagree: the log must not grow
    /// then, and somebody must look.
    pub async fn run_sequencer(
        &self,
        mut files: LedgerFiles,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), LedgerError> {
        loop {
            let stopping = *stop.borrow();
            match self.sequence_all(files).await {
                (back, Ok(())) => files = back,
                (back, Err(error @ (LedgerError::Db(_) | LedgerError::Files { .. }))) => {
                    tracing::warn!(%error, "the ledger could not be extended; trying again");
                    files = back;
                    tokio::time::sleep(POLL).await;
                }
                (_, Err(error)) => return Err(error),
            }
            if stopping {
                return Ok(());
            }
            tokio::select! {
                () = self.wake().0.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = stop.changed() => {}
            }
            if !*stop.borrow() {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Gives indexes to all events that wait and brings the files up to them.
    async fn sequence_all(&self, mut files: LedgerFiles) -> (LedgerFiles, Result<(), LedgerError>) {
        loop {
            match self.sequence_batch().await {
                Ok(n) if n >= BATCH => {}
                Ok(_) => break,
                Err(error) => return (files, Err(error)),
            }
        }
        loop {
            let entries = match self.entries_from(files.size()).await {
                Ok(entries) if entries.is_empty() => return (files, Ok(())),
                Ok(entries) => entries,
                Err(error) => return (files, Err(error)),
            };
            let extended = tokio::task::spawn_blocking(move || {
                let done = files.extend(&entries);
                (files, done)
            });
            match extended.await {
                Ok((back, Ok(()))) => files = back,
                Ok((back, error)) => return (back, error),
                // The thread panicked and took the files along; the process is not well.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    async fn sequence_batch(&self) -> Result<i64, LedgerError> {
        // Mostly nothing waits, and then the writer need not be asked.
        let waiting = self.db().read(|tx: &mut Tx<'_>| {
            let any = tx.query_opt("SELECT seq FROM ledger_events WHERE idx IS NULL LIMIT 1", &[])?;
            Ok::<_, LedgerError>(any.is_some())
        });
        if !waiting.await? {
            return Ok(0);
        }
        self.db()
            .write_only(TABLES, |tx: &mut Tx<'_>| {
                if tx.dialect() == Dialect::Postgres {
                    let locked: Option<bool> =
                        tx.scalar("SELECT pg_try_advisory_xact_lock(?1)", &[ADVISORY_LOCK.into()])?;
                    if locked != Some(true) {
                        return Ok(0);
                    }
                }
                let size: i64 = tx.scalar("SELECT size FROM ledger_head WHERE one = 1", &[])?.unwrap_or(0);
                let given = tx.execute(
                    "UPDATE ledger_events SET idx = next.n + ?1
                     FROM (SELECT seq, ROW_NUMBER() OVER (ORDER BY seq) - 1 AS n FROM ledger_events
                           WHERE idx IS NULL ORDER BY seq LIMIT ?2) AS next
                     WHERE ledger_events.seq = next.seq",
                    &[size.into(), BATCH.into()],
                )?;
                let given = i64::try_from(given).unwrap_or(0);
                if given > 0 {
                    tx.execute("UPDATE ledger_head SET size = ?1 WHERE one = 1", &[(size + given).into()])?;
                }
                Ok::<_, LedgerError>(given)
            })
            .await
    }

    /// The next entries that the files lack, in order.
    async fn entries_from(&self, first: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        self.db()
            .read(move |tx: &mut Tx<'_>| {
                let rows = tx.query(
                    "SELECT idx, entry FROM ledger_events WHERE idx >= ?1 ORDER BY idx LIMIT ?2",
                    &[first.into(), BATCH.into()],
                )?;
                let mut out = Vec::with_capacity(rows.len());
                for mut row in rows {
                    let (index, entry): (i64, Vec<u8>) = (row.take(0)?, row.take(1)?);
                    let expected = first + i64::try_from(out.len()).unwrap_or(i64::MAX);
                    if index != expected {
                        return Err(LedgerError::Diverged(format!("event {expected} is missing")));
                    }
                    out.push(entry);
                }
                Ok(out)
            })
            .await
    }
}

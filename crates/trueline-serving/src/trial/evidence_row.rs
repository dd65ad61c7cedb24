//! The one row of evidence that a trial has: who may write it, until when, and what was seen. Who lost the lease can't write
//! any more, for each holder has an epoch of its own.

use super::batches::set_aside;
use super::rows::TrialRow;
use super::{LEASE, Position, Positions, SetAside, TrialEvidence, TrialKey};
use crate::bandit::Bandit;
use crate::error::ServingError;
use crate::rollout::Rollout;
use serde::Serialize;
use serde::de::DeserializeOwned;
use trueline_db::Tx;
use trueline_ledger::{Millis, ProjectId};

/// Leave to judge a trial, as long as nobody else took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    key: TrialKey,
    epoch: i64,
}

/// What a new holder goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<E> {
    /// What was seen; none before it was first written down.
    pub evidence: Option<E>,
    /// How far each server's part of that goes.
    pub positions: Positions,
}

/// Who judges a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold<E> {
    /// This server, as before.
    Still,
    /// This server from now on.
    Taken(Lease, Kept<E>),
    /// Another one.
    Others,
}

/// What the row says of its holder.
struct Holder {
    server: String,
    epoch: i64,
    until_ms: Millis,
}

impl Holder {
    fn read(tx: &mut Tx<'_>, key: &TrialKey) -> Result<Option<Self>, ServingError> {
        let sql = "SELECT holder, epoch, held_until_ms FROM trial_evidence WHERE project = ?1 AND trial = ?2";
        let row = tx.query_opt(sql, &[(&key.project).into(), key.id.as_str().into()])?;
        row.map(|mut row| Ok(Self { server: row.take(0)?, epoch: row.take(1)?, until_ms: row.take(2)? }))
            .transpose()
    }

    /// Whether a server has to leave it alone.
    fn is_another(&self, server: &str, now: Millis) -> bool {
        self.server != server && self.until_ms > now
    }

    fn is(&self, server: &str, lease: Option<&Lease>) -> bool {
        self.server == server && lease.is_some_and(|lease| lease.epoch == self.epoch)
    }
}

impl Lease {
    /// Whether it holds still: to be asked in the transaction that acts on it.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn holds(&self, tx: &mut Tx<'_>) -> Result<bool, ServingError> {
        Ok(Holder::read(tx, &self.key)?.is_some_and(|holder| holder.epoch == self.epoch))
    }
}

impl TrialEvidence {
    /// Takes the lease of a trial, or keeps it; whoever has it first keeps it as long as it gives signs of life.
    ///
    /// # Errors
    /// What the database says.
    pub async fn hold<E>(&self, key: &TrialKey, lease: Option<&Lease>) -> Result<Hold<E>, ServingError>
    where
        E: DeserializeOwned + Send + 'static,
    {
        let (of, now) = (key.clone(), self.now());
        if let Some(holder) = self.ledger.db().read(move |tx| Holder::read(tx, &of)).await? {
            if holder.is_another(&self.server, now) {
                return Ok(Hold::Others);
            }
            // Half of it is time enough to be written anew.
            if holder.is(&self.server, lease) && holder.until_ms > now + LEASE / 2 {
                return Ok(Hold::Still);
            }
        }
        let (key, server, lease) = (key.clone(), self.server.clone(), lease.cloned());
        self.ledger.db().bookkeep(move |tx| take(tx, &key, &server, lease.as_ref(), now)).await
    }

    /// Writes down what was seen, so that whoever goes on goes on from it, and drops the batches that are part of it, but for those
    /// that could not be taken in; whether the lease held. It is renewed by that.
    ///
    /// # Errors
    /// What the database says; the next time tries again.
    pub async fn save<E: Serialize, N: Serialize>(
        &self,
        lease: &Lease,
        (evidence, numbers): (&E, &N),
        positions: &Positions,
        aside: &[SetAside],
    ) -> Result<bool, ServingError> {
        let (state, numbers) = (text(evidence)?, text(numbers)?);
        let (lease, positions, now) = (lease.clone(), positions.clone(), self.now());
        let aside = aside.to_vec();
        let told = text(&positions)?;
        let write = move |tx: &mut Tx<'_>| {
            let key = &lease.key;
            let touched = tx.execute(
                "UPDATE trial_evidence SET state = ?4, numbers = ?5, positions = ?6, saved_at_ms = ?7, held_until_ms = ?8
                 WHERE project = ?1 AND trial = ?2 AND epoch = ?3",
                &[
                    (&key.project).into(),
                    key.id.as_str().into(),
                    lease.epoch.into(),
                    state.as_str().into(),
                    numbers.as_str().into(),
                    told.as_str().into(),
                    now.into(),
                    (now + LEASE).into(),
                ],
            )?;
            if touched == 1 {
                set_aside(tx, key, &aside)?;
                drop_taken(tx, key, &positions)?;
            }
            Ok(touched == 1)
        };
        self.ledger.db().bookkeep(write).await
    }

    /// Gives the lease up, so that another server need not wait for its end.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release(&self, lease: &Lease) -> Result<(), ServingError> {
        let lease = lease.clone();
        let write = move |tx: &mut Tx<'_>| {
            tx.execute(
                "UPDATE trial_evidence SET held_until_ms = 0 WHERE project = ?1 AND trial = ?2 AND epoch = ?3",
                &[(&lease.key.project).into(), lease.key.id.as_str().into(), lease.epoch.into()],
            )?;
            Ok(())
        };
        self.ledger.db().bookkeep(write).await
    }

    /// Drops what was written down of trials that have ended; their decisions keep the numbers.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sweep(&self) -> Result<(), ServingError> {
        let write = |tx: &mut Tx<'_>| {
            for table in ["trial_evidence", "trial_batches"] {
                let (rollout, bandit) = (open_one::<Rollout>(table), open_one::<Bandit>(table));
                let sql = format!("DELETE FROM {table} WHERE NOT {rollout} AND NOT {bandit}");
                tx.execute(&sql, &[])?;
            }
            Ok(())
        };
        self.ledger.db().bookkeep(write).await
    }

    /// How far what this server has seen was handed over: it is part of the evidence, or waits to become that. None before
    /// anything was.
    ///
    /// # Errors
    /// What the database says.
    pub async fn own_position(&self, key: &TrialKey) -> Result<Option<Position>, ServingError> {
        let (key, server) = (key.clone(), self.server.clone());
        let read = move |tx: &mut Tx<'_>| {
            let waiting = super::batches::last_waiting(tx, &key, &server)?;
            let taken = positions(tx, &key)?.remove(&server);
            // A batch that was sent twice may be left behind one that is taken.
            let behind = taken.as_ref().map_or(0, |at| at.batch);
            Ok(waiting.filter(|at| at.batch > behind).or(taken))
        };
        self.ledger.db().read(read).await
    }
}

/// Whether a row belongs to a trial of this kind that has not ended.
fn open_one<T: TrialRow>(table: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM {of} t WHERE t.project = {table}.project AND t.id = {table}.trial AND t.state IN ({open}))",
        of = T::TABLE,
        open = T::OPEN
    )
}

/// Takes or renews the lease, unless another server has it by now.
fn take<E: DeserializeOwned>(
    tx: &mut Tx<'_>,
    key: &TrialKey,
    server: &str,
    lease: Option<&Lease>,
    now: Millis,
) -> Result<Hold<E>, ServingError> {
    let before = Holder::read(tx, key)?;
    if before.as_ref().is_some_and(|holder| holder.is_another(server, now)) {
        return Ok(Hold::Others);
    }
    let same = before.as_ref().is_some_and(|holder| holder.is(server, lease));
    let epoch = before.map_or(0, |holder| holder.epoch) + i64::from(!same);
    tx.execute(
        "INSERT INTO trial_evidence (project, trial, holder, epoch, held_until_ms, positions)
         VALUES (?1, ?2, ?3, ?4, ?5, '{}')
         ON CONFLICT (project, trial) DO UPDATE
         SET holder = excluded.holder, epoch = excluded.epoch, held_until_ms = excluded.held_until_ms",
        &[(&key.project).into(), key.id.as_str().into(), server.into(), epoch.into(), (now + LEASE).into()],
    )?;
    if same {
        return Ok(Hold::Still);
    }
    let kept = Kept { evidence: column(tx, key, "state")?, positions: positions(tx, key)? };
    Ok(Hold::Taken(Lease { key: key.clone(), epoch }, kept))
}

/// What is known of a trial by now, and as of when; none before it was first written down.
pub(crate) fn numbers<N: DeserializeOwned>(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: &str,
) -> Result<Option<(N, Millis)>, ServingError> {
    let sql = "SELECT numbers, saved_at_ms FROM trial_evidence
               WHERE project = ?1 AND trial = ?2 AND numbers IS NOT NULL";
    let row = tx.query_opt(sql, &[project.into(), id.into()])?;
    row.map(|mut row| Ok((parsed(&row.take::<String>(0)?, "trial", "numbers")?, row.take(1)?))).transpose()
}

fn positions(tx: &mut Tx<'_>, key: &TrialKey) -> Result<Positions, ServingError> {
    Ok(column(tx, key, "positions")?.unwrap_or_default())
}

/// A column of the row that holds JSON.
fn column<T: DeserializeOwned>(
    tx: &mut Tx<'_>,
    key: &TrialKey,
    name: &'static str,
) -> Result<Option<T>, ServingError> {
    let sql = format!("SELECT {name} FROM trial_evidence WHERE project = ?1 AND trial = ?2");
    let row = tx.query_opt(&sql, &[(&key.project).into(), key.id.as_str().into()])?;
    let text: Option<String> = row.map(|mut row| row.take(0)).transpose()?.flatten();
    text.map(|text| parsed(&text, "trial", name)).transpose()
}

fn drop_taken(tx: &mut Tx<'_>, key: &TrialKey, positions: &Positions) -> Result<(), ServingError> {
    // A server that alone sees traffic sends nothing.
    for (server, at) in positions.iter().filter(|(_, at)| at.batch > 0) {
        tx.execute(
            "DELETE FROM trial_batches
             WHERE project = ?1 AND trial = ?2 AND server = ?3 AND number <= ?4 AND set_aside IS NULL",
            &[(&key.project).into(), key.id.as_str().into(), server.as_str().into(), at.batch.into()],
        )?;
    }
    Ok(())
}

/// What a row of a rollout or a bandit says in JSON.
pub(crate) fn parsed<T: DeserializeOwned>(text: &str, of: &str, what: &str) -> Result<T, ServingError> {
    serde_json::from_str(text)
        .map_err(|e| ServingError::State(format!("the {what} of a {of} can't be read: {e}")))
}

pub(super) fn text<T: Serialize>(what: &T) -> Result<String, ServingError> {
    serde_json::to_string(what).map_err(|e| {
        ServingError::State(format!("what a rollout or a bandit has seen can't be written down: {e}"))
    })
}

#[cfg(test)]
#[path = "evidence_row_tests.rs"]
mod tests;

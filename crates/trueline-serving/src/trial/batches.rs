//! What a server that does not judge a trial has seen of it, on its way to the one that does. A batch has a number that its
//! server gave it, so that it counts once, however often it is sent or read.

use super::evidence_row::text;
use super::{Position, Positions, TrialEvidence, TrialKey, parsed};
use crate::error::ServingError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use trueline_db::Tx;

/// Batches of a server that wait for the one that judges; it sends no more until some are taken.
const MOST_WAITING: i64 = 100;
/// Batches that are read at once.
const PAGE: u32 = 20;
/// Batches of a server that could not be taken in and are kept, for people to look at: the first ones, since those after them
/// have mostly the same fault.
const MOST_SET_ASIDE: i64 = 10;

/// A batch as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// How far its server is with it, its number among that.
    pub position: Position,
    body: String,
}

impl Outgoing {
    /// With what was seen up to there.
    ///
    /// # Errors
    /// What can't be written as JSON, or read from it again.
    pub fn new<S: Serialize + DeserializeOwned>(position: Position, seen: &S) -> Result<Self, ServingError> {
        let body = text(seen)?;
        // Numbers that JSON has not would stop whoever reads it for good.
        parsed::<S>(&body, "trial", "batch")?;
        Ok(Self { position, body })
    }

    /// What was seen.
    ///
    /// # Errors
    /// What is not of this kind.
    pub fn seen<S: DeserializeOwned>(&self) -> Result<S, ServingError> {
        parsed(&self.body, "trial", "batch")
    }
}

/// A batch as it is taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<S> {
    /// Whose it is.
    pub server: String,
    /// How far that server is with it.
    pub position: Position,
    /// What it saw; where that can't be read, why.
    pub seen: Result<S, String>,
}

/// A batch that can't be part of the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Whose it is.
    pub server: String,
    /// Its number among those of its server.
    pub number: i64,
    /// Why.
    pub reason: String,
}

impl TrialEvidence {
    /// Hands a batch to whoever judges the trial; whether there was place for it. One that was sent before is not sent twice.
    ///
    /// # Errors
    /// What the database says; the next time tries again.
    pub async fn send(&self, key: &TrialKey, batch: &Outgoing) -> Result<bool, ServingError> {
        let (key, server, batch, now) = (key.clone(), self.server.clone(), batch.clone(), self.now());
        let position = text(&batch.position)?;
        let write = move |tx: &mut Tx<'_>| {
            let of = || [(&key.project).into(), key.id.as_str().into(), server.as_str().into()];
            let count = "SELECT COUNT(*) FROM trial_batches WHERE project = ?1 AND trial = ?2 AND server = ?3 AND set_aside IS NULL";
            let waiting: i64 = tx.query_opt(count, &of())?.map_or(Ok(0), |mut row| row.take(0))?;
            if waiting >= MOST_WAITING {
                return Ok(false);
            }
            let rest = [
                batch.position.batch.into(),
                position.as_str().into(),
                batch.body.as_str().into(),
                now.into(),
            ];
            let params: Vec<_> = of().into_iter().chain(rest).collect();
            tx.execute(
                "INSERT INTO trial_batches (project, trial, server, number, position, body, sent_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (project, trial, server, number) DO NOTHING",
                &params,
            )?;
            Ok(true)
        };
        self.ledger.db().bookkeep(write).await
    }

    /// Batches that are no part of what these positions cover, each server's in its order, as many as are read at once.
    ///
    /// # Errors
    /// What the database says.
    pub async fn waiting<S: DeserializeOwned + Send + 'static>(
        &self,
        key: &TrialKey,
        positions: &Positions,
    ) -> Result<Vec<Batch<S>>, ServingError> {
        let (key, positions) = (key.clone(), positions.clone());
        let read = move |tx: &mut Tx<'_>| {
            let servers = "SELECT DISTINCT server FROM trial_batches WHERE project = ?1 AND trial = ?2";
            let mut found = Vec::new();
            for mut row in tx.query(servers, &[(&key.project).into(), key.id.as_str().into()])? {
                let server: String = row.take(0)?;
                let behind = positions.get(&server).cloned().unwrap_or_default();
                found.extend(of_server(tx, &key, &server, behind)?);
            }
            Ok(found)
        };
        self.ledger.db().read(read).await
    }
}

fn of_server<S: DeserializeOwned>(
    tx: &mut Tx<'_>,
    key: &TrialKey,
    server: &str,
    mut behind: Position,
) -> Result<Vec<Batch<S>>, ServingError> {
    let sql = "SELECT number, position, body FROM trial_batches
               WHERE project = ?1 AND trial = ?2 AND server = ?3 AND number > ?4 AND set_aside IS NULL
               ORDER BY number LIMIT ?5";
    let params =
        [(&key.project).into(), key.id.as_str().into(), server.into(), behind.batch.into(), PAGE.into()];
    let mut found = Vec::new();
    for mut row in tx.query(sql, &params)? {
        let (number, position, body) = (row.take(0)?, row.take::<String>(1)?, row.take::<String>(2)?);
        // Without its position nothing of it may count: its server would go on from an earlier one, and count it again.
        let both = read::<Position>(&position).and_then(|position| Ok((position, read(&body)?)));
        let (position, seen) = match both {
            Ok((position, seen)) => (position, Ok(seen)),
            Err(reason) => (read::<Position>(&position).unwrap_or(behind), Err(reason)),
        };
        behind = Position { batch: number, ..position };
        found.push(Batch { server: server.to_owned(), position: behind.clone(), seen });
    }
    Ok(found)
}

/// Reads JSON; else says why that can't be, without the values in it: labels may be among them.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| {
        let what = if e.is_data() { "it has another form" } else { "it is no JSON" };
        format!("{what}, at column {}", e.column())
    })
}

/// Keeps batches that could not be taken in, as many of each server as are kept.
pub(super) fn set_aside(tx: &mut Tx<'_>, key: &TrialKey, batches: &[SetAside]) -> Result<(), ServingError> {
    for batch in batches {
        let of = || [(&key.project).into(), key.id.as_str().into(), batch.server.as_str().into()];
        let count = "SELECT COUNT(*) FROM trial_batches
                     WHERE project = ?1 AND trial = ?2 AND server = ?3 AND set_aside IS NOT NULL";
        let kept: i64 = tx.query_opt(count, &of())?.map_or(Ok(0), |mut row| row.take(0))?;
        if kept >= MOST_SET_ASIDE {
            continue;
        }
        let params: Vec<_> =
            of().into_iter().chain([batch.number.into(), batch.reason.as_str().into()]).collect();
        tx.execute(
            "UPDATE trial_batches SET set_aside = ?5
             WHERE project = ?1 AND trial = ?2 AND server = ?3 AND number = ?4",
            &params,
        )?;
    }
    Ok(())
}

/// How far a server is with the last of its batches that waits.
pub(super) fn last_waiting(
    tx: &mut Tx<'_>,
    key: &TrialKey,
    server: &str,
) -> Result<Option<Position>, ServingError> {
    let sql = "SELECT position FROM trial_batches
               WHERE project = ?1 AND trial = ?2 AND server = ?3 AND set_aside IS NULL ORDER BY number DESC LIMIT 1";
    let row = tx.query_opt(sql, &[(&key.project).into(), key.id.as_str().into(), server.into()])?;
    row.map(|mut row| parsed(&row.take::<String>(0)?, "trial", "position")).transpose()
}

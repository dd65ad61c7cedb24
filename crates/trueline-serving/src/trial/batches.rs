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
    /// What it saw.
    pub seen: S,
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
            let count =
                "SELECT COUNT(*) FROM trial_batches WHERE project = ?1 AND trial = ?2 AND server = ?3";
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
    /// What the database says, or a batch that can't be read.
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
                let behind = positions.get(&server).map_or(0, |at| at.batch);
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
    behind: i64,
) -> Result<Vec<Batch<S>>, ServingError> {
    let sql = "SELECT position, body FROM trial_batches
               WHERE project = ?1 AND trial = ?2 AND server = ?3 AND number > ?4 ORDER BY number LIMIT ?5";
    let params = [(&key.project).into(), key.id.as_str().into(), server.into(), behind.into(), PAGE.into()];
    let batch = |mut row: trueline_db::Row| {
        Ok(Batch {
            server: server.to_owned(),
            position: parsed(&row.take::<String>(0)?, "trial", "position")?,
            seen: parsed(&row.take::<String>(1)?, "trial", "batch")?,
        })
    };
    tx.query(sql, &params)?.into_iter().map(batch).collect()
}

/// How far a server is with the last of its batches that waits.
pub(super) fn last_waiting(
    tx: &mut Tx<'_>,
    key: &TrialKey,
    server: &str,
) -> Result<Option<Position>, ServingError> {
    let sql = "SELECT position FROM trial_batches
               WHERE project = ?1 AND trial = ?2 AND server = ?3 ORDER BY number DESC LIMIT 1";
    let row = tx.query_opt(sql, &[(&key.project).into(), key.id.as_str().into(), server.into()])?;
    row.map(|mut row| parsed(&row.take::<String>(0)?, "trial", "position")).transpose()
}

//! Folding: what waits in the inbox goes into blocks and latest values, a run at a time.

use super::codec::{self, MOST_POINTS};
use super::{ByKey, inbox, order, tidy};
use crate::metrics::MetricPoint;
use crate::schema::POINTS;
use crate::{TrackingError, seal};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use trueline_db::Tx;
use trueline_ledger::Ledger;

/// Rows of the inbox that one transaction folds at the most, so that the writer is not held up.
const ROWS: i64 = 1000;
/// A block with fewer points is written again with the new ones, not beside them.
const SMALL: usize = 1024;
/// A run is folded when so many rows of it wait,
const WAITING: i64 = 256;
/// or when the oldest has waited so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Runs that are folded side by side, so that they share commits.
const AT_ONCE: usize = 16;

/// Decides when which run is folded.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    first_seen: HashMap<i64, Instant>,
}

impl Folder {
    /// Folds what is due; everything when `all`.
    pub(crate) async fn round(&mut self, ledger: &Ledger, all: bool) -> Result<(), TrackingError> {
        let waiting = ledger.db().read(waiting).await?;
        self.first_seen.retain(|run, _| waiting.iter().any(|w| w.run == *run));
        let mut due = Vec::new();
        for Waiting { run, rows, ended } in waiting {
            let since = *self.first_seen.entry(run).or_insert_with(Instant::now);
            if all || ended || rows >= WAITING || since.elapsed() >= PATIENCE {
                self.first_seen.remove(&run);
                due.push(run);
            }
        }
        fold_all(ledger, due).await
    }
}

struct Waiting {
    run: i64,
    rows: i64,
    ended: bool,
}

fn waiting(tx: &mut Tx<'_>) -> Result<Vec<Waiting>, TrackingError> {
    let mut found = Vec::new();
    let sql = "SELECT i.run, i.waiting, CASE WHEN r.status IN ('FINISHED', 'FAILED', 'KILLED') THEN 1 ELSE 0 END
               FROM (SELECT run, COUNT(*) AS waiting FROM metric_inbox GROUP BY run) i JOIN runs r ON r.n = i.run";
    tx.each(sql, &[], |row| {
        found.push(Waiting { run: row.take(0)?, rows: row.take(1)?, ended: row.take::<i64>(2)? == 1 });
        Ok::<_, TrackingError>(())
    })?;
    Ok(found)
}

/// Folds all that waits, so that latest values can be searched; costs next to nothing when nothing waits.
pub(crate) async fn fold_waiting(ledger: &Ledger) -> Result<(), TrackingError> {
    let runs = ledger
        .db()
        .read(|tx| {
            let mut runs = Vec::new();
            tx.each("SELECT DISTINCT run FROM metric_inbox", &[], |row| {
                runs.push(row.take(0)?);
                Ok::<_, TrackingError>(())
            })?;
            Ok::<_, TrackingError>(runs)
        })
        .await?;
    fold_all(ledger, runs).await
}

async fn fold_all(ledger: &Ledger, runs: Vec<i64>) -> Result<(), TrackingError> {
    for some in runs.chunks(AT_ONCE) {
        let each = some.iter().map(|run| fold_run(ledger, *run));
        futures::future::try_join_all(each).await?;
    }
    Ok(())
}

async fn fold_run(ledger: &Ledger, run: i64) -> Result<(), TrackingError> {
    while ledger.write_summarised(POINTS, move |tx| fold(tx, run)).await? {}
    Ok(())
}

/// Folds a part of a run's inbox; answers whether there may be more.
fn fold(tx: &mut Tx<'_>, run: i64) -> Result<bool, TrackingError> {
    let Some((by_key, last)) = inbox::of_run(tx, run, ROWS)? else { return Ok(false) };
    let facts = tx.query_opt("SELECT id, experiment_n FROM runs WHERE n = ?1", &[run.into()])?;
    if let Some(mut facts) = facts {
        let (id, experiment): (String, i64) = (facts.take(0)?, facts.take(1)?);
        keep(tx, &Place { run, id, experiment }, by_key)?;
    }
    let gone =
        tx.execute("DELETE FROM metric_inbox WHERE run = ?1 AND id <= ?2", &[run.into(), last.into()])?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX) >= ROWS)
}

/// Whose points they are.
pub(super) struct Place {
    pub(super) run: i64,
    pub(super) id: String,
    pub(super) experiment: i64,
}

fn keep(tx: &mut Tx<'_>, place: &Place, by_key: ByKey) -> Result<(), TrackingError> {
    let chunk = seal::open_chunk(tx, seal::Owner::Run, &place.id)?;
    let added = keep_in(tx, place, chunk, by_key)?;
    seal::added(tx, seal::Owner::Run, &place.id, added)
}

/// Puts points into blocks of a chunk and into latest values; answers how many there were.
pub(super) fn keep_in(
    tx: &mut Tx<'_>,
    place: &Place,
    chunk: i64,
    by_key: ByKey,
) -> Result<u64, TrackingError> {
    let mut added = 0;
    for (key, mut points) in by_key {
        tidy(&mut points);
        if let Some(last) = points.last() {
            keep_latest(tx, place, &key, last)?;
        }
        added += points.len() as u64;
        add_to_blocks(tx, place.run, &key, chunk, points)?;
    }
    Ok(added)
}

/// Adds points to the open chunk of a series.
pub(super) fn add_to_blocks(
    tx: &mut Tx<'_>,
    run: i64,
    key: &str,
    chunk: i64,
    mut points: Vec<MetricPoint>,
) -> Result<(), TrackingError> {
    let small = i64::try_from(SMALL).unwrap_or(i64::MAX);
    let last = tx.query_opt(
        "SELECT block, CASE WHEN chunk = ?3 AND points < ?4 THEN body END FROM metric_blocks
         WHERE run = ?1 AND key = ?2 ORDER BY block DESC LIMIT 1",
        &[run.into(), key.into(), chunk.into(), small.into()],
    )?;
    let mut block = 0;
    if let Some(mut row) = last {
        block = row.take::<i64>(0)? + 1;
        if let Some(body) = row.take::<Option<Vec<u8>>>(1)? {
            block -= 1;
            codec::block(&body, &mut points)?;
            tidy(&mut points);
        }
    }
    for (number, some) in (block..).zip(points.chunks(MOST_POINTS)) {
        let mut body = Vec::with_capacity(some.len() * 12);
        codec::put_block(&mut body, some);
        let count = i64::try_from(some.len()).unwrap_or(i64::MAX);
        tx.execute(
            "INSERT INTO metric_blocks (run, key, block, chunk, points, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (run, key, block) DO UPDATE SET points = excluded.points, body = excluded.body",
            &[run.into(), key.into(), number.into(), chunk.into(), count.into(), body.into()],
        )?;
    }
    Ok(())
}

fn keep_latest(tx: &mut Tx<'_>, place: &Place, key: &str, last: &MetricPoint) -> Result<(), TrackingError> {
    let known = tx.query_opt(
        "SELECT key, step, at_ms, value, is_nan FROM latest_metrics WHERE run = ?1 AND key = ?2",
        &[place.run.into(), key.into()],
    )?;
    if let Some(mut row) = known
        && order(last, &crate::metrics::metric_from(&mut row)?.point).is_le()
    {
        return Ok(());
    }
    let (value, is_nan) = last.stored();
    tx.execute(
        "INSERT INTO latest_metrics (run, key, step, at_ms, value, is_nan, experiment_n)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, at_ms = excluded.at_ms,
             value = excluded.value, is_nan = excluded.is_nan",
        &[
            place.run.into(),
            key.into(),
            last.step.into(),
            last.at_ms.into(),
            value.into(),
            is_nan.into(),
            place.experiment.into(),
        ],
    )?;
    Ok(())
}

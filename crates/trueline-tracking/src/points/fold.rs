//! Folding: what waits in the inbox goes into blocks and latest values, a run at a time.

use super::codec::{self, MOST_POINTS};
use super::{inbox, order, tidy};
use crate::metrics::MetricPoint;
use crate::model::ExperimentId;
use crate::schema::POINTS;
use crate::{Tracking, TrackingError, experiments, known_runs, many, seal};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use trueline_db::Tx;
use trueline_ledger::{Ledger, ProjectId};

/// Rows of the inbox that are folded in one transaction, of one run or of several, so that neither memory nor the writer is
/// taken up for long.
const ROWS: i64 = 512;
/// A block with fewer points is written again with the new ones, not beside them.
const SMALL: usize = 1024;
/// A run is folded when so many rows of it wait,
const WAITING: i64 = 256;
/// or when the oldest has waited so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Parts of the runs that are folded side by side when a search waits for them, so that reading and writing overlap.
const AT_ONCE: usize = 4;

/// Decides when which run is folded.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    first_seen: HashMap<i64, Instant>,
}

impl Folder {
    /// Folds what is due, leaving the writer to others for half of the time; everything at once when `all`.
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
        if all {
            return fold_all(ledger, due).await;
        }
        while !due.is_empty() {
            let began = Instant::now();
            due = fold_some(ledger, due).await?;
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(())
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

/// Whether anything waits to be folded.
fn any_waiting(tx: &mut Tx<'_>) -> Result<bool, TrackingError> {
    // By the index: the rows themselves are many pages when they have just been folded.
    let first: Option<Option<i64>> = tx.scalar("SELECT MIN(run) FROM metric_inbox", &[])?;
    Ok(first.flatten().is_some())
}

/// Those of these runs that have points waiting.
pub(crate) fn waiting_of(tx: &mut Tx<'_>, runs: &[i64]) -> Result<HashSet<i64>, TrackingError> {
    let mut found = HashSet::new();
    if !any_waiting(tx)? {
        return Ok(found);
    }
    for some in many::batches(runs) {
        let sql = some.sql("SELECT DISTINCT run FROM metric_inbox WHERE run IN ({list})");
        tx.each(&sql, some.params(), |row| {
            found.insert(row.take(0)?);
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

/// Those runs of experiments that have points waiting. Steps from run to run along the index, however much of each waits.
pub(crate) fn waiting_in(tx: &mut Tx<'_>, experiments: &[i64]) -> Result<Vec<i64>, TrackingError> {
    let mut found = Vec::new();
    let sql = "WITH RECURSIVE waiting (run) AS (
                   SELECT MIN(run) FROM metric_inbox
                   UNION ALL
                   SELECT (SELECT MIN(i.run) FROM metric_inbox i WHERE i.run > w.run) FROM waiting w WHERE w.run IS NOT NULL
               ) SELECT r.n, r.experiment_n FROM waiting w JOIN runs r ON r.n = w.run";
    tx.each(sql, &[], |row| {
        let run = row.take(0)?;
        if experiments.contains(&row.take(1)?) {
            found.push(run);
        }
        Ok::<_, TrackingError>(())
    })?;
    Ok(found)
}

impl Tracking {
    /// Folds what waits in these experiments, so that latest values can be searched; costs next to nothing when nothing
    /// waits, whatever is folded elsewhere. Of many who ask one folds, and the others find it done.
    pub(crate) async fn fold_waiting(
        &self,
        project: &ProjectId,
        experiments: &[ExperimentId],
    ) -> Result<(), TrackingError> {
        let waiting = async || {
            let (project, experiments) = (project.clone(), experiments.to_vec());
            let find = move |tx: &mut Tx<'_>| {
                let numbers = experiments::numbers(tx, &project, &experiments)?;
                waiting_in(tx, &numbers)
            };
            self.ledger.db().read(find).await
        };
        if waiting().await?.is_empty() {
            return Ok(());
        }
        let _alone = self.folding.lock().await;
        fold_all(&self.ledger, waiting().await?).await
    }
}

async fn fold_all(ledger: &Ledger, runs: Vec<i64>) -> Result<(), TrackingError> {
    let side_by_side = runs.chunks(runs.len().div_ceil(AT_ONCE).max(1)).map(async |some| {
        let mut left = some.to_vec();
        while !left.is_empty() {
            left = fold_some(ledger, left).await?;
        }
        Ok::<_, TrackingError>(())
    });
    futures::future::try_join_all(side_by_side).await.map(drop)
}

/// Folds the oldest rows of the first of these runs, of as many as have few; answers which may have more.
async fn fold_some(ledger: &Ledger, runs: Vec<i64>) -> Result<Vec<i64>, TrackingError> {
    // Decoding, sorting and encoding happen beside the writer, which only writes.
    let read = move |tx: &mut Tx<'_>| {
        let (mut folded, mut rows) = (Vec::new(), 0);
        let mut left = runs.iter().copied();
        while rows < ROWS
            && let Some(run) = left.next()
        {
            if let Some(one) = Folded::of(tx, run)? {
                rows += one.rows;
                folded.push(one);
            }
        }
        Ok::<_, TrackingError>((folded, left.collect::<Vec<_>>()))
    };
    let (folded, later) = ledger.db().read(read).await?;
    if folded.is_empty() {
        return Ok(later);
    }
    let keep = move |tx: &mut Tx<'_>| {
        let mut more = Vec::new();
        for one in &folded {
            if !one.keep(tx)? || one.rows >= ROWS {
                more.push(one.run);
            }
        }
        Ok::<_, TrackingError>(more)
    };
    let mut more = ledger.write_summarised(POINTS, keep).await?;
    more.extend(later);
    Ok(more)
}

/// What comes of a part of a run's inbox.
struct Folded {
    run: i64,
    /// The id and the experiment of the run; none when it is gone, and its points with it.
    of: Option<(String, i64)>,
    /// The rows of the inbox that it takes the place of: how many, and the last.
    rows: i64,
    last: i64,
    /// Points before any that came twice were left out.
    points: u64,
    blocks: Vec<Block>,
    latest: Vec<(String, MetricPoint)>,
}

impl Folded {
    fn of(tx: &mut Tx<'_>, run: i64) -> Result<Option<Self>, TrackingError> {
        let Some(taken) = inbox::of_run(tx, run, ROWS)? else { return Ok(None) };
        let facts = tx.query_opt("SELECT id, experiment_n FROM runs WHERE n = ?1", &[run.into()])?;
        let of = facts.map(|mut row| Ok::<_, TrackingError>((row.take(0)?, row.take(1)?))).transpose()?;
        let (rows, last) = (taken.rows, taken.last);
        let mut folded = Self { run, of, rows, last, points: 0, blocks: Vec::new(), latest: Vec::new() };
        let Some((id, _)) = &folded.of else { return Ok(Some(folded)) };
        let chunk = seal::open_chunk(tx, seal::Owner::Run, id)?;
        for (key, mut points) in taken.points {
            tidy(&mut points);
            folded.points += points.len() as u64;
            if let Some(latest) = newer(tx, run, &key, points.last())? {
                folded.latest.push((key.clone(), latest));
            }
            folded.blocks.extend(blocks(tx, run, &key, chunk, points)?);
        }
        Ok(Some(folded))
    }

    /// Puts it in the place of its rows; answers no when somebody else has folded them meanwhile.
    fn keep(&self, tx: &mut Tx<'_>) -> Result<bool, TrackingError> {
        // Rows are folded from the first on, so whoever was faster has taken some of these.
        let sql = "SELECT COUNT(*) FROM metric_inbox WHERE run = ?1 AND id <= ?2";
        let there: Option<i64> = tx.scalar(sql, &[self.run.into(), self.last.into()])?;
        if there != Some(self.rows) {
            return Ok(false);
        }
        let sql = "DELETE FROM metric_inbox WHERE run = ?1 AND id <= ?2";
        tx.execute(sql, &[self.run.into(), self.last.into()])?;
        let Some((id, experiment)) = &self.of else { return Ok(true) };
        put_blocks(tx, self.run, &self.blocks)?;
        put_latest(
            tx,
            (self.run, *experiment),
            self.latest.iter().map(|(key, point)| (key.as_str(), point)),
        )?;
        known_runs::changed(tx, self.run)?;
        seal::added(tx, seal::Owner::Run, id, self.points)?;
        Ok(true)
    }
}

/// A block that is ready to be written.
pub(super) struct Block {
    key: String,
    number: i64,
    chunk: i64,
    points: i64,
    body: Vec<u8>,
}

/// Writes blocks of a run.
pub(super) fn put_blocks(tx: &mut Tx<'_>, run: i64, blocks: &[Block]) -> Result<(), TrackingError> {
    let row = |block: &Block| {
        let Block { key, number, chunk, points, body } = block;
        vec![
            run.into(),
            key.into(),
            (*number).into(),
            (*chunk).into(),
            (*points).into(),
            body.as_slice().into(),
        ]
    };
    tx.insert_rows(
        "INSERT INTO metric_blocks (run, key, block, chunk, points, body)",
        blocks.iter().map(row).collect(),
        "ON CONFLICT (run, key, block) DO UPDATE SET points = excluded.points, body = excluded.body",
    )?;
    Ok(())
}

/// The blocks that a series of the open chunk gets with these points: new ones, and its last one when that is small.
pub(super) fn blocks(
    tx: &mut Tx<'_>,
    run: i64,
    key: &str,
    chunk: i64,
    mut points: Vec<MetricPoint>,
) -> Result<Vec<Block>, TrackingError> {
    let small = i64::try_from(SMALL).unwrap_or(i64::MAX);
    let last = tx.query_opt(
        "SELECT block, CASE WHEN chunk = ?3 AND points < ?4 THEN body END FROM metric_blocks
         WHERE run = ?1 AND key = ?2 ORDER BY block DESC LIMIT 1",
        &[run.into(), key.into(), chunk.into(), small.into()],
    )?;
    let mut first = 0;
    if let Some(mut row) = last {
        first = row.take::<i64>(0)? + 1;
        if let Some(body) = row.take::<Option<Vec<u8>>>(1)? {
            first -= 1;
            codec::block(&body, &mut points)?;
            tidy(&mut points);
        }
    }
    let block = |(number, some): (i64, &[MetricPoint])| {
        let mut body = Vec::with_capacity(some.len() * 12);
        codec::put_block(&mut body, some);
        let points = i64::try_from(some.len()).unwrap_or(i64::MAX);
        Block { key: key.to_owned(), number, chunk, points, body }
    };
    Ok((first..).zip(points.chunks(MOST_POINTS)).map(block).collect())
}

/// The last point of a series, if it comes after the one that is known as the latest.
pub(super) fn newer(
    tx: &mut Tx<'_>,
    run: i64,
    key: &str,
    last: Option<&MetricPoint>,
) -> Result<Option<MetricPoint>, TrackingError> {
    let known = tx.query_opt(
        "SELECT key, step, at_ms, value, is_nan FROM latest_metrics WHERE run = ?1 AND key = ?2",
        &[run.into(), key.into()],
    )?;
    let known = known.map(|mut row| crate::metrics::metric_from(&mut row)).transpose()?;
    Ok(last.filter(|last| known.is_none_or(|known| order(last, &known.point).is_gt())).copied())
}

/// Writes the latest points of series of a run, each of another.
pub(super) fn put_latest<'a>(
    tx: &mut Tx<'_>,
    (run, experiment): (i64, i64),
    points: impl IntoIterator<Item = (&'a str, &'a MetricPoint)>,
) -> Result<(), TrackingError> {
    let row = |(key, point): (&str, &MetricPoint)| {
        let (value, is_nan) = point.stored();
        vec![
            run.into(),
            key.into(),
            point.step.into(),
            point.at_ms.into(),
            value.into(),
            is_nan.into(),
            experiment.into(),
        ]
    };
    tx.insert_rows(
        "INSERT INTO latest_metrics (run, key, step, at_ms, value, is_nan, experiment_n)",
        points.into_iter().map(row).collect(),
        "ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, at_ms = excluded.at_ms,
             value = excluded.value, is_nan = excluded.is_nan",
    )?;
    Ok(())
}

//! Folding: what waits in the inbox goes into blocks and latest values, the oldest of several runs at a time.

use super::ByKey;
use super::codec::{self, MOST_POINTS};
use super::inbox::{self, Most};
use super::{order, tidy};
use crate::metrics::MetricPoint;
use crate::model::ExperimentId;
use crate::schema::POINTS;
use crate::{Tracking, TrackingError, experiments, known_runs, many, seal};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use trueline_db::{DbError, Tx};
use trueline_ledger::{Ledger, LedgerError, ProjectId};

/// How much is folded in one transaction, of one run or of several, so that neither memory nor the writer is taken up for
/// long.
const MOST: Most = Most { rows: 512, points: 100_000 };
/// Runs that are folded in one transaction.
const RUNS: usize = 128;
/// A block with fewer points is written again with the new ones, not beside them.
const SMALL: usize = 1024;
/// A run is folded when so many rows of it wait,
const WAITING: i64 = 256;
/// or when the oldest has waited so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Transactions side by side, so that reading and writing overlap.
const AT_ONCE: usize = 2;

/// Decides when which run is folded.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    first_seen: HashMap<i64, Instant>,
}

impl Folder {
    /// Folds what is due, leaving the writer to others for half of the time; everything at once when `all`.
    pub(crate) async fn round(&mut self, tracking: &Tracking, all: bool) -> Result<(), TrackingError> {
        let waiting = tracking.ledger.db().read(waiting).await?;
        self.first_seen.retain(|run, _| waiting.iter().any(|w| w.run == *run));
        let mut due = Vec::new();
        for Waiting { run, rows, ended } in waiting {
            let since = *self.first_seen.entry(run).or_insert_with(Instant::now);
            if all || ended || rows >= WAITING || since.elapsed() >= PATIENCE {
                self.first_seen.remove(&run);
                due.push(run);
            }
        }
        while !due.is_empty() {
            let began = Instant::now();
            due = tracking.fold_some(due).await?;
            if !all {
                tokio::time::sleep(began.elapsed()).await;
            }
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
    /// waits, whatever is folded elsewhere.
    pub(crate) async fn fold_waiting(
        &self,
        project: &ProjectId,
        experiments: &[ExperimentId],
    ) -> Result<(), TrackingError> {
        let (project, experiments) = (project.clone(), experiments.to_vec());
        let find = move |tx: &mut Tx<'_>| {
            let numbers = experiments::numbers(tx, &project, &experiments)?;
            waiting_in(tx, &numbers)
        };
        let mut left = self.ledger.db().read(find).await?;
        if left.is_empty() {
            return Ok(());
        }
        // What is begun goes on when whoever asked has gone, so that who asks with little patience gets there in the end.
        let tracking = self.clone();
        let folding = tokio::spawn(async move {
            while !left.is_empty() {
                left = tracking.fold_some(left).await?;
            }
            Ok(())
        });
        folding.await.map_err(|e| LedgerError::from(DbError::Other(e.to_string())))?
    }

    /// Folds the oldest rows of the first of these runs; answers which may have more. All who fold take turns, so that none
    /// does what another one does.
    async fn fold_some(&self, runs: Vec<i64>) -> Result<Vec<i64>, TrackingError> {
        let _turn = self.folding.lock().await;
        let still = move |tx: &mut Tx<'_>| {
            let waiting = waiting_of(tx, &runs)?;
            Ok::<_, TrackingError>(runs.iter().copied().filter(|run| waiting.contains(run)).collect())
        };
        let runs: Vec<i64> = self.ledger.db().read(still).await?;
        let parts = runs.chunks(runs.len().div_ceil(AT_ONCE).max(1));
        let folded = parts.map(|some| fold_first(&self.ledger, some.to_vec()));
        Ok(futures::future::try_join_all(folded).await?.concat())
    }
}

/// Folds the oldest rows of the first of these runs in one transaction; answers which may have more.
async fn fold_first(ledger: &Ledger, runs: Vec<i64>) -> Result<Vec<i64>, TrackingError> {
    // Decoding, sorting and encoding happen beside the writer, which only writes.
    let all = runs.clone();
    let (part, later) = ledger.db().read(move |tx| Part::read(tx, &runs)).await?;
    if part.ids.is_empty() {
        return Ok(later);
    }
    let more = part.more.clone();
    match ledger.write_summarised(POINTS, move |tx| part.keep(tx)).await {
        Ok(()) => Ok([more, later].concat()),
        Err(Unkept::Stale) => Ok(all),
        Err(Unkept::Failed(error)) => Err(error),
    }
}

/// What comes of the oldest rows of some runs.
#[derive(Default)]
struct Part {
    /// The rows of the inbox that it takes the place of.
    ids: Vec<i64>,
    /// Runs of which more rows may wait.
    more: Vec<i64>,
    /// The runs that are there.
    runs: Vec<i64>,
    blocks: Vec<Block>,
    /// By run, experiment and key.
    latest: Vec<((i64, i64), String, MetricPoint)>,
    /// How many points came to each run, by its id. Points before any that came twice were left out.
    points: Vec<(String, u64)>,
}

/// Why a part was not kept.
enum Unkept {
    /// Another server has folded some of it meanwhile.
    Stale,
    Failed(TrackingError),
}

impl<E: Into<TrackingError>> From<E> for Unkept {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Part {
    /// That of the first of these runs, and the others.
    fn read(tx: &mut Tx<'_>, runs: &[i64]) -> Result<(Self, Vec<i64>), TrackingError> {
        let mut part = Self::default();
        let mut taken = Vec::new();
        let mut left = runs.iter().copied();
        let mut room = MOST;
        while room.rows > 0
            && room.points > 0
            && taken.len() < RUNS
            && let Some(run) = left.next()
        {
            let mut one = inbox::oldest(tx, run, room)?;
            if one.more {
                part.more.push(run);
            }
            if one.ids.is_empty() {
                continue;
            }
            room.rows -= one.ids.len();
            room.points = room.points.saturating_sub(one.count);
            part.ids.append(&mut one.ids);
            taken.push((run, one.points));
        }
        let mut targets = targets(tx, &taken)?;
        for (run, points) in taken {
            // Points of a run that is gone go with it.
            if let Some(target) = targets.remove(&run) {
                part.add(tx, run, target, points)?;
            }
        }
        Ok((part, left.collect()))
    }

    fn add(&mut self, tx: &mut Tx<'_>, run: i64, to: Target, points: ByKey) -> Result<(), TrackingError> {
        let mut count = 0;
        for (key, mut points) in points {
            tidy(&mut points);
            count += points.len() as u64;
            let newer = match to.chunk {
                Some(_) => newer(tx, run, &key, points.last())?,
                None => points.last().copied(),
            };
            if let Some(newer) = newer {
                self.latest.push(((run, to.experiment), key.clone(), newer));
            }
            self.blocks.extend(match to.chunk {
                Some(chunk) => blocks(tx, run, &key, chunk, points)?,
                None => encoded((run, &key), 0, 0, &points),
            });
        }
        self.points.push((to.id, count));
        self.runs.push(run);
        Ok(())
    }

    /// Puts it in the place of its rows.
    fn keep(&self, tx: &mut Tx<'_>) -> Result<(), Unkept> {
        let mut gone = 0;
        for some in many::batches(&self.ids) {
            gone += tx.execute(&some.sql("DELETE FROM metric_inbox WHERE id IN ({list})"), some.params())?;
        }
        if gone != self.ids.len() as u64 {
            return Err(Unkept::Stale);
        }
        put_blocks(tx, &self.blocks)?;
        put_latest(tx, self.latest.iter().map(|(run, key, point)| (*run, key.as_str(), point)))?;
        known_runs::all_changed(tx, &self.runs)?;
        let points = self.points.iter().map(|(id, points)| (id.as_str(), *points));
        Ok(seal::added(tx, seal::Owner::Run, points)?)
    }
}

/// What points are folded into.
struct Target {
    id: String,
    experiment: i64,
    /// The chunk that is open; none before anything was folded.
    chunk: Option<i64>,
}

/// What is folded into for what was taken, by the numbers of the runs.
fn targets(tx: &mut Tx<'_>, taken: &[(i64, ByKey)]) -> Result<HashMap<i64, Target>, TrackingError> {
    let numbers: Vec<i64> = taken.iter().map(|(run, _)| *run).collect();
    let mut found = HashMap::new();
    for some in many::batches(&numbers) {
        let sql = some.sql(
            "SELECT r.n, r.id, r.experiment_n, c.chunk FROM runs r
             LEFT JOIN metric_chunks c ON c.kind = 'run' AND c.owner = r.id WHERE r.n IN ({list})",
        );
        tx.each(&sql, some.params(), |row| {
            let target = Target { id: row.take(1)?, experiment: row.take(2)?, chunk: row.take(3)? };
            found.insert(row.take(0)?, target);
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

/// A block that is ready to be written.
pub(super) struct Block {
    run: i64,
    key: String,
    number: i64,
    chunk: i64,
    points: i64,
    body: Vec<u8>,
}

/// Writes blocks.
pub(super) fn put_blocks(tx: &mut Tx<'_>, blocks: &[Block]) -> Result<(), TrackingError> {
    let row = |block: &Block| {
        let Block { run, key, number, chunk, points, body } = block;
        vec![
            (*run).into(),
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
    Ok(encoded((run, key), first, chunk, &points))
}

/// Points as blocks, of which the first has this number.
fn encoded((run, key): (i64, &str), first: i64, chunk: i64, points: &[MetricPoint]) -> Vec<Block> {
    let block = |(number, some): (i64, &[MetricPoint])| {
        let mut body = Vec::with_capacity(some.len() * 12);
        codec::put_block(&mut body, some);
        let points = i64::try_from(some.len()).unwrap_or(i64::MAX);
        Block { run, key: key.to_owned(), number, chunk, points, body }
    };
    (first..).zip(points.chunks(MOST_POINTS)).map(block).collect()
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

/// Writes the latest points of series, each of another, by run and experiment.
pub(super) fn put_latest<'a>(
    tx: &mut Tx<'_>,
    points: impl IntoIterator<Item = ((i64, i64), &'a str, &'a MetricPoint)>,
) -> Result<(), TrackingError> {
    let row = |((run, experiment), key, point): ((i64, i64), &str, &MetricPoint)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LoggedMetric, RunId};
    use crate::test_house::{House, on_both};
    use crate::{Batch, MetricQuery};

    async fn log(house: &House, run: &RunId, steps: std::ops::Range<i64>) {
        for step in steps {
            let point = MetricPoint { step, at_ms: step, value: 0.5 };
            let metrics = vec![LoggedMetric { key: "loss".to_owned(), point }];
            let batch = Batch { metrics, ..Batch::default() };
            house.tracking.log_batch(&house.leave(), run, batch).await.unwrap();
        }
    }

    #[test]
    fn what_was_begun_for_somebody_who_has_gone_is_folded() {
        on_both("fold_gone", async |house| {
            let experiment = house.experiment("e").await;
            house.run(experiment).await;
            let turn = house.tracking.folding.lock().await;
            let asked = tokio::time::timeout(Duration::from_millis(300), house.fold(experiment));
            assert!(asked.await.is_err(), "it waits for its turn");
            assert_eq!(house.rows("metric_inbox").await, 1);
            drop(turn);
            let began = Instant::now();
            while house.rows("metric_inbox").await > 0 {
                assert!(began.elapsed() < Duration::from_secs(20), "nothing is folded");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    #[test]
    fn what_is_taken_at_once_has_so_many_rows_and_points_and_says_whether_there_are_more() {
        on_both("fold_most", async |house| {
            let experiment = house.experiment("e").await;
            let id = house.run(experiment).await;
            // A row of 300 points, and after it those of one.
            log(&house, &id, 1000..1149).await;
            let take = |rows, points| {
                let take = move |tx: &mut Tx<'_>| {
                    let run = tx.scalar("SELECT MIN(n) FROM runs", &[])?.unwrap();
                    let taken = inbox::oldest(tx, run, Most { rows, points })?;
                    Ok::<_, TrackingError>((taken.ids.len(), taken.count, taken.more))
                };
                house.tracking.ledger.db().read(take)
            };
            assert_eq!(take(1, 1000).await.unwrap(), (1, 300, true));
            assert_eq!(take(100, 1000).await.unwrap(), (100, 399, true));
            // What is read at once is taken.
            assert_eq!(take(200, 300).await.unwrap(), (64, 363, true));
            assert_eq!(take(200, 1000).await.unwrap(), (150, 449, false));
        });
    }

    #[test]
    fn many_runs_and_many_rows_of_one_are_folded_side_by_side_without_a_point_lost() {
        on_both("fold_many", async |house| {
            let experiment = house.experiment("e").await;
            let mut runs = Vec::new();
            for _ in 0..5 {
                runs.push(house.run(experiment).await);
            }
            // More than one transaction takes, and a second part for series that have blocks.
            let rows = MOST.rows as i64 + 20;
            log(&house, &runs[0], 1000..1000 + rows).await;
            let folds = (0..4).map(|_| house.fold(experiment));
            futures::future::join_all(folds).await;
            assert_eq!(house.rows("metric_inbox").await, 0);
            assert_eq!(house.rows("latest_metrics").await, 5);
            for (run, expected) in runs.iter().zip([300 + rows, 300, 300, 300, 300]) {
                let all = MetricQuery { offset: 0, limit: None };
                let points =
                    house.tracking.metric_history(&house.leave(), run, "loss".to_owned(), all).await.unwrap();
                assert_eq!(points.len() as i64, expected);
                let latest = house.tracking.run(&house.leave(), run).await.unwrap().metrics[0].point.step;
                assert_eq!(Some(latest), points.last().map(|p| p.step));
            }
        });
    }
}

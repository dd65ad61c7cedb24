//! Reading points: a whole series, the latest of each, a sealed chunk of a run.

use super::{ByKey, codec, inbox, tidy};
use crate::TrackingError;
use crate::metrics::{self, MetricPoint};
use crate::model::LoggedMetric;
use std::collections::{BTreeMap, HashMap};
use trueline_db::Tx;

/// The points of one series, in the order of steps.
pub(crate) fn series(tx: &mut Tx<'_>, run: i64, key: &str) -> Result<Vec<MetricPoint>, TrackingError> {
    let mut points = Vec::new();
    let sql = "SELECT body FROM metric_blocks WHERE run = ?1 AND key = ?2 ORDER BY block";
    tx.each(sql, &[run.into(), key.into()], |row| codec::block(&row.take::<Vec<u8>>(0)?, &mut points))?;
    points.extend(inbox::of_run(tx, run)?.remove(key).unwrap_or_default());
    if !points.is_sorted_by(|a, b| super::order(a, b).is_lt()) {
        tidy(&mut points);
    }
    Ok(points)
}

/// Shows all series of a run in turn.
pub(crate) fn each_series<E: From<TrackingError>>(
    tx: &mut Tx<'_>,
    run: i64,
    mut see: impl FnMut(&str, &[MetricPoint]) -> Result<(), E>,
) -> Result<(), E> {
    let mut waiting = inbox::of_run(tx, run)?;
    let (mut key, mut points) = (String::new(), Vec::new());
    let mut show = |key: &str, points: &mut Vec<MetricPoint>, more: Option<Vec<MetricPoint>>| {
        points.extend(more.unwrap_or_default());
        if !points.is_sorted_by(|a, b| super::order(a, b).is_lt()) {
            tidy(points);
        }
        let seen = if points.is_empty() { Ok(()) } else { see(key, points) };
        points.clear();
        seen
    };
    let mut stopped = None;
    let sql = "SELECT key, body FROM metric_blocks WHERE run = ?1 ORDER BY key, block";
    let read = tx.each(sql, &[run.into()], |row| {
        let next: String = row.take(0)?;
        if next != key {
            let done = show(&key, &mut points, waiting.remove(&key));
            key = next;
            if let Err(error) = done {
                stopped = Some(error);
                return Err(TrackingError::State("the reader has stopped".to_owned()));
            }
        }
        codec::block(&row.take::<Vec<u8>>(1)?, &mut points)
    });
    if let Some(error) = stopped {
        return Err(error);
    }
    read?;
    show(&key, &mut points, waiting.remove(&key))?;
    waiting.into_iter().try_for_each(|(key, more)| show(&key, &mut points, Some(more)))
}

/// The latest point of each metric of a run, by key.
pub(crate) fn latest(tx: &mut Tx<'_>, run: i64) -> Result<Vec<LoggedMetric>, TrackingError> {
    Ok(latest_of(tx, &[run])?.remove(&run).unwrap_or_default())
}

/// The same of several runs.
pub(crate) fn latest_of(
    tx: &mut Tx<'_>,
    runs: &[i64],
) -> Result<HashMap<i64, Vec<LoggedMetric>>, TrackingError> {
    let mut found: HashMap<i64, Vec<LoggedMetric>> = HashMap::new();
    for some in crate::many::batches(runs) {
        let sql = some.sql(
            "SELECT key, step, at_ms, value, is_nan, run FROM latest_metrics WHERE run IN ({list}) ORDER BY run, key",
        );
        tx.each(&sql, some.params(), |row| {
            let metric = metrics::metric_from(row)?;
            found.entry(row.take(5)?).or_default().push(metric);
            Ok::<_, TrackingError>(())
        })?;
    }
    for run in super::waiting_of(tx, runs)? {
        overlay(found.entry(run).or_default(), inbox::of_run(tx, run)?);
    }
    Ok(found)
}

/// What the latest values are once these points are folded.
fn overlay(latest: &mut Vec<LoggedMetric>, waiting: ByKey) {
    let mut by_key: BTreeMap<String, MetricPoint> = latest.drain(..).map(|m| (m.key, m.point)).collect();
    for (key, points) in waiting {
        for point in points {
            let known = by_key.entry(key.clone()).or_insert(point);
            if super::order(&point, known).is_gt() {
                *known = point;
            }
        }
    }
    latest.extend(by_key.into_iter().map(|(key, point)| LoggedMetric { key, point }));
}

/// The next series, after `after`, of which a chunk of a run holds points: its key and them.
pub(crate) fn blocks_of_chunk(
    tx: &mut Tx<'_>,
    run: i64,
    chunk: i64,
    after: Option<&str>,
) -> Result<Option<(String, Vec<MetricPoint>)>, TrackingError> {
    let key: Option<Option<String>> = tx.scalar(
        "SELECT MIN(key) FROM metric_blocks WHERE run = ?1 AND chunk = ?2 AND key > ?3",
        &[run.into(), chunk.into(), after.unwrap_or_default().into()],
    )?;
    let Some(key) = key.flatten() else { return Ok(None) };
    let mut points = Vec::new();
    let sql = "SELECT body FROM metric_blocks WHERE run = ?1 AND chunk = ?2 AND key = ?3 ORDER BY block";
    tx.each(sql, &[run.into(), chunk.into(), (&key).into()], |row| {
        codec::block(&row.take::<Vec<u8>>(0)?, &mut points)
    })?;
    tidy(&mut points);
    Ok(Some((key, points)))
}

//! The inbox: what requests brought and was not folded yet, a row for each.

use super::ByKey;
use super::codec::{self, MOST_POINTS, Reader};
use crate::TrackingError;
use crate::metrics::MetricPoint;
use crate::model::LoggedMetric;
use std::collections::BTreeMap;
use trueline_db::Tx;

/// Rows that are read with one statement, where points are counted.
const ROWS_AT_ONCE: usize = 64;

/// The points of a request as bytes, by key.
pub(crate) fn batch(metrics: &[LoggedMetric]) -> Vec<u8> {
    let mut by_key: BTreeMap<&str, Vec<MetricPoint>> = BTreeMap::new();
    for metric in metrics {
        by_key.entry(&metric.key).or_default().push(metric.point.normal());
    }
    let mut out = Vec::with_capacity(metrics.len() * 24);
    for (key, points) in &by_key {
        for some in points.chunks(MOST_POINTS) {
            codec::put_key(&mut out, key);
            codec::put_block(&mut out, some);
        }
    }
    out
}

/// Keeps what [`batch`] made of a request's points.
pub(crate) fn put(tx: &mut Tx<'_>, run: i64, batch: &[u8]) -> Result<(), TrackingError> {
    if !batch.is_empty() {
        tx.execute("INSERT INTO metric_inbox (run, body) VALUES (?1, ?2)", &[run.into(), batch.into()])?;
    }
    Ok(())
}

/// Adds the points of a row; answers how many they are.
fn read(body: &[u8], into: &mut ByKey) -> Result<usize, TrackingError> {
    let mut reader = Reader::new(body);
    let mut count = 0;
    while !reader.is_at_end() {
        let key = reader.key()?;
        let points = match into.get_mut(key) {
            Some(points) => points,
            None => into.entry(key.to_owned()).or_default(),
        };
        let before = points.len();
        reader.block(points)?;
        count += points.len() - before;
    }
    Ok(count)
}

/// How much of an inbox is taken at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) rows: usize,
    /// Rows are taken until there are so many points.
    pub(crate) points: usize,
}

impl Most {
    const ALL: Self = Self { rows: usize::MAX, points: usize::MAX };
}

/// Rows of a run's inbox.
pub(crate) struct Taken {
    pub(crate) points: ByKey,
    /// How many points these are.
    pub(crate) count: usize,
    /// The rows that they came in.
    pub(crate) ids: Vec<i64>,
    /// There may be more rows.
    pub(crate) more: bool,
}

/// The oldest rows of a run's inbox.
pub(crate) fn oldest(tx: &mut Tx<'_>, run: i64, most: Most) -> Result<Taken, TrackingError> {
    let mut taken = Taken { points: ByKey::new(), count: 0, ids: Vec::new(), more: true };
    let sql = "SELECT id, body FROM metric_inbox WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    while taken.more && taken.count < most.points && taken.ids.len() < most.rows {
        let (last, before) = (taken.ids.last().copied().unwrap_or(i64::MIN), taken.ids.len());
        let rows = match most.points {
            usize::MAX => most.rows - before,
            _ => ROWS_AT_ONCE.min(most.rows - before),
        };
        tx.each(sql, &[run.into(), last.into(), i64::try_from(rows).unwrap_or(i64::MAX).into()], |row| {
            taken.ids.push(row.take(0)?);
            taken.count += read(&row.take::<Vec<u8>>(1)?, &mut taken.points)?;
            Ok::<_, TrackingError>(())
        })?;
        taken.more = taken.ids.len() - before == rows;
    }
    Ok(taken)
}

/// All points of a run's inbox.
pub(crate) fn of_run(tx: &mut Tx<'_>, run: i64) -> Result<ByKey, TrackingError> {
    Ok(oldest(tx, run, Most::ALL)?.points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_each_point_under_its_key() {
        let metric = |key: &str, step: i64, value: f64| LoggedMetric {
            key: key.to_owned(),
            point: MetricPoint { step, at_ms: 5, value },
        };
        let logged = [metric("b", 1, 0.5), metric("a", 0, f64::INFINITY), metric("b", 0, f64::NAN)];
        let mut found = ByKey::new();
        read(&batch(&logged), &mut found).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found["a"][0].value, f64::MAX, "as MLflow keeps it");
        assert_eq!(found["b"][0], MetricPoint { step: 1, at_ms: 5, value: 0.5 });
        assert!(found["b"][1].value.is_nan());
    }
}

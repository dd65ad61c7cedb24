//! The inbox: what requests brought and was not folded yet, a row for each.

use super::ByKey;
use super::codec::{self, MOST_POINTS, Reader};
use crate::TrackingError;
use crate::metrics::MetricPoint;
use crate::model::LoggedMetric;
use std::collections::BTreeMap;
use trueline_db::Tx;

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

fn read(body: &[u8], into: &mut ByKey) -> Result<(), TrackingError> {
    let mut reader = Reader::new(body);
    while !reader.is_at_end() {
        let key = reader.key()?;
        match into.get_mut(key) {
            Some(points) => reader.block(points)?,
            None => reader.block(into.entry(key.to_owned()).or_default())?,
        }
    }
    Ok(())
}

/// Rows of a run's inbox.
pub(crate) struct Taken {
    pub(crate) points: ByKey,
    /// The rows that they came in.
    pub(crate) ids: Vec<i64>,
}

/// The oldest rows of a run's inbox, at most `most`; none when there is none.
pub(crate) fn of_run(tx: &mut Tx<'_>, run: i64, most: i64) -> Result<Option<Taken>, TrackingError> {
    let mut taken = Taken { points: ByKey::new(), ids: Vec::new() };
    let sql = "SELECT id, body FROM metric_inbox WHERE run = ?1 ORDER BY id LIMIT ?2";
    tx.each(sql, &[run.into(), most.into()], |row| {
        taken.ids.push(row.take(0)?);
        read(&row.take::<Vec<u8>>(1)?, &mut taken.points)
    })?;
    Ok((!taken.ids.is_empty()).then_some(taken))
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

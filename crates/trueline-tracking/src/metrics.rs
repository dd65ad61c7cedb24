//! Metric points. A point is (step, time, value); the latest of a series is the greatest by (step, time, value).
//! Points are high-volume: they are written without an event each, and sealed in chunks (see the module of sealing).

use crate::model::{LoggedMetric, RunId};
use crate::seal::{self, Owner};
use crate::{Tracking, TrackingError, runs, validate};
use serde::Serialize;
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::Millis;

/// One point of a metric's series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MetricPoint {
    /// The step that the client counts.
    pub step: i64,
    /// When, by the client's clock.
    pub at_ms: Millis,
    /// The value; NaN and the infinities are values.
    pub value: f64,
}

impl MetricPoint {
    /// What the database keeps: NaN as 0 with a mark, the infinities as the greatest finite numbers, as MLflow does.
    pub(crate) fn stored(self) -> (f64, bool) {
        if self.value.is_nan() {
            return (0.0, true);
        }
        // -0.0 and 0.0 are one key in SQLite and two in PostgreSQL's index order; keep one.
        (self.value.clamp(f64::MIN, f64::MAX) + 0.0, false)
    }

    pub(crate) fn from_stored(step: i64, at_ms: Millis, value: f64, is_nan: bool) -> Self {
        Self { step, at_ms, value: if is_nan { f64::NAN } else { value } }
    }
}

/// Which part of a series is asked for.
#[derive(Clone, Debug, Default)]
pub struct MetricQuery {
    /// Skip this many points.
    pub offset: u64,
    /// Give at most so many; none for all.
    pub limit: Option<u64>,
}

pub(crate) fn check(metric: &LoggedMetric) -> Result<(), TrackingError> {
    validate::key("metric", &metric.key)?;
    let MetricPoint { at_ms, value, .. } = metric.point;
    if at_ms < 0 {
        return Err(TrackingError::Invalid(format!(
            "Invalid value {at_ms} for parameter 'timestamp' supplied: metric '{}' (value={value:?}). Timestamp must be \
             a nonnegative long (64-bit integer) ",
            metric.key
        )));
    }
    Ok(())
}

/// Writes points and keeps the latest of each series.
pub(crate) fn insert(tx: &mut Tx<'_>, run: &RunId, metrics: &[LoggedMetric]) -> Result<(), TrackingError> {
    let chunk = seal::open_chunk(tx, Owner::Run, run.as_str())?;
    let mut added = 0;
    for metric in metrics {
        let (value, is_nan) = metric.point.stored();
        let params: [Value; 7] = [
            run.into(),
            (&metric.key).into(),
            metric.point.step.into(),
            metric.point.at_ms.into(),
            value.into(),
            is_nan.into(),
            chunk.into(),
        ];
        let new = tx.execute(
            "INSERT INTO metric_points (run, key, step, at_ms, value, is_nan, chunk)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            &params,
        )?;
        if new == 0 {
            continue;
        }
        added += new;
        tx.execute(
            "INSERT INTO latest_metrics (run, key, step, at_ms, value, is_nan) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, at_ms = excluded.at_ms,
                 value = excluded.value, is_nan = excluded.is_nan
             WHERE excluded.step > latest_metrics.step
                OR (excluded.step = latest_metrics.step AND excluded.at_ms > latest_metrics.at_ms)
                OR (excluded.step = latest_metrics.step AND excluded.at_ms = latest_metrics.at_ms
                    AND excluded.value > latest_metrics.value)",
            &params[..6],
        )?;
    }
    seal::added(tx, Owner::Run, run.as_str(), added)
}

pub(crate) fn metric_from(row: &mut Row) -> Result<LoggedMetric, TrackingError> {
    let key = row.take(0)?;
    let point = MetricPoint::from_stored(row.take(1)?, row.take(2)?, row.take(3)?, row.take(4)?);
    Ok(LoggedMetric { key, point })
}

/// The latest point of each metric of a run, by key.
pub(crate) fn latest(tx: &mut Tx<'_>, run: &RunId) -> Result<Vec<LoggedMetric>, TrackingError> {
    let rows = tx.query(
        "SELECT key, step, at_ms, value, is_nan FROM latest_metrics WHERE run = ?1 ORDER BY key",
        &[run.into()],
    )?;
    rows.into_iter().map(|mut row| metric_from(&mut row)).collect()
}

impl Tracking {
    /// The points of one series, ordered by time, step and value.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is no such run.
    pub async fn metric_history(
        &self,
        leave: &Authorized<ReadProject>,
        run: &RunId,
        key: String,
        query: MetricQuery,
    ) -> Result<Vec<MetricPoint>, TrackingError> {
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .db()
            .read(move |tx| {
                runs::get(tx, &project, &run)?;
                history(tx, &run, &key, &query)
            })
            .await
    }
}

pub(crate) fn history(
    tx: &mut Tx<'_>,
    run: &RunId,
    key: &str,
    query: &MetricQuery,
) -> Result<Vec<MetricPoint>, TrackingError> {
    let limit = query.limit.map_or(i64::MAX, |l| i64::try_from(l).unwrap_or(i64::MAX));
    let offset = i64::try_from(query.offset).unwrap_or(i64::MAX);
    let rows = tx.query(
        "SELECT step, at_ms, value, is_nan FROM metric_points WHERE run = ?1 AND key = ?2
         ORDER BY at_ms, step, value LIMIT ?3 OFFSET ?4",
        &[run.into(), key.into(), limit.into(), offset.into()],
    )?;
    rows.into_iter()
        .map(|mut row| Ok(MetricPoint::from_stored(row.take(0)?, row.take(1)?, row.take(2)?, row.take(3)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::MetricPoint;

    #[test]
    fn nan_and_infinity_are_kept_as_mlflow_keeps_them() {
        let stored = |value| MetricPoint { step: 0, at_ms: 0, value }.stored();
        assert_eq!(stored(f64::NAN), (0.0, true));
        assert_eq!(stored(f64::INFINITY), (f64::MAX, false));
        assert_eq!(stored(f64::NEG_INFINITY), (f64::MIN, false));
        assert_eq!(stored(-0.0).0.to_bits(), 0.0f64.to_bits());
    }
}

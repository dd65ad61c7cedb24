//! Metric points. A point is (step, time, value); the latest of a series is the greatest by (step, time, value).
//! Points are high-volume: they are written without an event each, and sealed in chunks (see the module of sealing). Where
//! they lie is the matter of the modules below `points`.

use crate::model::{LoggedMetric, RunId};
use crate::validate::Named;
use crate::{Tracking, TrackingError, points, runs, sample, validate};
use serde::Serialize;
use trueline_db::{Row, Tx};
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

    /// The point as it is read again.
    pub(crate) fn normal(self) -> Self {
        let (value, is_nan) = self.stored();
        Self::from_stored(self.step, self.at_ms, value, is_nan)
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

pub(crate) fn check(of: Named, metric: &LoggedMetric) -> Result<(), TrackingError> {
    validate::key(of, &metric.key)?;
    let MetricPoint { at_ms, value, .. } = metric.point;
    if at_ms < 0 {
        return Err(TrackingError::Invalid(format!(
            "Invalid value {at_ms} for parameter '{}' supplied: metric '{}' (value={value:?}). Timestamp must be a \
             nonnegative long (64-bit integer) ",
            of.field("timestamp"),
            metric.key
        )));
    }
    Ok(())
}

pub(crate) fn metric_from(row: &mut Row) -> Result<LoggedMetric, TrackingError> {
    let key = row.take(0)?;
    let point = MetricPoint::from_stored(row.take(1)?, row.take(2)?, row.take(3)?, row.take(4)?);
    Ok(LoggedMetric { key, point })
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
                let row = runs::place(tx, &project, &run)?;
                history(tx, row.n, &key, &query)
            })
            .await
    }

    /// A series thinned out to about `most` points, in the order of steps: the first, the last, and of each stretch between
    /// them the least and the greatest value stay.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is no such run.
    pub async fn metric_sample(
        &self,
        leave: &Authorized<ReadProject>,
        run: &RunId,
        key: String,
        most: usize,
    ) -> Result<Vec<MetricPoint>, TrackingError> {
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .db()
            .read(move |tx| {
                let row = runs::place(tx, &project, &run)?;
                Ok(sample::thinned(points::series(tx, row.n, &key)?, most))
            })
            .await
    }
}

pub(crate) fn history(
    tx: &mut Tx<'_>,
    run: i64,
    key: &str,
    query: &MetricQuery,
) -> Result<Vec<MetricPoint>, TrackingError> {
    let mut points = points::series(tx, run, key)?;
    if !points.is_sorted_by_key(|p| p.at_ms) {
        // Stable: points of one time stay in the order of step and value.
        points.sort_by_key(|p| p.at_ms);
    }
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let limit = query.limit.map_or(usize::MAX, size);
    Ok(points.into_iter().skip(size(query.offset)).take(limit).collect())
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

//! Points of databases from before there were blocks: a row each. They are moved series by series when the server starts,
//! with the chunks that they were sealed in.

use super::fold::{blocks, put_blocks};
use crate::metrics::MetricPoint;
use crate::schema::POINTS;
use crate::{Tracking, TrackingError};
use trueline_db::{Row, Tx};

/// Points that one transaction moves at the most.
const ROWS: i64 = 4096;

impl Tracking {
    /// Moves the points of an older database; ends at once when there are none. A start that is broken off goes on where it
    /// was at the next one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn adopt_old_points(&self) -> Result<(), TrackingError> {
        // A server whose database never had any, or has none left, need not ask the writer.
        let any = self.ledger.db().read(|tx| Ok::<_, TrackingError>(first(tx)?.is_some()));
        if !any.await? {
            return Ok(());
        }
        let mut moved = 0u64;
        loop {
            let some = self.ledger.write_summarised(POINTS, adopt).await?;
            if some == 0 {
                break;
            }
            if moved == 0 {
                tracing::info!("moving metric points to their new form; this is done once");
            }
            moved += some;
        }
        if moved > 0 {
            tracing::info!(points = moved, "moved metric points to their new form");
        }
        Ok(())
    }
}

/// The run and the key of the first series that is still to be moved.
fn first(tx: &mut Tx<'_>) -> Result<Option<Row>, TrackingError> {
    Ok(tx.query_opt("SELECT run, key FROM metric_points_v1 ORDER BY run, key LIMIT 1", &[])?)
}

/// Moves the first points that are found, of one series and chunk; answers how many.
pub(super) fn adopt(tx: &mut Tx<'_>) -> Result<u64, TrackingError> {
    let Some(mut first) = first(tx)? else { return Ok(0) };
    let (id, key): (String, String) = (first.take(0)?, first.take(1)?);
    let chunk: Option<i64> = tx.scalar(
        "SELECT MIN(chunk) FROM metric_points_v1 WHERE run = ?1 AND key = ?2",
        &[(&id).into(), (&key).into()],
    )?;
    let chunk = chunk.unwrap_or_default();
    let mut points = Vec::new();
    tx.each(
        "SELECT step, at_ms, value, is_nan FROM metric_points_v1 WHERE run = ?1 AND key = ?2 AND chunk = ?3
         ORDER BY step, at_ms, value, is_nan LIMIT ?4",
        &[(&id).into(), (&key).into(), chunk.into(), ROWS.into()],
        |row| {
            points.push(MetricPoint::from_stored(row.take(0)?, row.take(1)?, row.take(2)?, row.take(3)?));
            Ok::<_, TrackingError>(())
        },
    )?;
    for point in &points {
        let (value, is_nan) = point.stored();
        tx.execute(
            "DELETE FROM metric_points_v1 WHERE run = ?1 AND key = ?2 AND step = ?3 AND at_ms = ?4 AND value = ?5
                 AND is_nan = ?6",
            &[
                (&id).into(),
                (&key).into(),
                point.step.into(),
                point.at_ms.into(),
                value.into(),
                is_nan.into(),
            ],
        )?;
    }
    let moved = points.len() as u64;
    let run: Option<i64> = tx.scalar("SELECT n FROM runs WHERE id = ?1", &[(&id).into()])?;
    if let Some(run) = run {
        let blocks = blocks(tx, run, &key, chunk, points)?;
        put_blocks(tx, &blocks)?;
    }
    Ok(moved)
}

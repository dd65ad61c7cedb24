//! Points of an import: whole series that go straight into blocks and latest values, not through the inbox.

use super::codec::{self, MOST_POINTS};
use super::fold;
use super::{ByKey, tidy};
use crate::metrics::MetricPoint;
use crate::seal::{FirstSeal, Owner};
use crate::{TrackingError, known_runs, runs};
use trueline_db::Tx;

/// A series as it lies in the tables.
#[derive(Debug)]
struct Series {
    key: String,
    last: MetricPoint,
    /// Number of points and bytes of each block.
    blocks: Vec<(i64, Vec<u8>)>,
}

/// All points of a run that is new, ready for the tables.
#[derive(Debug)]
pub(crate) struct Packed {
    series: Vec<Series>,
    pub(crate) seal: FirstSeal,
}

impl Packed {
    /// Sorts, hashes and encodes; this is the work of an import, and needs no transaction.
    pub(crate) fn new(run: &str, mut points: ByKey) -> Self {
        for series in points.values_mut() {
            series.iter_mut().for_each(|p| *p = p.normal());
            tidy(series);
        }
        points.retain(|_, series| !series.is_empty());
        let all = points.iter().flat_map(|(key, series)| series.iter().map(move |p| (key.as_str(), run, *p)));
        let seal = FirstSeal::of(Owner::Run, run, all);
        let pack = |(key, series): (String, Vec<MetricPoint>)| {
            let last = *series.last()?;
            let blocks = series.chunks(MOST_POINTS).map(|some| {
                let mut body = Vec::with_capacity(some.len() * 12);
                codec::put_block(&mut body, some);
                (i64::try_from(some.len()).unwrap_or(i64::MAX), body)
            });
            Some(Series { key, last, blocks: blocks.collect() })
        };
        Self { seal, series: points.into_iter().filter_map(pack).collect() }
    }
}

/// Writes the points of a run that has none yet, into its first chunk.
pub(crate) fn keep_packed(tx: &mut Tx<'_>, run: runs::Place, packed: &Packed) -> Result<(), TrackingError> {
    let of = (run.n, run.experiment_n);
    fold::put_latest(tx, packed.series.iter().map(|series| (of, series.key.as_str(), &series.last)))?;
    let rows = packed.series.iter().flat_map(|Series { key, blocks, .. }| {
        let row = move |(number, (points, body)): (i64, &(i64, Vec<u8>))| {
            vec![
                run.n.into(),
                key.into(),
                number.into(),
                0i64.into(),
                (*points).into(),
                body.as_slice().into(),
            ]
        };
        (0..).zip(blocks).map(row)
    });
    tx.insert_rows("INSERT INTO metric_blocks (run, key, block, chunk, points, body)", rows.collect(), "")?;
    Ok(())
}

/// Adds a part of the points of a run that is on its way in, to its first chunk.
pub(crate) fn keep_more(tx: &mut Tx<'_>, run: runs::Place, points: ByKey) -> Result<(), TrackingError> {
    for (key, mut series) in points {
        series.iter_mut().for_each(|p| *p = p.normal());
        tidy(&mut series);
        if let Some(latest) = fold::newer(tx, run.n, &key, series.last())? {
            fold::put_latest(tx, [((run.n, run.experiment_n), key.as_str(), &latest)])?;
        }
        let blocks = fold::blocks(tx, run.n, &key, 0, series)?;
        fold::put_blocks(tx, &blocks)?;
    }
    known_runs::changed(tx, run.n)
}

/// Takes out all points of a run.
pub(crate) fn forget(tx: &mut Tx<'_>, run: i64) -> Result<(), TrackingError> {
    tx.execute("DELETE FROM metric_blocks WHERE run = ?1", &[run.into()])?;
    tx.execute("DELETE FROM latest_metrics WHERE run = ?1", &[run.into()])?;
    Ok(())
}

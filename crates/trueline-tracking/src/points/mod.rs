//! Where metric points lie. A request's points go to the inbox as one row of bytes; a while later, or when a search asks
//! for metrics, they are folded: into blocks, one series each, and into the latest value of each series. Whoever reads
//! takes blocks and inbox together, so that it makes no difference when that happens.

mod adopt;
mod bulk;
mod codec;
mod fold;
mod inbox;
#[cfg(test)]
mod migration;
mod series;

pub(crate) use bulk::{Packed, forget, keep_more, keep_packed};
pub(crate) use fold::{Folder, waiting_in, waiting_of};
pub(crate) use inbox::{batch, put};
pub(crate) use series::{blocks_of_chunk, each_series, latest, latest_of, series};

use crate::metrics::MetricPoint;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Points by the key of their metric.
pub(crate) type ByKey = BTreeMap<String, Vec<MetricPoint>>;

/// The order of a series; the last point of it is the metric's latest value.
pub(crate) fn order(a: &MetricPoint, b: &MetricPoint) -> Ordering {
    let key = |p: &MetricPoint| (p.step, p.at_ms);
    let (value_a, nan_a) = a.stored();
    let (value_b, nan_b) = b.stored();
    key(a).cmp(&key(b)).then(value_a.total_cmp(&value_b)).then(nan_a.cmp(&nan_b))
}

/// Sorts a series and drops what was logged twice.
fn tidy(points: &mut Vec<MetricPoint>) {
    points.sort_unstable_by(order);
    points.dedup_by(|a, b| order(a, b) == Ordering::Equal);
}

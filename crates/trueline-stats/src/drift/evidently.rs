//! Evidently's numbers (0.7.23), for reports that must agree with what a team already has.
//! Its rules are kept, quirks included; the defaults of this crate are in the parent module.

use std::collections::BTreeMap;

use super::divergence::{hellinger, jensen_shannon_distance, kullback_leibler, psi, sorted};
use crate::error::StatsError;

/// Shares of reference and current over common bins.
pub type SharePair = (Vec<f64>, Vec<f64>);

/// Bins of `get_binned_data`: with more than 20 distinct reference values, numpy's "sturges" over both
/// samples together (w = range/(log2 N + 1), B = ⌈range/w⌉ equal bins, the last closed on the right; for
/// `integers` w is at least 1), else one bin per distinct value. Its `n_bins = 30` is ignored there, hence
/// here.
///
/// # Errors
/// A sample is empty or holds a value that is not finite.
pub fn numeric_shares(reference: &[f64], current: &[f64], integers: bool) -> Result<SharePair, StatsError> {
    let (left, right) = (sorted(reference, "reference")?, sorted(current, "current")?);
    if distinct(&left) > 20 {
        let edges = sturges_edges(&left, &right, left.len() + right.len(), integers);
        return Ok((histogram_shares(&left, &edges), histogram_shares(&right, &edges)));
    }
    let mut values: Vec<f64> = left.iter().chain(&right).copied().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let shares = |sample: &[f64]| {
        let upto = |value: f64| sample.partition_point(|&x| x <= value);
        let before = |value: f64| sample.partition_point(|&x| x < value);
        values.iter().map(|&value| (upto(value) - before(value)) as f64 / sample.len() as f64).collect()
    };
    Ok((shares(&left), shares(&right)))
}

/// Shares of categories over the sorted union.
///
/// # Errors
/// A side sums to zero.
pub fn category_shares(
    reference: &BTreeMap<String, u64>,
    current: &BTreeMap<String, u64>,
) -> Result<SharePair, StatsError> {
    let union: BTreeMap<&String, ()> = reference.keys().chain(current.keys()).map(|key| (key, ())).collect();
    let shares = |side: &BTreeMap<String, u64>, what| {
        let total: u64 = side.values().sum();
        if total == 0 {
            return Err(StatsError::Empty { what });
        }
        Ok(union.keys().map(|key| side.get(*key).copied().unwrap_or(0) as f64 / total as f64).collect())
    };
    Ok((shares(reference, "reference")?, shares(current, "current")?))
}

/// Evidently's zero fill, each side for itself: with m the smallest share above zero, zeros become m/1e6 if m
/// <= 1e-4, else 1e-4. Nothing is renormalised. For PSI and KL, not for Jensen-Shannon.
pub fn fill_zeros(shares: &mut [f64]) {
    let smallest = shares.iter().copied().filter(|&share| share > 0.0).fold(f64::INFINITY, f64::min);
    let fill = if smallest <= 1e-4 { smallest / 1e6 } else { 1e-4 };
    shares.iter_mut().filter(|share| **share == 0.0).for_each(|share| *share = fill);
}

/// PSI of two share vectors after [`fill_zeros`].
///
/// # Errors
/// Lengths differ or are zero.
pub fn filled_psi((mut reference, mut current): SharePair) -> Result<f64, StatsError> {
    fill_zeros(&mut reference);
    fill_zeros(&mut current);
    psi(&reference, &current)
}

/// KL of two share vectors after [`fill_zeros`], which scipy then normalises.
///
/// # Errors
/// Lengths differ or are zero.
pub fn filled_kullback_leibler((mut reference, mut current): SharePair) -> Result<f64, StatsError> {
    fill_zeros(&mut reference);
    fill_zeros(&mut current);
    kullback_leibler(&reference, &current)
}

/// Jensen-Shannon distance, base e, no fill.
///
/// # Errors
/// Lengths differ or are zero.
pub fn jensen_shannon((reference, current): &SharePair) -> Result<f64, StatsError> {
    jensen_shannon_distance(reference, current, std::f64::consts::E)
}

/// Hellinger of a numeric column: sturges bins over the *distinct* values of both samples.
///
/// # Errors
/// A sample is empty or holds a value that is not finite.
pub fn numeric_hellinger(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    let (left, right) = (sorted(reference, "reference")?, sorted(current, "current")?);
    let mut values: Vec<f64> = left.iter().chain(&right).copied().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let edges = sturges_edges(&left, &right, values.len(), false);
    hellinger(&histogram_shares(&left, &edges), &histogram_shares(&right, &edges))
}

fn distinct(sorted: &[f64]) -> usize {
    1 + sorted.windows(2).filter(|pair| pair[0] < pair[1]).count()
}

fn sturges_edges(left: &[f64], right: &[f64], size: usize, integers: bool) -> Vec<f64> {
    let low = left[0].min(right[0]);
    let high = left[left.len() - 1].max(right[right.len() - 1]);
    let width = (high - low) / ((size as f64).log2() + 1.0);
    let width = if integers { width.max(1.0) } else { width };
    equal_edges(low, high, width)
}

/// numpy's `linspace(low, high, ⌈range/width⌉ + 1)`; one bin of width 1 around a constant.
pub(super) fn equal_edges(low: f64, high: f64, width: f64) -> Vec<f64> {
    if high <= low {
        return vec![low - 0.5, low + 0.5];
    }
    let bins = if width > 0.0 { ((high - low) / width).ceil().max(1.0) } else { 1.0 };
    let step = (high - low) / bins;
    let mut edges: Vec<f64> = (0..=bins as usize).map(|i| i as f64 * step + low).collect();
    edges[bins as usize] = high;
    edges
}

/// numpy's `histogram(sample, edges)/len(sample)`: left-closed bins, the last closed on both sides, outsiders
/// dropped.
pub(super) fn histogram_shares(sorted: &[f64], edges: &[f64]) -> Vec<f64> {
    let last = edges.len() - 1;
    let below = |i: usize| {
        let edge = edges[i];
        if i == last { sorted.partition_point(|&x| x <= edge) } else { sorted.partition_point(|&x| x < edge) }
    };
    (0..last).map(|i| (below(i + 1) - below(i)) as f64 / sorted.len() as f64).collect()
}

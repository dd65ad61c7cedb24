//! NannyML's univariate numbers: "doane" bins from the reference alone, base-2 Jensen-Shannon, what falls
//! outside as a bin. Its Wasserstein, Kolmogorov-Smirnov and χ² contingency are this crate's own.

use super::divergence::{jensen_shannon_distance, sorted};
use super::evidently::{SharePair, equal_edges, histogram_shares};
use crate::error::StatsError;

/// Shares over numpy's "doane" bins of the reference: w = range/(1 + log2 n + log2(1 + |g1|/σ_g1)), g1 the
/// skewness and σ_g1 = √(6(n-2)/((n+1)(n+3))) (Doane 1976). Current values outside the reference's range make
/// an extra, last bin.
///
/// # Errors
/// A sample is empty or holds a value that is not finite.
pub fn numeric_shares(reference: &[f64], current: &[f64]) -> Result<SharePair, StatsError> {
    let (left, right) = (sorted(reference, "reference")?, sorted(current, "current")?);
    let edges = equal_edges(left[0], left[left.len() - 1], doane_width(&left));
    let (mut shares, mut others) = (histogram_shares(&left, &edges), histogram_shares(&right, &edges));
    let outside = 1.0 - others.iter().sum::<f64>();
    if outside > 0.0 {
        shares.push(0.0);
        others.push(outside);
    }
    Ok((shares, others))
}

fn doane_width(sorted: &[f64]) -> f64 {
    let n = sorted.len() as f64;
    if n <= 2.0 {
        return 0.0;
    }
    let mean = sorted.iter().sum::<f64>() / n;
    let deviation = (sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    if deviation <= 0.0 {
        return 0.0;
    }
    let skewness = sorted.iter().map(|x| ((x - mean) / deviation).powi(3)).sum::<f64>() / n;
    let error = (6.0 * (n - 2.0) / ((n + 1.0) * (n + 3.0))).sqrt();
    (sorted[sorted.len() - 1] - sorted[0]) / (1.0 + n.log2() + (1.0 + skewness.abs() / error).log2())
}

/// Jensen-Shannon distance, base 2.
///
/// # Errors
/// Lengths differ or are zero.
pub fn jensen_shannon((reference, current): &SharePair) -> Result<f64, StatsError> {
    jensen_shannon_distance(reference, current, 2.0)
}

//! Distances between two histograms' shares, and Wasserstein's between two samples.
//! No tests here, only measures; `calibrated` says what chance alone would give.

use crate::error::{StatsError, same_length};

/// Shares with half an observation added to every bin (Jeffreys): (c_i + ½)/(n + B/2). Never zero.
///
/// # Errors
/// No bins.
pub fn smoothed_shares(counts: &[u64]) -> Result<Vec<f64>, StatsError> {
    if counts.is_empty() {
        return Err(StatsError::Empty { what: "counts" });
    }
    let total = counts.iter().sum::<u64>() as f64 + 0.5 * counts.len() as f64;
    Ok(counts.iter().map(|&count| (count as f64 + 0.5) / total).collect())
}

/// Population stability index Σ (r_i - c_i) ln(r_i/c_i) (Siddiqi 2006); the symmetrised Kullback-Leibler
/// divergence, in nats. Infinite when one side is zero where the other is not: fill zeros first. Bins zero on
/// both sides add nothing.
///
/// # Errors
/// Lengths differ or are zero.
pub fn psi(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    same_length("shares", reference.len(), current.len())?;
    Ok(reference
        .iter()
        .zip(current)
        .filter(|(r, c)| **r > 0.0 || **c > 0.0)
        .map(|(&r, &c)| (r - c) * (r / c).ln())
        .sum())
}

/// Kullback-Leibler divergence Σ p ln(p/q) in nats of `reference` from `current`, both normalised to sum 1
/// first (as `scipy.stats.entropy`). Infinite where the current share is zero and the reference's is not.
///
/// # Errors
/// Lengths differ or are zero; a side sums to zero.
pub fn kullback_leibler(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    let (p, q) = normalised(reference, current)?;
    Ok(p.iter().zip(&q).filter(|(p, _)| **p > 0.0).map(|(&p, &q)| p * (p / q).ln()).sum())
}

/// Jensen-Shannon distance √(½KL(p‖m) + ½KL(q‖m)), m = (p+q)/2, logarithms to `base` (as
/// `scipy.spatial.distance.jensenshannon`): at most √(ln 2) = 0.8326 for base e, 1 for base 2. Needs no fill.
///
/// # Errors
/// Lengths differ or are zero; a side sums to zero; `base` not above 1.
pub fn jensen_shannon_distance(reference: &[f64], current: &[f64], base: f64) -> Result<f64, StatsError> {
    if base.is_nan() || base <= 1.0 {
        return Err(StatsError::OutOfRange { what: "base", value: base, expected: "more than 1" });
    }
    let (p, q) = normalised(reference, current)?;
    let part = |x: f64, m: f64| if x > 0.0 { x * (x / m).ln() } else { 0.0 };
    let sum: f64 = p.iter().zip(&q).map(|(&p, &q)| part(p, 0.5 * (p + q)) + part(q, 0.5 * (p + q))).sum();
    Ok((0.5 * sum.max(0.0) / base.ln()).sqrt())
}

/// Hellinger distance √(1 - Σ √(p_i q_i)) of shares that sum to at most 1 (not normalised here).
///
/// # Errors
/// Lengths differ or are zero.
pub fn hellinger(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    same_length("shares", reference.len(), current.len())?;
    let overlap: f64 = reference.iter().zip(current).map(|(p, q)| (p * q).sqrt()).sum();
    Ok((1.0 - overlap).max(0.0).sqrt())
}

/// The largest difference of shares max |r_i - c_i|.
///
/// # Errors
/// Lengths differ or are zero.
pub fn l_infinity(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    same_length("shares", reference.len(), current.len())?;
    Ok(reference.iter().zip(current).map(|(r, c)| (r - c).abs()).fold(0.0, f64::max))
}

/// 1-Wasserstein distance ∫|F - G| of two samples, in their unit (as `scipy.stats.wasserstein_distance`). NaN
/// is an error; filter missing values first. O(n log n).
///
/// # Errors
/// A sample is empty or holds a value that is not finite.
pub fn wasserstein(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    let (reference, current) = (sorted(reference, "reference")?, sorted(current, "current")?);
    let (n, m) = (reference.len() as f64, current.len() as f64);
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    let mut at = reference[0].min(current[0]);
    while i < reference.len() || j < current.len() {
        let next = match (reference.get(i), current.get(j)) {
            (Some(&r), Some(&c)) => r.min(c),
            (Some(&r), None) => r,
            (None, Some(&c)) => c,
            (None, None) => break,
        };
        sum += (i as f64 / n - j as f64 / m).abs() * (next - at);
        at = next;
        while reference.get(i).is_some_and(|&r| r <= at) {
            i += 1;
        }
        while current.get(j).is_some_and(|&c| c <= at) {
            j += 1;
        }
    }
    Ok(sum)
}

/// [`wasserstein`] over max(σ_reference, 0.001), σ with ddof 0: in standard deviations of the reference
/// (Evidently's).
///
/// # Errors
/// As [`wasserstein`].
pub fn normalised_wasserstein(reference: &[f64], current: &[f64]) -> Result<f64, StatsError> {
    let distance = wasserstein(reference, current)?;
    let mean = reference.iter().sum::<f64>() / reference.len() as f64;
    let variance = reference.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / reference.len() as f64;
    Ok(distance / variance.sqrt().max(0.001))
}

/// A sorted copy of a finite, non-empty sample.
pub(super) fn sorted(sample: &[f64], what: &'static str) -> Result<Vec<f64>, StatsError> {
    if sample.is_empty() {
        return Err(StatsError::Empty { what });
    }
    if let Some(&value) = sample.iter().find(|value| !value.is_finite()) {
        return Err(StatsError::OutOfRange { what, value, expected: "finite values only" });
    }
    let mut values = sample.to_vec();
    values.sort_by(f64::total_cmp);
    Ok(values)
}

fn normalised(reference: &[f64], current: &[f64]) -> Result<(Vec<f64>, Vec<f64>), StatsError> {
    same_length("shares", reference.len(), current.len())?;
    let scale = |shares: &[f64]| {
        let sum: f64 = shares.iter().sum();
        crate::error::positive("sum of shares", sum)?;
        Ok(shares.iter().map(|share| share / sum).collect())
    };
    Ok((scale(reference)?, scale(current)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn measures_are_zero_on_equals_and_within_their_bounds(counts in prop::collection::vec((0_u64..50, 0_u64..50), 2..12)) {
            let (left, right): (Vec<u64>, Vec<u64>) = counts.into_iter().unzip();
            let (p, q) = (smoothed_shares(&left).unwrap(), smoothed_shares(&right).unwrap());
            prop_assert!(psi(&p, &p).unwrap().abs() < 1e-12 && psi(&p, &q).unwrap() >= 0.0);
            prop_assert!((psi(&p, &q).unwrap() - psi(&q, &p).unwrap()).abs() < 1e-9);
            prop_assert!(kullback_leibler(&p, &q).unwrap() > -1e-12);
            prop_assert!(jensen_shannon_distance(&p, &q, 2.0).unwrap() <= 1.0);
            prop_assert!(hellinger(&p, &q).unwrap() <= 1.0);
        }

        #[test]
        fn shifting_a_sample_moves_it_by_the_shift(values in prop::collection::vec(-100.0..100.0_f64, 1..50),
                                                    shift in 0.0..10.0_f64) {
            let moved: Vec<f64> = values.iter().map(|x| x + shift).collect();
            prop_assert!((wasserstein(&values, &moved).unwrap() - shift).abs() < 1e-9);
        }
    }

    #[test]
    fn disjoint_shares_reach_the_stated_maxima() {
        let js = jensen_shannon_distance(&[1.0, 0.0], &[0.0, 1.0], std::f64::consts::E).unwrap();
        assert!((js - 0.8326).abs() < 1e-4);
        assert!((hellinger(&[1.0, 0.0], &[0.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
        assert!(psi(&[1.0], &[0.5, 0.5]).is_err() && wasserstein(&[], &[1.0]).is_err());
    }
}

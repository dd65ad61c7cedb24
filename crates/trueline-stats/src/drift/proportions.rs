//! Tests on counts: χ² over categories, two proportions, and an e-value for missingness.
//! All take whole numbers, so windows can be added first.

use crate::error::{StatsError, same_length};
use crate::special::{chi_square_upper, log_sum_exp, normal_upper};

/// A χ² statistic with its degrees of freedom and p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquareTest {
    /// Σ (observed - expected)²/expected; infinite when something was observed where nothing was expected.
    pub statistic: f64,
    /// Degrees of freedom.
    pub dof: usize,
    /// P(χ² > statistic); 1 with no degrees of freedom, 0 for an infinite statistic.
    pub p_value: f64,
}

/// Goodness of fit as Evidently does it: expected = reference·(n_current/n_reference), the reference taken as
/// known without error, dof = categories - 1. A category the reference lacks gives p = 0. It rejects too
/// often when the reference is not much larger than the window; [`chi_square_contingency`] does not. A single
/// category gives p = 1 (Evidently: NaN).
///
/// # Errors
/// Lengths differ or are zero; a side sums to zero.
pub fn chi_square_goodness_of_fit(reference: &[u64], current: &[u64]) -> Result<ChiSquareTest, StatsError> {
    let (kept, n, m) = present(reference, current)?;
    let scale = m / n;
    let statistic = kept.iter().map(|&(r, c)| (c - r * scale) * (c - r * scale) / (r * scale)).sum();
    finish(statistic, kept.len() - 1)
}

/// Homogeneity of two samples (2×B contingency table, no continuity correction): both sides are uncertain.
/// dof = B - 1 over the categories that occur.
///
/// # Errors
/// Lengths differ or are zero; a side sums to zero.
pub fn chi_square_contingency(reference: &[u64], current: &[u64]) -> Result<ChiSquareTest, StatsError> {
    let (kept, n, m) = present(reference, current)?;
    let part = |seen: f64, expected: f64| (seen - expected) * (seen - expected) / expected;
    let statistic =
        kept.iter().map(|&(r, c)| part(r, (r + c) * n / (n + m)) + part(c, (r + c) * m / (n + m))).sum();
    finish(statistic, kept.len() - 1)
}

fn finish(statistic: f64, dof: usize) -> Result<ChiSquareTest, StatsError> {
    let p_value = if dof == 0 {
        1.0
    } else if statistic.is_finite() {
        chi_square_upper(statistic, dof as f64)?
    } else {
        0.0
    };
    Ok(ChiSquareTest { statistic, dof, p_value })
}

type Kept = (Vec<(f64, f64)>, f64, f64);

fn present(reference: &[u64], current: &[u64]) -> Result<Kept, StatsError> {
    same_length("category counts", reference.len(), current.len())?;
    let (n, m): (u64, u64) = (reference.iter().sum(), current.iter().sum());
    if n == 0 || m == 0 {
        return Err(StatsError::Empty { what: if n == 0 { "reference" } else { "current" } });
    }
    let occurs = |(r, c): (&u64, &u64)| (r + c > 0).then_some((*r as f64, *c as f64));
    Ok((reference.iter().zip(current).filter_map(occurs).collect(), n as f64, m as f64))
}

/// A z statistic with its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProportionTest {
    /// (share in current) - (share in reference).
    pub difference: f64,
    /// The difference over its pooled standard error; 0 when neither side varies.
    pub z: f64,
    /// 2(1 - Φ(|z|)).
    pub p_value: f64,
}

/// Two-proportion z test with the pooled share: z = (q - p)/√(π(1-π)(1/n + 1/m)). For missingness: hits =
/// missing values.
///
/// # Errors
/// A total of zero, or more hits than the total.
pub fn two_proportion_z(reference: (u64, u64), current: (u64, u64)) -> Result<ProportionTest, StatsError> {
    let ((k, n), (l, m)) = (checked(reference)?, checked(current)?);
    let difference = l / m - k / n;
    let pooled = (k + l) / (n + m);
    let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let z = if error > 0.0 { difference / error } else { 0.0 };
    Ok(ProportionTest { difference, z, p_value: (2.0 * normal_upper(z.abs())).min(1.0) })
}

/// ln e against "both sides have the same share", e.g. of missing values: (hits, total) of each side.
///
/// The two-sample e-variable of Turner, Ly & Grünwald ("Generic E-variables for exact sequential k-sample
/// tests that allow for optional stopping", JSPI 2024) for one block of n and m outcomes: the likelihood at
/// (θ_a, θ_b) over that at the pooled θ_0 = (nθ_a + mθ_b)/(n+m), averaged over a fixed grid of 21×21 points
/// even in logit θ from -8 to 8 steps 0.8. Mean at most 1 under the null at any sample size, so windows'
/// values may be multiplied (independent windows *and* fresh references) or averaged (one reference for all).
///
/// # Errors
/// A total of zero, or more hits than the total.
pub fn missingness_log_e(reference: (u64, u64), current: (u64, u64)) -> Result<f64, StatsError> {
    const POINTS: i32 = 10;
    const STEP: f64 = 0.8;
    let ((k, n), (l, m)) = (checked(reference)?, checked(current)?);
    let share = |i: i32| 1.0 / (1.0 + (-STEP * f64::from(i)).exp());
    let gain = |hits: f64, total: f64, theta: f64, null: f64| {
        hits * (theta / null).ln() + (total - hits) * ((1.0 - theta) / (1.0 - null)).ln()
    };
    let mut terms = Vec::with_capacity(441);
    for i in -POINTS..=POINTS {
        for j in -POINTS..=POINTS {
            let (a, b) = (share(i), share(j));
            let null = (n * a + m * b) / (n + m);
            terms.push(gain(k, n, a, null) + gain(l, m, b, null));
        }
    }
    Ok(log_sum_exp(&terms) - (terms.len() as f64).ln())
}

fn checked((hits, total): (u64, u64)) -> Result<(f64, f64), StatsError> {
    if total == 0 {
        return Err(StatsError::Empty { what: "sample" });
    }
    if hits > total {
        return Err(StatsError::OutOfRange {
            what: "hits",
            value: hits as f64,
            expected: "at most the total",
        });
    }
    Ok((hits as f64, total as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::binomial_pmf;

    #[test]
    fn the_missingness_e_value_has_mean_at_most_one_whatever_the_share() {
        for share in [0.001, 0.03, 0.3, 0.5] {
            let mut mean = 0.0;
            for k in 0..=40_u64 {
                for l in 0..=15_u64 {
                    let chance = binomial_pmf(k as f64, 40.0, share) * binomial_pmf(l as f64, 15.0, share);
                    mean += chance * missingness_log_e((k, 40), (l, 15)).unwrap().exp();
                }
            }
            assert!(mean <= 1.0 + 1e-9, "{share}: {mean}");
        }
    }

    #[test]
    fn a_jump_in_missing_values_is_evidence_and_none_is_not() {
        assert!(missingness_log_e((10, 10_000), (60, 1_000)).unwrap() > 20.0);
        assert!(missingness_log_e((100, 10_000), (10, 1_000)).unwrap() < 0.0);
        assert!(missingness_log_e((0, 10), (0, 0)).is_err() && two_proportion_z((3, 2), (0, 1)).is_err());
        assert!((two_proportion_z((0, 5), (0, 9)).unwrap().p_value - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_single_category_is_no_evidence_and_a_new_one_is_all() {
        assert!((chi_square_goodness_of_fit(&[5], &[7]).unwrap().p_value - 1.0).abs() < 1e-15);
        assert!(chi_square_goodness_of_fit(&[5, 0], &[7, 1]).unwrap().p_value.abs() < 1e-300);
        assert!(chi_square_contingency(&[5, 0], &[7, 1]).unwrap().p_value > 0.3);
        assert!(chi_square_contingency(&[0, 0], &[7, 1]).is_err());
    }
}

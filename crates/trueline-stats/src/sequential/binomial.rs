//! One-sided e-values and bounds for a Bernoulli mean, from truncated Beta mixtures of likelihood ratios.
//! Shared by the share tests and the quantile sequences.

use super::Interval;
use crate::special::{ln_beta, ln_beta_tails};

/// A Beta(a, b) prior on the success probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BetaPrior {
    pub(super) a: f64,
    pub(super) b: f64,
}

impl BetaPrior {
    /// Mean p, and one pseudo-observation of the rarer outcome: as wide as the question is rare.
    pub(super) fn centred(p: f64) -> Self {
        let weight = 1.0 / p.min(1.0 - p);
        Self { a: p * weight, b: (1.0 - p) * weight }
    }

    fn mirrored(self) -> Self {
        Self { a: self.b, b: self.a }
    }
}

/// ln e against H0: P(success | past) <= p, for k successes in n trials.
///
/// e = ∫_{θ>p} θ^k (1-θ)^{n-k} dπ(θ) / (p^k (1-p)^{n-k}), π = Beta(a, b) truncated to θ > p and renormalised,
/// so e = [B(a+k, b+n-k) Ī_p(a+k, b+n-k)] / [B(a,b) Ī_p(a,b) p^k (1-p)^{n-k}] with Ī = 1 - I. Each likelihood
/// ratio with θ > p rises with success, hence is a supermartingale for every smaller success probability,
/// hence so is the mixture.
pub(super) fn log_e_above(k: u64, n: u64, p: f64, prior: BetaPrior) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let (successes, failures) = (k as f64, (n - k) as f64);
    let (a, b) = (prior.a + successes, prior.b + failures);
    let numerator = ln_beta(a, b) + ln_beta_tails(a, b, p).1;
    let normaliser = ln_beta(prior.a, prior.b) + ln_beta_tails(prior.a, prior.b, p).1;
    numerator - normaliser - successes * p.ln() - failures * (-p).ln_1p()
}

/// ln e against H0: P(success | past) >= p: [`log_e_above`] with success and failure exchanged.
pub(super) fn log_e_below(k: u64, n: u64, p: f64, prior: BetaPrior) -> f64 {
    log_e_above(n - k, n, 1.0 - p, prior.mirrored())
}

/// The (1 - `alpha`) confidence sequence for the success probability, as it stands after k successes in n trials:
/// {θ : B(a+k, b+n-k)/B(a,b) < θ^k (1-θ)^{n-k} / alpha}.
pub(super) fn mixture_interval(k: u64, n: u64, prior: BetaPrior, alpha: f64) -> Interval {
    if n == 0 {
        return Interval { lower: Some(0.0), upper: Some(1.0) };
    }
    let (successes, failures) = (k as f64, (n - k) as f64);
    let mixture = ln_beta(prior.a + successes, prior.b + failures) - ln_beta(prior.a, prior.b);
    let floor = mixture + alpha.ln();
    let log_likelihood = |theta: f64| {
        let hits = if k > 0 { successes * theta.ln() } else { 0.0 };
        let misses = if n > k { failures * (-theta).ln_1p() } else { 0.0 };
        hits + misses
    };
    let mode = successes / (successes + failures);
    let edge = |mut inside: f64, mut outside: f64| {
        for _ in 0..80 {
            let middle = 0.5 * (inside + outside);
            if log_likelihood(middle) > floor { inside = middle } else { outside = middle }
        }
        outside
    };
    let lower = if k == 0 { 0.0 } else { edge(mode, 0.0) };
    let upper = if n == k { 1.0 } else { edge(mode, 1.0) };
    Interval { lower: Some(lower), upper: Some(upper) }
}

/// The smallest k with ln e(above) >= `needed`; `None` when even k = n is not enough.
pub(super) fn smallest_excess(n: u64, p: f64, prior: BetaPrior, needed: f64) -> Option<u64> {
    let enough = |k: u64| log_e_above(k, n, p, prior) >= needed;
    if n == 0 || !enough(n) {
        return None;
    }
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(high)
}

/// The largest k with ln e(below) >= `needed`; `None` when even k = 0 is not enough.
pub(super) fn largest_shortfall(n: u64, p: f64, prior: BetaPrior, needed: f64) -> Option<u64> {
    smallest_excess(n, 1.0 - p, prior.mirrored(), needed).map(|failures| n - failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::binomial_pmf;

    #[test]
    fn the_e_value_has_mean_one_at_the_null_and_less_inside() {
        let prior = BetaPrior::centred(0.2);
        let mean_at = |truth: f64| -> f64 {
            (0..=60_u64)
                .map(|k| binomial_pmf(k as f64, 60.0, truth) * log_e_above(k, 60, 0.2, prior).exp())
                .sum()
        };
        assert!((mean_at(0.2) - 1.0).abs() < 1e-10, "{}", mean_at(0.2));
        assert!(mean_at(0.1) < 0.5);
        assert!(mean_at(0.4) > 100.0);
        let below: f64 = (0..=60_u64)
            .map(|k| binomial_pmf(k as f64, 60.0, 0.2) * log_e_below(k, 60, 0.2, prior).exp())
            .sum();
        assert!((below - 1.0).abs() < 1e-10);
    }

    #[test]
    fn count_limits_are_exactly_where_the_e_value_crosses() {
        let prior = BetaPrior::centred(0.99);
        let needed = 40_f64.ln();
        let k = smallest_excess(5_000, 0.99, prior, needed).unwrap();
        assert!(
            log_e_above(k, 5_000, 0.99, prior) >= needed && log_e_above(k - 1, 5_000, 0.99, prior) < needed
        );
        let k = largest_shortfall(5_000, 0.99, prior, needed).unwrap();
        assert!(
            log_e_below(k, 5_000, 0.99, prior) >= needed && log_e_below(k + 1, 5_000, 0.99, prior) < needed
        );
        assert_eq!(smallest_excess(10, 0.99, prior, needed), None);
    }
}

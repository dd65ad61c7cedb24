//! Does the canary err more than its share of traffic explains, while that share changes from step to step?
//! A finite mixture over the ratio of error rates; exact for every predictable allocation.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Arm, Interval, p_from_log_e};
use crate::error::{StatsError, open_unit, positive};
use crate::special::log_sum_exp;

/// Points of the mixture on one side of the null.
const GRID: usize = 32;
/// ln-distance from the null of the nearest and farthest point: ratios from 1.02 to about 148 times the
/// null's.
const NEAREST: f64 = 0.02;
const FARTHEST: f64 = 5.0;
/// Where the ends of an interval are looked for: ratios from e^-60 to e^60.
const REACH: f64 = 60.0;
/// Steps after which an end of an interval is where it is; some ten are enough.
const MOST_STEPS: usize = 100;
/// Different allocations in one rollout; more is an error, so that memory stays constant.
const MOST_ALLOCATIONS: usize = 64;

/// The betting form of the count test of Lindon & Malek (2022) with a predictable allocation.
///
/// Given an error while a share p_t of units goes to the canary, and rates in ratio ρ, it falls on the canary
/// with probability p_t ρ/(p_t ρ + q_t), q = 1 - p. The likelihood ratio of ρ against r0 for one error, x = 1
/// on the canary, is (ρ/r0)^x · (p_t r0 + q_t)/(p_t ρ + q_t); the product over errors is a martingale at r0
/// and a supermartingale below it when ρ > r0, whatever predictable p_t does. e averages 32 such products,
/// ρ/r0 log-spaced in its logarithm from 1.02 to 148 with equal weights: p_t may change, what was learnt
/// before a change is kept.
///
/// As for [`super::ErrorShareTest`], an observation is one error of one *assigned unit*. Under the sharp null
/// (a unit errs or not whatever arm it is on) the test is exact also when sticky keys move to the canary as
/// the share rises, if only the first error of each key counts: the key's hash is then uniform given the
/// past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorRatioTest {
    tolerated_ratio: f64,
    allocations: Vec<Allocation>,
    canary: u64,
    largest_log_e: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Allocation {
    canary_share: f64,
    errors: u64,
}

impl ErrorRatioTest {
    /// A test of H0: (canary rate)/(champion rate) <= `tolerated_ratio`.
    ///
    /// # Errors
    /// `tolerated_ratio` not positive and finite.
    pub fn new(tolerated_ratio: f64) -> Result<Self, StatsError> {
        positive("tolerated ratio", tolerated_ratio)?;
        Ok(Self { tolerated_ratio, allocations: Vec::new(), canary: 0, largest_log_e: 0.0 })
    }

    /// Records one error, which happened while `canary_share` of the units were assigned to the canary. The
    /// share must have been fixed before the error was known. Constant work: 32 points times the different
    /// shares so far.
    ///
    /// # Errors
    /// `canary_share` outside (0, 1), or more than 64 different shares. Nothing is recorded then.
    pub fn observe(&mut self, arm: Arm, canary_share: f64) -> Result<(), StatsError> {
        open_unit("canary share", canary_share)?;
        let same = |a: &Allocation| a.canary_share.to_bits() == canary_share.to_bits();
        if let Some(place) = self.allocations.iter().position(same) {
            self.allocations[place].errors += 1;
        } else if self.allocations.len() < MOST_ALLOCATIONS {
            self.allocations.push(Allocation { canary_share, errors: 1 });
        } else {
            return Err(StatsError::LimitReached {
                what: "different canary shares",
                limit: MOST_ALLOCATIONS,
            });
        }
        if arm == Arm::Canary {
            self.canary += 1;
        }
        self.largest_log_e = self.largest_log_e.max(self.log_e());
        Ok(())
    }

    /// Errors seen so far: (champion, canary).
    #[must_use]
    pub fn errors(&self) -> (u64, u64) {
        (self.total() - self.canary, self.canary)
    }

    /// ln of the current e-value; 0 before the first error.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        if self.allocations.is_empty() {
            return 0.0;
        }
        let (ratio, null) = (self.tolerated_ratio, self.tolerated_ratio.ln());
        let terms = POINTS
            .each_ref()
            .map(|point| self.log_likelihood_of(null + point.distance, ratio * point.growth + (ratio - 1.0)));
        log_sum_exp(&terms) - (GRID as f64).ln() - self.log_likelihood(null)
    }

    /// The anytime-valid p-value: the smallest 1/e so far, at most 1.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        p_from_log_e(self.largest_log_e)
    }

    /// The (1 - `alpha`) confidence sequence for the ratio ρ of error rates, assumed constant: all ρ whose
    /// likelihood is above alpha times the average likelihood of 64 points on both sides of 1. The set is an
    /// interval, since the log likelihood is concave in ln ρ. Sides without an error stay open (`lower` = 0,
    /// `upper` = `None`).
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn ratio_interval(&self, alpha: f64) -> Result<Interval, StatsError> {
        open_unit("alpha", alpha)?;
        if self.allocations.is_empty() {
            return Ok(Interval { lower: Some(0.0), upper: None });
        }
        let both = |point: &Point| {
            [(point.distance, point.growth), (-point.distance, point.shrinkage)]
                .map(|(at, growth)| self.log_likelihood_of(at, growth))
        };
        let terms: Vec<f64> = POINTS.iter().flat_map(both).collect();
        let floor = log_sum_exp(&terms) - (2.0 * GRID as f64).ln() + alpha.ln();
        Ok(Interval {
            lower: Some(if self.canary == 0 { 0.0 } else { self.rise_to(floor, -REACH).exp() }),
            upper: (self.canary < self.total()).then(|| self.rise_to(floor, REACH).exp()),
        })
    }

    /// Where the log likelihood, coming from `far` outside, first reaches `floor`: Newton's method. The log likelihood is
    /// concave, so a tangent lies above it and reaches the floor too early: each step comes nearer and none goes beyond, which
    /// leaves the interval a rounding error too wide and never too narrow.
    fn rise_to(&self, floor: f64, far: f64) -> f64 {
        let mut at = far;
        for _ in 0..MOST_STEPS {
            let lacking = floor - self.log_likelihood(at);
            let step = lacking / self.slope(at);
            let inwards = lacking > 0.0 && step * far < 0.0;
            if !inwards || step.abs() <= 1e-14 * at.abs() {
                break;
            }
            at += step;
        }
        at
    }

    fn total(&self) -> u64 {
        self.allocations.iter().map(|a| a.errors).sum()
    }

    /// K u - Σ n_s ln(p_s e^u + q_s), u = ln ρ; the part that does not depend on u is left out.
    fn log_likelihood(&self, log_ratio: f64) -> f64 {
        self.log_likelihood_of(log_ratio, log_ratio.exp_m1())
    }

    /// The same, with e^u - 1 at hand.
    fn log_likelihood_of(&self, log_ratio: f64, growth: f64) -> f64 {
        let load: f64 =
            self.allocations.iter().map(|a| a.errors as f64 * (a.canary_share * growth).ln_1p()).sum();
        self.canary as f64 * log_ratio - load
    }

    fn slope(&self, log_ratio: f64) -> f64 {
        let ratio = log_ratio.exp();
        let expected: f64 = self
            .allocations
            .iter()
            .map(|a| {
                a.errors as f64 * a.canary_share * ratio / (a.canary_share * ratio + 1.0 - a.canary_share)
            })
            .sum();
        self.canary as f64 - expected
    }
}

/// A point of the mixture on each side of the null.
struct Point {
    /// Its ln-distance from the null, u.
    distance: f64,
    /// e^u - 1.
    growth: f64,
    /// e^-u - 1.
    shrinkage: f64,
}

/// The points of the mixture, reckoned once.
static POINTS: LazyLock<[Point; GRID]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let distance = NEAREST * (FARTHEST / NEAREST).powf(i as f64 / (GRID - 1) as f64);
        Point { distance, growth: distance.exp_m1(), shrinkage: (-distance).exp_m1() }
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::ErrorShareTest;
    use crate::special::binomial_pmf;

    fn after(canary: u64, champion: u64, share: f64) -> ErrorRatioTest {
        ErrorRatioTest {
            tolerated_ratio: 1.0,
            allocations: vec![Allocation { canary_share: share, errors: canary + champion }],
            canary,
            largest_log_e: 0.0,
        }
    }

    #[test]
    fn has_mean_one_at_the_null_with_one_or_two_allocations() {
        let one: f64 =
            (0..=50).map(|k| binomial_pmf(k as f64, 50.0, 0.1) * after(k, 50 - k, 0.1).log_e().exp()).sum();
        assert!((one - 1.0).abs() < 1e-9, "{one}");
        let mut two = 0.0;
        for first in 0..=20_u64 {
            for second in 0..=20_u64 {
                let test = ErrorRatioTest {
                    tolerated_ratio: 1.0,
                    allocations: vec![
                        Allocation { canary_share: 0.05, errors: 20 },
                        Allocation { canary_share: 0.5, errors: 20 },
                    ],
                    canary: first + second,
                    largest_log_e: 0.0,
                };
                let chance = binomial_pmf(first as f64, 20.0, 0.05) * binomial_pmf(second as f64, 20.0, 0.5);
                two += chance * test.log_e().exp();
            }
        }
        assert!((two - 1.0).abs() < 1e-9, "{two}");
    }

    /// The exact probability that `crosses` ever holds within `errors` errors, each on the canary with `chance`: all paths
    /// of counts, no simulation.
    fn crossing_probability(errors: u64, chance: f64, crosses: impl Fn(u64, u64) -> bool) -> f64 {
        let (mut alive, mut crossed) = (vec![1.0], 0.0);
        for n in 1..=errors {
            let mut next = vec![0.0; n as usize + 1];
            for (k, mass) in alive.iter().enumerate() {
                next[k] += mass * (1.0 - chance);
                next[k + 1] += mass * chance;
            }
            for (k, mass) in (0_u64..).zip(next.iter_mut()) {
                if *mass > 0.0 && crosses(k, n - k) {
                    crossed += std::mem::take(mass);
                }
            }
            alive = next;
        }
        crossed
    }

    #[test]
    fn the_chance_of_ever_crossing_is_below_alpha_by_exact_counting() {
        let rollback = crossing_probability(600, 0.1, |k, m| after(k, m, 0.1).log_e() >= 20_f64.ln());
        assert!(rollback > 0.01 && rollback <= 0.05, "{rollback}");
        for ratio in [0.5, 1.0, 2.0] {
            let chance = 0.1 * ratio / (0.1 * ratio + 0.9);
            let missed = |k: u64, m: u64| !after(k, m, 0.1).ratio_interval(0.05).unwrap().contains(ratio);
            let missed = crossing_probability(300, chance, missed);
            assert!(missed > 0.005 && missed <= 0.05, "{ratio}: {missed}");
            println!("interval misses {ratio}: {missed:.4}; rolled back at 1: {rollback:.4}");
        }
    }

    #[test]
    fn the_ends_of_an_interval_are_where_the_likelihood_falls_to_its_floor() {
        let counts = [(1, 0), (0, 1), (1, 1), (40, 300), (7, 90_000), (60_000, 2), (5_000_000, 4_000_000)];
        for (canary, champion) in counts {
            for share in [1e-4, 0.05, 0.5, 0.99] {
                let test = after(canary, champion, share);
                let interval = test.ratio_interval(0.05).unwrap();
                let terms: Vec<f64> = POINTS
                    .iter()
                    .flat_map(|p| [test.log_likelihood(p.distance), test.log_likelihood(-p.distance)])
                    .collect();
                let floor = log_sum_exp(&terms) - (2.0 * GRID as f64).ln() + 0.05_f64.ln();
                let above = |u: f64| test.log_likelihood(u) > floor;
                let near = 1e-6;
                if canary > 0 {
                    let lower = interval.lower.unwrap().ln();
                    // Far from all points of the mixture the floor may lie below everything within reach.
                    let outside = lower - near < -REACH || !above(lower - near);
                    assert!(outside && above(lower + near), "{canary} {champion} {interval:?}");
                }
                if champion > 0 {
                    let upper = interval.upper.unwrap().ln();
                    let outside = upper + near > REACH || !above(upper + near);
                    assert!(above(upper - near) && outside, "{canary} {champion} {interval:?}");
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_closed_form_on_what_matters() {
        let (mut ratio, mut share) =
            (ErrorRatioTest::new(1.0).unwrap(), ErrorShareTest::new(0.1, 1.0, 20.0).unwrap());
        for i in 0..600 {
            let arm = if i % 4 == 0 { Arm::Canary } else { Arm::Champion };
            ratio.observe(arm, 0.1).unwrap();
            share.observe(arm);
        }
        assert!((ratio.log_e() - share.log_e()).abs() < 3.0, "{} {}", ratio.log_e(), share.log_e());
        let (a, b) = (ratio.ratio_interval(0.05).unwrap(), share.ratio_interval(0.05).unwrap());
        assert!((a.lower.unwrap() / b.lower.unwrap()).ln().abs() < 0.1, "{a:?} {b:?}");
        assert!((a.upper.unwrap() / b.upper.unwrap()).ln().abs() < 0.1, "{a:?} {b:?}");
    }

    #[test]
    fn what_was_learnt_survives_a_change_of_allocation() {
        let mut test = ErrorRatioTest::new(1.0).unwrap();
        for i in 0..200 {
            test.observe(if i % 8 == 0 { Arm::Canary } else { Arm::Champion }, 0.05).unwrap();
        }
        let before = test.log_e();
        for i in 0..50 {
            test.observe(if i % 2 == 0 { Arm::Canary } else { Arm::Champion }, 0.25).unwrap();
        }
        assert!(test.log_e() > before + 3.0);
        assert_eq!(test.errors(), (200, 50));
    }

    #[test]
    fn a_tolerated_ratio_moves_the_null() {
        let mut strict = ErrorRatioTest::new(1.0).unwrap();
        let mut lenient = ErrorRatioTest::new(2.0).unwrap();
        for i in 0..2_000 {
            let arm = if i % 11 == 0 { Arm::Canary } else { Arm::Champion };
            strict.observe(arm, 0.05).unwrap();
            lenient.observe(arm, 0.05).unwrap();
        }
        assert!(strict.p_value() < 0.001 && lenient.p_value() > 0.2);
    }

    #[test]
    fn refuses_more_shares_than_its_memory_and_shares_outside_the_unit() {
        let mut test = ErrorRatioTest::new(1.0).unwrap();
        for i in 1..=64 {
            test.observe(Arm::Champion, f64::from(i) / 100.0).unwrap();
        }
        assert!(matches!(test.observe(Arm::Champion, 0.99), Err(StatsError::LimitReached { .. })));
        assert!(test.observe(Arm::Champion, 0.0).is_err());
        assert_eq!(test.errors(), (64, 0));
        assert_eq!(test.ratio_interval(0.05).unwrap().lower, Some(0.0));
    }
}

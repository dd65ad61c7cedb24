//! Confidence sequences for means: bounded values by empirical Bernstein, unbounded ones asymptotically.
//! For comparing two arms of a randomised rollout, `allocated` needs fewer assumptions.

use serde::{Deserialize, Serialize};

use super::Interval;
use crate::error::{StatsError, finite, non_negative, open_unit, positive, unit};
use crate::moments::Moments;

/// Bets never exceed half of what the range allows (the truncation c of Waudby-Smith & Ramdas).
const BOLDEST_BET: f64 = 0.5;

/// The predictable plug-in empirical-Bernstein sums over observations z_t with |z_t - ẑ_{t-1}| <= R_t, R_t
/// predictable.
///
/// For λ_t in [0, 1/R_t) and ψ_R(λ) = (-ln(1 - Rλ) - Rλ)/R², exp(Σ λ_t (z_t - μ_t) - Σ (z_t - ẑ_{t-1})²
/// ψ_{R_t}(λ_t)) is a supermartingale for the conditional means μ_t (Fan et al. 2015, Lemma 4.1; Waudby-Smith
/// & Ramdas 2023, Theorem 2). With R = 1 these are the sums of that theorem: v_t ψ_E(λ_t) = 4(z - ẑ)² ·
/// ψ_1(λ)/4.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct BernsteinSums {
    log_term: f64,
    prior_mean: f64,
    prior_variance: f64,
    count: u64,
    sum: f64,
    squares: f64,
    sum_lambda: f64,
    sum_lambda_z: f64,
    sum_penalty: f64,
}

impl BernsteinSums {
    pub(crate) fn new(alpha: f64, prior_mean: f64, prior_variance: f64) -> Self {
        Self {
            log_term: (2.0 / alpha).ln(),
            prior_mean,
            prior_variance,
            count: 0,
            sum: 0.0,
            squares: 0.0,
            sum_lambda: 0.0,
            sum_lambda_z: 0.0,
            sum_penalty: 0.0,
        }
    }

    pub(super) fn running_mean(&self) -> f64 {
        (self.prior_mean + self.sum) / (self.count + 1) as f64
    }

    pub(super) fn observe(&mut self, z: f64, range: f64) {
        self.observe_with(z, self.running_mean(), range, self.bet(range));
    }

    /// The λ for the next value, when it lies within this range around its centre.
    pub(crate) fn bet(&self, range: f64) -> f64 {
        let t = (self.count + 1) as f64;
        let variance = (self.prior_variance + self.squares) / t;
        (2.0 * self.log_term / (variance * t * (t + 1.0).ln())).sqrt().min(BOLDEST_BET / range)
    }

    /// Adds a value with a λ of at most [`Self::bet`] and a centre, both known before it.
    pub(crate) fn observe_with(&mut self, z: f64, centre: f64, range: f64, lambda: f64) {
        let scaled = range * lambda;
        self.sum_lambda += lambda;
        self.sum_lambda_z += lambda * z;
        self.sum_penalty += (z - centre) * (z - centre) * (-(-scaled).ln_1p() - scaled) / (range * range);
        self.count += 1;
        self.sum += z;
        self.squares += (z - self.running_mean()) * (z - self.running_mean());
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Σλz/Σλ ± (ln(2/α) + penalty)/Σλ, not clipped.
    pub(crate) fn interval(&self) -> Interval {
        if self.count == 0 {
            return Interval::UNKNOWN;
        }
        let centre = self.sum_lambda_z / self.sum_lambda;
        let width = (self.log_term + self.sum_penalty) / self.sum_lambda;
        Interval { lower: Some(centre - width), upper: Some(centre + width) }
    }

    pub(super) fn log_e_above(&self, limit: f64) -> f64 {
        self.sum_lambda_z - self.sum_lambda * limit - self.sum_penalty
    }

    pub(super) fn log_e_below(&self, limit: f64) -> f64 {
        self.sum_lambda * limit - self.sum_lambda_z - self.sum_penalty
    }
}

/// The mean of values in [0, 1]: predictable plug-in empirical-Bernstein confidence sequence of Waudby-Smith
/// & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2023), Theorem 2.
///
/// C_t = Σλ_i x_i/Σλ_i ± [ln(2/α) + Σ 4(x_i - μ̂_{i-1})² ψ_E(λ_i)]/Σλ_i, ψ_E(λ) = (-ln(1-λ) - λ)/4, λ_t =
/// min(½, √(2 ln(2/α)/(σ̂²_{t-1} t ln(1+t)))), μ̂_t = (½ + Σx)/(t+1), σ̂²_t = (¼ + Σ(x_i - μ̂_i)²)/(t+1).
/// Exact for every t when E[x_t | past] is constant; if that mean moves, the sequence covers its λ-weighted
/// average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundedMean {
    sums: BernsteinSums,
}

impl BoundedMean {
    /// A sequence with error probability `alpha` over all time, both sides together.
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn new(alpha: f64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        Ok(Self { sums: BernsteinSums::new(alpha, 0.5, 0.25) })
    }

    /// Adds one value in [0, 1]. O(1).
    ///
    /// # Errors
    /// `value` outside [0, 1]; nothing is recorded then.
    pub fn observe(&mut self, value: f64) -> Result<(), StatsError> {
        self.sums.observe(unit("bounded value", value)?, 1.0);
        Ok(())
    }

    /// How many values were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.sums.count()
    }

    /// The sequence as it stands, within [0, 1].
    #[must_use]
    pub fn interval(&self) -> Interval {
        let raw = self.sums.interval();
        Interval {
            lower: Some(raw.lower.unwrap_or(0.0).max(0.0)),
            upper: Some(raw.upper.unwrap_or(1.0).min(1.0)),
        }
    }

    /// ln e against H0: mean <= `limit`.
    #[must_use]
    pub fn log_e_above(&self, limit: f64) -> f64 {
        self.sums.log_e_above(limit)
    }

    /// ln e against H0: mean >= `limit`.
    #[must_use]
    pub fn log_e_below(&self, limit: f64) -> f64 {
        self.sums.log_e_below(limit)
    }
}

/// The difference of two means of values in [0, 1], canary minus champion, from two independent streams: the
/// two [`BoundedMean`] sequences at α/2 each, subtracted (a union bound, so the streams may depend on each
/// other).
///
/// Exact when each stream's conditional mean is constant. With a daily cycle the two λ-weighted averages may
/// weigh the day differently; use [`super::AllocatedDifference`], which compares within the randomisation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanDifference {
    champion: BoundedMean,
    canary: BoundedMean,
}

impl MeanDifference {
    /// A sequence with error probability `alpha` over all time.
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn new(alpha: f64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        Ok(Self { champion: BoundedMean::new(alpha / 2.0)?, canary: BoundedMean::new(alpha / 2.0)? })
    }

    /// Adds one value in [0, 1] of one arm. O(1).
    ///
    /// # Errors
    /// `value` outside [0, 1]; nothing is recorded then.
    pub fn observe(&mut self, arm: super::Arm, value: f64) -> Result<(), StatsError> {
        match arm {
            super::Arm::Champion => self.champion.observe(value),
            super::Arm::Canary => self.canary.observe(value),
        }
    }

    /// Values seen so far: (champion, canary).
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.champion.count(), self.canary.count())
    }

    /// The sequence for mean(canary) - mean(champion), within [-1, 1].
    #[must_use]
    pub fn interval(&self) -> Interval {
        let (champion, canary) = (self.champion.interval(), self.canary.interval());
        let minus = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a - b);
        Interval { lower: minus(canary.lower, champion.upper), upper: minus(canary.upper, champion.lower) }
    }

    /// ln e against H0: mean(canary) - mean(champion) <= `limit`.
    ///
    /// For each possible champion mean x, ½[e_canary(mean > x + limit) + e_champion(mean < x)] is an e-value
    /// under H0 with that x; the smallest over x is one whatever x is. The sum of an exponential falling and
    /// one rising in x has its minimum in closed form.
    #[must_use]
    pub fn log_e_above(&self, limit: f64) -> f64 {
        smallest_average(
            self.canary.log_e_above(limit),
            self.canary.sums.sum_lambda,
            self.champion.log_e_below(0.0),
            self.champion.sums.sum_lambda,
        )
    }

    /// ln e against H0: mean(canary) - mean(champion) >= `limit`.
    #[must_use]
    pub fn log_e_below(&self, limit: f64) -> f64 {
        smallest_average(
            self.champion.log_e_above(-limit),
            self.champion.sums.sum_lambda,
            self.canary.log_e_below(0.0),
            self.canary.sums.sum_lambda,
        )
    }
}

/// inf over x of ln ½(exp(a - x·la) + exp(b + x·lb)), la, lb >= 0, where a side that has not spoken is e^0: ½
/// is what stays of the average when the other side is driven to 0.
fn smallest_average(a: f64, la: f64, b: f64, lb: f64) -> f64 {
    if la <= 0.0 && lb <= 0.0 {
        return 0.0;
    }
    if la <= 0.0 || lb <= 0.0 {
        return -std::f64::consts::LN_2;
    }
    let x = (a - b + la.ln() - lb.ln()) / (la + lb);
    crate::special::log_sum_exp(&[a - x * la, b + x * lb]) - std::f64::consts::LN_2
}

/// The mean of unbounded values: the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy &
/// Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences" (Annals of Statistics
/// 2024), from Robbins' normal mixture.
///
/// C_t = μ̂_t ± σ̂_t √( 2(tρ²+1)/(t²ρ²) · ln(√(tρ²+1)/α) ), ρ² = (-2 ln α + ln(1 - 2 ln α))/t*, tightest near
/// t = t*.
///
/// Validity: for independent values with more than two moments and means that settle, the error over all t >=
/// `start` tends to at most α as `start` grows; it is *not* a finite-sample bound. Nothing is said before
/// `start` values were seen; with heavy tails take it in the hundreds. Prefer [`BoundedMean`] where values
/// can be clipped to a declared range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AsymptoticMean {
    alpha: f64,
    rho_squared: f64,
    start: u64,
    moments: Moments,
}

impl AsymptoticMean {
    /// A sequence at `alpha`, tightest near `tightest_at` values, silent before `start` (at least 2).
    ///
    /// # Errors
    /// `alpha` outside (0, 1) or `tightest_at` not positive.
    pub fn new(alpha: f64, tightest_at: f64, start: u64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        positive("tightest_at", tightest_at)?;
        let budget = -2.0 * alpha.ln();
        Ok(Self {
            alpha,
            rho_squared: (budget + (1.0 + budget).ln()) / tightest_at,
            start: start.max(2),
            moments: Moments::new(),
        })
    }

    /// Adds one value. O(1).
    ///
    /// # Errors
    /// `value` not finite; nothing is recorded then.
    pub fn observe(&mut self, value: f64) -> Result<(), StatsError> {
        self.moments.observe(finite("value", value)?);
        Ok(())
    }

    /// How many values were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.moments.count()
    }

    /// The sequence as it stands; [`Interval::UNKNOWN`] before `start` values.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let (Some(mean), Some(variance)) = (self.moments.mean(), self.moments.population_variance()) else {
            return Interval::UNKNOWN;
        };
        if self.count() < self.start {
            return Interval::UNKNOWN;
        }
        let t = self.count() as f64;
        let spread = t * self.rho_squared + 1.0;
        let width = (variance * 2.0 * spread / (t * t * self.rho_squared)
            * (0.5 * spread.ln() - self.alpha.ln()))
        .sqrt();
        Interval { lower: Some(mean - width), upper: Some(mean + width) }
    }

    /// The sequence for the mean of `canary` minus the mean of `champion`: both at their own α, subtracted;
    /// its error is the sum of the two.
    #[must_use]
    pub fn difference(champion: &Self, canary: &Self) -> Interval {
        let (champion, canary) = (champion.interval(), canary.interval());
        let minus = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a - b);
        Interval { lower: minus(canary.lower, champion.upper), upper: minus(canary.upper, champion.lower) }
    }

    /// ln of the asymptotic e-value against H0: mean = `value`, two-sided: ρ²S²/(2σ̂²(tρ²+1)) - ½ ln(tρ²+1),
    /// S = t(μ̂ - value). 0 before `start` values or while all values are equal.
    ///
    /// # Errors
    /// `value` not finite.
    pub fn log_e(&self, value: f64) -> Result<f64, StatsError> {
        finite("null mean", value)?;
        let (Some(mean), Some(variance)) = (self.moments.mean(), self.moments.population_variance()) else {
            return Ok(0.0);
        };
        if self.count() < self.start || variance <= 0.0 {
            return Ok(0.0);
        }
        let t = self.count() as f64;
        let spread = t * self.rho_squared + 1.0;
        let drift = t * (mean - value);
        Ok(self.rho_squared * drift * drift / (2.0 * variance * spread) - 0.5 * spread.ln())
    }
}

/// Checks a margin of a difference.
pub(super) fn margin(value: f64) -> Result<f64, StatsError> {
    non_negative("margin", value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::SplitMix64;
    use crate::sequential::Arm;

    #[test]
    fn agrees_with_the_formula_written_out() {
        // Waudby-Smith & Ramdas Theorem 2 for alpha = .05, computed by tests/golden/sequential.py.
        let mut mean = BoundedMean::new(0.05).unwrap();
        for x in [1.0, 0.0, 1.0, 1.0, 0.25, 0.5] {
            mean.observe(x).unwrap();
        }
        let interval = mean.sums.interval();
        assert!((interval.lower.unwrap() - EB_LOWER).abs() < 1e-12, "{interval:?}");
        assert!((interval.upper.unwrap() - EB_UPPER).abs() < 1e-12, "{interval:?}");
        let mut asymptotic = AsymptoticMean::new(0.05, 100.0, 2).unwrap();
        for x in [1.0, 0.0, 1.0, 1.0, 0.25, 0.5] {
            asymptotic.observe(x).unwrap();
        }
        assert!(
            (asymptotic.interval().upper.unwrap() - ASYMPTOTIC_UPPER).abs() < 1e-12,
            "{:?}",
            asymptotic.interval()
        );
    }
    const EB_LOWER: f64 = -0.696_129_961_494_919_5;
    const EB_UPPER: f64 = 1.946_129_961_494_919_5;
    const ASYMPTOTIC_UPPER: f64 = 1.354_597_742_412_839_3;

    #[test]
    fn narrows_around_the_difference_and_its_e_values_take_sides() {
        let mut difference = MeanDifference::new(0.05).unwrap();
        let mut random = SplitMix64::new(3);
        for _ in 0..20_000 {
            difference.observe(Arm::Champion, 0.3 * random.next_f64()).unwrap();
            difference.observe(Arm::Canary, 0.1 + 0.3 * random.next_f64()).unwrap();
        }
        let interval = difference.interval();
        assert!(
            interval.contains(0.1) && interval.is_below(0.12) && !interval.contains(0.08),
            "{interval:?}"
        );
        assert!(difference.log_e_above(0.05) > 20.0 && difference.log_e_below(0.05) < 0.0);
        assert!(difference.log_e_below(0.15) > 20.0 && difference.log_e_above(0.15) < 0.0);
    }

    #[test]
    fn before_the_start_nothing_is_said() {
        let mut mean = AsymptoticMean::new(0.05, 1_000.0, 100).unwrap();
        (0..99).for_each(|i| mean.observe(f64::from(i)).unwrap());
        assert_eq!(mean.interval(), Interval::UNKNOWN);
        assert!(mean.log_e(0.0).unwrap().abs() < f64::EPSILON);
        mean.observe(99.0).unwrap();
        assert!(mean.interval().contains(49.5) && mean.log_e(0.0).unwrap() > 10.0);
        assert!(mean.observe(f64::NAN).is_err() && BoundedMean::new(0.05).unwrap().observe(1.5).is_err());
    }
}

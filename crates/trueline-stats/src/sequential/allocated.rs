//! The effect of the canary on the mean, read off the randomisation itself: nothing need be stationary.
//! Per unit (`AllocatedDifference`) or per block of time (`BlockDifference`).

use serde::{Deserialize, Serialize};

use super::means::{BernsteinSums, margin};
use super::{Arm, Interval};
use crate::error::{StatsError, open_unit, unit};

/// The average effect on values in [0, 1] when each unit goes to the canary with a known probability p_t.
///
/// z_t = (x_t - m_t)·(A_t/p_t - (1-A_t)/(1-p_t)), A_t = 1 on the canary, m_t the mean of all earlier values
/// of both arms (predictable, so it changes only the variance). E[z_t | past] is the effect τ_t of the canary
/// on unit t, however the units' mix drifts (Horvitz-Thompson; design-based sequences: Ham, Bojinov, Lindon &
/// Tingley 2022). |z_t| <= 1/min(p, 1-p), so the empirical-Bernstein sums run with that predictable range.
/// Exact for H0: "every τ_t <= margin", with cycles, trends, skewed units and changing p_t; the interval
/// covers the λ-weighted average of τ_t.
///
/// One observation per unit: with sticky keys feed [`super::KeyMeans`] or the first value of each key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AllocatedDifference {
    sums: BernsteinSums,
    baseline_sum: f64,
    champion: u64,
    canary: u64,
}

impl AllocatedDifference {
    /// A sequence with error probability `alpha` over all time. `expected_share` of the canary only sets the
    /// first guess of the variance.
    ///
    /// # Errors
    /// `alpha` or `expected_share` outside (0, 1).
    pub fn new(alpha: f64, expected_share: f64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        open_unit("expected canary share", expected_share)?;
        let prior_variance = 0.25 / (expected_share * (1.0 - expected_share));
        Ok(Self {
            sums: BernsteinSums::new(alpha, 0.0, prior_variance),
            baseline_sum: 0.5,
            champion: 0,
            canary: 0,
        })
    }

    /// Adds the value of one unit, which was assigned when `canary_share` of the units went to the canary.
    /// O(1).
    ///
    /// # Errors
    /// `value` outside [0, 1] or `canary_share` outside (0, 1); nothing is recorded then.
    pub fn observe(&mut self, arm: Arm, value: f64, canary_share: f64) -> Result<(), StatsError> {
        unit("bounded value", value)?;
        open_unit("canary share", canary_share)?;
        let baseline = self.baseline_sum / (self.champion + self.canary + 1) as f64;
        let weight = match arm {
            Arm::Canary => 1.0 / canary_share,
            Arm::Champion => -1.0 / (1.0 - canary_share),
        };
        // An effect lies in [-1, 1], so the running mean is drawn there and the range is 1/min(p, q) + |running
        // mean|.
        let largest = 1.0 / canary_share.min(1.0 - canary_share);
        let range = largest + self.sums.running_mean().abs();
        self.sums.observe((value - baseline) * weight, range);
        self.baseline_sum += value;
        match arm {
            Arm::Canary => self.canary += 1,
            Arm::Champion => self.champion += 1,
        }
        Ok(())
    }

    /// Units seen so far: (champion, canary).
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.champion, self.canary)
    }

    /// The sequence for the average effect, canary minus champion, within [-1, 1].
    #[must_use]
    pub fn interval(&self) -> Interval {
        clip(self.sums.interval())
    }

    /// ln e against H0: the canary raises the mean by at most `limit`.
    ///
    /// # Errors
    /// `limit` negative or not finite.
    pub fn log_e_raised(&self, limit: f64) -> Result<f64, StatsError> {
        Ok(self.sums.log_e_above(margin(limit)?))
    }

    /// ln e against H0: the canary lowers the mean by at most `limit`.
    ///
    /// # Errors
    /// `limit` negative or not finite.
    pub fn log_e_lowered(&self, limit: f64) -> Result<f64, StatsError> {
        Ok(self.sums.log_e_below(-margin(limit)?))
    }

    /// ln e against H0: the canary moves the mean by at most `limit` either way: the average of the two
    /// one-sided e-values.
    ///
    /// # Errors
    /// `limit` negative or not finite.
    pub fn log_e_moved(&self, limit: f64) -> Result<f64, StatsError> {
        let sides = [self.log_e_raised(limit)?, self.log_e_lowered(limit)?];
        Ok(crate::special::log_sum_exp(&sides) - std::f64::consts::LN_2)
    }
}

/// The difference of the arms' means, one observation per block of time.
///
/// Where an arm's noise has a memory of its own (garbage collection, a cold cache, one bad machine), requests
/// are not independent even given the randomisation, and tests per request reject too often. Here the
/// observation is D_j = mean(canary in block j) - mean(champion in block j), in [-1, 1], and the
/// empirical-Bernstein sums run over blocks: exact for H0: E[D_j | past] <= margin, which holds when the
/// blocks are much longer than the noise's memory. The price is that the number of blocks, not of requests,
/// bounds the speed: expect to need some hundred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockDifference {
    sums: BernsteinSums,
    least_per_arm: u64,
    champion: (u64, f64),
    canary: (u64, f64),
}

impl BlockDifference {
    /// A sequence with error probability `alpha` over all time; a block counts when each arm has
    /// `least_per_arm` values.
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn new(alpha: f64, least_per_arm: u64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        Ok(Self {
            sums: BernsteinSums::new(alpha, 0.0, 0.25),
            least_per_arm: least_per_arm.max(1),
            champion: (0, 0.0),
            canary: (0, 0.0),
        })
    }

    /// Adds a value in [0, 1] to the open block. O(1).
    ///
    /// # Errors
    /// `value` outside [0, 1]; nothing is recorded then.
    pub fn observe(&mut self, arm: Arm, value: f64) -> Result<(), StatsError> {
        unit("bounded value", value)?;
        let side = match arm {
            Arm::Champion => &mut self.champion,
            Arm::Canary => &mut self.canary,
        };
        side.0 += 1;
        side.1 += value;
        Ok(())
    }

    /// Ends the block. Returns whether it counted; when it ends must not depend on the values in it.
    pub fn close_block(&mut self) -> bool {
        let (champion, canary) = (self.champion, self.canary);
        self.champion = (0, 0.0);
        self.canary = (0, 0.0);
        if champion.0 < self.least_per_arm || canary.0 < self.least_per_arm {
            return false;
        }
        let difference = canary.1 / canary.0 as f64 - champion.1 / champion.0 as f64;
        self.sums.observe(difference, 1.0 + self.sums.running_mean().abs());
        true
    }

    /// Blocks that counted.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.sums.count()
    }

    /// The sequence for the mean of D, within [-1, 1].
    #[must_use]
    pub fn interval(&self) -> Interval {
        clip(self.sums.interval())
    }

    /// ln e against H0: E[D_j | past] <= `limit`.
    ///
    /// # Errors
    /// `limit` negative or not finite.
    pub fn log_e_raised(&self, limit: f64) -> Result<f64, StatsError> {
        Ok(self.sums.log_e_above(margin(limit)?))
    }
}

fn clip(raw: Interval) -> Interval {
    Interval {
        lower: Some(raw.lower.unwrap_or(-1.0).max(-1.0)),
        upper: Some(raw.upper.unwrap_or(1.0).min(1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::SplitMix64;

    #[test]
    fn finds_an_effect_under_a_daily_cycle_and_a_changing_share() {
        let mut difference = AllocatedDifference::new(0.05, 0.05).unwrap();
        let mut random = SplitMix64::new(11);
        for t in 0..60_000 {
            let share = if t < 30_000 { 0.05 } else { 0.25 };
            let base = 0.4 + 0.2 * (f64::from(t) / 2_000.0).sin();
            let canary = random.next_f64() < share;
            let value = base + 0.2 * random.next_f64() + if canary { 0.05 } else { 0.0 };
            difference.observe(if canary { Arm::Canary } else { Arm::Champion }, value, share).unwrap();
        }
        let interval = difference.interval();
        assert!(
            interval.contains(0.05) && !interval.contains(0.03) && !interval.contains(0.07),
            "{interval:?}"
        );
        assert!(difference.log_e_raised(0.02).unwrap() > 8.0 && difference.log_e_moved(0.02).unwrap() > 8.0);
        assert!(difference.log_e_lowered(0.0).unwrap() < 0.0);
    }

    #[test]
    fn half_empty_blocks_do_not_count() {
        let mut blocks = BlockDifference::new(0.05, 2).unwrap();
        blocks.observe(Arm::Champion, 0.5).unwrap();
        assert!(!blocks.close_block());
        for (arm, value) in
            [(Arm::Champion, 0.5), (Arm::Champion, 0.7), (Arm::Canary, 1.0), (Arm::Canary, 0.6)]
        {
            blocks.observe(arm, value).unwrap();
        }
        assert!(blocks.close_block());
        assert_eq!(blocks.blocks(), 1);
        assert_eq!(blocks.interval(), Interval { lower: Some(-1.0), upper: Some(1.0) });
    }
}

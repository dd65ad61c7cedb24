//! Confidence sequences for the mean rewards of arms whose shares change with what was seen.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, open_unit, unit};
use crate::sequential::{BernsteinSums, Interval};

/// The mean reward of each arm, over all units: what it would have been, had the arm taken them all.
///
/// Unit t was assigned to the arm A_t by lot, with the probabilities p_t that were in force then. For arm a
///
/// z_t = m_t + 1{A_t = a}·(x_t - m_t)/p_t(a), m_t the mean of the arm's earlier rewards,
///
/// has the conditional mean E[x_t(a) | past] whatever p_t was made of, as long as that was the past (the doubly robust
/// score; Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro, "Anytime-valid off-policy inference for contextual bandits",
/// 2024). Since |z_t - m_t| <= 1/p_t(a), which is known before the unit, the empirical-Bernstein sums of Howard, Ramdas,
/// McAuliffe & Sekhon (2021) and Waudby-Smith & Ramdas (2023) run with that range. The intervals hold at all times and for
/// all arms together with probability 1 - α (α/k for each of k arms). If the means move, an interval covers the λ-weighted
/// average of its arm's. All arms have the same λ_t, the least of what each would take, so that these averages are over the
/// same units and can be compared, however the mix of the units moves with the shares; an arm with a large share pays for
/// that with an interval that is about as wide as the others'.
///
/// One observation per unit that was assigned by lot. Whether and when a unit's reward becomes known must not depend on
/// its lot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmMeans {
    arms: Vec<ArmMean>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct ArmMean {
    drawn: u64,
    sum: f64,
    sums: BernsteinSums,
}

impl ArmMean {
    /// The mean of what was seen of the arm, drawn to the middle.
    fn centre(&self) -> f64 {
        (0.5 + self.sum) / (self.drawn + 1) as f64
    }
}

impl ArmMeans {
    /// Sequences for so many arms, with error probability `alpha` over all time and all arms.
    ///
    /// # Errors
    /// `alpha` outside (0, 1), or no arm.
    pub fn new(arms: usize, alpha: f64) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        if arms == 0 {
            return Err(StatsError::Empty { what: "the arms" });
        }
        // A first guess of the variance: that of a coin, seen in one unit of as many as there are arms.
        let sums = BernsteinSums::new(alpha / arms as f64, 0.5, 0.25 * arms as f64);
        Ok(Self { arms: vec![ArmMean { drawn: 0, sum: 0.0, sums }; arms] })
    }

    /// Adds the reward of one unit, which `arm` took when the arms had these probabilities. O(arms).
    ///
    /// # Errors
    /// An arm that there is not, other than one probability in (0, 1] for each arm, or a reward outside [0, 1]; nothing is
    /// recorded then.
    pub fn observe(&mut self, arm: usize, reward: f64, probabilities: &[f64]) -> Result<(), StatsError> {
        unit("reward", reward)?;
        if arm >= self.arms.len() || probabilities.len() != self.arms.len() {
            let what = "arms and their probabilities";
            return Err(StatsError::LengthMismatch {
                what,
                left: self.arms.len(),
                right: probabilities.len(),
            });
        }
        if let Some(value) = probabilities.iter().copied().find(|p| !(*p > 0.0 && *p <= 1.0)) {
            let expected = "above 0 and at most 1";
            return Err(StatsError::OutOfRange { what: "an arm's probability", value, expected });
        }
        let bets = self.arms.iter().zip(probabilities).map(|(own, p)| own.sums.bet(1.0 / p));
        let bet = bets.fold(f64::INFINITY, f64::min);
        for (i, (own, p)) in self.arms.iter_mut().zip(probabilities).enumerate() {
            let centre = own.centre();
            let score = if i == arm { centre + (reward - centre) / p } else { centre };
            own.sums.observe_with(score, centre, 1.0 / p, bet);
        }
        self.arms[arm].drawn += 1;
        self.arms[arm].sum += reward;
        Ok(())
    }

    /// Units that an arm took.
    #[must_use]
    pub fn drawn(&self, arm: usize) -> u64 {
        self.arms.get(arm).map_or(0, |own| own.drawn)
    }

    /// The plain mean of what was seen of an arm; none before its first unit. Where the units' mix moves while the shares do,
    /// it is off: the interval is not.
    #[must_use]
    pub fn mean(&self, arm: usize) -> Option<f64> {
        self.arms.get(arm).filter(|own| own.drawn > 0).map(|own| own.sum / own.drawn as f64)
    }

    /// The sequence of an arm's mean as it stands, within [0, 1].
    #[must_use]
    pub fn interval(&self, arm: usize) -> Interval {
        let raw = self.arms.get(arm).map_or(Interval::UNKNOWN, |own| own.sums.interval());
        Interval {
            lower: Some(raw.lower.unwrap_or(0.0).clamp(0.0, 1.0)),
            upper: Some(raw.upper.unwrap_or(1.0).clamp(0.0, 1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_is_refused_and_changes_nothing() {
        let mut means = ArmMeans::new(2, 0.05).unwrap();
        let before = means.clone();
        assert!(means.observe(2, 0.5, &[0.5, 0.5]).is_err());
        assert!(means.observe(0, 0.5, &[1.0]).is_err());
        assert!(means.observe(0, 0.5, &[0.0, 1.0]).is_err());
        assert!(means.observe(0, 1.5, &[0.5, 0.5]).is_err());
        assert_eq!(means, before);
        assert!(ArmMeans::new(0, 0.05).is_err() && ArmMeans::new(2, 1.0).is_err());
        assert_eq!(means.interval(0), Interval { lower: Some(0.0), upper: Some(1.0) });
    }

    #[test]
    fn agrees_with_the_formula_written_out() {
        // By tests/golden/allotment.py.
        let mut means = ArmMeans::new(2, 0.05).unwrap();
        for (t, (arm, reward)) in
            [(0, 1.0), (1, 0.0), (1, 1.0), (0, 0.5), (1, 0.25), (1, 1.0)].into_iter().enumerate()
        {
            let probabilities = if t < 3 { [0.5, 0.5] } else { [0.2, 0.8] };
            means.observe(arm, reward, &probabilities).unwrap();
        }
        for (arm, centre, width) in [
            (0, 0.793_650_793_650_793_5, 4.230_842_979_617_965),
            (1, 0.590_773_809_523_809_5, 4.325_896_492_252_831),
        ] {
            let raw = means.arms[arm].sums.interval();
            assert!((raw.lower.unwrap() - (centre - width)).abs() < 1e-12, "{raw:?}");
            assert!((raw.upper.unwrap() - (centre + width)).abs() < 1e-12, "{raw:?}");
        }
        assert_eq!((means.drawn(1), means.mean(1)), (4, Some(0.5625)));
    }
}

//! What is known of one arm's rewards for the allotment: how many, and their sum, older ones counting for less where that is
//! wanted.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, unit};

/// The rewards of one arm, from which its Beta posterior is made.
///
/// The prior is uniform, so after n rewards with the sum s the posterior of the mean is Beta(1 + s, 1 + n - s). For rewards
/// that are 0 or 1 this is exact. A reward between them counts as that part of a success; of all distributions on [0, 1]
/// with one mean, the one on the ends varies most, so the posterior is rather too wide than too narrow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardCounts {
    count: f64,
    sum: f64,
}

impl RewardCounts {
    /// Adds the reward of one unit.
    ///
    /// # Errors
    /// `reward` outside [0, 1]; nothing is recorded then.
    pub fn observe(&mut self, reward: f64) -> Result<(), StatsError> {
        self.sum += unit("reward", reward)?;
        self.count += 1.0;
        Ok(())
    }

    /// Has everything so far count `factor` times as much: 2^(-t/h) after the time t, for a half-life of h.
    ///
    /// # Errors
    /// `factor` outside [0, 1]; nothing changes then.
    pub fn discount(&mut self, factor: f64) -> Result<(), StatsError> {
        unit("discount", factor)?;
        self.count *= factor;
        self.sum *= factor;
        Ok(())
    }

    /// How many rewards this amounts to.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Their mean; none without any.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// The two parameters of the Beta posterior.
    pub(super) fn posterior(&self) -> (f64, f64) {
        // The sum is never above the count, but rounding may put it there.
        (1.0 + self.sum, 1.0 + (self.count - self.sum).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discounted_counts_for_less_and_keeps_its_mean() {
        let mut counts = RewardCounts::default();
        assert_eq!((counts.mean(), counts.posterior()), (None, (1.0, 1.0)));
        [1.0, 0.0, 0.5, 1.0].into_iter().for_each(|r| counts.observe(r).unwrap());
        counts.discount(0.5).unwrap();
        assert_eq!((counts.count(), counts.mean()), (2.0, Some(0.625)));
        assert_eq!(counts.posterior(), (2.25, 1.75));
        let before = counts;
        assert!(counts.observe(1.5).is_err() && counts.observe(f64::NAN).is_err());
        assert!(counts.discount(1.1).is_err() && counts.discount(f64::NAN).is_err());
        assert_eq!(counts, before);
    }
}

//! Does the canary err more than its share of traffic explains? The closed form for one constant allocation.
//! For an allocation that changes while the rollout runs, see `error_ratio`.

use serde::{Deserialize, Serialize};

use super::binomial::{BetaPrior, log_e_above, mixture_interval};
use super::{Arm, Interval, p_from_log_e};
use crate::error::{StatsError, open_unit, positive};

/// The multinomial count test of Lindon & Malek, "Anytime-Valid Inference for Multinomial Count Data"
/// (`NeurIPS` 2022), for two arms.
///
/// With a share `p0` of the *units* on the canary and error rates λ_canary = r·λ_champion, each error falls
/// on the canary with probability θ(r) = p0·r / (p0·r + 1 - p0), whatever the load does. The one-sided
/// e-value against H0: r <= r0 is the Beta(a, b) mixture truncated to θ > θ(r0) (see the formula in
/// `binomial`); the sequence for θ is the untruncated mixture. An observation is one error of one *assigned
/// unit*: with sticky keys, the first error of a key ([`super::FirstPerKey`]); counting all errors of a heavy
/// key as independent voids the guarantee.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorShareTest {
    canary_share: f64,
    null_share: f64,
    prior_canary: f64,
    prior_champion: f64,
    canary: u64,
    champion: u64,
    largest_log_e: f64,
}

impl ErrorShareTest {
    /// A test at a constant `canary_share` in (0, 1) of H0: (canary rate)/(champion rate) <=
    /// `tolerated_ratio`, with a Beta prior of mean `null share` and total weight `prior_weight` (20 is a
    /// fair choice; more for small effects).
    ///
    /// # Errors
    /// `canary_share` outside (0, 1); `tolerated_ratio` or `prior_weight` not positive.
    pub fn new(canary_share: f64, tolerated_ratio: f64, prior_weight: f64) -> Result<Self, StatsError> {
        open_unit("canary share", canary_share)?;
        positive("tolerated ratio", tolerated_ratio)?;
        positive("prior weight", prior_weight)?;
        let tilted = canary_share * tolerated_ratio;
        let null_share = tilted / (tilted + 1.0 - canary_share);
        Ok(Self {
            canary_share,
            null_share,
            prior_canary: prior_weight * null_share,
            prior_champion: prior_weight * (1.0 - null_share),
            canary: 0,
            champion: 0,
            largest_log_e: 0.0,
        })
    }

    /// Records one error. O(1).
    pub fn observe(&mut self, arm: Arm) {
        match arm {
            Arm::Canary => self.canary += 1,
            Arm::Champion => self.champion += 1,
        }
        self.largest_log_e = self.largest_log_e.max(self.log_e());
    }

    /// Errors seen so far: (champion, canary).
    #[must_use]
    pub fn errors(&self) -> (u64, u64) {
        (self.champion, self.canary)
    }

    /// ln of the current e-value; 0 before the first error.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        let prior = BetaPrior { a: self.prior_canary, b: self.prior_champion };
        log_e_above(self.canary, self.canary + self.champion, self.null_share, prior)
    }

    /// The anytime-valid p-value: the smallest 1/e so far, at most 1.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        p_from_log_e(self.largest_log_e)
    }

    /// The (1 - `alpha`) confidence sequence for the canary's share of errors θ, as it stands (`mixture_interval` in
    /// `binomial`).
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn share_interval(&self, alpha: f64) -> Result<Interval, StatsError> {
        open_unit("alpha", alpha)?;
        let prior = BetaPrior { a: self.prior_canary, b: self.prior_champion };
        Ok(mixture_interval(self.canary, self.canary + self.champion, prior, alpha))
    }

    /// The (1 - `alpha`) confidence sequence for the ratio r = (canary error rate)/(champion error rate): the
    /// share's, carried over by r = θ(1-p0) / ((1-θ)p0). The upper side is `None` while θ = 1 is not
    /// excluded.
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn ratio_interval(&self, alpha: f64) -> Result<Interval, StatsError> {
        let share = self.share_interval(alpha)?;
        let to_ratio = |theta: f64| theta * (1.0 - self.canary_share) / ((1.0 - theta) * self.canary_share);
        Ok(Interval {
            lower: share.lower.map(to_ratio),
            upper: share.upper.filter(|&theta| theta < 1.0).map(to_ratio),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_errors_at_five_percent_are_noticed() {
        let mut test = ErrorShareTest::new(0.05, 1.0, 20.0).unwrap();
        for i in 0..1_000 {
            test.observe(if i % 10 == 0 { Arm::Canary } else { Arm::Champion });
        }
        assert!(test.p_value() < 1e-4, "{}", test.p_value());
        let ratio = test.ratio_interval(0.05).unwrap();
        assert!(ratio.contains(2.11) && !ratio.contains(1.0), "{ratio:?}");
    }

    #[test]
    fn a_fair_share_is_no_evidence() {
        let mut test = ErrorShareTest::new(0.1, 1.0, 20.0).unwrap();
        for i in 0..1_000 {
            test.observe(if i % 10 == 9 { Arm::Canary } else { Arm::Champion });
        }
        assert!(test.log_e() < 0.0 && test.p_value() > 0.3, "{} {}", test.log_e(), test.p_value());
        assert!(test.ratio_interval(0.05).unwrap().contains(1.0));
    }

    #[test]
    fn with_errors_on_one_side_only_the_other_bound_stays_open() {
        let mut test = ErrorShareTest::new(0.5, 1.0, 2.0).unwrap();
        (0..5).for_each(|_| test.observe(Arm::Canary));
        assert_eq!(test.ratio_interval(0.05).unwrap().upper, None);
        assert!(ErrorShareTest::new(1.0, 1.0, 2.0).is_err());
    }
}

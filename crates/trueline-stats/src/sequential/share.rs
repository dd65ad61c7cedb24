//! Is the share of units that show something above a limit? One stream of units, without a second arm.

use serde::{Deserialize, Serialize};

use super::Interval;
use super::binomial::{BetaPrior, log_e_above, mixture_interval};
use crate::error::{StatsError, open_unit};

/// Counts units, each of which shows something or does not, against a limit of their share.
///
/// The e-value against H0: P(unit shows it | past) <= limit is the Beta mixture truncated to shares above the limit (see the
/// formula in `binomial`); it holds also when the share moves below the limit. The interval is the untruncated mixture's
/// confidence sequence, {θ : B(a+k, b+n-k)/B(a,b) < θ^k (1-θ)^{n-k} / alpha}, for a share that is constant (Robbins 1970,
/// "Statistical Methods Related to the Law of the Iterated Logarithm"). The prior's mean is the limit, with one
/// pseudo-unit of the rarer outcome. Memory: two counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareTest {
    limit: f64,
    units: u64,
    hits: u64,
}

impl ShareTest {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// `limit` outside (0, 1).
    pub fn new(limit: f64) -> Result<Self, StatsError> {
        open_unit("limit", limit)?;
        Ok(Self { limit, units: 0, hits: 0 })
    }

    /// Counts a unit. O(1).
    pub fn observe(&mut self, hit: bool) {
        self.units += 1;
        self.hits += u64::from(hit);
    }

    /// Units so far.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Units of those that show it.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// ln of the e-value against "the share is at most the limit"; 0 before the first unit.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        log_e_above(self.hits, self.units, self.limit, BetaPrior::centred(self.limit))
    }

    /// The (1 - `alpha`) confidence sequence for the share, as it stands.
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn interval(&self, alpha: f64) -> Result<Interval, StatsError> {
        open_unit("alpha", alpha)?;
        Ok(mixture_interval(self.hits, self.units, BetaPrior::centred(self.limit), alpha))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::SplitMix64;

    fn of(units: u64, each: u64) -> ShareTest {
        let mut test = ShareTest::new(0.1).unwrap();
        (0..units).for_each(|i| test.observe(i % each == 0));
        test
    }

    #[test]
    fn twice_the_limit_is_noticed_and_half_of_it_excludes_the_limit() {
        let twice = of(500, 5);
        assert!(twice.log_e() > 20_f64.ln(), "{}", twice.log_e());
        assert!(twice.interval(0.05).unwrap().lower.unwrap() > 0.1);
        let half = of(1_000, 20);
        assert!(half.log_e() < 0.0);
        let interval = half.interval(0.05).unwrap();
        assert!(interval.is_below(0.1) && interval.contains(0.05), "{interval:?}");
        assert_eq!((half.units(), half.hits()), (1_000, 50));
    }

    #[test]
    fn without_units_nothing_is_known() {
        let none = ShareTest::new(0.1).unwrap();
        assert!(none.log_e().abs() < 1e-12);
        assert_eq!(none.interval(0.05).unwrap(), Interval { lower: Some(0.0), upper: Some(1.0) });
        assert!(ShareTest::new(0.0).is_err() && ShareTest::new(1.0).is_err());
    }

    #[test]
    fn a_share_at_the_limit_is_rarely_taken_for_more_however_often_one_looks() {
        // 5 % at most ever reach 20: of 400 streams, more than 34 would happen with a chance below 1 %.
        let reaches = |seed: u64| {
            let (mut random, mut test) = (SplitMix64::new(seed), ShareTest::new(0.1).unwrap());
            (0..1_000).any(|_| {
                test.observe(random.next_f64() < 0.1);
                test.log_e() >= 20_f64.ln()
            })
        };
        let reached = (0..400).filter(|seed| reaches(*seed)).count();
        assert!(reached <= 34, "{reached}");
    }
}

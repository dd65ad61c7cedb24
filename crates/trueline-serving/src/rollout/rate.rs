//! The rate of something bad (a failed request, a slow one) in both arms: the e-value for its counts, and two confidence
//! sequences, for the ratio of the rates and for their difference.

use super::report::RateReport;
use super::{Arms, either_worse};
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{
    AllocatedDifference, Arm, BoundedMean, ErrorRatioTest, Interval, MetricEvidence,
};

/// The counts of bad units by arm, as evidence.
///
/// Against a candidate speaks the ratio alone. For it speaks either of two: a bound of the ratio, or one of the
/// difference, without which a candidate could never pass whose requests hardly ever fail, like the baseline's: no errors,
/// no ratio. Each of the two has half of alpha, so that passing one that is harmful in both senses keeps alpha as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RateTest {
    alpha: f64,
    allowed_ratio: f64,
    allowed_difference: f64,
    ratio: ErrorRatioTest,
    difference: AllocatedDifference,
    rates: Arms<BoundedMean>,
}

impl RateTest {
    /// `tolerated` is the ratio that the counts are tested against, in the sense of [`ErrorRatioTest`].
    pub(super) fn new(
        alpha: f64,
        tolerated: f64,
        allowed_difference: f64,
        first_share: f64,
    ) -> Result<Self, StatsError> {
        Ok(Self {
            alpha,
            allowed_ratio: tolerated,
            allowed_difference,
            ratio: ErrorRatioTest::new(tolerated)?,
            difference: AllocatedDifference::new(alpha / 2.0, first_share)?,
            rates: Arms { baseline: BoundedMean::new(alpha)?, candidate: BoundedMean::new(alpha)? },
        })
    }

    /// A unit (a request; with sticky keys the first of its key), and whether it was bad.
    pub(super) fn unit(&mut self, arm: Arm, bad: bool, share: f64) -> Result<(), StatsError> {
        let value = f64::from(u8::from(bad));
        self.difference.observe(arm, value, share)?;
        self.rates.of(arm).observe(value)
    }

    /// Something bad, the first of its key.
    pub(super) fn bad(&mut self, arm: Arm, share: f64) -> Result<(), StatsError> {
        self.ratio.observe(arm, share)
    }

    fn ratio_interval(&self) -> Result<Interval, StatsError> {
        self.ratio.ratio_interval(self.alpha / 2.0)
    }

    pub(super) fn report(&self) -> Result<RateReport, StatsError> {
        let (units, bad) = (self.difference.counts(), self.ratio.errors());
        let rates = &self.rates;
        Ok(RateReport {
            units: Arms { baseline: units.0, candidate: units.1 },
            bad: Arms { baseline: bad.0, candidate: bad.1 },
            rate: Arms { baseline: rates.baseline.interval(), candidate: rates.candidate.interval() },
            ratio: self.ratio_interval()?,
            allowed_ratio: self.allowed_ratio,
            difference: self.difference.interval(),
            allowed_difference: self.allowed_difference,
            log_e: self.ratio.log_e(),
        })
    }
}

impl RateReport {
    /// What the numbers say, as a metric.
    pub(super) fn evidence(&self, name: &str) -> MetricEvidence {
        let multiple = |i: Interval, of: f64| Interval {
            lower: i.lower.map(|v| v / of),
            upper: i.upper.map(|v| v / of),
        };
        let by_ratio = multiple(self.ratio, self.allowed_ratio);
        let by_difference = multiple(self.difference, self.allowed_difference);
        MetricEvidence {
            name: name.to_owned(),
            log_e: self.log_e,
            harm: either_worse(by_ratio, by_difference),
            observations: self.units.candidate,
        }
    }
}

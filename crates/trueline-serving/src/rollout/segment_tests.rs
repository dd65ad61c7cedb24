//! What is compared in one segment of the traffic: the tests of the whole rollout again, on a part of its units.

use super::mean::MeanTest;
use super::plan::Limits;
use super::rate::RateTest;
use super::report::{MeanReport, RateReport};
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{Arm, MetricEvidence};

/// The tests of a segment. A request is slow here where it is in the whole: one threshold for all, which is fair to both arms
/// in each segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SegmentTest {
    pub(super) name: String,
    pub(super) required: bool,
    errors: RateTest,
    prediction: MeanTest,
    slow: RateTest,
}

/// A request as the tests take it: what it is the first of, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) arm: Arm,
    /// The candidate's share when it was assigned.
    pub(super) share: f64,
    /// Whether it is the first of its unit.
    pub(super) first: bool,
    /// Whether it is the first of its unit that failed.
    pub(super) first_failure: bool,
    /// Whether it is the first of its unit that was slow.
    pub(super) first_slow: bool,
    pub(super) failed: bool,
    /// Whether it was slow; none where nothing can be said of it.
    pub(super) slow: Option<bool>,
    /// The prediction; none where it failed.
    pub(super) prediction: Option<f64>,
}

/// The numbers of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// The segment, as people read it.
    pub name: String,
    /// Whether promotion waits for it.
    pub required: bool,
    /// Requests that failed.
    pub errors: RateReport,
    /// Predictions.
    pub prediction: MeanReport,
    /// Slow requests.
    pub slow: RateReport,
}

/// The name of a metric in a segment.
pub(super) fn metric(name: &str, segment: &str) -> String {
    format!("{name} where {segment}")
}

impl SegmentTest {
    pub(super) fn new(
        name: String,
        required: bool,
        limits: &Limits,
        first_share: f64,
    ) -> Result<Self, StatsError> {
        let alpha = limits.alpha;
        Ok(Self {
            name,
            required,
            errors: RateTest::new(alpha, limits.error_ratio, limits.error_difference, first_share)?,
            prediction: MeanTest::new(limits, first_share)?,
            slow: RateTest::new(alpha, 1.0, limits.slow_difference, first_share)?,
        })
    }

    pub(super) fn observe(&mut self, noted: &Noted) -> Result<(), StatsError> {
        let Noted { arm, share, .. } = *noted;
        if noted.first {
            self.errors.unit(arm, noted.failed, share)?;
        }
        if noted.failed && noted.first_failure {
            self.errors.bad(arm, share)?;
        }
        let Some(prediction) = noted.prediction else { return Ok(()) };
        if noted.first {
            self.prediction.observe(arm, prediction, share)?;
        }
        let Some(slow) = noted.slow else { return Ok(()) };
        if noted.first {
            self.slow.unit(arm, slow, share)?;
        }
        if slow && noted.first_slow {
            self.slow.bad(arm, share)?;
        }
        Ok(())
    }

    /// The evidence of each metric, by its name in the whole: errors, prediction, latency. The report is of the same look.
    pub(super) fn evidence(
        &self,
        report: &SegmentReport,
        names: [&str; 3],
    ) -> Result<[MetricEvidence; 3], StatsError> {
        let [errors, prediction, latency] = names.map(|name| metric(name, &self.name));
        Ok([
            report.errors.evidence(&errors),
            self.prediction.evidence(&prediction)?,
            report.slow.evidence(&latency),
        ])
    }

    pub(super) fn report(&self) -> Result<SegmentReport, StatsError> {
        Ok(SegmentReport {
            name: self.name.clone(),
            required: self.required,
            errors: self.errors.report()?,
            prediction: self.prediction.report()?,
            slow: self.slow.report()?,
        })
    }
}

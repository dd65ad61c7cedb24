//! What the shadow has shown so far: two shares, each held against what was declared, and the numbers that people look at.

use super::beside::{ShadowObservation, ShadowOutcome};
use super::phase::ShadowPhase;
use crate::comparison::{Difference, Tolerance};
use crate::rollout::Arms;
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{Interval, LatencyBins, LatencyHistogram, MetricEvidence, ShareTest};

/// The name of the share of requests that are answered differently, among the metrics of a rollout.
pub(in crate::rollout) const DIFFERING: &str = "shadow_differing";
/// The name of the share of requests that the candidate fails.
pub(in crate::rollout) const FAILING: &str = "shadow_failing";

/// The state of the shadow's tests.
///
/// Both arms see the same requests, so nothing has to be drawn by lot to compare them: a unit shows a difference or does
/// not. Units are requests, or, where callers are sticky, keys, of which only the first request counts. A request differs
/// when one of its rows does; one that the candidate fails does not count among those that were compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::rollout) struct ShadowTest {
    alpha: f64,
    tolerance: Tolerance,
    differing: ShareTest,
    failing: ShareTest,
    asked: u64,
    failed: u64,
    shed: u64,
    rows: u64,
    rows_differing: u64,
    largest: f64,
    example: Option<ShadowExample>,
    failure: Option<ShadowFailure>,
    latencies: Arms<LatencyHistogram>,
    quantile: f64,
}

/// What is known of a shadow at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Requests that the candidate was asked beside the baseline.
    pub asked: u64,
    /// Requests of those that it failed.
    pub failed: u64,
    /// Requests that it was not asked, because too many waited for it.
    pub shed: u64,
    /// Requests that were answered differently.
    pub differing: ShareReport,
    /// Requests that the candidate failed and the baseline answered.
    pub failing: ShareReport,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows of those that were answered differently.
    pub rows_differing: u64,
    /// How far numbers could lie apart.
    pub tolerance: Tolerance,
    /// The largest distance between two numbers.
    pub largest_difference: f64,
    /// The row that differs most.
    pub example: Option<ShadowExample>,
    /// A failure of the candidate: the newest.
    pub failure: Option<ShadowFailure>,
    /// The quantile of the latency that is told.
    pub quantile: f64,
    /// It in milliseconds, each as a confidence sequence: told, not judged, since a shadow has other load than traffic.
    pub at_quantile_ms: Arms<Interval>,
    /// Whether both shares are shown to be within what is allowed.
    pub within_limits: bool,
}

/// A share of units with what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareReport {
    /// Units: requests, with sticky keys the first of each.
    pub units: u64,
    /// Units that show it.
    pub hits: u64,
    /// The share, as a confidence sequence.
    pub share: Interval,
    /// What it may be.
    pub allowed: f64,
    /// ln of the e-value of more.
    pub log_e: f64,
}

/// A row that is answered differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowExample {
    /// The prediction that was answered; what the candidate said is kept nowhere.
    pub prediction_id: String,
    /// The largest distance between two numbers of it; none when it is no matter of numbers.
    pub by: Option<f64>,
}

/// A request that the candidate failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowFailure {
    /// The prediction that was answered, by its first row.
    pub prediction_id: String,
    /// Why the candidate failed.
    pub reason: String,
}

impl ShadowTest {
    pub(in crate::rollout) fn new(
        phase: &ShadowPhase,
        alpha: f64,
        quantile: f64,
        bins: LatencyBins,
    ) -> Result<Self, StatsError> {
        Ok(Self {
            alpha,
            tolerance: phase.tolerance,
            differing: ShareTest::new(phase.most_differing)?,
            failing: ShareTest::new(phase.most_failing)?,
            asked: 0,
            failed: 0,
            shed: 0,
            rows: 0,
            rows_differing: 0,
            largest: 0.0,
            example: None,
            failure: None,
            latencies: Arms { baseline: LatencyHistogram::new(bins), candidate: LatencyHistogram::new(bins) },
            quantile,
        })
    }

    /// Requests that the candidate was asked.
    pub(in crate::rollout) fn asked(&self) -> u64 {
        self.asked
    }

    /// Says that so many requests were not asked.
    pub(in crate::rollout) fn shed(&mut self, requests: u64) {
        self.shed += requests;
    }

    /// Takes in a request; `first` says whether it is one that counts.
    pub(in crate::rollout) fn observe(
        &mut self,
        seen: &ShadowObservation,
        first: bool,
    ) -> Result<(), StatsError> {
        self.asked += 1;
        let failed = matches!(seen.outcome, ShadowOutcome::Failed { .. });
        if first {
            self.failing.observe(failed);
        }
        match &seen.outcome {
            ShadowOutcome::Failed { prediction_id, reason } => {
                self.failed += 1;
                let (prediction_id, reason) = (prediction_id.clone(), reason.clone());
                self.failure = Some(ShadowFailure { prediction_id, reason });
            }
            ShadowOutcome::Compared { rows, differing, largest, worst } => {
                if first {
                    self.differing.observe(*differing > 0);
                }
                self.rows += rows;
                self.rows_differing += differing;
                self.largest = self.largest.max(*largest);
                if let Some((id, difference)) = worst {
                    self.consider(id, difference);
                }
                self.latencies.baseline.observe(seen.baseline_ms)?;
                self.latencies.candidate.observe(seen.candidate_ms)?;
            }
        }
        Ok(())
    }

    /// Keeps the row that differs most: one that differs in kind before one that differs in degree.
    fn consider(&mut self, id: &str, difference: &Difference) {
        let by = (!difference.in_kind).then_some(difference.by);
        let more = match (&self.example, by) {
            (None, _) => true,
            (Some(known), None) => known.by.is_some(),
            (Some(known), Some(by)) => known.by.is_some_and(|known| by > known),
        };
        if more {
            self.example = Some(ShadowExample { prediction_id: id.to_owned(), by });
        }
    }

    /// What both shares say, as a multiple of what is allowed.
    pub(in crate::rollout) fn evidence(&self) -> Result<[MetricEvidence; 2], StatsError> {
        let one = |name: &str, test: &ShareTest| {
            let (share, limit) = (test.interval(self.alpha)?, test.limit());
            let harm =
                Interval { lower: share.lower.map(|v| v / limit), upper: share.upper.map(|v| v / limit) };
            Ok(MetricEvidence {
                name: name.to_owned(),
                log_e: test.log_e(),
                harm,
                observations: test.units(),
            })
        };
        Ok([one(DIFFERING, &self.differing)?, one(FAILING, &self.failing)?])
    }

    pub(in crate::rollout) fn report(&self) -> Result<ShadowReport, StatsError> {
        let share = |test: &ShareTest| {
            Ok(ShareReport {
                units: test.units(),
                hits: test.hits(),
                share: test.interval(self.alpha)?,
                allowed: test.limit(),
                log_e: test.log_e(),
            })
        };
        let (differing, failing) = (share(&self.differing)?, share(&self.failing)?);
        let at = |h: &LatencyHistogram| h.quantile_interval(self.quantile, self.alpha);
        Ok(ShadowReport {
            asked: self.asked,
            failed: self.failed,
            shed: self.shed,
            rows: self.rows,
            rows_differing: self.rows_differing,
            tolerance: self.tolerance,
            largest_difference: self.largest,
            example: self.example.clone(),
            failure: self.failure.clone(),
            quantile: self.quantile,
            at_quantile_ms: Arms {
                baseline: at(&self.latencies.baseline)?,
                candidate: at(&self.latencies.candidate)?,
            },
            within_limits: [&differing, &failing].iter().all(|s| s.units > 0 && s.share.is_below(s.allowed)),
            differing,
            failing,
        })
    }
}

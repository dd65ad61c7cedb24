//! The numbers behind a decision, as events, tables and faces carry them.

use super::Arms;
use super::quality::QualityReport;
use super::segment_tests::SegmentReport;
use super::shadow::ShadowReport;
use serde::{Deserialize, Serialize};
use trueline_stats::sequential::{Interval, Missing, Verdict};

/// Everything that is known at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the numbers say as a whole.
    pub verdict: Verdict,
    /// ln of the average of the metrics' e-values.
    pub log_e: f64,
    /// The smallest 1/e so far: the anytime-valid p-value of "it does no harm beyond what is allowed".
    pub p_value: f64,
    /// The candidate is rolled back when the p-value reaches this.
    pub alpha: f64,
    /// Requests that were answered or failed.
    pub requests: Arms<u64>,
    /// Requests that could not be taken into account, because too many came at once.
    pub uncounted: u64,
    /// Batches of other servers that could not be read: what those saw is in none of these numbers, so nothing is promoted
    /// without a person.
    #[serde(default)]
    pub unreadable_batches: u64,
    /// Requests that failed.
    pub errors: RateReport,
    /// Predictions.
    pub prediction: MeanReport,
    /// Latency.
    pub latency: LatencyReport,
    /// What the shadow showed; none without one.
    #[serde(default)]
    pub shadow: Option<ShadowReport>,
    /// The same in the segments of the plan, in its order.
    #[serde(default)]
    pub segments: Vec<SegmentReport>,
    /// Quality, as far as labels have come; none without a limit of it.
    #[serde(default)]
    pub quality: Option<QualityReport>,
    /// What promotion waits for; while it is in shadow, what the first step waits for; empty when nothing stands against it.
    pub missing: Vec<Missing>,
}

/// How often something bad happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateReport {
    /// Units: requests, with sticky keys the first of each.
    pub units: Arms<u64>,
    /// Those that were bad; with sticky keys, keys with at least one that was.
    pub bad: Arms<u64>,
    /// The share of bad units, each as a confidence sequence.
    pub rate: Arms<Interval>,
    /// The candidate's rate as a multiple of the baseline's.
    pub ratio: Interval,
    /// What the ratio may be.
    pub allowed_ratio: f64,
    /// The candidate's rate minus the baseline's.
    pub difference: Interval,
    /// What the difference may be.
    pub allowed_difference: f64,
    /// ln of the e-value of the counts.
    pub log_e: f64,
}

/// What is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanReport {
    /// Units with a prediction.
    pub units: Arms<u64>,
    /// The mean prediction, each as a confidence sequence.
    pub mean: Arms<Interval>,
    /// The effect of the candidate on the mean.
    pub shift: Interval,
    /// What it may be either way; none while it is not fixed yet.
    pub allowed_shift: Option<f64>,
    /// Predictions outside of the declared range.
    pub outside: Arms<u64>,
    /// Whether those are few enough.
    pub range_fits: bool,
    /// ln of the e-value.
    pub log_e: f64,
}

/// How long answers take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// The quantile that is compared.
    pub quantile: f64,
    /// It in milliseconds, each as a confidence sequence.
    pub at_quantile_ms: Arms<Interval>,
    /// From where on a request of the baseline is slow, in milliseconds.
    pub slow_ms: Option<f64>,
    /// How many times that a request of the candidate may take.
    pub allowed_latency_ratio: f64,
    /// Slow requests.
    pub slow: RateReport,
}

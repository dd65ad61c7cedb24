//! Anytime-valid inference for releases: look as often as you like, stop when you like, the error bound still
//! holds. Each file is one test; `decision` combines them; `keys` turns requests into the units that were
//! randomised.
//!
//! Which test tolerates what (details beside each type):
//!
//! | test | exact when | tolerates |
//! |---|---|---|
//! | [`ErrorShareTest`], [`ErrorRatioTest`] | units are assigned at random, one error per unit | any load, cycles and common bursts |
//! | [`ShareTest`] | each unit's chance to show it, given the past, is within the limit | a share that moves below the limit |
//! | [`SlowThreshold`] + [`ErrorRatioTest`] | the same | the same: the latency test to use by default |
//! | [`AllocatedDifference`] | units are assigned at random, values in [0, 1] | cycles, changing allocation |
//! | [`MeanDifference`] | each stream has a constant conditional mean | skew; not cycles |
//! | [`BlockDifference`] | blocks outlast the memory of the noise | bursts of one arm alone, cycles |
//! | [`QuantileDifference`] | independent observations in each stream | any distribution; not autocorrelation of one arm |
//! | [`AsymptoticMean`] | many observations | unbounded values; not tiny samples |

mod allocated;
mod binomial;
mod decision;
mod error_ratio;
mod error_share;
mod keys;
mod latency;
mod means;
mod quantile;
mod share;
mod slow;

use serde::{Deserialize, Serialize};

pub use allocated::{AllocatedDifference, BlockDifference};
pub use decision::{
    Decision, Judge, MetricEvidence, MetricReport, MetricRule, Missing, MissingReason, Verdict,
};
pub use error_ratio::ErrorRatioTest;
pub use error_share::ErrorShareTest;
pub use keys::{FirstPerKey, KeyMean, KeyMeans};
pub use latency::{LatencyBins, LatencyHistogram};
pub(crate) use means::BernsteinSums;
pub use means::{AsymptoticMean, BoundedMean, MeanDifference};
pub use quantile::QuantileDifference;
pub use share::ShareTest;
pub use slow::SlowThreshold;

/// Which side of a rollout a unit was assigned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The version that serves today.
    Champion,
    /// The version that wants to.
    Canary,
}

/// A confidence set between two bounds; `None` is a side about which nothing can be said yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower bound.
    pub lower: Option<f64>,
    /// The upper bound.
    pub upper: Option<f64>,
}

impl Interval {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { lower: None, upper: None };

    /// True when `value` is not excluded.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.lower.is_none_or(|lower| lower <= value) && self.upper.is_none_or(|upper| value <= upper)
    }

    /// True when every value in the set is below `limit`.
    #[must_use]
    pub fn is_below(&self, limit: f64) -> bool {
        self.upper.is_some_and(|upper| upper < limit)
    }
}

/// The anytime-valid p-value of the largest e-value so far: min(1, 1/e) (Ville's inequality).
fn p_from_log_e(largest_log_e: f64) -> f64 {
    (-largest_log_e).exp().min(1.0)
}

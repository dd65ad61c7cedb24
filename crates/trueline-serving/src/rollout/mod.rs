//! Rollouts: a candidate takes over an endpoint in steps, and statistics that hold whenever one looks decide whether it
//! goes on, is promoted or is taken off again.
//!
//! ```text
//! plane ─ watch ─► evidence      each answer of either arm, in memory; written down every few seconds
//!       └ shadow ─┘             before the first step: what the candidate would have answered
//!                     └─ look ─► report ─► course     pure: stay, next step, promote, roll back, hold
//!                                            └─► store     one write: the route, the decision, its numbers
//! ```

#[cfg(test)]
mod any_number_tests;
mod course;
mod evidence;
mod loss;
mod mean;
#[cfg(test)]
mod part_tests;
mod plan;
mod quality;
mod rate;
mod record;
mod replay;
mod report;
mod rollouts;
mod segment_tests;
mod segments;
pub(crate) mod shadow;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_tests;
pub(crate) mod store;
mod units;
mod watch;
mod words;

pub use course::{Move, Progress, decide};
pub use evidence::Evidence;
pub use loss::{Measure, Said};
pub use plan::{Inconclusive, Limits, Plan, Share, Step};
pub use quality::{LabelSeen, LabelsLeftOut, LossReport, QualityLimit, QualityReport, SegmentLoss};
pub use record::{Rollout, RolloutDecision, RolloutState};
pub(crate) use replay::disagreements;
pub use replay::{Mismatch, RolloutReplay};
pub use report::{LatencyReport, MeanReport, RateReport, Report};
pub use rollouts::{Moved, Rollouts};
pub use segment_tests::SegmentReport;
pub(crate) use segments::check_known;
pub use segments::{InSegments, SegmentColumn, segments_of};
use serde::{Deserialize, Serialize};
pub(crate) use shadow::LiveShadow;
pub use shadow::{
    Beside, Shadow, ShadowDraw, ShadowExample, ShadowFailure, ShadowObservation, ShadowOutcome, ShadowPhase,
    ShadowReport, ShareReport,
};
use trueline_stats::sequential::{Arm, Interval};
pub(crate) use watch::Watch;
pub use watch::{Drawn, Observation, Outcome};
pub use words::{Names, explain};

/// Something of both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arms<T> {
    /// Of what answered before.
    pub baseline: T,
    /// Of what wants to answer.
    pub candidate: T,
}

impl<T> Arms<T> {
    /// That of an arm.
    pub fn of(&mut self, arm: Arm) -> &mut T {
        match arm {
            Arm::Champion => &mut self.baseline,
            Arm::Canary => &mut self.candidate,
        }
    }
}

/// The set of the harm that counts when both measures must be exceeded: the smaller of two.
fn either_worse(a: Interval, b: Interval) -> Interval {
    let smaller = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    };
    Interval { lower: a.lower.zip(b.lower).map(|(a, b)| a.min(b)), upper: smaller(a.upper, b.upper) }
}

/// How far an effect is from nothing either way, as a multiple of a margin.
fn either_side(effect: Interval, margin: f64) -> Interval {
    let (lower, upper) = (effect.lower, effect.upper);
    let nearest = lower.zip(upper).map(|(l, u)| l.max(-u).max(0.0) / margin);
    let farthest = lower.zip(upper).map(|(l, u)| l.abs().max(u.abs()) / margin);
    Interval { lower: nearest, upper: farthest }
}

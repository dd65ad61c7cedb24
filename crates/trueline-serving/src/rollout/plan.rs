//! What a rollout was started with: its steps, what harm it allows, and what becomes of it when the time is over. None of
//! it changes later, since the statistics are only valid for what was fixed before the first look.

use super::quality::QualityLimit;
use super::segments::{self, SegmentColumn};
use super::shadow::{Shadow, ShadowPhase};
use crate::error::ServingError;
use crate::model::ModelSpec;
use serde::{Deserialize, Serialize};
use trueline_ledger::Millis;

/// The largest number of steps; the tests for error counts remember each share apart.
const MOST_STEPS: usize = 20;
/// The longest rollout, in seconds.
const LONGEST: u64 = 366 * 24 * 3600;

/// A share of the traffic for the candidate, and how long it is kept at the least.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The candidate's share of the requests (with sticky keys: of the keys) in percent, to a hundredth.
    pub share_percent: f64,
    /// Requests that the candidate takes at this share before the next step.
    #[serde(default = "Step::least_requests")]
    pub least_requests: u64,
    /// Seconds at this share before the next step.
    #[serde(default = "Step::least_seconds")]
    pub least_seconds: u64,
}

/// The candidate's share of the traffic in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub(crate) u32);

/// How much harm is allowed. A candidate is rolled back when there is evidence of more, promoted when more is excluded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The chance of ever rolling back a candidate that does no harm beyond these limits; and, for each metric, of
    /// promoting one that does.
    pub alpha: f64,
    /// How many times the baseline's rate of failed requests the candidate's may be.
    pub error_ratio: f64,
    /// A rate of failed requests that is higher by less than this does not stand against promotion.
    pub error_difference: f64,
    /// How far the mean prediction may move either way, in the predictions' own unit.
    pub prediction_shift: f64,
    /// The same as a share of the baseline's mean prediction; the larger of both counts.
    pub prediction_shift_relative: f64,
    /// The range in which predictions lie; those beyond are taken as its ends.
    pub prediction_range: [f64; 2],
    /// The quantile of the latency that is compared.
    pub latency_quantile: f64,
    /// How many times the baseline's latency at that quantile the candidate's may be.
    pub latency_ratio: f64,
    /// A share of slow requests that is higher by less than this does not stand against promotion.
    pub slow_difference: f64,
    /// A request that takes less than this, in milliseconds, is never slow.
    pub latency_floor_ms: f64,
    /// How much quality it may cost, by the labels that arrive; nothing is judged by labels without it.
    pub quality: Option<QualityLimit>,
}

/// What becomes of a rollout whose time is over before the numbers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// It stays as it is until a person decides; harm still ends it.
    #[default]
    Hold,
    /// The candidate is taken off.
    RollBack,
}

/// A rollout as it was declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The phase before the steps in which nobody gets the candidate's answers; none without one.
    pub shadow: Option<ShadowPhase>,
    /// The steps, with rising shares.
    pub steps: Vec<Step>,
    /// What harm is allowed.
    pub limits: Limits,
    /// Parts of the traffic that are judged apart, by the same limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentColumn>,
    /// After so many seconds it is over, whatever the numbers say.
    pub longest_seconds: u64,
    /// What becomes of it then.
    pub on_inconclusive: Inconclusive,
}

impl Share {
    /// Of all the traffic.
    pub(crate) const ALL: u32 = 10_000;

    /// Of a weight among all.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn of(weight: u32, total: u64) -> Self {
        // A weight is never above the total, so this is at most all.
        Self((u64::from(weight) * u64::from(Self::ALL) / total.max(1)) as u32)
    }

    /// Of percent in a plan that was checked, so that it lies between 1 and all.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn of_percent(percent: f64) -> Self {
        Self((percent * 100.0).round() as u32)
    }

    /// As a fraction of 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL)
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Step {
    fn least_requests() -> u64 {
        100
    }

    fn least_seconds() -> u64 {
        60
    }

    /// A step with the usual minima.
    #[must_use]
    pub fn to(share_percent: f64) -> Self {
        Self { share_percent, least_requests: Self::least_requests(), least_seconds: Self::least_seconds() }
    }

    /// Its share.
    #[must_use]
    pub fn share(&self) -> Share {
        Share::of_percent(self.share_percent)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            error_ratio: 1.5,
            error_difference: 0.01,
            prediction_shift: 0.03,
            prediction_shift_relative: 0.0,
            prediction_range: [0.0, 1.0],
            latency_quantile: 0.95,
            latency_ratio: 1.5,
            slow_difference: 0.02,
            latency_floor_ms: 1.0,
            quality: None,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            shadow: None,
            steps: [5.0, 20.0, 50.0].map(Step::to).to_vec(),
            limits: Limits::default(),
            segments: Vec::new(),
            longest_seconds: 24 * 3600,
            on_inconclusive: Inconclusive::Hold,
        }
    }
}

impl Plan {
    /// Checks it.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] with what is wrong.
    pub fn check(&self) -> Result<(), ServingError> {
        let wrong = |why: String| Err(ServingError::Invalid(format!("this rollout can't be started: {why}")));
        if self.steps.is_empty() || self.steps.len() > MOST_STEPS {
            return wrong(format!("it takes 1 to {MOST_STEPS} steps, not {}", self.steps.len()));
        }
        for step in &self.steps {
            if !(0.01..=99.99).contains(&step.share_percent) {
                return wrong(format!(
                    "a step's share is from 0.01 to 99.99 percent, not {}; the candidate gets all when it is promoted",
                    step.share_percent
                ));
            }
        }
        if self.steps.windows(2).any(|w| w[0].share() >= w[1].share()) {
            return wrong("the steps' shares must rise".to_owned());
        }
        if self.longest_seconds == 0 || self.longest_seconds > LONGEST {
            return wrong(format!("longest_seconds is from 1 to {LONGEST}, not {}", self.longest_seconds));
        }
        if let Some(shadow) = &self.shadow {
            shadow.check().or_else(wrong)?;
        }
        segments::check(&self.segments).or_else(wrong)?;
        self.limits.check().or_else(wrong)
    }

    /// The share of a step.
    #[must_use]
    pub fn share(&self, step: usize) -> Option<Share> {
        self.steps.get(step).map(Step::share)
    }

    /// What a route carries of the shadow; none without one.
    #[must_use]
    pub fn shadow_of(&self, candidate: &ModelSpec) -> Option<Shadow> {
        self.shadow.as_ref().map(|phase| phase.of(candidate))
    }

    /// When it is over, for one that was started then.
    #[must_use]
    pub fn deadline(&self, started_at_ms: Millis) -> Millis {
        started_at_ms
            .saturating_add(i64::try_from(self.longest_seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
    }
}

impl Limits {
    /// The width of the range of predictions.
    pub(crate) fn width(&self) -> f64 {
        self.prediction_range[1] - self.prediction_range[0]
    }

    fn check(&self) -> Result<(), String> {
        let inside = |name: &str, value: f64, from: f64, to: f64| match value > from && value < to {
            true => Ok(()),
            false => Err(format!("{name} lies between {from} and {to}, both excluded, not at {value}")),
        };
        inside("alpha", self.alpha, 0.0, 0.5)?;
        inside("error_ratio", self.error_ratio, 0.99, 1_000.0)?;
        inside("error_difference", self.error_difference, 0.0, 1.0)?;
        inside("latency_quantile", self.latency_quantile, 0.0, 1.0)?;
        inside("latency_ratio", self.latency_ratio, 0.99, 1_000.0)?;
        inside("slow_difference", self.slow_difference, 0.0, 1.0)?;
        let [low, high] = self.prediction_range;
        if !(low.is_finite() && high.is_finite() && low < high && self.width().is_finite()) {
            return Err(format!("prediction_range is a lower and a higher number, not {low} and {high}"));
        }
        inside("prediction_shift", self.prediction_shift, 0.0, self.width())?;
        if !(self.prediction_shift_relative >= 0.0 && self.prediction_shift_relative.is_finite()) {
            return Err("prediction_shift_relative is 0 or more".to_owned());
        }
        if !(self.latency_floor_ms >= 0.0 && self.latency_floor_ms.is_finite()) {
            return Err("latency_floor_ms is 0 or more".to_owned());
        }
        self.quality.as_ref().map_or(Ok(()), QualityLimit::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_usual_and_what_is_unknown_is_refused() {
        let plan: Plan = serde_json::from_str(
            r#"{"steps":[{"share_percent":0.5},{"share_percent":10}],"limits":{"alpha":0.01}}"#,
        )
        .unwrap();
        assert!(plan.check().is_ok());
        assert_eq!((plan.share(0), plan.steps[1].least_requests), (Some(Share(50)), 100));
        assert!((plan.limits.alpha - 0.01).abs() < 1e-12 && (plan.limits.error_ratio - 1.5).abs() < 1e-12);
        assert!(serde_json::from_str::<Plan>(r#"{"limits":{"alhpa":0.01}}"#).is_err());
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused() {
        let with = |change: &dyn Fn(&mut Plan)| {
            let mut plan = Plan::default();
            change(&mut plan);
            plan.check().is_err()
        };
        assert!(with(&|p| p.steps.clear()));
        assert!(with(&|p| p.steps.reverse()));
        assert!(with(&|p| p.steps[2].share_percent = 100.0));
        assert!(with(&|p| p.steps[0].share_percent = f64::NAN));
        assert!(with(&|p| p.longest_seconds = 0));
        assert!(with(&|p| p.limits.alpha = 0.0));
        assert!(with(&|p| p.limits.prediction_range = [1.0, 0.0]));
        assert!(with(&|p| p.limits.prediction_shift = f64::INFINITY));
        assert!(!with(&|_| ()));
    }
}

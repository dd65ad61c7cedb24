//! What a bandit was started with: what is rewarded, how small a share may become, when shares change, and how it ends. None
//! of it changes later.

use super::reward::Reward;
use crate::error::ServingError;
use serde::{Deserialize, Serialize};
use trueline_ledger::Millis;

/// The longest bandit, and the longest wait for a label, in seconds.
const LONGEST: u64 = 366 * 24 * 3600;

/// What becomes of a prediction whose label did not come in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutLabel {
    /// It does not count.
    #[default]
    Skip,
    /// It has the worst reward: no label means that nothing was bought, or clicked.
    Worst,
}

/// What is done once an arm is known to be the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is told, and goes on until a person decides.
    #[default]
    Propose,
    /// The arm answers alone.
    Promote,
}

/// When an arm is known to be the best, and what is done then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finish {
    /// It is so with this probability,
    pub probability: f64,
    /// and its interval lies better than every other arm's by this much, in the reward's own unit.
    pub margin: f64,
    /// What is done.
    pub then: Then,
}

impl Default for Finish {
    fn default() -> Self {
        Self { probability: 0.95, margin: 0.0, then: Then::Propose }
    }
}

/// A bandit as it was declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BanditPlan {
    /// What is rewarded.
    pub reward: Reward,
    /// Seconds from a prediction to when its label must be there. No reward counts earlier, so that those that come soon
    /// have no advantage.
    pub label_within_seconds: u64,
    /// What becomes of a prediction without one.
    pub without_label: WithoutLabel,
    /// The least share of an arm, as a fraction.
    pub floor: f64,
    /// Seconds between two allotments at the least.
    pub every_seconds: u64,
    /// Rewards between two allotments at the least.
    pub least_rewards: u64,
    /// Shares change when one of them would by this much, as a fraction.
    pub hysteresis: f64,
    /// After so many seconds a reward counts half for the shares; always the same where it is not said.
    pub half_life_seconds: Option<u64>,
    /// The chance that any interval of any arm ever misses the truth.
    pub alpha: f64,
    /// When an arm is known to be the best.
    pub finish: Finish,
    /// After so many seconds it is over; the shares stay.
    pub longest_seconds: u64,
}

impl Default for BanditPlan {
    fn default() -> Self {
        Self {
            reward: Reward::default(),
            label_within_seconds: 3_600,
            without_label: WithoutLabel::Skip,
            floor: 0.05,
            every_seconds: 60,
            least_rewards: 50,
            hysteresis: 0.02,
            half_life_seconds: None,
            alpha: 0.05,
            finish: Finish::default(),
            longest_seconds: 30 * 24 * 3600,
        }
    }
}

impl BanditPlan {
    /// Checks it, for so many arms.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] with what is wrong.
    pub fn check(&self, arms: usize) -> Result<(), ServingError> {
        let wrong = |why: String| ServingError::Invalid(format!("this bandit can't be started: {why}"));
        self.reward.check().map_err(wrong)?;
        self.check_numbers(arms).map_err(wrong)
    }

    fn check_numbers(&self, arms: usize) -> Result<(), String> {
        let inside = |name: &str, value: f64, from: f64, to: f64| match value >= from && value <= to {
            true => Ok(()),
            false => Err(format!("{name} lies from {from} to {to}, not at {value}")),
        };
        let seconds = |name: &str, value: u64| match value <= LONGEST {
            true => Ok(()),
            false => Err(format!("{name} is at most {LONGEST}, not {value}")),
        };
        #[allow(clippy::cast_precision_loss)]
        let even = 1.0 / arms.max(1) as f64;
        inside("floor", self.floor, 0.000_1, even)?;
        inside("hysteresis", self.hysteresis, 0.0, 0.5)?;
        inside("alpha", self.alpha, 0.000_001, 0.5)?;
        inside("finish.probability", self.finish.probability, 0.5, 1.0)?;
        if !(self.finish.margin >= 0.0 && self.finish.margin.is_finite()) {
            return Err("finish.margin is 0 or more".to_owned());
        }
        seconds("label_within_seconds", self.label_within_seconds)?;
        seconds("every_seconds", self.every_seconds)?;
        seconds("longest_seconds", self.longest_seconds)?;
        if self.every_seconds == 0 {
            return Err("every_seconds is 1 or more".to_owned());
        }
        if self.label_within_seconds == 0 || self.label_within_seconds >= self.longest_seconds {
            return Err("label_within_seconds is 1 or more and less than longest_seconds: rewards count once their label \
                 must be there"
                .to_owned());
        }
        if self.longest_seconds == 0 || self.least_rewards == 0 || self.half_life_seconds == Some(0) {
            return Err("longest_seconds, least_rewards and half_life_seconds are 1 or more".to_owned());
        }
        Ok(())
    }

    /// The floor in parts of the whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn floor_parts(&self) -> u32 {
        // A checked floor is a fraction; it is rounded down, so that all arms can have it.
        ((self.floor * f64::from(trueline_stats::allotment::WHOLE) + 1e-9) as u32).max(1)
    }

    /// Until when a label counts for a prediction that was received then.
    #[must_use]
    pub fn label_due(&self, received_at_ms: Millis) -> Millis {
        after(received_at_ms, self.label_within_seconds)
    }

    /// When it is over, for one that was started then.
    #[must_use]
    pub fn deadline(&self, started_at_ms: Millis) -> Millis {
        after(started_at_ms, self.longest_seconds)
    }
}

/// So many seconds later.
pub(super) fn after(from_ms: Millis, seconds: u64) -> Millis {
    from_ms.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_usual_and_what_is_unknown_is_refused() {
        let plan: BanditPlan =
            serde_json::from_str(r#"{"reward":{"measure":"accuracy"},"finish":{"then":"promote"}}"#).unwrap();
        assert!(plan.check(3).is_ok());
        assert_eq!((plan.floor_parts(), plan.finish.then), (500, Then::Promote));
        assert_eq!(plan.label_due(10), 3_600_010);
        assert!(serde_json::from_str::<BanditPlan>(r#"{"flor":0.1}"#).is_err());
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused() {
        let with = |change: &dyn Fn(&mut BanditPlan)| {
            let mut plan = BanditPlan::default();
            change(&mut plan);
            plan.check(3).is_err()
        };
        assert!(with(&|p| p.floor = 0.34));
        assert!(with(&|p| p.floor = 0.0));
        assert!(with(&|p| p.alpha = 0.0));
        assert!(with(&|p| p.finish.probability = 1.1));
        assert!(with(&|p| p.finish.margin = f64::NAN));
        assert!(with(&|p| p.half_life_seconds = Some(0)));
        assert!(with(&|p| p.reward.range = [1.0, 0.0]));
        assert!(with(&|p| p.label_within_seconds = u64::MAX));
        assert!(!with(&|p| p.floor = 1.0 / 3.0));
    }
}

//! What a rollout declares of its shadow, and what of it a route carries to the data plane.

use crate::comparison::Tolerance;
use crate::model::ModelSpec;
use crate::rollout::plan::Share;
use serde::{Deserialize, Serialize};

/// The phase of a rollout before its first step, in which the candidate is asked but nobody gets its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowPhase {
    /// The share of the requests (with sticky keys: of the keys) that the candidate is asked as well, in percent.
    pub share_percent: f64,
    /// Requests that it must have been asked before the first step.
    pub least_requests: u64,
    /// Seconds before the first step.
    pub least_seconds: u64,
    /// How far two numbers may lie apart and still be the same answer.
    pub tolerance: Tolerance,
    /// The share of requests that may be answered differently.
    pub most_differing: f64,
    /// The share of requests that the candidate may fail although what answers now does not.
    pub most_failing: f64,
}

/// A version that is asked beside those of a route, without anybody getting its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// The version and what is needed to load it.
    pub spec: ModelSpec,
    /// The share of the requests that it is asked.
    pub share: Share,
    /// How far its numbers may lie from those that were answered.
    pub tolerance: Tolerance,
}

impl Default for ShadowPhase {
    fn default() -> Self {
        Self {
            share_percent: 100.0,
            least_requests: 100,
            least_seconds: 60,
            tolerance: Tolerance::default(),
            most_differing: 0.1,
            most_failing: 0.01,
        }
    }
}

impl ShadowPhase {
    /// What a route carries of it.
    #[must_use]
    pub fn of(&self, candidate: &ModelSpec) -> Shadow {
        Shadow {
            spec: candidate.clone(),
            share: Share::of_percent(self.share_percent),
            tolerance: self.tolerance,
        }
    }

    /// Checks it.
    ///
    /// # Errors
    /// A sentence with what is wrong.
    pub(in crate::rollout) fn check(&self) -> Result<(), String> {
        if !(0.01..=100.0).contains(&self.share_percent) {
            return Err(format!("a shadow's share is from 0.01 to 100 percent, not {}", self.share_percent));
        }
        for (name, share) in [("most_differing", self.most_differing), ("most_failing", self.most_failing)] {
            if !(share > 0.0 && share < 1.0) {
                return Err(format!(
                    "{name} is a share between 0 and 1, both excluded, not {share}: no number of requests shows that \
                     nothing ever differs"
                ));
            }
        }
        self.tolerance.check().map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let with = |change: &dyn Fn(&mut ShadowPhase)| {
            let mut phase = ShadowPhase::default();
            change(&mut phase);
            phase.check().is_err()
        };
        assert!(!with(&|_| ()));
        assert!(with(&|p| p.share_percent = 0.0) && with(&|p| p.share_percent = 100.1));
        assert!(with(&|p| p.most_differing = 0.0) && with(&|p| p.most_failing = 1.0));
        assert!(with(&|p| p.tolerance.absolute = -1.0));
        assert!(serde_json::from_str::<ShadowPhase>(r#"{"most_difering":0.1}"#).is_err());
    }
}

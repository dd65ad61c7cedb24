//! A rollout as it is written down, and how its row is read.

use super::plan::{Plan, Share};
use super::report::Report;
use super::words::Names;
use crate::error::ServingError;
use crate::model::ModelSpec;
use crate::route::{EndpointName, Variant};
use crate::trial::rows::TrialRow;
use crate::trial::{TrialKey, parsed};
use serde::{Deserialize, Serialize};
use trueline_db::Row;
use trueline_ledger::{Millis, ProjectId};

/// Where a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It goes through its steps.
    Running,
    /// Its time was over before the numbers spoke: it waits for a person.
    Held,
    /// The candidate answers alone.
    Promoted,
    /// The candidate was taken off.
    RolledBack,
    /// A person ended it.
    Cancelled,
}

impl RolloutState {
    const ALL: [Self; 5] = [Self::Running, Self::Held, Self::Promoted, Self::RolledBack, Self::Cancelled];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Held => "held",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the candidate still has a share that may change.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Held)
    }

    fn parse(word: &str) -> Result<Self, ServingError> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == word);
        found.ok_or_else(|| ServingError::State(format!("a rollout is in the unknown state `{word}`")))
    }
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rollout {
    /// Its id.
    pub id: String,
    /// Where it belongs.
    pub project: ProjectId,
    /// The endpoint that it changes.
    pub endpoint: EndpointName,
    /// What answered before it, with the shares of that time.
    pub baseline: Vec<Variant>,
    /// What wants to answer.
    pub candidate: ModelSpec,
    /// How it was declared.
    pub plan: Plan,
    /// Where it is.
    pub state: RolloutState,
    /// Whether it is in shadow yet, before its first step: nobody gets the candidate's answers.
    pub shadowing: bool,
    /// The step it is at, from 0.
    pub step: usize,
    /// Since when.
    pub step_since_ms: Millis,
    /// Why it is where it is.
    pub reason: String,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at_ms: Millis,
    /// When it ended.
    pub ended_at_ms: Option<Millis>,
}

/// A decision on a rollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RolloutDecision {
    /// Counts up within the rollout.
    pub number: i64,
    /// `started`, `stepped`, or the state that it came to.
    pub decision: String,
    /// The candidate's share from then on, in percent.
    pub share_percent: f64,
    /// Why, in words.
    pub reason: String,
    /// The numbers that it rests on; none where a person decided before there were any.
    pub numbers: Option<Report>,
    /// Who decided.
    pub decided_by: String,
    /// When.
    pub decided_at_ms: Millis,
}

fn json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, ServingError> {
    parsed(text, "rollout", what)
}

impl Rollout {
    /// For how long, counted back from now, the predictions and labels of its endpoint are needed to judge it by quality: since
    /// it began, and no longer than its plan lets it run, however long a person lets it wait. None where it is not judged by
    /// labels, or has ended.
    #[must_use]
    pub fn needs_labels_of_ms(&self, now: Millis) -> Option<Millis> {
        let judged = self.plan.limits.quality.is_some() && self.state.is_open();
        let longest = self.plan.deadline(0);
        judged.then(|| now.saturating_sub(self.started_at_ms).clamp(0, longest))
    }
}

impl TrialRow for Rollout {
    const TABLE: &'static str = "rollouts";
    const COLUMNS: &'static str =
        "id, project, endpoint, baseline, candidate, plan, state, step, step_since_ms, reason,
     started_by, started_at_ms, ended_at_ms, shadowing";
    const OPEN: &'static str = "'running', 'held'";

    fn missing(id: &str) -> String {
        format!("there is no rollout `{id}`; `trueline rollout list` shows those there are")
    }

    fn from_row(row: &mut Row) -> Result<Self, ServingError> {
        Ok(Self {
            id: row.take(0)?,
            project: ProjectId::new(row.take::<String>(1)?),
            endpoint: EndpointName::parse(&row.take::<String>(2)?)?,
            baseline: json(&row.take::<String>(3)?, "baseline")?,
            candidate: json(&row.take::<String>(4)?, "candidate")?,
            plan: json(&row.take::<String>(5)?, "plan")?,
            state: RolloutState::parse(&row.take::<String>(6)?)?,
            step: usize::try_from(row.take::<i64>(7)?).unwrap_or(0),
            step_since_ms: row.take(8)?,
            reason: row.take(9)?,
            started_by: row.take(10)?,
            started_at_ms: row.take(11)?,
            ended_at_ms: row.take(12)?,
            shadowing: row.take::<i64>(13)? != 0,
        })
    }
}

impl Rollout {
    /// What its evidence is found by.
    #[must_use]
    pub fn key(&self) -> TrialKey {
        TrialKey { project: self.project.clone(), id: self.id.clone() }
    }

    /// The candidate's share of the traffic in percent.
    #[must_use]
    pub fn share_percent(&self) -> f64 {
        match self.state {
            RolloutState::Running | RolloutState::Held if self.shadowing => 0.0,
            RolloutState::Running | RolloutState::Held => {
                self.plan.share(self.step).map_or(0.0, Share::percent)
            }
            RolloutState::Promoted => 100.0,
            RolloutState::RolledBack | RolloutState::Cancelled => 0.0,
        }
    }

    /// What its arms are called.
    #[must_use]
    pub fn names(&self) -> Names {
        let baseline: Vec<String> = self.baseline.iter().map(|v| v.spec.name()).collect();
        Names { baseline: baseline.join(" and "), candidate: self.candidate.name() }
    }
}

impl RolloutDecision {
    pub(super) const COLUMNS: &str =
        "number, decision, share_percent, reason, numbers, decided_by, decided_at_ms";

    pub(super) fn from_row(row: &mut Row) -> Result<Self, ServingError> {
        let numbers: Option<String> = row.take(4)?;
        Ok(Self {
            number: row.take(0)?,
            decision: row.take(1)?,
            share_percent: row.take(2)?,
            reason: row.take(3)?,
            numbers: numbers.map(|text| json(&text, "numbers")).transpose()?,
            decided_by: row.take(5)?,
            decided_at_ms: row.take(6)?,
        })
    }
}

/// The variants of a step: the baseline's in their old proportions, the candidate last with its share of all.
pub(super) fn shares(
    baseline: &[Variant],
    candidate: &ModelSpec,
    share: Share,
) -> Result<Vec<Variant>, ServingError> {
    let total: u64 = baseline.iter().map(|v| u64::from(v.weight)).sum();
    let rest = u64::from(Share::ALL - share.0);
    let own = total * u64::from(share.0);
    let weights: Vec<u64> =
        baseline.iter().map(|v| u64::from(v.weight) * rest).chain(std::iter::once(own)).collect();
    let common = weights.iter().copied().fold(0, gcd).max(1);
    let specs = baseline.iter().map(|v| &v.spec).chain(std::iter::once(candidate));
    let variant = |(spec, weight): (&ModelSpec, u64)| {
        let weight = u32::try_from(weight / common).map_err(|_| {
            ServingError::Invalid("the endpoint's weights are too large to be split further".to_owned())
        })?;
        Ok(Variant::new(spec.clone(), weight))
    };
    specs.zip(weights).map(variant).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Step;
    use serde_json::json;

    fn spec(version: i64) -> ModelSpec {
        ModelSpec {
            id: String::new(),
            model: "m".into(),
            version,
            manifest_digest: String::new(),
            files: Vec::new(),
        }
    }

    fn weights(baseline: &[u32], percent: f64) -> Vec<u32> {
        let baseline: Vec<Variant> = (1..).zip(baseline).map(|(v, w)| Variant::new(spec(v), *w)).collect();
        let all = shares(&baseline, &spec(99), Step::to(percent).share()).unwrap();
        assert_eq!(all.last().unwrap().spec.version, 99);
        all.iter().map(|v| v.weight).collect()
    }

    #[test]
    fn the_candidate_has_its_share_exactly_and_the_rest_keeps_its_proportions() {
        assert_eq!(weights(&[1], 5.0), [19, 1]);
        assert_eq!(weights(&[90, 10], 20.0), [18, 2, 5]);
        assert_eq!(weights(&[7], 0.01), [9_999, 1]);
        let odd = weights(&[3, 5], 33.33);
        assert!((f64::from(odd[2]) / f64::from(odd.iter().sum::<u32>()) - 0.3333).abs() < 1e-12, "{odd:?}");
    }

    #[test]
    fn states_keep_their_words() {
        for state in RolloutState::ALL {
            assert_eq!(RolloutState::parse(state.as_str()).unwrap(), state);
        }
        assert!(RolloutState::parse("lost").is_err());
    }

    #[test]
    fn what_late_labels_belong_to_is_needed_since_it_began_and_no_longer_than_it_may_run() {
        let plan = json!({
            "longest_seconds": 3_600,
            "limits": { "quality": { "measure": "accuracy", "margin": 0.1 } },
        });
        let mut rollout = Rollout {
            id: "r".into(),
            project: ProjectId::default_project(),
            endpoint: EndpointName::parse("delays").unwrap(),
            baseline: Vec::new(),
            candidate: spec(2),
            plan: serde_json::from_value(plan).unwrap(),
            state: RolloutState::Running,
            shadowing: false,
            step: 0,
            step_since_ms: 0,
            reason: String::new(),
            started_by: String::new(),
            started_at_ms: 1_000_000,
            ended_at_ms: None,
        };
        assert_eq!(rollout.needs_labels_of_ms(1_060_000), Some(60_000));
        assert_eq!(rollout.needs_labels_of_ms(900_000), Some(0), "a clock that was set back");
        rollout.state = RolloutState::Held;
        assert_eq!(rollout.needs_labels_of_ms(90_000_000), Some(3_600_000), "it waits for a person");
        rollout.state = RolloutState::Promoted;
        assert_eq!(rollout.needs_labels_of_ms(1_060_000), None);
        rollout.state = RolloutState::Running;
        rollout.plan.limits.quality = None;
        assert_eq!(rollout.needs_labels_of_ms(1_060_000), None);
    }
}

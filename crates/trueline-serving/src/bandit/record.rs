//! A bandit as it is written down, and how its row is read.

use super::plan::BanditPlan;
use super::report::BanditReport;
use crate::error::ServingError;
use crate::model::ModelSpec;
use crate::route::{EndpointName, Variant};
use crate::trial::rows::TrialRow;
use crate::trial::{TrialKey, parsed};
use serde::{Deserialize, Serialize};
use trueline_db::Row;
use trueline_ledger::{Millis, ProjectId};

/// Where a bandit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanditState {
    /// It allots.
    Running,
    /// It allots, and has told that an arm is the best.
    Proposed,
    /// An arm answers alone.
    Finished,
    /// A person ended it.
    Stopped,
    /// Its time is over.
    Expired,
    /// A person deployed or rolled back, which ended it.
    Overruled,
}

impl BanditState {
    const ALL: [Self; 6] =
        [Self::Running, Self::Proposed, Self::Finished, Self::Stopped, Self::Expired, Self::Overruled];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Proposed => "proposed",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Expired => "expired",
            Self::Overruled => "overruled",
        }
    }

    /// Whether it still allots.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Proposed)
    }

    fn parse(word: &str) -> Result<Self, ServingError> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == word);
        found.ok_or_else(|| ServingError::State(format!("a bandit is in the unknown state `{word}`")))
    }
}

/// A bandit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bandit {
    /// Its id.
    pub id: String,
    /// Where it belongs.
    pub project: ProjectId,
    /// The endpoint whose traffic it allots.
    pub endpoint: EndpointName,
    /// The versions among which it does.
    pub arms: Vec<ModelSpec>,
    /// How it was declared.
    pub plan: BanditPlan,
    /// Where it is.
    pub state: BanditState,
    /// The arms' shares in parts of 10,000, in their order; of the end, when it has ended.
    pub shares: Vec<u32>,
    /// The generation of the route that has these shares.
    pub generation: i64,
    /// Since when.
    pub allotted_at_ms: Millis,
    /// Why it is where it is.
    pub reason: String,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at_ms: Millis,
    /// When it ended.
    pub ended_at_ms: Option<Millis>,
}

/// A decision on a bandit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BanditDecision {
    /// Counts up within the bandit.
    pub number: i64,
    /// `started`, `allotted`, or the state that it came to.
    pub decision: String,
    /// The generation of the route from then on.
    pub generation: i64,
    /// The arms' shares from then on, in parts of 10,000.
    pub shares: Vec<u32>,
    /// Why, in words.
    pub reason: String,
    /// The numbers that it rests on; none where there were none yet.
    pub numbers: Option<BanditReport>,
    /// Who decided.
    pub decided_by: String,
    /// When.
    pub decided_at_ms: Millis,
}

fn json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, ServingError> {
    parsed(text, "bandit", what)
}

impl TrialRow for Bandit {
    const TABLE: &'static str = "bandits";
    const COLUMNS: &'static str =
        "id, project, endpoint, arms, plan, state, shares, generation, allotted_at_ms,
     reason, started_by, started_at_ms, ended_at_ms";
    const OPEN: &'static str = "'running', 'proposed'";

    fn missing(id: &str) -> String {
        format!("there is no bandit `{id}`")
    }

    fn from_row(row: &mut Row) -> Result<Self, ServingError> {
        Ok(Self {
            id: row.take(0)?,
            project: ProjectId::new(row.take::<String>(1)?),
            endpoint: EndpointName::parse(&row.take::<String>(2)?)?,
            arms: json(&row.take::<String>(3)?, "arms")?,
            plan: json(&row.take::<String>(4)?, "plan")?,
            state: BanditState::parse(&row.take::<String>(5)?)?,
            shares: json(&row.take::<String>(6)?, "shares")?,
            generation: row.take(7)?,
            allotted_at_ms: row.take(8)?,
            reason: row.take(9)?,
            started_by: row.take(10)?,
            started_at_ms: row.take(11)?,
            ended_at_ms: row.take(12)?,
        })
    }
}

impl Bandit {
    /// What its evidence is found by.
    #[must_use]
    pub fn key(&self) -> TrialKey {
        TrialKey { project: self.project.clone(), id: self.id.clone() }
    }

    /// The arms that have a share, as variants.
    pub(super) fn variants(&self) -> Vec<Variant> {
        let pairs = self.arms.iter().zip(&self.shares);
        let part = pairs.filter(|(_, share)| **share > 0);
        part.map(|(arm, share)| Variant::new(arm.clone(), *share)).collect()
    }

    /// An arm's place by its name, `name/number`.
    #[must_use]
    pub fn arm(&self, version: &str) -> Option<usize> {
        self.arms.iter().position(|arm| arm.name() == version)
    }
}

impl BanditDecision {
    pub(super) const COLUMNS: &str =
        "number, decision, generation, shares, reason, numbers, decided_by, decided_at_ms";

    pub(super) fn from_row(row: &mut Row) -> Result<Self, ServingError> {
        let numbers: Option<String> = row.take(5)?;
        Ok(Self {
            number: row.take(0)?,
            decision: row.take(1)?,
            generation: row.take(2)?,
            shares: json(&row.take::<String>(3)?, "shares")?,
            reason: row.take(4)?,
            numbers: numbers.map(|text| json(&text, "numbers")).transpose()?,
            decided_by: row.take(6)?,
            decided_at_ms: row.take(7)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A bandit of `m/1` and `m/2` that runs with even shares.
    pub(in super::super) fn bandit(plan: BanditPlan) -> Bandit {
        let arm = |version| ModelSpec {
            id: String::new(),
            model: "m".into(),
            version,
            manifest_digest: String::new(),
            files: Vec::new(),
        };
        Bandit {
            id: "b".into(),
            project: ProjectId::new("p"),
            endpoint: EndpointName::parse("e").unwrap(),
            arms: vec![arm(1), arm(2)],
            plan,
            state: BanditState::Running,
            shares: vec![5_000, 5_000],
            generation: 2,
            allotted_at_ms: 0,
            reason: String::new(),
            started_by: String::new(),
            started_at_ms: 0,
            ended_at_ms: None,
        }
    }

    #[test]
    fn states_keep_their_words_and_arms_their_places() {
        for state in BanditState::ALL {
            assert_eq!(BanditState::parse(state.as_str()).unwrap(), state);
        }
        assert!(BanditState::parse("lost").is_err());
        let bandit = bandit(BanditPlan::default());
        assert_eq!((bandit.arm("m/2"), bandit.arm("m/3")), (Some(1), None));
        assert_eq!(bandit.variants()[1].weight, 5_000);
    }
}

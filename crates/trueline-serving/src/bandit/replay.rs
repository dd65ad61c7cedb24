//! Bandits as the ledger tells them, compared with their rows, for `trueline ledger verify --state`.

use super::record::Bandit;
use crate::error::ServingError;
use crate::rollout::{Mismatch, disagreements};
use crate::trial::rows;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use trueline_db::Tx;
use trueline_ledger::EventRow;

/// What the events say so far, by project and id. Each event tells all of it, so a payload that was erased is only missed
/// until the next one; `None` stands for it.
#[derive(Clone, Debug, Default)]
pub struct BanditReplay {
    told: BTreeMap<(String, String), Option<String>>,
}

fn words(endpoint: &str, state: &str, generation: i64, arms: &[(String, u64)]) -> String {
    let arms: Vec<String> = arms.iter().map(|(version, share)| format!("{version} {share}")).collect();
    format!("{endpoint}: {state}, generation {generation}, {}", arms.join(", "))
}

impl BanditReplay {
    /// The actions whose events are replayed.
    pub const ACTIONS: &[&str] = &[
        "bandit.started",
        "bandit.allotted",
        "bandit.proposed",
        "bandit.finished",
        "bandit.stopped",
        "bandit.expired",
        "bandit.overruled",
    ];

    /// Takes in the next event, in the order of commit.
    pub fn apply(&mut self, event: &EventRow) {
        if !Self::ACTIONS.contains(&event.action.as_str()) {
            return;
        }
        let text = |payload: &Json, field: &str| payload[field].as_str().unwrap_or_default().to_owned();
        let told = event.payload.as_ref().map(|p| {
            let arm = |a: &Json| (text(a, "version"), a["share"].as_u64().unwrap_or_default());
            let arms: Vec<_> = p["arms"].as_array().into_iter().flatten().map(arm).collect();
            words(
                &text(p, "endpoint"),
                &text(p, "state"),
                p["generation"].as_i64().unwrap_or_default(),
                &arms,
            )
        });
        self.told.insert((event.project.clone(), event.resource.id.clone()), told);
    }

    /// The rows that are not what the events say, and how many can't be told, because payloads were erased.
    ///
    /// # Errors
    /// What the database says.
    pub fn compare(&self, tx: &mut Tx<'_>) -> Result<(Vec<Mismatch>, u64), ServingError> {
        let mut found = BTreeMap::new();
        for b in rows::all::<Bandit>(tx)? {
            let arms: Vec<_> = b.arms.iter().zip(&b.shares).map(|(a, s)| (a.name(), u64::from(*s))).collect();
            let said = words(b.endpoint.as_str(), b.state.as_str(), b.generation, &arms);
            found.insert((b.project.as_str().to_owned(), b.id), said);
        }
        Ok(disagreements("bandit", &self.told, &found))
    }
}

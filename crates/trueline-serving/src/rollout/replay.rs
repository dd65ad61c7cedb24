//! Rollouts as the ledger tells them, compared with their rows, for `trueline ledger verify --state`.

use super::record::Rollout;
use crate::error::ServingError;
use crate::trial::rows;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use trueline_db::Tx;
use trueline_ledger::EventRow;

/// A row that is not what its events say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which one.
    pub row: String,
    /// What the events say.
    pub ledger: String,
    /// What the row says.
    pub database: String,
}

/// What the events say so far, by project and id. Each event tells all of it, so a payload that was erased is only missed
/// until the next one; `None` stands for it.
#[derive(Clone, Debug, Default)]
pub struct RolloutReplay {
    told: BTreeMap<(String, String), Option<String>>,
}

fn words(endpoint: &str, candidate: &str, state: &str, (shadowing, step): (bool, u64)) -> String {
    match shadowing {
        true => format!("{candidate} at {endpoint}: {state}, in shadow"),
        false => format!("{candidate} at {endpoint}: {state}, step {step}"),
    }
}

impl RolloutReplay {
    /// The actions whose events are replayed.
    pub const ACTIONS: &[&str] = &[
        "rollout.started",
        "rollout.stepped",
        "rollout.held",
        "rollout.promoted",
        "rollout.rolled_back",
        "rollout.cancelled",
    ];

    /// Takes in the next event, in the order of commit.
    pub fn apply(&mut self, event: &EventRow) {
        if !Self::ACTIONS.contains(&event.action.as_str()) {
            return;
        }
        let text = |payload: &Json, field: &str| payload[field].as_str().unwrap_or_default().to_owned();
        let told = event.payload.as_ref().map(|p| {
            let step = p["step"].as_u64().unwrap_or_default();
            let at = (p["shadowing"].as_bool().unwrap_or_default(), step);
            words(&text(p, "endpoint"), &text(p, "candidate"), &text(p, "state"), at)
        });
        self.told.insert((event.project.clone(), event.resource.id.clone()), told);
    }

    /// The rows that are not what the events say, and how many can't be told, because payloads were erased.
    ///
    /// # Errors
    /// What the database says.
    pub fn compare(&self, tx: &mut Tx<'_>) -> Result<(Vec<Mismatch>, u64), ServingError> {
        let mut found = BTreeMap::new();
        for r in rows::all::<Rollout>(tx)? {
            let at = (r.shadowing, r.step as u64);
            let said = words(r.endpoint.as_str(), &r.candidate.name(), r.state.as_str(), at);
            found.insert((r.project.as_str().to_owned(), r.id), said);
        }
        Ok(disagreements("rollout", &self.told, &found))
    }
}

/// What the ledger tells of things by project and id, beside what their rows say: those that differ, and how many can't
/// be told.
pub(crate) fn disagreements(
    what: &str,
    told: &BTreeMap<(String, String), Option<String>>,
    found: &BTreeMap<(String, String), String>,
) -> (Vec<Mismatch>, u64) {
    let (mut mismatches, mut unknowable) = (Vec::new(), 0);
    let keys: BTreeSet<_> = told.keys().chain(found.keys()).collect();
    for key in keys {
        let show = |said: Option<&String>| said.map_or_else(|| "missing".to_owned(), Clone::clone);
        let (told, row) = (told.get(key), found.get(key));
        if told.is_some_and(Option::is_none) {
            unknowable += 1;
            continue;
        }
        let told = told.and_then(Option::as_ref);
        if told != row {
            let name = format!("{what} {}: {}", key.0, key.1);
            mismatches.push(Mismatch { row: name, ledger: show(told), database: show(row) });
        }
    }
    (mismatches, unknowable)
}

//! What rollouts and bandits have in common: evidence that several servers gather and one of them judges at a time. What is
//! judged, and how, is theirs.
//!
//! ```text
//! server that judges    own observations ──────────────────┐
//! any other server      observations ─► trial_batches ─────┴─► trial_evidence     one row, under a lease with an epoch
//! ```

mod batches;
mod evidence_row;
pub(crate) mod rows;

pub use batches::{Batch, Outgoing, SetAside};
pub use evidence_row::{Hold, Kept, Lease};
pub(crate) use evidence_row::{numbers, parsed};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_ledger::{Ledger, Millis, ProjectId};

/// Who judges keeps that for so long without a sign of life.
const LEASE: Millis = 10_000;

/// A rollout or a bandit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialKey {
    /// Where it belongs.
    pub project: ProjectId,
    /// Its id.
    pub id: String,
}

/// How far what a server has seen is part of the evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// The last of its batches.
    pub batch: i64,
    /// How far its log was read; empty before the first time.
    pub cursor: String,
    /// When the last prediction came that was read there.
    pub read_to_ms: Option<Millis>,
}

/// How far each server is, by its name.
pub type Positions = BTreeMap<String, Position>;

/// The evidence of all trials as one server reaches it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrialEvidence {
    ledger: Ledger,
    server: String,
}

impl TrialEvidence {
    /// For the server of this name, which it keeps over restarts.
    #[must_use]
    pub fn new(ledger: Ledger, server: String) -> Self {
        Self { ledger, server }
    }

    /// The name of this server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    fn now(&self) -> Millis {
        self.ledger.sources().now()
    }
}

//! Registered models, their versions with frozen manifests, aliases and tags; and what a version must pass before a
//! protected alias or an endpoint takes it: gates and approvals. Where a version's files come from and how its facts are
//! found is a flow's matter: it hands them in.
//!
//! ```text
//! declare_policy ─► judge (gates) ─► decide (approvals) ─► release_state ─► set_alias, transition_stage
//! ```

mod approvals;
mod error;
pub mod export;
mod gate_runs;
mod gates;
mod import;
mod manifest;
mod model;
mod models;
mod policies;
mod policy;
mod release_replay;
mod replay;
mod resolve;
mod retention;
mod schema;
mod search;
mod signature;
mod standing;
mod validate;
mod versions;

pub use approvals::{Approval, Decision, NewDecision};
pub use error::{NotReleasable, RegistryError};
pub use gate_runs::{GateResult, GateRun};
pub use gates::{ChampionFact, DatasetFact, Facts, Judgement, Known, Outcome, RunFacts, Subject};
pub use import::{ImportedRegisteredModel, ImportedVersion, ModelImport};
pub use manifest::{Manifest, ManifestFile};
pub use model::{Alias, KeyValue, NewVersion, RegisteredModel, Stage, Version, VersionKey, VersionNumber};
pub use policies::DeclaredPolicy;
pub use policy::{ApprovalRule, ApproverRole, Better, Gate, GateRule, ReleasePolicy, SchemaMode, Side};
pub use replay::{Compared, Disagreement, Replay};
pub use retention::{
    forgettable_manifests, logged_models_of_versions, manifests_after, runs_of_versions,
    versions_with_manifest,
};
pub use schema::MODULE;
pub use search::{ModelSearch, Page, VersionSearch};
pub use signature::{Column, Signature};
pub use standing::{CountedApproval, GateStanding, GateState, ReleaseState};
pub use validate::model_name as check_model_name;

use trueline_ledger::Ledger;

/// The domain of the registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    ledger: Ledger,
}

impl Registry {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

//! A rollout as the endpoint's page tells it: its steps, the evidence of each check with its numbers, the decisions.

use crate::parts::{Badge, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A step of a rollout.
#[derive(Clone, Debug)]
pub struct RolloutStep {
    /// The candidate's share in percent.
    pub share: String,
    /// Whether it was taken, is at work, or lies ahead.
    pub state: Badge,
    /// What it takes at the least; empty for the end.
    pub takes: String,
}

/// What a check says, with its numbers as confidence sequences.
#[derive(Clone, Debug)]
pub struct RolloutCheck {
    /// What is compared.
    pub name: String,
    /// The candidate's number.
    pub candidate: String,
    /// The baseline's number.
    pub baseline: String,
    /// The difference that the candidate makes.
    pub effect: String,
    /// What it may be.
    pub allowed: String,
    /// The e-value: how many times likelier the numbers are with harm than without.
    pub evidence: String,
    /// What this comes to.
    pub says: Badge,
}

/// The numbers of the last look.
#[derive(Clone, Debug)]
pub struct RolloutNumbers {
    /// As of when.
    pub at: Timestamp,
    /// Requests of the candidate.
    pub candidate: u64,
    /// Requests of the baseline.
    pub baseline: u64,
    /// The p-value of "it does no harm", good at any time.
    pub p_value: String,
    /// The p-value at which the candidate is taken off.
    pub alpha: String,
    /// What the shadow compared, if there was one; errors, predictions, latency.
    pub checks: Vec<RolloutCheck>,
    /// What else the shadow tells.
    pub shadow: Option<RolloutShadow>,
    /// How many labels were compared, where quality is judged.
    pub labels: Option<String>,
    /// Batches of other servers that can't be read.
    pub unreadable_batches: u64,
}

/// What a candidate did while nobody got its answers.
#[derive(Clone, Debug)]
pub struct RolloutShadow {
    /// Requests that it was asked.
    pub asked: u64,
    /// Requests that it failed.
    pub failed: u64,
    /// Requests that it was not asked, because too many waited.
    pub shed: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that it answers differently.
    pub rows_differing: u64,
    /// The largest distance between two numbers.
    pub largest: String,
    /// How long it took, beside the baseline.
    pub latency: String,
    /// The prediction that differs most.
    pub example: Option<Reference>,
    /// The prediction that it failed last, and why.
    pub failure: Option<(Reference, String)>,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct RolloutDecisionRow {
    /// What was decided.
    pub decision: Badge,
    /// The candidate's share from then on.
    pub share: String,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A rollout in one line.
#[derive(Clone, Debug)]
pub struct RolloutRow {
    /// The version that wanted to answer.
    pub candidate: Reference,
    /// Where it ended.
    pub state: Badge,
    /// Why.
    pub reason: String,
    /// Who started it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The newest rollout of an endpoint, and the ones before it.
#[derive(Clone, Debug, Template)]
#[template(path = "endpoint_rollout.html")]
pub struct RolloutPart {
    /// What all pages share.
    pub shell: Shell,
    /// The endpoint.
    pub endpoint: String,
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: Badge,
    /// Whether it goes on.
    pub open: bool,
    /// What wants to answer.
    pub candidate: Reference,
    /// What answered before.
    pub baseline: String,
    /// Its steps, the last being all of the traffic.
    pub steps: Vec<RolloutStep>,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: Timestamp,
    /// When it ended, or will at the latest.
    pub ends_at: Timestamp,
    /// The numbers; none before the first look.
    pub numbers: Option<RolloutNumbers>,
    /// Its decisions, newest first.
    pub decisions: Vec<RolloutDecisionRow>,
    /// Rollouts before it, newest first.
    pub earlier: Vec<RolloutRow>,
    /// Whether the visitor may end it.
    pub can_decide: bool,
}

impl askama::filters::HtmlSafe for RolloutPart {}

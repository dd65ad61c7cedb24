//! A bandit as the endpoint's page tells it: its versions with what their rewards show, and its decisions.

use crate::parts::{Badge, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A version with what is known of its rewards.
#[derive(Clone, Debug)]
pub struct BanditArm {
    /// The version.
    pub version: Reference,
    /// The same as people name it, `model/3`.
    pub name: String,
    /// Its share of the traffic in percent.
    pub share: String,
    /// How many rewards it had.
    pub rewards: u64,
    /// Their mean.
    pub mean: String,
    /// Where its mean reward over all units lies.
    pub interval: String,
    /// The probability that it is the best.
    pub best: String,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct BanditDecisionRow {
    /// What was decided.
    pub decision: Badge,
    /// The shares from then on, in the order of the versions.
    pub shares: String,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The newest bandit of an endpoint.
#[derive(Clone, Debug, Template)]
#[template(path = "endpoint_bandit.html")]
pub struct BanditPart {
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
    /// Whether it goes on and the visitor may stop it.
    pub can_stop: bool,
    /// What is rewarded, in words.
    pub rewarded: String,
    /// Its versions.
    pub arms: Vec<BanditArm>,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: Timestamp,
    /// When it ended, or will at the latest.
    pub ends_at: Timestamp,
    /// When the last prediction came whose label was waited for; none before the first.
    pub read_to: Option<Timestamp>,
    /// What was read and does not count, in words.
    pub not_counted: String,
    /// How sure the intervals are, in percent.
    pub confidence: String,
    /// Its newest decisions, newest first.
    pub decisions: Vec<BanditDecisionRow>,
}

impl askama::filters::HtmlSafe for BanditPart {}

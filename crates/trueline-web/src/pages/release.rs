//! What stands between a version and its release: parts of the pages of a model and of a version.

use crate::parts::Badge;
use jiff::Timestamp;

/// A model's policy, as its page tells it.
#[derive(Clone, Debug)]
pub struct PolicyCard {
    /// The aliases that take only a released version.
    pub aliases: Vec<String>,
    /// How many people agree, and for how long that holds, in words.
    pub approvals: String,
    /// Each gate by name, with what it asks for.
    pub gates: Vec<(String, String)>,
    /// Who declared it.
    pub declared_by: String,
    /// When.
    pub declared_at: Timestamp,
}

/// A gate in one line.
#[derive(Clone, Debug)]
pub struct GateLine {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub asks: String,
    /// How it stands.
    pub state: Badge,
    /// What was measured.
    pub value: Option<f64>,
    /// What it was held against.
    pub bound: Option<f64>,
    /// The unit of both; empty for a metric, which has its own.
    pub unit: &'static str,
    /// The champion that it was compared with.
    pub champion: Option<String>,
    /// Why it stands so, with the numbers.
    pub reason: String,
}

impl GateLine {
    pub(crate) fn number(value: &f64, unit: &str) -> String {
        let number = crate::format::number(*value);
        if unit.is_empty() { number } else { format!("{number} {unit}") }
    }
}

/// A decision in one line.
#[derive(Clone, Debug)]
pub struct DecisionRow {
    /// Who.
    pub by: String,
    /// What.
    pub decision: Badge,
    /// When.
    pub at: Timestamp,
    /// Until when it holds.
    pub until: Timestamp,
    /// Why it does not count; none when it does.
    pub lapsed: Option<String>,
    /// What was said; may be empty.
    pub comment: String,
}

/// What the visitor may do about the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionForm {
    /// Approve or reject; `decided` tells whether there is a decision to take back.
    Open {
        /// Whether the visitor has decided.
        decided: bool,
    },
    /// Nothing, for this reason.
    Closed(String),
}

/// Where a version stands.
#[derive(Clone, Debug)]
pub struct Release {
    /// Released or not.
    pub state: Badge,
    /// What is missing, a sentence each.
    pub missing: Vec<String>,
    /// The declared gates.
    pub gates: Vec<GateLine>,
    /// When the gates were judged last, and by whose wish.
    pub judged: Option<(Timestamp, String)>,
    /// Whether the visitor may have them judged.
    pub may_judge: bool,
    /// How many approvals count.
    pub approved: u32,
    /// How many are asked for.
    pub required: u32,
    /// What people decided.
    pub decisions: Vec<DecisionRow>,
    /// What the visitor may decide.
    pub form: DecisionForm,
}

//! A release policy: what a model's versions must pass before a protected alias takes one. How a gate is judged
//! stands in `gates`, what a version still lacks in `standing`.

use crate::gates::shown;
use crate::{RegistryError, validate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

/// Most gates of one policy.
const MOST_GATES: usize = 50;
/// Most aliases that one policy protects.
const MOST_ALIASES: usize = 50;
/// Most approvals that a policy can ask for.
const MOST_APPROVALS: u32 = 20;
/// The longest that an approval can be declared to hold: ten years.
const MOST_DAYS: u32 = 3650;
/// Most requests that a latency gate can ask for; it is measured while the caller waits.
const MOST_REQUESTS: u32 = 10_000;

/// What is declared for one model. A model without one has nothing protected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasePolicy {
    /// What machines check, in the order of showing.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// What people decide.
    #[serde(default)]
    pub approvals: ApprovalRule,
    /// The aliases that take only a released version; upper and lower case are the same here, and a stage of MLflow with
    /// this name is protected with it.
    #[serde(default = "champion_and_production")]
    pub protected_aliases: Vec<String>,
    /// The alias whose version others are compared with.
    #[serde(default = "champion")]
    pub champion_alias: String,
}

fn champion() -> String {
    "champion".to_owned()
}

fn champion_and_production() -> Vec<String> {
    vec![champion(), "production".to_owned()]
}

/// How many people must agree, and for how long that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalRule {
    /// So many different people.
    pub required: u32,
    /// With this role.
    pub role: ApproverRole,
    /// After so many days an approval counts no more.
    pub valid_days: u32,
}

impl Default for ApprovalRule {
    fn default() -> Self {
        Self { required: 1, role: ApproverRole::Reviewer, valid_days: 30 }
    }
}

/// The role that approves. The policy of the server gives leave to this one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApproverRole {
    /// A reviewer of the project.
    Reviewer,
}

/// A check by the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Json>")]
pub struct Gate {
    /// Its name, unique in the policy.
    pub name: String,
    /// What it checks.
    #[serde(flatten)]
    pub rule: GateRule,
}

impl TryFrom<Map<String, Json>> for Gate {
    type Error = String;

    /// By hand, since serde can't refuse unknown fields beside a flattened one, and a misspelt bound must not be lost.
    fn try_from(mut fields: Map<String, Json>) -> Result<Self, String> {
        let Some(Json::String(name)) = fields.remove("name") else {
            return Err("a gate needs a `name`".to_owned());
        };
        let rule = serde_json::from_value(Json::Object(fields)).map_err(|e| format!("gate `{name}`: {e}"))?;
        Ok(Self { name, rule })
    }
}

/// What a gate checks, by `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum GateRule {
    /// A metric of the run that made the version against a bound.
    Metric {
        /// The metric's name; its latest point counts.
        metric: String,
        /// On which side of the bound it must lie.
        must_be: Side,
        /// The bound, in the metric's own unit; lying on it passes.
        bound: f64,
    },
    /// A metric of the run that made the version, minus that of the champion's run, on the same data.
    ChampionDifference {
        /// The metric's name; the latest point of each run counts.
        metric: String,
        /// Whether more of it is better.
        #[serde(default)]
        better: Better,
        /// By how much it may be worse than the champion's, in the metric's own unit, 0 or more; lying on it passes.
        max_drop: f64,
        /// Which logged inputs must be the same: those of this context (`mlflow.log_input(…, context=…)`), or all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
    },
    /// The version's signature against the champion's.
    SchemaMatch {
        /// How alike they must be. There is no number: the value is how many columns differ, the bound 0.
        #[serde(default)]
        mode: SchemaMode,
    },
    /// How long one request with the model's own input example takes to score, in this server, without the network.
    Latency {
        /// The quantile, above 0 and up to 1: 0.99 for the 99th percentile, by nearest rank.
        #[serde(default = "p99")]
        quantile: f64,
        /// The longest that it may take, in milliseconds; lying on it passes.
        bound_ms: f64,
        /// How many requests are measured.
        #[serde(default = "requests")]
        requests: u32,
    },
}

fn p99() -> f64 {
    0.99
}

fn requests() -> u32 {
    200
}

/// On which side of a bound a value must lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// On it or above.
    AtLeast,
    /// On it or below.
    AtMost,
}

/// Which way a metric gets better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better: accuracy.
    #[default]
    Higher,
    /// Less is better: error.
    Lower,
}

/// How alike two signatures must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaMode {
    /// Whoever calls the champion can call it: the same inputs with the same types; more inputs when they are optional.
    #[default]
    Compatible,
    /// The same inputs, outputs and params.
    Equal,
}

impl GateRule {
    /// What it asks for, in one line.
    #[must_use]
    pub fn asks(&self) -> String {
        match self {
            Self::Metric { metric, must_be, bound } => {
                let side = if *must_be == Side::AtLeast { "at least" } else { "at most" };
                format!("{metric} is {side} {}", shown(*bound))
            }
            Self::ChampionDifference { metric, better, max_drop, context } => {
                let worse = if *better == Better::Higher { "lower" } else { "higher" };
                let data = context.as_ref().map_or_else(String::new, |c| format!(" {c}"));
                format!(
                    "{metric} is {worse} than the champion's by {} at most, on the same{data} data",
                    shown(*max_drop)
                )
            }
            Self::SchemaMatch { mode: SchemaMode::Compatible } => {
                "whoever calls the champion can call it".to_owned()
            }
            Self::SchemaMatch { mode: SchemaMode::Equal } => "the signature is the champion's".to_owned(),
            Self::Latency { quantile, bound_ms, requests } => {
                format!("quantile {quantile} of {requests} requests is at most {} ms", shown(*bound_ms))
            }
        }
    }
}

impl Gate {
    /// SHA-256 of its declaration: a result counts only for the gate as it is declared now.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// Whether it compares with the champion.
    #[must_use]
    pub fn compares(&self) -> bool {
        matches!(self.rule, GateRule::ChampionDifference { .. } | GateRule::SchemaMatch { .. })
    }

    fn check(&self) -> Result<(), RegistryError> {
        let wrong = |what: &str| Err(RegistryError::Invalid(format!("Gate `{}`: {what}", self.name)));
        let fine = |c: char| c.is_alphanumeric() || "_-. ".contains(c);
        if self.name.trim().is_empty() || self.name.chars().count() > 100 || !self.name.chars().all(fine) {
            return wrong("a name has 1 to 100 letters, digits, spaces, `_`, `-` or `.`");
        }
        match &self.rule {
            GateRule::Metric { metric, bound, .. } => match (metric.is_empty(), bound.is_finite()) {
                (true, _) => wrong("`metric` names no metric"),
                (_, false) => wrong("`bound` is not a finite number"),
                _ => Ok(()),
            },
            GateRule::ChampionDifference { metric, max_drop, .. } => {
                match (metric.is_empty(), max_drop.is_finite() && *max_drop >= 0.0) {
                    (true, _) => wrong("`metric` names no metric"),
                    (_, false) => wrong("`max_drop` is a finite number of 0 or more"),
                    _ => Ok(()),
                }
            }
            GateRule::SchemaMatch { .. } => Ok(()),
            GateRule::Latency { quantile, bound_ms, requests } => {
                if !(*quantile > 0.0 && *quantile <= 1.0) {
                    return wrong("`quantile` is above 0 and at most 1: 0.99 for the 99th percentile");
                }
                if !(bound_ms.is_finite() && *bound_ms > 0.0) {
                    return wrong("`bound_ms` is a finite number above 0");
                }
                match (1..=MOST_REQUESTS).contains(requests) {
                    true => Ok(()),
                    false => wrong(&format!("`requests` is 1 to {MOST_REQUESTS}")),
                }
            }
        }
    }
}

impl ReleasePolicy {
    /// Whether this alias takes only a released version.
    #[must_use]
    pub fn protects(&self, alias: &str) -> bool {
        self.protected_aliases.iter().any(|p| p.eq_ignore_ascii_case(alias))
    }

    /// Checks what types can't.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`], naming the field.
    pub fn check(&self) -> Result<(), RegistryError> {
        let invalid = |message: String| Err(RegistryError::Invalid(message));
        if self.gates.len() > MOST_GATES {
            return invalid(format!("A policy has at most {MOST_GATES} gates."));
        }
        if self.protected_aliases.len() > MOST_ALIASES {
            return invalid(format!("A policy protects at most {MOST_ALIASES} aliases."));
        }
        for (i, gate) in self.gates.iter().enumerate() {
            gate.check()?;
            if self.gates[..i].iter().any(|g| g.name == gate.name) {
                return invalid(format!("Two gates are called `{}`.", gate.name));
            }
        }
        validate::alias(&self.champion_alias)?;
        self.protected_aliases.iter().try_for_each(|a| validate::alias(a))?;
        if self.approvals.required > MOST_APPROVALS {
            return invalid(format!("A policy asks for at most {MOST_APPROVALS} approvals."));
        }
        if !(1..=MOST_DAYS).contains(&self.approvals.valid_days) {
            return invalid(format!("`valid_days` is 1 to {MOST_DAYS}."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(policy: Json) -> Result<ReleasePolicy, String> {
        let policy: ReleasePolicy = serde_json::from_value(policy).map_err(|e| e.to_string())?;
        policy.check().map_err(|e| e.to_string())?;
        Ok(policy)
    }

    #[test]
    fn a_policy_without_words_protects_champion_and_production_with_one_approval() {
        let policy = read(json!({})).unwrap();
        assert!(
            policy.protects("champion") && policy.protects("Production") && !policy.protects("challenger")
        );
        assert_eq!((policy.approvals.required, policy.approvals.valid_days), (1, 30));
    }

    #[test]
    fn every_kind_of_gate_is_read_and_written_alike() {
        let written = json!({
            "gates": [
                { "name": "auc", "kind": "metric", "metric": "auc", "must_be": "at_least", "bound": 0.7 },
                {
                    "name": "no worse", "kind": "champion_difference", "metric": "auc", "better": "higher",
                    "max_drop": 0.01, "context": "evaluation",
                },
                { "name": "schema", "kind": "schema_match", "mode": "compatible" },
                { "name": "fast", "kind": "latency", "quantile": 0.99, "bound_ms": 5.0, "requests": 200 },
            ],
            "approvals": { "required": 2, "role": "reviewer", "valid_days": 7 },
            "protected_aliases": ["champion"],
            "champion_alias": "champion",
        });
        assert_eq!(json!(read(written.clone()).unwrap()), written);
    }

    #[test]
    fn a_policy_that_says_something_else_than_was_meant_is_refused() {
        let gate = |g: Json| json!({ "gates": [g] });
        let metric =
            json!({ "name": "a", "kind": "metric", "metric": "m", "must_be": "at_least", "bound": 1.0 });
        for (policy, expected) in [
            (json!({ "gate": [] }), "unknown field `gate`"),
            (json!({ "gates": [metric.clone(), metric] }), "Two gates are called `a`"),
            (gate(json!({ "kind": "schema_match" })), "needs a `name`"),
            (gate(json!({ "name": "a", "kind": "schema_match", "strict": true })), "unknown field `strict`"),
            (gate(json!({ "name": "a", "kind": "vibes" })), "unknown variant `vibes`"),
            (gate(json!({ "name": "a", "kind": "latency" })), "missing field `bound_ms`"),
            (gate(json!({ "name": "a", "kind": "latency", "bound_ms": 0 })), "above 0"),
            (gate(json!({ "name": "a", "kind": "latency", "bound_ms": 1, "quantile": 99 })), "at most 1"),
            (
                gate(json!({ "name": "a", "kind": "champion_difference", "metric": "m", "max_drop": -1 })),
                "0 or more",
            ),
            (json!({ "protected_aliases": ["latest"] }), "reserved"),
            (json!({ "approvals": { "required": 99 } }), "at most 20 approvals"),
            (json!({ "approvals": { "role": "admin" } }), "unknown variant `admin`"),
        ] {
            let refused = read(policy.clone()).unwrap_err();
            assert!(refused.contains(expected), "{policy}: {refused}");
        }
    }

    #[test]
    fn a_changed_bound_is_another_declaration() {
        let gate = |bound| Gate {
            name: "a".into(),
            rule: GateRule::Metric { metric: "m".into(), must_be: Side::AtLeast, bound },
        };
        assert_eq!(gate(0.7).digest(), gate(0.7).digest());
        assert_ne!(gate(0.7).digest(), gate(0.71).digest());
    }
}

//! An endpoint and its route: which versions answer, with which share of the traffic. Each change makes a new
//! generation; none is ever changed itself.

use crate::error::ServingError;
use crate::log_rules::LogRules;
use crate::model::ModelSpec;
use crate::rollout::{SegmentColumn, Shadow};
use serde::{Deserialize, Serialize};
use trueline_ledger::Millis;

/// The largest number of variants of one endpoint.
const MOST_VARIANTS: usize = 16;

/// A served name: what URLs carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointName(String);

impl EndpointName {
    /// Checks a name: 1 to 63 lower-case letters, digits and inner hyphens.
    ///
    /// # Errors
    /// [`ServingError::Invalid`].
    pub fn parse(name: &str) -> Result<Self, ServingError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ends = name.starts_with(plain) && name.ends_with(plain);
        if name.len() > 63 || !ends || !name.chars().all(|c| plain(c) || c == '-') {
            return Err(ServingError::Invalid(format!(
                "`{name}` can't name an endpoint: use 1 to 63 lower-case letters, digits and inner hyphens"
            )));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EndpointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an answer waits until its record in the prediction log is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogMode {
    /// It waits; when the record can't be kept, the request fails with 503.
    Required,
    /// It never waits; what is lost is counted.
    #[default]
    BestEffort,
}

impl LogMode {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best-effort",
        }
    }

    /// Reads the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Required, Self::BestEffort].into_iter().find(|m| m.as_str() == word)
    }
}

/// A version behind an endpoint with its share of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The version and what is needed to load it.
    #[serde(flatten)]
    pub spec: ModelSpec,
    /// Its share, in proportion to the others' weights.
    pub weight: u32,
    /// The alias of its model whose version is to answer here, when it moves too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
}

impl Variant {
    /// A version that stays.
    #[must_use]
    pub fn new(spec: ModelSpec, weight: u32) -> Self {
        Self { spec, weight, follows: None }
    }

    /// The same, staying where it is whatever becomes of an alias.
    pub(crate) fn pinned(&self) -> Self {
        Self { follows: None, ..self.clone() }
    }
}

/// Whether two routes are answered by the same versions in the same shares, however they came there.
pub(crate) fn answer_alike(one: &[Variant], other: &[Variant]) -> bool {
    let pairs = || one.iter().zip(other);
    one.len() == other.len() && pairs().all(|(a, b)| a.spec == b.spec && a.weight == b.weight)
}

/// How a route came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteChange {
    /// Somebody deployed it.
    Deployed,
    /// It is a return to an earlier one.
    RolledBack,
    /// A step of a rollout.
    Shifted,
    /// A rollout ended well: its candidate answers alone.
    Promoted,
    /// An alias moved that a variant follows.
    Followed,
    /// A bandit changed the shares of its arms.
    Allotted,
}

impl RouteChange {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::RolledBack => "rolled_back",
            Self::Shifted => "shifted",
            Self::Promoted => "promoted",
            Self::Followed => "followed",
            Self::Allotted => "allotted",
        }
    }

    pub(crate) fn parse(word: &str) -> Self {
        let all = [Self::RolledBack, Self::Shifted, Self::Promoted, Self::Followed, Self::Allotted];
        all.into_iter().find(|c| c.as_str() == word).unwrap_or(Self::Deployed)
    }
}

/// Which versions answer, as of one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Counts up with each change.
    pub generation: i64,
    /// How it came to be.
    pub change: RouteChange,
    /// The versions with their shares.
    pub variants: Vec<Variant>,
    /// The rollout whose step it is; its candidate is the last variant, or in shadow.
    pub rollout: Option<String>,
    /// The version that is asked as well, without anybody getting its answers: the rollout's candidate before its first step.
    #[serde(default)]
    pub shadow: Option<Shadow>,
    /// The segments that the rollout judges apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentColumn>,
    /// The bandit whose shares these are.
    #[serde(default)]
    pub bandit: Option<String>,
    /// Why it was changed.
    pub reason: String,
    /// Who changed it.
    pub changed_by: String,
    /// When.
    pub changed_at_ms: Millis,
}

/// An endpoint to be made.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    pub(crate) name: EndpointName,
    pub(crate) log: LogMode,
    pub(crate) sticky_header: Option<String>,
}

impl NewEndpoint {
    /// With the header whose value makes a caller stay with one variant, if any.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] when that can't name a header.
    pub fn new(
        name: EndpointName,
        log: LogMode,
        sticky_header: Option<String>,
    ) -> Result<Self, ServingError> {
        let sticky_header = sticky_header.map(|h| h.to_ascii_lowercase());
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if let Some(bad) =
            sticky_header.as_ref().filter(|h| h.is_empty() || h.len() > 100 || !h.chars().all(token))
        {
            return Err(ServingError::Invalid(format!("`{bad}` can't name a header")));
        }
        Ok(Self { name, log, sticky_header })
    }
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// Whether answers wait for the log.
    pub log: LogMode,
    /// What of its predictions is logged.
    pub log_rules: LogRules,
    /// The header whose value makes a caller stay with one variant.
    pub sticky_header: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
    /// Which versions answer; none before the first deployment.
    pub route: Option<Route>,
}

/// Checks what is to be deployed.
pub(crate) fn check_variants(variants: &[Variant]) -> Result<(), ServingError> {
    if variants.is_empty() || variants.len() > MOST_VARIANTS {
        return Err(ServingError::Invalid(format!(
            "an endpoint takes 1 to {MOST_VARIANTS} variants, not {}",
            variants.len()
        )));
    }
    if let Some(idle) = variants.iter().find(|v| v.weight == 0) {
        return Err(ServingError::Invalid(format!(
            "the variant {} has weight 0: give it a share, or leave it out",
            idle.spec.name()
        )));
    }
    let mut names: Vec<String> = variants.iter().map(|v| v.spec.name()).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|p| p[0] == p[1]) {
        return Err(ServingError::Invalid(format!("the variant {} is given twice", pair[0])));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(version: i64, weight: u32) -> Variant {
        let spec = ModelSpec {
            id: version.to_string(),
            model: "m".into(),
            version,
            manifest_digest: String::new(),
            files: Vec::new(),
        };
        Variant::new(spec, weight)
    }

    #[test]
    fn what_can_be_deployed() {
        assert!(check_variants(&[variant(1, 90), variant(2, 10)]).is_ok());
        for bad in [vec![], vec![variant(1, 0)], vec![variant(1, 1), variant(1, 1)]] {
            assert!(check_variants(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_variant_follows_changes_nothing_of_who_answers_and_old_routes_follow_nothing() {
        let following = Variant { follows: Some("champion".into()), ..variant(1, 1) };
        assert!(answer_alike(std::slice::from_ref(&following), &[variant(1, 1)]));
        for other in [vec![variant(2, 1)], vec![variant(1, 2)], vec![variant(1, 1), variant(2, 1)]] {
            assert!(!answer_alike(std::slice::from_ref(&following), &other));
        }
        let mut told = serde_json::to_value(&following).unwrap();
        assert_eq!(told["follows"], "champion");
        told.as_object_mut().unwrap().remove("follows");
        assert_eq!(serde_json::from_value::<Variant>(told).unwrap(), following.pinned());
    }
}

//! What is declared: entities and views, as the user writes them and as they are kept.

use crate::{FeatureError, Ttl};
use serde::{Deserialize, Serialize};
use std::fmt;
use trueline_ledger::{Millis, Node};

const LONGEST_NAME: usize = 200;

/// What features are about, known by a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// Its name.
    pub name: String,
    /// The column that holds its key; its name when left out.
    #[serde(default)]
    pub join_key: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
}

/// A view as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// Its name.
    pub name: String,
    /// The dataset that it reads.
    pub dataset: String,
    /// The entities whose keys a row has.
    pub entities: Vec<String>,
    /// The column that says when a row was true; left out when rows always were (an aircraft's year).
    #[serde(default)]
    pub timestamp: Option<String>,
    /// The column that says when a row was written; of rows with equal times the newest counts.
    #[serde(default)]
    pub created: Option<String>,
    /// How long a row stays true; without it, until the next.
    #[serde(default)]
    pub ttl: Option<Ttl>,
    /// The columns that are its features.
    pub features: Vec<String>,
    /// What it is.
    #[serde(default)]
    pub description: String,
}

/// Entities and views that are declared together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Entities.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// Views.
    #[serde(default)]
    pub views: Vec<ViewSpec>,
}

/// A version of a view; it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureView {
    /// As it was declared.
    #[serde(flatten)]
    pub spec: ViewSpec,
    /// Its version, from 1.
    pub version: i64,
    /// The columns of its entities' keys.
    pub join_keys: Vec<String>,
    /// Who declared it.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
}

impl FeatureView {
    /// The node that stands for it in the lineage.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::new("feature_view", self.reference().to_string())
    }

    /// Its name with its version.
    #[must_use]
    pub fn reference(&self) -> ViewRef {
        ViewRef { name: self.spec.name.clone(), version: Some(self.version) }
    }

    /// The columns that it needs of its dataset.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let times = self.spec.timestamp.iter().chain(&self.spec.created);
        let mut all: Vec<String> = Vec::new();
        for column in self.join_keys.iter().chain(times).chain(&self.spec.features) {
            if !all.contains(column) {
                all.push(column.clone());
            }
        }
        all
    }
}

/// A view as people name it: `weather`, or a version of it, `weather@2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ViewRef {
    /// Its name.
    pub name: String,
    /// Its version; the newest without.
    pub version: Option<i64>,
}

impl ViewRef {
    /// Reads a name.
    ///
    /// # Errors
    /// [`FeatureError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, FeatureError> {
        let (name, version) = text.split_once('@').map_or((text, None), |(n, v)| (n, Some(v)));
        check_name("view", name)?;
        let number = |v: &str| {
            v.parse()
                .map_err(|_| FeatureError::Invalid(format!("`{text}` names no version: write `{name}@2`")))
        };
        Ok(Self { name: name.to_owned(), version: version.map(number).transpose()? })
    }
}

impl fmt::Display for ViewRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), FeatureError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fine) {
        return Ok(());
    }
    Err(FeatureError::Invalid(format!(
        "`{name}` can't be the name of a {what}: take letters, digits, `_` and `-`, at most {LONGEST_NAME}"
    )))
}

impl ViewSpec {
    /// Checks what can be known without its dataset and entities.
    ///
    /// # Errors
    /// [`FeatureError::Invalid`].
    pub fn check(&self) -> Result<(), FeatureError> {
        check_name("view", &self.name)?;
        let refuse = |told: &str| Err(FeatureError::Invalid(format!("view {}: {told}", self.name)));
        if self.entities.is_empty() {
            return refuse("name the entities whose keys its rows have");
        }
        if self.features.is_empty() {
            return refuse("name the columns that are its features");
        }
        if self.timestamp.is_none() && (self.ttl.is_some() || self.created.is_some()) {
            return refuse("ttl and created need a timestamp");
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.features.iter().chain(&self.entities).find(|f| !seen.insert(*f)) {
            return refuse(&format!("`{twice}` is named twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ViewRef;

    #[test]
    fn a_view_is_named_with_or_without_its_version() {
        for good in ["weather@2", "planes"] {
            assert_eq!(ViewRef::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "weather@", "weather@x", "a b", "weather@2@3"] {
            assert!(ViewRef::parse(bad).is_err(), "{bad}");
        }
    }
}

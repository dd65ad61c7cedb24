//! Models, versions and aliases as values.

use crate::manifest::Manifest;
use serde::Serialize;
use trueline_ledger::Millis;

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyValue {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A version's number within its model, from 1.
pub type VersionNumber = i64;

/// A version by model and number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct VersionKey {
    /// The model's name.
    pub model: String,
    /// The number.
    pub version: VersionNumber,
}

impl VersionKey {
    /// A version by model and number.
    pub fn new(model: impl Into<String>, version: VersionNumber) -> Self {
        Self { model: model.into(), version }
    }
}

impl std::fmt::Display for VersionKey {
    /// `name/3`, the form of events.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.model, self.version)
    }
}

/// MLflow's stages, kept for clients that still use them; aliases are the way now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// No stage.
    None,
    /// On trial.
    Staging,
    /// In use.
    Production,
    /// Out of use.
    Archived,
}

impl Stage {
    /// All stages, in MLflow's order.
    pub const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// MLflow's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }

    /// Reads MLflow's word, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text))
    }
}

/// A name that points at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alias {
    /// The alias.
    pub alias: String,
    /// The version's number.
    pub version: VersionNumber,
}

/// A registered model.
#[derive(Clone, Debug, Serialize)]
pub struct RegisteredModel {
    /// Its id, which stays when the name changes, and which no other model of that name had or gets.
    pub id: String,
    /// Its name, unique in the project.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Its tags, by key.
    pub tags: Vec<KeyValue>,
    /// Its aliases, by name.
    pub aliases: Vec<Alias>,
    /// The newest version of each stage.
    pub latest: Vec<Version>,
}

/// A version to be made.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The model's name.
    pub model: String,
    /// Where the client says that its files are.
    pub source: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// A link to the run, when it is elsewhere.
    pub run_link: Option<String>,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// What is to be said of it.
    pub description: String,
    /// Its first tags.
    pub tags: Vec<KeyValue>,
    /// What of this project it comes from, by kind and id, for the lineage.
    pub origins: Vec<(&'static str, String)>,
    /// Its frozen files; none when they lie where this server can't read them, and then it can't be served.
    pub manifest: Option<Manifest>,
}

/// A version.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// Its id, which stays when the model's name changes; the id of its node in the lineage.
    pub id: String,
    /// Model and number.
    #[serde(flatten)]
    pub key: VersionKey,
    /// What is said of it.
    pub description: String,
    /// Where the client said that its files are.
    pub source: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// A link to the run.
    pub run_link: Option<String>,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// Its stage.
    pub stage: Stage,
    /// Who registered it, as authenticated.
    pub created_by: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Digest of its manifest, when its files are frozen.
    pub manifest_digest: Option<String>,
    /// Its tags, by key.
    pub tags: Vec<KeyValue>,
    /// The aliases that point at it.
    pub aliases: Vec<String>,
}

//! What the data plane persists, so that it can start and answer while the database is gone: endpoints with their
//! routes, and whose tokens may ask.

use crate::card::ModelCard;
use crate::error::ServingError;
use crate::log_rules::LogRules;
use crate::model::ModelSpec;
use crate::rollout::{SegmentColumn, Shadow};
use crate::route::{LogMode, Variant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use trueline_ledger::ProjectId;

/// One endpoint as it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointSnapshot {
    /// The project's id.
    pub project: ProjectId,
    /// The project's name, which URLs carry.
    pub project_name: String,
    /// The endpoint's name.
    pub name: String,
    /// The generation of its route.
    pub generation: i64,
    /// Whether answers wait for the log.
    pub log: LogMode,
    /// The header whose value makes a caller stay with one variant.
    pub sticky_header: Option<String>,
    /// The versions with their shares.
    pub variants: Vec<Variant>,
    /// The rollout that is under way; its candidate is the last variant, or in shadow.
    #[serde(default)]
    pub rollout: Option<String>,
    /// The version that is asked as well, without anybody getting its answers.
    #[serde(default)]
    pub shadow: Option<Shadow>,
    /// The segments that the rollout under way judges apart.
    #[serde(default)]
    pub segments: Vec<SegmentColumn>,
    /// The bandit whose shares these are.
    #[serde(default)]
    pub bandit: Option<String>,
    /// What of its predictions is logged, and how.
    #[serde(default)]
    pub log_rules: LogRules,
}

impl EndpointSnapshot {
    /// One that these versions answer, with nothing else declared.
    #[must_use]
    pub fn of(project: ProjectId, project_name: &str, name: &str, variants: Vec<Variant>) -> Self {
        Self {
            project,
            project_name: project_name.to_owned(),
            name: name.to_owned(),
            generation: 1,
            log: LogMode::BestEffort,
            sticky_header: None,
            variants,
            rollout: None,
            bandit: None,
            shadow: None,
            segments: Vec::new(),
            log_rules: LogRules::default(),
        }
    }

    /// Its place among the snapshots of one endpoint: of two, the later one has none that is less.
    #[must_use]
    pub fn edition(&self) -> (i64, i64) {
        (self.generation, self.log_rules.revision)
    }
}

/// What a token may do in a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// The project's id; that of the server stands for all.
    pub project: ProjectId,
    /// Whether it may say when a prediction happened.
    pub replay: bool,
}

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Whether anybody who reaches the server may: a loopback server without users.
    pub open: bool,
    /// By hash of a token, where it may.
    pub tokens: BTreeMap<String, Vec<Grant>>,
}

/// A version that was loaded and passed its self-test, so that the next start need not load it before it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownModel {
    /// The version's id.
    pub id: String,
    /// Digest of its frozen manifest.
    pub manifest_digest: String,
    /// What it takes of memory, in bytes.
    pub bytes: usize,
    /// What it tells of itself.
    pub card: ModelCard,
}

impl KnownModel {
    /// Whether this is known of a version.
    pub(crate) fn is(&self, spec: &ModelSpec) -> bool {
        let same = self.id == spec.id && self.manifest_digest == spec.manifest_digest;
        same && self.card.model == spec.model
    }
}

/// Everything that the data plane needs to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The endpoints.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Who may ask.
    pub access: Access,
    /// What is known of the versions that answer.
    #[serde(default)]
    pub known: Vec<KnownModel>,
}

impl Snapshot {
    /// Reads the file; none when there is none yet.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`] when it can't be read as one.
    pub fn read(path: &Path) -> Result<Option<Self>, ServingError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ServingError::Snapshot(e.to_string())),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| ServingError::Snapshot(e.to_string()))
    }

    /// Writes the file beside its place, makes it durable, then renames it.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`].
    pub fn write(&self, path: &Path) -> Result<(), ServingError> {
        let failed = |e: &dyn std::fmt::Display| ServingError::Snapshot(e.to_string());
        let folder = path.parent().ok_or_else(|| failed(&"no folder"))?;
        std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside).map_err(|e| failed(&e))?;
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| failed(&e))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|e| failed(&e))?;
        std::fs::rename(&beside, path).map_err(|e| failed(&e))?;
        std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed(&e))
    }
}

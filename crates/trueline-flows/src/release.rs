//! A version on its way to release: its gates are judged, people decide, an endpoint asks whether it may take it. That a
//! protected alias asks too is the registry's own rule.

use crate::authors::authors;
use crate::gate_facts;
use trueline_identity::{Approve, Authorized, JudgeVersion, ReadProject};
use trueline_registry::{
    Approval, Decision, GateRun, NewDecision, Registry, RegistryError, Version, VersionKey,
};
use trueline_serving::ModelLoader;
use trueline_tracking::{Tracking, TrackingError};

/// A failure of these stories.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What a gate asks for could not be read.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
}

/// What these stories are told with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Releases {
    pub(crate) tracking: Tracking,
    pub(crate) registry: Registry,
    pub(crate) loader: ModelLoader,
}

impl Releases {
    /// Over these domains and what loads models.
    #[must_use]
    pub fn new(tracking: Tracking, registry: Registry, loader: ModelLoader) -> Self {
        Self { tracking, registry, loader }
    }

    /// Judges a version by its model's gates, from what this server knows and measures, and records what they said.
    ///
    /// A measurement takes 10 seconds at most for each latency gate.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::State`] without a policy or frozen files.
    pub async fn judge(
        &self,
        read: &Authorized<ReadProject>,
        judge: &Authorized<JudgeVersion>,
        key: &VersionKey,
    ) -> Result<GateRun, ReleaseError> {
        let version = self.registry.version(read, key).await?;
        let Some(declared) = self.registry.policy(read, &key.model).await? else {
            return Err(ReleaseError::Registry(RegistryError::State(format!(
                "no release policy is declared for `{model}`, so there are no gates to run: an admin declares one with \
                 `trueline model policy set {model} <file>`",
                model = key.model
            ))));
        };
        let facts = gate_facts::gather(self, read, &version, &declared.policy).await?;
        Ok(self.registry.judge(judge, key, &declared, &facts).await?)
    }

    /// Approves or rejects a version as the caller, who is not one of its authors.
    ///
    /// # Errors
    /// As for [`Registry::decide`].
    pub async fn decide(
        &self,
        read: &Authorized<ReadProject>,
        approve: &Authorized<Approve>,
        key: &VersionKey,
        decision: Decision,
        comment: String,
    ) -> Result<Approval, ReleaseError> {
        let version = self.registry.version(read, key).await?;
        let authors = authors(self, read, &version).await?.into_iter().collect();
        Ok(self.registry.decide(approve, key, NewDecision { decision, comment, authors }).await?)
    }

    /// Whether the caller is an author of this version: registered it, or started the run or logged the model behind it.
    ///
    /// # Errors
    /// What tracking says.
    pub async fn is_author(
        &self,
        read: &Authorized<ReadProject>,
        version: &Version,
    ) -> Result<bool, ReleaseError> {
        Ok(authors(self, read, version).await?.contains(&read.actor().principal))
    }
}

/// Whether an endpoint may take a version: always when its model has no policy, else when it is released.
///
/// # Errors
/// [`RegistryError::NotReleasable`] with what is missing, [`RegistryError::NotFound`].
pub async fn may_take(
    registry: &Registry,
    read: &Authorized<ReadProject>,
    key: &VersionKey,
) -> Result<(), RegistryError> {
    Ok(registry.release_state(read, key).await?.require("an endpoint")?)
}

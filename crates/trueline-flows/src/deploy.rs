//! Versions go to an endpoint, and back: find what is to answer, load and try it, write the change down, swap.

use crate::follow_aliases::Undone;
use crate::release::may_take;
use std::collections::HashMap;
use trueline_identity::{Authorized, Deploy, Project, ReadProject};
use trueline_registry::{Manifest, ManifestFile, Registry, RegistryError, Version, VersionKey};
use trueline_serving::trial::TrialEvidence;
use trueline_serving::{
    DataPlane, Endpoint, EndpointName, EndpointSnapshot, Endpoints, LogRules, ModelFile, ModelSpec,
    ServingError, Variant, bandit::Bandits, rollout::Rollouts,
};

/// A version that is to answer, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedVariant {
    /// The model's name.
    pub model: String,
    /// Which of its versions.
    pub version: WantedVersion,
    /// Its share, in proportion to the others'.
    pub weight: u32,
    /// Whether the version that the alias points at answers also when the alias moves later.
    pub follow: bool,
}

/// A version by number, or by the alias that points at it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedVersion {
    /// By number.
    Number(String),
    /// By alias; what it points at now is what answers, also when it moves later, unless it is followed.
    Alias(String),
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Serving refused.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What deploying needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deployments {
    /// Models and versions.
    pub registry: Registry,
    /// Endpoints in the database.
    pub endpoints: Endpoints,
    /// Rollouts of their versions.
    pub rollouts: Rollouts,
    /// Bandits among their versions.
    pub bandits: Bandits,
    /// What those have seen.
    pub evidence: TrialEvidence,
    /// Endpoints that answer.
    pub plane: DataPlane,
    /// Endpoints that do not answer by what their aliases point at.
    pub undone: Undone,
}

/// A caller's leave to deploy in a project.
#[derive(Debug)]
pub struct DeployLeave {
    /// The project.
    pub project: Project,
    /// To look versions up.
    pub read: Authorized<ReadProject>,
    /// To change the route.
    pub deploy: Authorized<Deploy>,
}

impl WantedVariant {
    /// Reads `model/3`, `model@champion`, each with `:weight` behind it or not.
    ///
    /// # Errors
    /// A sentence that says how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no variant: write model/3 or model@alias, and :10 behind it for its weight")
        };
        let (version, weight) = match text.rsplit_once(':') {
            Some((version, weight)) => (version, weight.parse().map_err(|_| wrong())?),
            None => (text, 1),
        };
        let named = |model: &str, of: WantedVersion| Self {
            model: model.to_owned(),
            version: of,
            weight,
            follow: false,
        };
        match (version.rsplit_once('@'), version.rsplit_once('/')) {
            (Some((model, alias)), _) if !model.is_empty() && !alias.is_empty() => {
                Ok(named(model, WantedVersion::Alias(alias.to_owned())))
            }
            (None, Some((model, number))) if !model.is_empty() && !number.is_empty() => {
                Ok(named(model, WantedVersion::Number(number.to_owned())))
            }
            _ => Err(wrong()),
        }
    }

    /// The same, following the aliases by which they are named.
    ///
    /// # Errors
    /// A sentence, when none of them is named by an alias.
    pub fn following(wanted: Vec<Self>) -> Result<Vec<Self>, String> {
        let by_alias = |want: &Self| matches!(want.version, WantedVersion::Alias(_));
        if !wanted.iter().any(by_alias) {
            return Err("there is no alias to follow: name a variant as model@alias".to_owned());
        }
        let following = |want: Self| Self { follow: by_alias(&want), ..want };
        Ok(wanted.into_iter().map(following).collect())
    }

    /// The alias that it is to follow.
    fn follows(&self) -> Option<String> {
        match &self.version {
            WantedVersion::Alias(alias) if self.follow => Some(alias.clone()),
            _ => None,
        }
    }
}

/// Has an endpoint answer by these versions. They are loaded and tried first: when one can't be served, nothing changes.
///
/// # Errors
/// [`ServingError::NotFound`] without the endpoint, [`RegistryError::NotFound`] without a version,
/// [`RegistryError::NotReleasable`] before it has passed its model's policy, [`ServingError::Unservable`] with the reason.
pub async fn deploy(
    parts: &Deployments,
    leave: &DeployLeave,
    endpoint: &EndpointName,
    wanted: &[WantedVariant],
    reason: String,
) -> Result<Endpoint, DeployError> {
    parts.endpoints.get(&leave.read, endpoint).await?;
    let mut variants = Vec::with_capacity(wanted.len());
    for want in wanted {
        let spec = spec(&parts.registry, &leave.read, want).await?;
        variants.push(Variant { follows: want.follows(), ..Variant::new(spec, want.weight) });
    }
    parts.plane.prepare(&leave.project.id, &variants).await?;
    let endpoint = parts.endpoints.deploy(&leave.deploy, endpoint, variants, reason).await?;
    publish(&parts.plane, &leave.project, &endpoint).await?;
    Ok(endpoint)
}

/// Returns an endpoint to its previous good variants. They mostly are in memory still, so it is a swap; when this is
/// answered, every new request is on them.
///
/// # Errors
/// [`ServingError::State`] when there is nothing to return to.
pub async fn roll_back(
    parts: &Deployments,
    leave: &DeployLeave,
    endpoint: &EndpointName,
    reason: String,
) -> Result<Endpoint, DeployError> {
    let target = parts.endpoints.previous(&leave.read, endpoint).await?;
    parts.plane.prepare(&leave.project.id, &target.variants).await?;
    let endpoint = parts.endpoints.roll_back(&leave.deploy, endpoint, reason).await?;
    publish(&parts.plane, &leave.project, &endpoint).await?;
    Ok(endpoint)
}

/// Declares what of an endpoint's predictions is logged. When this is answered, every new request is logged so.
///
/// # Errors
/// [`ServingError::NotFound`] without the endpoint, [`ServingError::Invalid`], [`ServingError::State`] when it was changed
/// since the revision that `wanted` has.
pub async fn declare_log(
    parts: &Deployments,
    leave: &DeployLeave,
    endpoint: &EndpointName,
    wanted: LogRules,
    reason: String,
) -> Result<Endpoint, ServingError> {
    let endpoint = parts.endpoints.declare_log(&leave.deploy, endpoint, wanted, reason).await?;
    publish(&parts.plane, &leave.project, &endpoint).await?;
    Ok(endpoint)
}

/// The version that is wanted, with its frozen files, if an endpoint may take it. Deploying and rolling out both come by
/// here.
pub(crate) async fn spec(
    registry: &Registry,
    read: &Authorized<ReadProject>,
    want: &WantedVariant,
) -> Result<ModelSpec, DeployError> {
    let version = match &want.version {
        WantedVersion::Number(number) => {
            registry.version(read, &VersionKey::parse(&want.model, number)?).await?
        }
        WantedVersion::Alias(alias) => registry.version_by_alias(read, &want.model, alias).await?,
    };
    may_take(registry, read, &version.key).await?;
    let external = |version: &Version| ServingError::Unservable {
        model: version.key.to_string(),
        reason:
            "its files lie outside of this server, so they were not frozen: log the model to this server and \
                 register it from there"
                .to_owned(),
    };
    let manifest = registry.manifest(read, &version.key).await?.ok_or_else(|| external(&version))?;
    Ok(frozen(&version, &manifest))
}

/// What is needed to load a version's frozen files.
pub(crate) fn frozen(version: &Version, manifest: &Manifest) -> ModelSpec {
    let file = |f: &ManifestFile| ModelFile { path: f.path.clone(), sha256: f.sha256.clone() };
    ModelSpec {
        id: version.id.clone(),
        model: version.key.model.clone(),
        version: version.key.version,
        manifest_digest: manifest.digest(),
        files: manifest.files().iter().map(file).collect(),
    }
}

/// Has the data plane answer by the endpoint's route, and keeps that for the next start.
pub(crate) async fn publish(
    plane: &DataPlane,
    project: &Project,
    endpoint: &Endpoint,
) -> Result<(), ServingError> {
    let Some(snapshot) = snapshot(project, endpoint) else { return Ok(()) };
    plane.publish(snapshot).await?;
    persist(plane).await;
    Ok(())
}

fn snapshot(project: &Project, endpoint: &Endpoint) -> Option<EndpointSnapshot> {
    let route = endpoint.route.as_ref()?;
    Some(EndpointSnapshot {
        project: project.id.clone(),
        project_name: project.name.clone(),
        name: endpoint.name.to_string(),
        generation: route.generation,
        log: endpoint.log,
        sticky_header: endpoint.sticky_header.clone(),
        variants: route.variants.clone(),
        rollout: route.rollout.clone(),
        shadow: route.shadow.clone(),
        segments: route.segments.clone(),
        bandit: route.bandit.clone(),
        log_rules: endpoint.log_rules.clone(),
    })
}

/// Writes the snapshot off the request threads. A failure costs the next start without a database, not this answer.
async fn persist(plane: &DataPlane) {
    let plane = plane.clone();
    match tokio::task::spawn_blocking(move || plane.persist()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the serving snapshot was not kept; the next second tries again");
        }
        Err(error) => tracing::warn!(%error, "the serving snapshot was not kept"),
    }
}

/// Brings the data plane to what the database says: routes that another replica changed, endpoints that are gone, and
/// what a failed write left behind. It runs every second; a failure leaves what answers as it is.
///
/// # Errors
/// What the database says, or the first endpoint that can't be served; the others are brought up all the same.
pub async fn reconcile(parts: &Deployments, projects: &[Project]) -> Result<(), ServingError> {
    let projects: HashMap<_, _> = projects.iter().map(|p| (&p.id, p)).collect();
    let mut failed = None;
    let mut there = Vec::new();
    for (project, endpoint) in parts.endpoints.routed().await? {
        let Some(project) = projects.get(&project) else { continue };
        there.push((project.name.clone(), endpoint.name.to_string()));
        let Some(snapshot) = snapshot(project, &endpoint) else { continue };
        if parts.plane.edition(&project.name, endpoint.name.as_str()) >= Some(snapshot.edition()) {
            continue;
        }
        if let Err(error) = parts.plane.publish(snapshot).await {
            failed.get_or_insert(error);
        }
    }
    parts.plane.retain(|project, name| there.iter().any(|(p, n)| p == project && n == name));
    persist(&parts.plane).await;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_named_by_number_or_alias_with_or_without_a_weight() {
        let by = |version, weight| WantedVariant { model: "delays".into(), version, weight, follow: false };
        let number = || WantedVersion::Number("3".into());
        assert_eq!(WantedVariant::parse("delays/3"), Ok(by(number(), 1)));
        assert_eq!(WantedVariant::parse("delays/3:90"), Ok(by(number(), 90)));
        assert_eq!(
            WantedVariant::parse("delays@champion:5"),
            Ok(by(WantedVersion::Alias("champion".into()), 5))
        );
        for bad in ["delays", "delays/", "/3", "@x", "delays/3:many", ""] {
            assert!(WantedVariant::parse(bad).unwrap_err().contains("model/3"), "{bad}");
        }
    }

    #[test]
    fn aliases_are_followed_and_numbers_are_not() {
        let parse = |text: &str| WantedVariant::parse(text).unwrap();
        let both = vec![parse("delays@champion:9"), parse("delays/3")];
        let followed: Vec<_> =
            WantedVariant::following(both).unwrap().iter().map(WantedVariant::follows).collect();
        assert_eq!(followed, [Some("champion".to_owned()), None]);
        assert_eq!(parse("delays@champion").follows(), None);
        let error = WantedVariant::following(vec![parse("delays/3")]).unwrap_err();
        assert!(error.contains("model@alias"), "{error}");
    }
}

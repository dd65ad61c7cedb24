//! A version is rolled out: started by a person, ended by one before its time. What happens in between is
//! `judge_rollouts`.

use crate::deploy::{DeployError, DeployLeave, Deployments, WantedVariant, publish, spec};
use trueline_serving::rollout::{Moved, Plan};
use trueline_serving::{EndpointName, Variant};

/// Starts to roll a version out at an endpoint, beside what answers there. It is loaded and tried first.
///
/// # Errors
/// As for `deploy`; [`trueline_serving::ServingError::State`] when a rollout is under way there, nothing answers yet, or
/// the version does already; [`trueline_serving::ServingError::Invalid`] for a plan that makes no sense for these versions.
pub async fn start_rollout(
    parts: &Deployments,
    leave: &DeployLeave,
    endpoint: &EndpointName,
    wanted: &WantedVariant,
    plan: Plan,
    reason: String,
) -> Result<Moved, DeployError> {
    let found = parts.endpoints.get(&leave.read, endpoint).await?;
    plan.check()?;
    let candidate = spec(&parts.registry, &leave.read, wanted).await?;
    let tried = Variant::new(candidate.clone(), 1);
    parts.plane.prepare(&leave.project.id, std::slice::from_ref(&tried)).await?;
    let baseline = found.route.map(|route| route.variants).unwrap_or_default();
    parts.plane.check_segments(&leave.project.id, (&candidate, &baseline), &plan).await?;
    let moved = parts.rollouts.start(&leave.deploy, endpoint, candidate, plan, reason).await?;
    publish(&parts.plane, &leave.project, &moved.endpoint).await?;
    Ok(moved)
}

/// Takes the candidate of a rollout off again; when this is answered, every new request is on the baseline.
///
/// # Errors
/// [`trueline_serving::ServingError::NotFound`], [`trueline_serving::ServingError::State`] when it has ended.
pub async fn cancel_rollout(
    parts: &Deployments,
    leave: &DeployLeave,
    id: &str,
    reason: String,
) -> Result<Moved, DeployError> {
    let moved = parts.rollouts.cancel(&leave.deploy, id, reason).await?;
    publish(&parts.plane, &leave.project, &moved.endpoint).await?;
    Ok(moved)
}

/// Has the candidate of a rollout answer alone, by a person's word.
///
/// # Errors
/// As for [`cancel_rollout`].
pub async fn promote_rollout(
    parts: &Deployments,
    leave: &DeployLeave,
    id: &str,
    reason: String,
) -> Result<Moved, DeployError> {
    let moved = parts.rollouts.promote(&leave.deploy, id, reason).await?;
    publish(&parts.plane, &leave.project, &moved.endpoint).await?;
    Ok(moved)
}

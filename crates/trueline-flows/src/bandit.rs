//! A bandit is started by a person, and ended by one before its time. What happens in between is `allot_bandits`.

use crate::deploy::{DeployError, DeployLeave, Deployments, WantedVariant, publish, spec};
use trueline_serving::bandit::{BanditMoved, BanditPlan};
use trueline_serving::{EndpointName, ServingError, Variant};

/// Has a bandit allot the traffic of an endpoint among versions, beginning with even shares. They are loaded and tried first.
///
/// # Errors
/// As for `deploy`; [`ServingError::Invalid`] for a plan that makes no sense or versions with weights;
/// [`ServingError::State`] while a rollout or another bandit is under way.
pub async fn start_bandit(
    parts: &Deployments,
    leave: &DeployLeave,
    endpoint: &EndpointName,
    wanted: &[WantedVariant],
    (plan, reason): (BanditPlan, String),
) -> Result<BanditMoved, DeployError> {
    parts.endpoints.get(&leave.read, endpoint).await?;
    plan.check(wanted.len())?;
    let mut arms = Vec::with_capacity(wanted.len());
    for want in wanted {
        if want.weight != 1 {
            let told = "a bandit finds the shares itself: name its versions without weights".to_owned();
            return Err(ServingError::Invalid(told).into());
        }
        arms.push(spec(&parts.registry, &leave.read, want).await?);
    }
    let tried: Vec<Variant> = arms.iter().map(|arm| Variant::new(arm.clone(), 1)).collect();
    parts.plane.prepare(&leave.project.id, &tried).await?;
    let moved = parts.bandits.start(&leave.deploy, endpoint, arms, plan, reason).await?;
    publish(&parts.plane, &leave.project, &moved.endpoint).await?;
    Ok(moved)
}

/// Ends the bandit of an endpoint: its shares stay as they are, or the version `to` answers alone.
///
/// # Errors
/// [`ServingError::NotFound`], [`ServingError::State`] when none is under way, [`ServingError::Invalid`] for what is no arm.
pub async fn stop_bandit(
    parts: &Deployments,
    leave: &DeployLeave,
    endpoint: &EndpointName,
    to: Option<String>,
    reason: String,
) -> Result<BanditMoved, DeployError> {
    let moved = parts.bandits.stop(&leave.deploy, endpoint, to, reason).await?;
    publish(&parts.plane, &leave.project, &moved.endpoint).await?;
    Ok(moved)
}

//! What sits once a second until the server stops: the judge of rollouts, and what allots the traffic of bandits.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use trueline_flows::{Access, BanditAllotter, RolloutJudge};
use trueline_identity::Project;
use trueline_serving::ServingError;

/// How often each sits.
const SITTING: Duration = Duration::from_secs(1);

/// Who sits.
pub(super) trait Sits {
    /// What is told when it begins to fail.
    const FAILS: &'static str;
    /// What is told when it does no longer.
    const IS_BACK: &'static str;

    /// Sees to all that is open, once.
    fn sit(&mut self, projects: &[Project]) -> impl Future<Output = Result<(), ServingError>> + Send;

    /// Writes down what was seen since the last time, at a stop.
    fn adjourn(&mut self) -> impl Future<Output = ()> + Send;
}

impl Sits for RolloutJudge {
    const FAILS: &'static str = "rollouts stay as they are, for they can't be judged";
    const IS_BACK: &'static str = "rollouts are judged again";

    async fn sit(&mut self, projects: &[Project]) -> Result<(), ServingError> {
        Self::sit(self, projects).await
    }

    async fn adjourn(&mut self) {
        Self::adjourn(self).await;
    }
}

impl Sits for BanditAllotter {
    const FAILS: &'static str = "the shares of bandits stay as they are, for they can't allot";
    const IS_BACK: &'static str = "bandits allot again";

    async fn sit(&mut self, projects: &[Project]) -> Result<(), ServingError> {
        Self::sit(self, projects).await
    }

    async fn adjourn(&mut self) {
        Self::adjourn(self).await;
    }
}

/// Has it sit until the server stops.
pub(super) async fn run<S: Sits>(mut sits: S, access: Access, mut stopping: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(SITTING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = tick.tick() => {}
        }
        let done = sit(&mut sits, &access).await;
        // Once for each time that it begins to fail: the database may be gone for hours.
        match (&done, failing) {
            (Err(error), false) => tracing::warn!(error = format!("{error:#}"), "{}", S::FAILS),
            (Ok(()), true) => tracing::info!("{}", S::IS_BACK),
            _ => {}
        }
        failing = done.is_err();
    }
    sits.adjourn().await;
}

async fn sit<S: Sits>(sits: &mut S, access: &Access) -> anyhow::Result<()> {
    let projects = access.identity().projects().await?;
    Ok(sits.sit(&projects).await?)
}

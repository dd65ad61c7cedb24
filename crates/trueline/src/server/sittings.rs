//! What sits once a second until the server stops: the judge of rollouts, and what allots the traffic of bandits.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use trueline_flows::{Access, Sitting, TrialKind};

/// How often each sits.
const EVERY: Duration = Duration::from_secs(1);

/// Has it sit until the server stops.
pub(super) async fn run<T: TrialKind>(
    mut sitting: Sitting<T>,
    access: Access,
    mut stopping: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = tick.tick() => {}
        }
        let done = sit(&mut sitting, &access).await;
        // Once for each time that it begins to fail: the database may be gone for hours.
        match (&done, failing) {
            (Err(error), false) => tracing::warn!(error = format!("{error:#}"), "{}", T::FAILS),
            (Ok(()), true) => tracing::info!("{}", T::IS_BACK),
            _ => {}
        }
        failing = done.is_err();
    }
    sitting.adjourn().await;
}

async fn sit<T: TrialKind>(sitting: &mut Sitting<T>, access: &Access) -> anyhow::Result<()> {
    let projects = access.identity().projects().await?;
    Ok(sitting.sit(&projects).await?)
}

//! Has rollouts judged once a second until the server stops.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use trueline_flows::{Access, RolloutJudge};

/// How often rollouts are judged.
const SITTING: Duration = Duration::from_secs(1);

pub(super) async fn run(mut judge: RolloutJudge, access: Access, mut stopping: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(SITTING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = tick.tick() => {}
        }
        let done = sit(&mut judge, &access).await;
        // Once for each time that it begins to fail: the database may be gone for hours.
        match (&done, failing) {
            (Err(error), false) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "rollouts stay as they are, for they can't be judged"
                );
            }
            (Ok(()), true) => tracing::info!("rollouts are judged again"),
            _ => {}
        }
        failing = done.is_err();
    }
    judge.adjourn().await;
}

async fn sit(judge: &mut RolloutJudge, access: &Access) -> anyhow::Result<()> {
    let projects = access.identity().projects().await?;
    Ok(judge.sit(&projects).await?)
}

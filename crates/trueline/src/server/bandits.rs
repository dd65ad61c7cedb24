//! Has bandits allot once a second until the server stops.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use trueline_flows::{Access, BanditAllotter};

/// How often bandits have their turn.
const SITTING: Duration = Duration::from_secs(1);

pub(super) async fn run(mut allotter: BanditAllotter, access: Access, mut stopping: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(SITTING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = tick.tick() => {}
        }
        let done = sit(&mut allotter, &access).await;
        // Once for each time that it begins to fail: the database may be gone for hours.
        match (&done, failing) {
            (Err(error), false) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the shares of bandits stay as they are, for they can't allot"
                );
            }
            (Ok(()), true) => tracing::info!("bandits allot again"),
            _ => {}
        }
        failing = done.is_err();
    }
    allotter.adjourn().await;
}

async fn sit(allotter: &mut BanditAllotter, access: &Access) -> anyhow::Result<()> {
    let projects = access.identity().projects().await?;
    Ok(allotter.sit(&projects).await?)
}

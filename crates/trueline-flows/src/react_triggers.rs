//! What happens because something happened: every event is shown to the triggers of its project, in order, at least
//! once; a trigger that has seen an event before starts nothing again.

use std::time::Duration;
use tokio::sync::watch;
use trueline_ledger::{Cursor, Ledger};
use trueline_pipelines::{PipelineError, Pipelines};

const CURSOR: &str = "pipelines.triggers";
const PAGE: u32 = 500;
const POLL: Duration = Duration::from_millis(200);
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Shows events to triggers until `stop` says so.
pub async fn react_triggers(ledger: Ledger, pipelines: Pipelines, mut stop: watch::Receiver<bool>) {
    let cursor = Cursor::new(ledger.db().clone(), CURSOR);
    loop {
        let wait = match show_next(&cursor, &pipelines).await {
            Ok(0) => POLL,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, "events can't be shown to triggers; trying again");
                TRY_AGAIN
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn show_next(cursor: &Cursor, pipelines: &Pipelines) -> Result<usize, PipelineError> {
    let events = cursor.next(PAGE).await?;
    let mut last = None;
    for event in &events {
        // A pipeline can't be started by what pipelines do, so most of the log need not be looked at.
        let own = event.action.starts_with("pipeline.") || event.action.starts_with("task.");
        if !own {
            for (trigger, outcome) in pipelines.show_event(event).await? {
                tracing::info!(trigger, event = event.id, ?outcome, "a trigger fired");
            }
        }
        last = event.index;
    }
    if let Some(index) = last {
        cursor.advance(index).await?;
    }
    Ok(events.len())
}

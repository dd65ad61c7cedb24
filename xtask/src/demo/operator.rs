//! What a person does while requests go on: looks after the versions that the pipeline registers, one after the other.

use super::replay::{ENDPOINT, Replay};
use super::stage::{Stage, until};
use super::{MODEL, release};
use serde_json::Value;
use std::time::Duration;

/// How far a model that was trained again may move the mean prediction: to follow the season is what it is for.
const RETRAINED_SHIFT: &str = "0.1";

/// What became of the versions that were registered while the replay went on.
#[derive(Default)]
pub(super) struct Shift {
    pub(super) promoted: Vec<String>,
    pub(super) turned_down: Vec<String>,
}

/// Takes each new version through gates, approval and canary until the replay is over.
pub(super) fn operate(stage: &Stage, replay: &mut Replay, seen: u64) -> anyhow::Result<Shift> {
    let (mut shift, mut next) = (Shift::default(), seen + 1);
    while !replay.is_over()? {
        let newest = newest_version(stage)?;
        while next <= newest && !replay.is_over()? {
            let version = format!("{MODEL}/{next}");
            let promoted = take_over(stage, replay, &version)?;
            let list = if promoted { &mut shift.promoted } else { &mut shift.turned_down };
            list.push(version);
            next += 1;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(shift)
}

/// The number of the model's newest version.
pub(super) fn newest_version(stage: &Stage) -> anyhow::Result<u64> {
    Ok(stage.json(&["model", "show", MODEL])?["newest_version"].as_u64().unwrap_or_default())
}

/// Whether the version has passed its gates and its canary, and answers.
fn take_over(stage: &Stage, replay: &mut Replay, version: &str) -> anyhow::Result<bool> {
    println!("\n{version} was registered by the pipeline:");
    stage.trueline(&["pipeline", "show", "retrain"])?;
    if !stage.succeeds(&["gate", "run", version])? {
        println!("{version} did not pass its gates; what answers goes on answering");
        return Ok(false);
    }
    release::agree(stage, version, "trained again on newer flights")?;
    release::start_rollout(stage, version, "20,50", RETRAINED_SHIFT)?;
    let ended = until(Duration::from_secs(120), || {
        let over = replay.is_over()?;
        let rollout = stage.json(&["rollout", "show", ENDPOINT])?;
        Ok((over || rollout["state"] != "running").then_some(rollout))
    })?;
    stage.trueline(&["rollout", "show", ENDPOINT])?;
    let promoted = ended["state"] == "promoted";
    match &ended["state"] {
        _ if promoted => release::crown(stage, version)?,
        // The year is over before the numbers have spoken.
        Value::String(state) if state == "running" || state == "held" => {
            let id = ended["id"].as_str().unwrap_or(ENDPOINT);
            stage.trueline(&["rollout", "cancel", id, "--reason", "no more requests to judge by"])?;
        }
        _ => {}
    }
    Ok(promoted)
}

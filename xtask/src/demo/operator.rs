//! What a person does while requests go on: looks after the versions that the pipeline registers, one after the other.

use super::replay::{ENDPOINT, Parts};
use super::stage::{Stage, until};
use super::{MODEL, release};
use std::time::Duration;

/// How far a model that was trained again may move the mean prediction. To follow the season is what it is for: from the worst
/// weeks of summer to September the share of late flights falls by more than half.
const RETRAINED_SHIFT: &str = "0.25";

/// What became of a version that was registered while the replay went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took over.
    Promoted,
    /// It did not pass its gates.
    TurnedDown,
    /// The statistics took it off.
    RolledBack,
    /// The year was over before the numbers had spoken.
    Undecided,
}

/// Takes each new version through gates, approval and canary until the year is over.
pub(super) fn operate(
    stage: &Stage,
    parts: &mut Parts<'_>,
    seen: u64,
) -> anyhow::Result<Vec<(String, Outcome)>> {
    let (mut handled, mut next) = (Vec::new(), seen + 1);
    while !parts.are_over()? {
        let newest = newest_version(stage)?;
        // What came while another one was on its way is older than its successor: only the newest is worth a canary.
        if newest >= next {
            let version = format!("{MODEL}/{newest}");
            let outcome = take_over(stage, parts, &version)?;
            handled.push((version, outcome));
            next = newest + 1;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(handled)
}

/// The number of the model's newest version.
pub(super) fn newest_version(stage: &Stage) -> anyhow::Result<u64> {
    Ok(stage.json(&["model", "show", MODEL])?["newest_version"].as_u64().unwrap_or_default())
}

fn take_over(stage: &Stage, parts: &mut Parts<'_>, version: &str) -> anyhow::Result<Outcome> {
    println!("\n{version} was registered by the pipeline:");
    stage.trueline(&["pipeline", "show", "retrain"])?;
    if !stage.succeeds(&["gate", "run", version])? {
        println!("{version} did not pass its gates; what answers goes on answering");
        return Ok(Outcome::TurnedDown);
    }
    release::agree(stage, version, "trained again on newer flights")?;
    release::start_rollout(stage, version, "20,50", RETRAINED_SHIFT)?;
    let ended = until(Duration::from_secs(120), || {
        let over = parts.are_over()?;
        let rollout = stage.json(&["rollout", "show", ENDPOINT])?;
        Ok((over || rollout["state"] != "running").then_some(rollout))
    })?;
    stage.trueline(&["rollout", "show", ENDPOINT])?;
    match ended["state"].as_str() {
        Some("promoted") => {
            release::crown(stage, version)?;
            Ok(Outcome::Promoted)
        }
        Some("rolled_back") => Ok(Outcome::RolledBack),
        _ => {
            let id = ended["id"].as_str().unwrap_or(ENDPOINT);
            stage.trueline(&["rollout", "cancel", id, "--reason", "no more requests to judge by"])?;
            Ok(Outcome::Undecided)
        }
    }
}

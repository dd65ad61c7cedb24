//! The way of a version to its endpoint.

use super::MODEL;
use super::replay::ENDPOINT;
use super::stage::{Stage, until};
use anyhow::ensure;
use serde_json::json;
use std::time::Duration;

/// Judges a version by its gates and has the reviewer agree.
pub(super) fn approve(stage: &Stage, version: &str, comment: &str) -> anyhow::Result<()> {
    stage.trueline(&["gate", "run", version])?;
    agree(stage, version, comment)
}

/// Has the reviewer agree.
pub(super) fn agree(stage: &Stage, version: &str, comment: &str) -> anyhow::Result<()> {
    stage.trueline_as_reviewer(&["approve", version, "--comment", comment])
}

/// Lets the alias `champion` point at a version, as the MLflow client does it: later candidates are compared with it.
pub(super) fn crown(stage: &Stage, version: &str) -> anyhow::Result<()> {
    let number = version.rsplit('/').next().unwrap_or(version);
    let url = format!("{}/api/2.0/mlflow/registered-models/alias", stage.url());
    let request = ureq::post(url).header("authorization", format!("Bearer {}", stage.admin()));
    let body = json!({ "name": MODEL, "alias": "champion", "version": number });
    request.content_type("application/json").send(body.to_string())?;
    println!("`champion` points at {version}");
    Ok(())
}

/// Gives a version a growing share of the endpoint's requests.
pub(super) fn start_rollout(stage: &Stage, version: &str, steps: &str, shift: &str) -> anyhow::Result<()> {
    let what = ["rollout", "start", ENDPOINT, version];
    let how = ["--steps", steps, "--step-seconds", "3", "--margin-shift", shift];
    stage.trueline(&[&what[..], &how].concat())
}

/// Waits until the endpoint's rollout has ended by itself; shows it and checks how.
pub(super) fn expect_end(stage: &Stage, state: &str) -> anyhow::Result<()> {
    let rollout = until(Duration::from_secs(120), || {
        let rollout = stage.json(&["rollout", "show", ENDPOINT])?;
        Ok((rollout["state"] != "running").then_some(rollout))
    })?;
    stage.trueline(&["rollout", "show", ENDPOINT])?;
    ensure!(rollout["state"] == state, "the rollout was to end as {state}: {rollout}");
    Ok(())
}

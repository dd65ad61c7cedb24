//! The demo's server looked at in a browser: every page is walked through by clicking and checked for what the acts have
//! made of it, and a picture of each is kept.

use super::stage::Stage;
use crate::setup;
use crate::shell::{self, root, say};
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Below the checkout, where no folder is named.
const FOLDER: &str = "target/screenshots/demo";
/// The line of the prediction that is looked at.
const PLACE: usize = 100;
const STORY: &str = "python/tests/browser/demo.py";

/// Where the pictures go.
pub(super) fn folder(named: Option<&str>) -> PathBuf {
    root().join(named.unwrap_or(FOLDER))
}

/// The id of a prediction that a replay has written down.
fn prediction(repository: &Path) -> anyhow::Result<String> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(repository)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    let file = files.first().context("the acts have left no predictions")?;
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().nth(PLACE).context("too few predictions")?;
    let line: Value = serde_json::from_str(line)?;
    Ok(line["prediction_id"].as_str().context("the id of a prediction")?.to_owned())
}

/// Walks through the pages while the stage's server is up.
pub(super) fn take(stage: &Stage, folder: &Path) -> anyhow::Result<()> {
    let browser = setup::browser().context("there are no pictures without a browser")?;
    say("walking through the pages");
    let mut story = Command::new(browser.python);
    story.arg(root().join(STORY)).arg(browser.chromium).arg(folder);
    story.env("TRUELINE_URL", stage.url()).env("TRUELINE_TOKEN", stage.admin());
    story.env("TRUELINE_REVIEWER_TOKEN", stage.reviewer());
    story.env("TRUELINE_PREDICTION", prediction(&stage.repository())?);
    let done = shell::run(&mut story);
    say(format!("the pictures are in {}", folder.display()));
    done
}

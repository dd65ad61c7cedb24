//! A fresh checkout of what a run was made from: its commit, its uncommitted changes, its untracked files, its inputs.

use super::Missing;
use crate::cli::run::hash_of;
use anyhow::Context;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use trueline_flows::was_kept;
use trueline_tracking::Capture;

/// Fetches a kept file by its SHA-256.
pub(crate) type Fetch<'a> = dyn Fn(&str) -> anyhow::Result<Vec<u8>> + 'a;

/// Makes the checkout in `folder`; answers the folder that the command ran in, or what is missing.
pub(crate) fn make(
    capture: &Capture,
    repo: Option<&Path>,
    folder: &Path,
    fetch: &Fetch<'_>,
) -> anyhow::Result<Result<PathBuf, Missing>> {
    let Some(commit) = &capture.commit else {
        return Ok(Err(vec!["the commit: the run did not start in a git repository with one".to_owned()]));
    };
    if capture.command.is_empty() {
        return Ok(Err(vec!["the command".to_owned()]));
    }
    let root = folder.join("checkout");
    if !check_out(capture, repo, commit, &root)? {
        let told =
            "in the repository where the run found it, or where that came from; name another with --repo";
        return Ok(Err(vec![format!("commit {commit}, {told}")]));
    }
    let mut missing = Missing::new();
    if let Some(diff) = &capture.diff {
        match fetch(diff) {
            Ok(bytes) => apply(&root, &folder.join("changes.diff"), &bytes)?,
            Err(error) => missing.push(format!("the uncommitted changes ({diff}): {error}")),
        }
    }
    for (path, sha256) in &capture.untracked {
        let bytes = if was_kept(sha256) { fetch(sha256).ok() } else { None };
        match (inside(&root, path), bytes) {
            (Some(target), Some(bytes)) => write(&target, &bytes)?,
            // One that the run declares as an input is looked for below, where it lay.
            _ if is_input(capture, path) => {}
            _ => missing.push(format!("the untracked file {path}: {sha256}")),
        }
    }
    let dir = root.join(&capture.working_dir);
    if !dir.is_dir() {
        missing.push(format!("the folder {} of the commit", capture.working_dir));
        return Ok(Err(missing));
    }
    for (path, sha256) in &capture.inputs {
        if let Some(why) = put_input(capture, &dir, path, sha256, fetch)? {
            missing.push(why);
        }
    }
    Ok(if missing.is_empty() { Ok(dir) } else { Err(missing) })
}

fn is_input(capture: &Capture, untracked: &str) -> bool {
    let inside = untracked.strip_prefix(&capture.working_dir).unwrap_or(untracked);
    capture.inputs.contains_key(inside)
}

/// A path in a folder, if it does not lead out of it.
fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    plain.then(|| root.join(path))
}

fn write(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(target, bytes).with_context(|| format!("can't write {}", target.display()))
}

/// Puts an input where the command will look for it; answers why that can't be.
fn put_input(
    capture: &Capture,
    dir: &Path,
    path: &str,
    sha256: &str,
    fetch: &Fetch<'_>,
) -> anyhow::Result<Option<String>> {
    let fits = |file: &Path| file.is_file() && hash_of(file).is_ok_and(|hash| hash == sha256);
    let Some(target) = inside(dir, path) else {
        // It lay outside of the repository, and the command will read it there.
        let there = dir.join(path);
        return Ok((!fits(&there)).then(|| format!("the input {path} with SHA-256 {sha256}")));
    };
    if fits(&target) {
        return Ok(None);
    }
    if let Ok(bytes) = fetch(sha256) {
        write(&target, &bytes)?;
        return Ok(None);
    }
    let origin =
        capture.repository.as_ref().map(|root| Path::new(root).join(&capture.working_dir).join(path));
    match origin.filter(|origin| fits(origin)) {
        Some(origin) => {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::copy(origin, &target)?;
            Ok(None)
        }
        None => Ok(Some(format!(
            "the input {path} with SHA-256 {sha256}: it was changed or removed, and is not kept"
        ))),
    }
}

/// Clones whichever repository has the commit.
fn check_out(capture: &Capture, repo: Option<&Path>, commit: &str, to: &Path) -> anyhow::Result<bool> {
    let mut places: Vec<String> = Vec::new();
    match repo {
        Some(repo) => places.push(repo.canonicalize()?.display().to_string()),
        None => places.extend(capture.repository.iter().chain(&capture.remote).cloned()),
    }
    for place in places {
        let here = to.display().to_string();
        let cloned = git(Path::new("/"), &["clone", "--quiet", "--no-checkout", &place, &here])?;
        if cloned && git(to, &["checkout", "--quiet", "--detach", commit])? {
            return Ok(true);
        }
        drop(std::fs::remove_dir_all(to));
    }
    Ok(false)
}

fn apply(root: &Path, file: &Path, diff: &[u8]) -> anyhow::Result<()> {
    std::fs::write(file, diff)?;
    let file = file.display().to_string();
    if git(root, &["apply", "--binary", "--whitespace=nowarn", &file])? {
        return Ok(());
    }
    anyhow::bail!("the uncommitted changes don't fit the commit; was the repository's history rewritten?")
}

fn git(dir: &Path, args: &[&str]) -> anyhow::Result<bool> {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A remote that wants a password is one that can't be reached.
    command.env("GIT_TERMINAL_PROMPT", "0");
    Ok(command.status().context("reproducing needs git on the path")?.success())
}

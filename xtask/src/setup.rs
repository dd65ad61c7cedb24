//! The Python environments of tests and demo, from the pinned locks, and the browser of the tests. An environment is
//! made again when its lock changes.

use crate::shell::{can_install, install, output, root, run, say};
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreters that the lock was made for.
const PYTHONS: [&str; 2] = ["python3.11", "python3"];

/// Where environments are kept: outside the checkout when `TRUELINE_CACHE` says so, as CI does.
fn cache() -> PathBuf {
    std::env::var_os("TRUELINE_CACHE").map_or_else(|| root().join(".trueline"), PathBuf::from)
}

/// The interpreter of the tests' environment, installed if it is missing.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    environment("venv", "python/requirements.lock")
}

/// The interpreter that has the clients of the serving protocols, and ONNX with its runtime.
pub(crate) fn serving_clients() -> anyhow::Result<PathBuf> {
    environment("venv-serving", "python/requirements-serving.lock")
}

/// The real MLflow server, which Trueline is measured beside.
pub(crate) fn mlflow_server() -> anyhow::Result<PathBuf> {
    Ok(environment("venv-oracle", "python/requirements-oracle.lock")?.with_file_name("mlflow"))
}

/// MLServer, which serving is measured beside.
pub(crate) fn mlserver() -> anyhow::Result<PathBuf> {
    Ok(environment("venv-mlserver", "python/requirements-mlserver.lock")?.with_file_name("mlserver"))
}

/// What drives the pages.
pub(crate) struct Browser {
    /// The interpreter that has playwright and axe-core.
    pub(crate) python: PathBuf,
    /// The browser.
    pub(crate) chromium: PathBuf,
}

/// Debian's Chromium with what drives it; none, with one line, where it is not installed and can't be.
pub(crate) fn browser() -> Option<Browser> {
    let found = || {
        let chromium = chromium()?;
        Ok::<_, anyhow::Error>(Browser {
            python: environment("venv-browser", "python/requirements-browser.lock")?,
            chromium,
        })
    };
    found().inspect_err(|error| say(format!("the tests of the pages in a browser are skipped: {error}"))).ok()
}

fn chromium() -> anyhow::Result<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let installed = || names.into_iter().find_map(on_path);
    if let Some(path) = installed() {
        return Ok(path);
    }
    install("chromium", "the tests of the pages")?;
    installed().context("chromium was installed but is not on the PATH")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|p| p.exists())
}

/// The interpreter of an environment with a lock's packages, installed if it is missing.
fn environment(name: &str, lock: &str) -> anyhow::Result<PathBuf> {
    let packages = root().join(lock);
    let digest = hex::encode(&Sha256::digest(std::fs::read(&packages).context(lock.to_owned())?)[..6]);
    let venv = cache().join(name);
    let (python, stamp) = (venv.join("bin/python"), venv.join("lock-digest"));
    if python.exists() && std::fs::read_to_string(&stamp).ok().as_ref() == Some(&digest) {
        return Ok(python);
    }
    say(format!("making the Python environment of {lock}"));
    drop(std::fs::remove_dir_all(&venv));
    let base = interpreter()?;
    if run(Command::new(base).args(["-m", "venv"]).arg(&venv)).is_err() {
        if !can_install() {
            bail!("{base} can't make environments: install python3-venv");
        }
        install("python3-venv", "the Python environment")?;
        run(Command::new(base).args(["-m", "venv"]).arg(&venv))?;
    }
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(packages))?;
    std::fs::write(stamp, digest)?;
    Ok(python)
}

/// Prometheus's `promtool`, which judges the metrics; none where it is not installed and can't be fetched. Only this
/// program is taken out of the package: installing it would start a server.
pub(crate) fn promtool() -> Option<PathBuf> {
    let kept = cache().join("promtool");
    if kept.exists() {
        return Some(kept);
    }
    on_path("promtool").or_else(|| match fetch_promtool(&kept) {
        Ok(()) => Some(kept),
        Err(error) => {
            say(format!("promtool is not here ({error}): the check of the metrics is skipped"));
            None
        }
    })
}

fn fetch_promtool(to: &Path) -> anyhow::Result<()> {
    if !can_install() {
        bail!("install it with `sudo apt-get install prometheus`");
    }
    say("fetching promtool for the check of the metrics");
    let folder = tempfile::tempdir()?;
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    // apt fetches as a user of its own, who could not write into a private folder; root can.
    let apt = ["-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"];
    run(Command::new("apt-get").args(apt).current_dir(folder.path()))?;
    let mut files = std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.context("apt-get fetched no package")?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder.path()))?;
    std::fs::create_dir_all(cache())?;
    std::fs::copy(folder.path().join("usr/bin/promtool"), to)?;
    Ok(())
}

fn interpreter() -> anyhow::Result<&'static str> {
    let fits = |python: &&str| {
        let version = output(Command::new(python).arg("--version")).unwrap_or_default();
        version.starts_with("Python 3.11")
    };
    PYTHONS
        .into_iter()
        .find(fits)
        .context("Python 3.11 is needed for tests and demo: install python3.11 with its venv module")
}

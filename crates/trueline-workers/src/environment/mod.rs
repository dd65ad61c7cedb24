//! Python environments: made of a model's requirements and kept, or an interpreter that is there already.
//!
//! ```text
//! <folder>/worker-<hash>.py     the Python side of workers, of this version of the server
//!          <key>/venv           an environment; the key is the hash of Python's version, the requirements and the protocol
//!                requirements.txt   what it was made of, to be read by people
//!          .<key>.lock          held by whoever makes it
//!          .making-<key>        what is being made, or was when something crashed
//! ```

mod error;
mod making;
mod requirements;

pub use error::EnvironmentError;
pub use requirements::Requirements;

use crate::output::Tail;
use crate::wire::PROTOCOL;
use making::Maker;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCRIPT: &str = include_str!("../../python/worker.py");
/// The variable that names `uv`.
const UV: &str = "TRUELINE_UV";

/// Where a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The interpreter.
    pub python: PathBuf,
    /// The Python side of a worker.
    pub script: PathBuf,
}

/// Which Python a model is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interpreter {
    /// One made of its own requirements.
    #[default]
    Made,
    /// One that is there, with all that the model needs: what MLflow calls `env_manager=local`.
    Given(PathBuf),
}

/// The folder in which environments are made and kept.
#[derive(Clone, Debug)]
pub struct Environments {
    folder: PathBuf,
    uv: Option<PathBuf>,
    limit: Duration,
}

impl Environments {
    /// Those in a folder. `uv` is the one that `TRUELINE_UV` names, or one on the `PATH`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), uv: None, limit: Duration::from_secs(30 * 60) }
    }

    /// Made by this `uv`.
    #[must_use]
    pub fn by(self, uv: impl Into<PathBuf>) -> Self {
        Self { uv: Some(uv.into()), ..self }
    }

    /// Made within this time, or not at all. Half an hour unless told otherwise: some packages are gigabytes.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The environment of the model in a folder. It is made when there is none, by one of those who ask for it.
    ///
    /// # Errors
    /// [`EnvironmentError`]; nothing is kept of an environment that could not be made.
    pub async fn of(&self, model: &Path, interpreter: &Interpreter) -> Result<Environment, EnvironmentError> {
        match interpreter {
            Interpreter::Given(python) => self.given(python),
            Interpreter::Made => self.made(&Requirements::of(model)?, model).await,
        }
    }

    async fn made(&self, wanted: &Requirements, model: &Path) -> Result<Environment, EnvironmentError> {
        let key = wanted.key(PROTOCOL);
        let mut made = self.folder.join(&key);
        if !made.exists() {
            let uv = self.uv()?;
            let maker = Maker { uv: &uv, folder: &self.folder, key: &key, tail: Tail::default() };
            made = tokio::time::timeout(self.limit, maker.make(wanted, model))
                .await
                .map_err(|_| maker.slow(self.limit))??;
        }
        Ok(Environment { python: made.join("venv/bin/python"), script: self.script()? })
    }

    fn given(&self, python: &Path) -> Result<Environment, EnvironmentError> {
        // Not resolved: the interpreter of a virtual environment is a link, and knows by its name where it is.
        std::fs::metadata(python)
            .map_err(|source| EnvironmentError::NoInterpreter { python: python.to_owned(), source })?;
        Ok(Environment { python: python.to_owned(), script: self.script()? })
    }

    /// Writes the Python side, unless it is there.
    fn script(&self) -> Result<PathBuf, EnvironmentError> {
        let name = format!("worker-{}.py", hex::encode(&Sha256::digest(SCRIPT)[..8]));
        let path = self.folder.join(name);
        let write = || {
            if std::fs::read(&path).is_ok_and(|found| found == SCRIPT.as_bytes()) {
                return Ok(());
            }
            std::fs::create_dir_all(&self.folder)?;
            // Whole or not at all: another process may be about to run it.
            let aside = self.folder.join(format!(".worker-{}", hex::encode(random()?)));
            let mut file = std::fs::File::create_new(&aside)?;
            file.write_all(SCRIPT.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)
        };
        write().map_err(|source| EnvironmentError::Folder { folder: self.folder.clone(), source })?;
        Ok(path)
    }

    fn uv(&self) -> Result<PathBuf, EnvironmentError> {
        let named = self.uv.clone().or_else(|| std::env::var_os(UV).map(PathBuf::from));
        find_uv(named, std::env::var_os("PATH"))
    }
}

fn random() -> std::io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(bytes)
}

fn find_uv(named: Option<PathBuf>, path: Option<std::ffi::OsString>) -> Result<PathBuf, EnvironmentError> {
    if let Some(uv) = named {
        let searched = format!("{} is named, and is not there", uv.display());
        return if uv.is_file() { Ok(uv) } else { Err(EnvironmentError::NoUv { searched }) };
    }
    let folders = path.unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join("uv")).find(|uv| uv.is_file());
    let searched = || format!("{UV} is not set, and none is on the PATH, {}", folders.to_string_lossy());
    found.ok_or_else(|| EnvironmentError::NoUv { searched: searched() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uv_is_the_one_that_is_named_or_one_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let uv = folder.path().join("uv");
        let path = || Some(folder.path().as_os_str().to_owned());
        let missing = find_uv(None, path()).unwrap_err().to_string();
        assert!(missing.contains("install it") && missing.contains("TRUELINE_UV"), "{missing}");
        std::fs::write(&uv, "").unwrap();
        assert_eq!(find_uv(None, path()).unwrap(), uv);
        let missing = find_uv(Some("/not/there".into()), path()).unwrap_err().to_string();
        assert!(missing.contains("/not/there is named"), "{missing}");
    }

    #[test]
    fn the_python_side_is_written_once_and_again_when_it_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let environments = Environments::new(folder.path().join("new"));
        let script = environments.script().unwrap();
        std::fs::write(&script, "import os").unwrap();
        assert_eq!(std::fs::read_to_string(environments.script().unwrap()).unwrap(), SCRIPT);
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
        let missing = environments.given(Path::new("/not/there")).unwrap_err();
        assert!(matches!(missing, EnvironmentError::NoInterpreter { .. }));
    }
}

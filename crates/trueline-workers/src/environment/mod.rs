//! Python environments.

use std::path::PathBuf;

/// Where workers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The interpreter.
    pub python: PathBuf,
    /// The Python side of a worker.
    pub script: PathBuf,
}

const SCRIPT: &str = include_str!("../../python/worker.py");

/// The folder in which environments are made and kept.
#[derive(Clone, Debug)]
pub struct Environments {
    folder: PathBuf,
}

impl Environments {
    /// Those in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// An interpreter that is there already.
    ///
    /// # Errors
    /// What the disk says.
    pub fn given(&self, python: &std::path::Path) -> std::io::Result<Environment> {
        let script = self.folder.join("worker.py");
        std::fs::write(&script, SCRIPT)?;
        Ok(Environment { python: python.to_owned(), script })
    }
}

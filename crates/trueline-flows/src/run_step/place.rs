//! Where the files of runs lie below the data directory: working copies, captured code, attempts, and who works here.

use std::path::{Path, PathBuf};
use trueline_pipelines::PipelineError;
use trueline_pipelines::executor::AttemptFolder;
use trueline_tracking::Capture;

/// ```text
/// pipelines/worker            the name of this server as a worker
///           runs/<run>/work   the working copy of a run
///                     /code   what was captured of the code when the copy was made; there once the copy is whole
///           attempts/<id>     see the executor
/// ```
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    /// Working copies are made one at a time: two steps of a run may need the same one.
    pub(super) copying: tokio::sync::Mutex<()>,
}

pub(super) fn failed(path: &Path, error: impl std::fmt::Display) -> PipelineError {
    PipelineError::Files { path: path.display().to_string(), message: error.to_string() }
}

impl Place {
    pub(super) fn open(root: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(root.join("runs"))?;
        std::fs::create_dir_all(root.join("attempts"))?;
        // Steps run elsewhere than the server was started.
        Ok(Self { root: root.canonicalize()?, copying: tokio::sync::Mutex::default() })
    }

    /// The name of this server as a worker: made once, kept with the data.
    pub(super) fn worker(&self, make: impl Fn() -> String) -> std::io::Result<String> {
        let path = self.root.join("worker");
        match std::fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let name = format!("steps-{}", make());
        std::fs::write(&path, &name)?;
        std::fs::File::open(&path)?.sync_all()?;
        std::fs::File::open(&self.root)?.sync_all()?;
        Ok(name)
    }

    pub(super) fn attempt(&self, id: &str) -> AttemptFolder {
        AttemptFolder::new(&self.root.join("attempts"), id)
    }

    pub(super) fn run(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(run)
    }

    pub(super) fn work(&self, run: &str) -> PathBuf {
        self.run(run).join("work")
    }

    pub(super) fn code_file(&self, run: &str) -> PathBuf {
        self.run(run).join("code")
    }

    /// What was captured of the code of a run.
    pub(super) fn code(&self, run: &str) -> Result<Capture, PipelineError> {
        let path = self.code_file(run);
        let body = std::fs::read(&path).map_err(|e| failed(&path, e))?;
        serde_json::from_slice(&body).map_err(|e| failed(&path, e))
    }

    /// The data directory, which a working copy must not hold.
    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        self.root.parent().map(Path::to_owned)
    }

    pub(super) fn attempts(&self) -> Vec<String> {
        names(&self.root.join("attempts"))
    }

    pub(super) fn runs(&self) -> Vec<String> {
        names(&self.root.join("runs"))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Takes away what a step is to make, so that nothing old passes for new, and makes the folders that it goes into.
pub(super) fn clear(root: &Path, outputs: &[String]) -> Result<(), PipelineError> {
    for output in outputs {
        let path = root.join(output);
        let gone = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(_) => Ok(()),
        };
        gone.map_err(|e| failed(&path, e))?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
        }
    }
    Ok(())
}

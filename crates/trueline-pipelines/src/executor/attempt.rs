//! The folder of an attempt, as the server sees it: prepared, started, looked at, fenced.

use super::ATTEMPT_VARIABLE;
use super::process::{ProcessId, kill_all};
use crate::PipelineError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a keeper is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The attempt's id.
    pub attempt: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// How large its log may grow, in bytes.
    pub log_limit: u64,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub exit_code: i64,
    /// Whether it was ended because it took too long.
    pub timed_out: bool,
    /// What else went wrong: it could not be started, or its log grew too large.
    pub error: Option<String>,
    /// Processor time of its processes.
    pub cpu_ms: Option<i64>,
    /// The most memory that the command itself held.
    pub peak_rss_bytes: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Claim {
    Keeper(ProcessId),
    Fenced,
}

/// What stands in an attempt's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No keeper has claimed it.
    NotStarted,
    /// Its keeper runs, proven by number, start and boot.
    Alive(ProcessId),
    /// The command has ended.
    Ended(Outcome),
    /// Its keeper is gone and left no outcome, or it is fenced.
    Lost,
}

/// The folder of one attempt.
#[derive(Clone, Debug)]
pub struct AttemptFolder {
    path: PathBuf,
    attempt: String,
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

/// Claims a folder for good; false when somebody has done so before.
pub(super) fn claim(folder: &Path, claim: &Claim) -> std::io::Result<bool> {
    let temporary = folder.join(format!("claim.{}", std::process::id()));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(claim)?)?;
    file.sync_all()?;
    // A link is made whole or not at all, and never over another.
    let linked = std::fs::hard_link(&temporary, folder.join("claim"));
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => sync_folder(&folder.join("claim")).map(|()| true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

impl AttemptFolder {
    /// The folder of an attempt below `attempts`.
    #[must_use]
    pub fn new(attempts: &Path, attempt: &str) -> Self {
        Self { path: attempts.join(attempt), attempt: attempt.to_owned() }
    }

    fn failed(&self, error: impl std::fmt::Display) -> PipelineError {
        PipelineError::files(&self.path, error)
    }

    /// Writes down what is to be run, before anything is started.
    ///
    /// # Errors
    /// [`PipelineError::Files`].
    pub fn prepare(&self, spec: &ExecSpec) -> Result<(), PipelineError> {
        std::fs::create_dir_all(&self.path).map_err(|e| self.failed(e))?;
        let body = serde_json::to_vec(spec).map_err(|e| self.failed(e))?;
        write_whole(&self.path.join("spec.json"), &body).map_err(|e| self.failed(e))?;
        sync_folder(&self.path).map_err(|e| self.failed(e))
    }

    /// Starts a keeper, with this environment and no other.
    ///
    /// # Errors
    /// [`PipelineError::Files`] when it can't be started.
    pub fn start(
        &self,
        program: &Path,
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
    ) -> Result<(), PipelineError> {
        let mut child = Command::new(program)
            .args(arguments)
            .arg(&self.path)
            .env_clear()
            .envs(environment)
            .env(ATTEMPT_VARIABLE, &self.attempt)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| self.failed(format!("can't start a keeper: {e}")))?;
        // Somebody must take its exit code, or it stays a zombie.
        std::thread::spawn(move || drop(child.wait()));
        Ok(())
    }

    /// Looks what stands in the folder.
    #[must_use]
    pub fn look(&self) -> Found {
        let ended = || read::<Outcome>(&self.path.join("result.json")).map(Found::Ended);
        match read::<Claim>(&self.path.join("claim")) {
            None => Found::NotStarted,
            Some(Claim::Fenced) => Found::Lost,
            Some(Claim::Keeper(keeper)) => ended().unwrap_or_else(|| {
                if keeper.is_alive() {
                    return Found::Alive(keeper);
                }
                // It may have ended between the two looks.
                ended().unwrap_or(Found::Lost)
            }),
        }
    }

    /// Makes sure that nothing of the attempt runs or will run.
    ///
    /// # Errors
    /// [`PipelineError::Files`] when the folder can't be claimed, [`PipelineError::State`] when processes can't be ended.
    pub fn fence(&self) -> Result<(), PipelineError> {
        if self.path.exists() {
            claim(&self.path, &Claim::Fenced).map_err(|e| self.failed(e))?;
        }
        if kill_all(&self.attempt) {
            return Ok(());
        }
        Err(PipelineError::State(format!("processes of attempt {} can't be ended", self.attempt)))
    }

    /// The file that the command writes to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// A piece of the log from an offset.
    ///
    /// # Errors
    /// What the disk says.
    pub fn log_piece(&self, offset: u64, limit: u64) -> std::io::Result<Vec<u8>> {
        let mut file = match std::fs::File::open(self.log()) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut piece = Vec::new();
        file.take(limit).read_to_end(&mut piece)?;
        Ok(piece)
    }

    /// Takes the folder away.
    pub fn remove(&self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = AttemptFolder::new(root.path(), "a1");
        let spec = ExecSpec {
            attempt: "a1".to_owned(),
            argv: vec!["true".to_owned()],
            dir: root.path().to_owned(),
            timeout_ms: 1_000,
            log_limit: 1_000,
        };
        folder.prepare(&spec).unwrap();
        assert_eq!(folder.look(), Found::NotStarted);
        folder.fence().unwrap();
        assert_eq!(folder.look(), Found::Lost);
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!claim(&folder.path, &Claim::Keeper(own)).unwrap(), "a keeper that comes late ends");
        assert_eq!(folder.look(), Found::Lost);
    }

    #[test]
    fn a_keeper_that_is_gone_without_an_outcome_is_lost_and_one_with_an_outcome_has_ended() {
        let root = tempfile::tempdir().unwrap();
        let folder = AttemptFolder::new(root.path(), "a2");
        std::fs::create_dir_all(&folder.path).unwrap();
        let mut gone = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        claim(&folder.path, &Claim::Keeper(gone.clone())).unwrap();
        assert_eq!(folder.look(), Found::Alive(gone.clone()));
        gone.started_ticks += 1;
        std::fs::remove_file(folder.path.join("claim")).unwrap();
        claim(&folder.path, &Claim::Keeper(gone)).unwrap();
        assert_eq!(folder.look(), Found::Lost);
        let outcome = Outcome { exit_code: 3, ..Outcome::default() };
        write_whole(&folder.path.join("result.json"), &serde_json::to_vec(&outcome).unwrap()).unwrap();
        assert_eq!(folder.look(), Found::Ended(outcome));
    }
}

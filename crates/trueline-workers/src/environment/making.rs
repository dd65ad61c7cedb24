//! The making of an environment with `uv`: under a lock, beside its place, then renamed.

use super::error::EnvironmentError;
use super::requirements::Requirements;
use crate::output::{Tail, follow};
use crate::process::{Process, ending};
use crate::variables;
use rustix::fs::{FlockOperation, flock, syncfs};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// Lines of uv's output that are part of a message.
const SHOWN_LINES: usize = 25;
/// How often it is looked whether somebody else is done.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Who makes environments.
pub(super) struct Maker<'a> {
    pub(super) uv: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) key: &'a str,
    pub(super) tail: Tail,
}

impl Maker<'_> {
    /// Makes an environment, or waits until somebody else has made it. The folder of it.
    pub(super) async fn make(
        &self,
        wanted: &Requirements,
        model: &Path,
    ) -> Result<PathBuf, EnvironmentError> {
        let made = self.folder.join(self.key);
        let failed = |source| EnvironmentError::Folder { folder: self.folder.to_owned(), source };
        let _lock = self.lock().await.map_err(failed)?;
        if made.exists() {
            return Ok(made);
        }
        // Whoever holds the lock knows that nobody is at it: what is there was left by a crash.
        let aside = self.folder.join(format!(".making-{}", self.key));
        remove(&aside).map_err(failed)?;
        std::fs::create_dir_all(&aside).map_err(failed)?;
        let filled = self.fill(&aside, wanted, model).await;
        let kept = filled.and_then(|()| keep(&aside, &made).map_err(failed));
        if kept.is_err() {
            let _ = remove(&aside);
        }
        kept.map(|()| made)
    }

    /// A lock over all who ask for this environment, in this process and in others. Its end goes with the file.
    async fn lock(&self) -> io::Result<File> {
        std::fs::create_dir_all(self.folder)?;
        let file = File::create(self.folder.join(format!(".{}.lock", self.key)))?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(ASK_AGAIN).await,
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn fill(&self, aside: &Path, wanted: &Requirements, model: &Path) -> Result<(), EnvironmentError> {
        let python = self.python(&wanted.python).await?;
        let venv = aside.join("venv");
        let make: [&OsStr; 7] = [
            "venv".as_ref(),
            // It is renamed once it is whole.
            "--relocatable".as_ref(),
            "--no-project".as_ref(),
            "--quiet".as_ref(),
            "--python".as_ref(),
            python.as_ref(),
            venv.as_ref(),
        ];
        let status = self.uv("venv", &make, aside).await?;
        if !status.success() {
            let (version, tail) = (wanted.python.clone(), self.tail.last(SHOWN_LINES));
            return Err(EnvironmentError::NoPython { version, tail });
        }
        let failed = |source| EnvironmentError::Folder { folder: self.folder.to_owned(), source };
        let listed = |name: &str, lines: &[String]| {
            let path = aside.join(name);
            std::fs::write(&path, lines.join("\n")).map_err(failed).map(|()| path)
        };
        // In two steps, as MLflow does: what the model requires may speak against what it is built with.
        let build = vec![listed("build.txt", &wanted.build)?];
        let mut packages = vec![listed("packages.txt", &wanted.packages)?];
        packages.extend(wanted.files.iter().cloned());
        for (files, empty) in [(build, wanted.build.is_empty()), (packages, false)] {
            if !empty {
                self.install(&venv, &files, model).await?;
            }
        }
        std::fs::write(aside.join("requirements.txt"), wanted.text()).map_err(failed)
    }

    async fn install(&self, venv: &Path, files: &[PathBuf], model: &Path) -> Result<(), EnvironmentError> {
        let python = venv.join("bin/python");
        let mut arguments: Vec<&OsStr> =
            vec!["pip".as_ref(), "install".as_ref(), "--python".as_ref(), python.as_ref()];
        for file in files {
            arguments.extend([OsStr::new("--requirements"), file.as_ref()]);
        }
        let status = self.uv("pip install", &arguments, model).await?;
        if !status.success() {
            let (why, tail) = (ending(status), self.tail.last(SHOWN_LINES));
            return Err(EnvironmentError::Failed { what: "pip install", why, tail });
        }
        Ok(())
    }

    /// What to ask uv for: this very version, if it is here; else one of the same minor, which reads the same pickles, if
    /// that is; else uv may fetch this version.
    async fn python(&self, version: &str) -> Result<String, EnvironmentError> {
        let minor: String = version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        for asked in [version, &minor] {
            let find =
                ["python", "find", "--system", "--no-python-downloads", "--quiet", asked].map(OsStr::new);
            if self.uv("python find", &find, self.folder).await?.success() {
                if asked != version {
                    tracing::warn!(
                        wanted = version,
                        found = asked,
                        "an environment gets a Python of the same minor version"
                    );
                }
                return Ok(asked.to_owned());
            }
        }
        Ok(version.to_owned())
    }

    async fn uv(
        &self,
        what: &'static str,
        arguments: &[&OsStr],
        at: &Path,
    ) -> Result<ExitStatus, EnvironmentError> {
        let run = async {
            let mut command = Command::new(self.uv);
            variables::for_uv(&mut command);
            command.args(arguments).current_dir(at).env("NO_COLOR", "1").env("UV_NO_PROGRESS", "1");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut process = Process::start(command)?;
            let (stdout, stderr) = process.output();
            let pipes = [stdout.map(Into::into), stderr.map(Into::into)];
            let followed = pipes.into_iter().flatten().map(|pipe| {
                tokio::spawn(follow(pipe, format!("uv {}", self.key), "output", self.tail.clone()))
            });
            let followed: Vec<_> = followed.collect();
            let status = process.ended().await?;
            for output in followed {
                let _ = output.await;
            }
            Ok(status)
        };
        run.await.map_err(|e: io::Error| EnvironmentError::Failed {
            what,
            why: format!("could not be run: {e}"),
            tail: self.tail.last(SHOWN_LINES),
        })
    }

    pub(super) fn slow(&self, limit: Duration) -> EnvironmentError {
        EnvironmentError::Slow { limit, tail: self.tail.last(SHOWN_LINES) }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Puts a folder in its place, whole, also after a power cut: tens of thousands of files are synced at once.
fn keep(aside: &Path, made: &Path) -> io::Result<()> {
    syncfs(File::open(aside)?)?;
    std::fs::rename(aside, made)?;
    made.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

//! The PostgreSQL that a measurement starts, kills and starts again: a fresh cluster in a temporary folder, on a free loopback
//! port.

use anyhow::{Context, bail, ensure};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that does not take connections by then will not.
const GIVE_UP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A running PostgreSQL. Dropping it kills it.
pub(super) struct Database {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Database {
    /// Makes a cluster with the programs in this folder, and starts it.
    pub(super) fn start(programs: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("trueline-bench-postgres").tempdir()?;
        // The user that it runs as is another one.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777))?;
        let port = crate::process::free_address()?.port();
        let mut database = Self { programs: programs.to_owned(), folder, port, process: None };
        let mut initdb = database.command("initdb");
        initdb.args(["--auth=trust", "--username=trueline", "--encoding=UTF8", "--locale=C.UTF-8"]);
        let done = initdb.output().with_context(|| programs.join("initdb").display().to_string())?;
        ensure!(done.status.success(), "initdb failed: {}", String::from_utf8_lossy(&done.stderr));
        database.start_again()?;
        Ok(database)
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("postgres://trueline@127.0.0.1:{}/postgres", self.port)
    }

    /// SIGKILL, to it alone and by its number; what it started ends when it notices.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { bail!("PostgreSQL does not run") };
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Starts it where it was, which takes as long as the last of those before holds its memory.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < GIVE_UP {
            let mut process = self.run()?;
            while process.try_wait()?.is_none() && began.elapsed() < GIVE_UP {
                if postgres::Client::connect(&self.url(), postgres::NoTls).is_ok() {
                    self.process = Some(process);
                    return Ok(());
                }
                std::thread::sleep(LOOK);
            }
            // Ended already, or never to be ready.
            let _ = process.kill();
            process.wait()?;
        }
        bail!("PostgreSQL is not ready after {GIVE_UP:?}: {}", std::fs::read_to_string(self.log())?)
    }

    fn run(&self) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = self.command("postgres");
        let port = self.port.to_string();
        command.args(["-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("can't run PostgreSQL")
    }

    /// A program of it for the cluster. PostgreSQL refuses to run as root, so another user runs it there.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = match rustix::process::getuid().is_root() {
            false => Command::new(path),
            true => {
                let mut other = Command::new("setpriv");
                other.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(path);
                other
            }
        };
        command.arg("-D").arg(self.folder.path().join("data")).current_dir(self.folder.path());
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It has ended already, or nobody wants it any more.
        drop(self.kill());
    }
}

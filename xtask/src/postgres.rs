//! A PostgreSQL server for the tests: a fresh cluster in a temporary folder, on a free loopback port, stopped at the
//! end.

use crate::shell::{install, output, run, say};
use anyhow::{Context, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running server.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
}

/// Where Debian and others keep the server's programs.
fn find() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = versions.map(|v| v.path().join("bin")).collect();
    candidates.sort();
    candidates.reverse();
    if let Some(path) = std::env::var_os("PATH") {
        candidates.extend(std::env::split_paths(&path));
    }
    candidates.into_iter().find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
}

/// The folder of the server's programs, installed if they are missing.
pub(crate) fn programs(what_for: &str) -> anyhow::Result<PathBuf> {
    if let Some(bin) = find() {
        return Ok(bin);
    }
    install("postgresql", what_for)?;
    find().context("PostgreSQL was installed but its programs were not found")
}

impl Postgres {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let bin = programs("the tests on PostgreSQL")?;
        let folder = tempfile::Builder::new().prefix("trueline-postgres").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Self { folder, bin, port };
        server.initialise()?;
        say(format!("PostgreSQL runs on port {port}"));
        Ok(server)
    }

    /// PostgreSQL refuses to run as root, so another user runs it there.
    fn command(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        let root = output(Command::new("id").arg("-u")).as_deref() == Some("0");
        if !root {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(path);
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn initialise(&self) -> anyhow::Result<()> {
        allow_everybody(self.folder.path())?;
        let mut initdb = self.command("initdb");
        initdb.args(["--auth=trust", "--username=trueline", "--encoding=UTF8", "--locale=C.UTF-8", "-D"]);
        let done = initdb.arg(self.data()).current_dir(self.folder.path()).output().context("initdb")?;
        if !done.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&done.stderr));
        }
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=200",
            self.port,
            self.folder.path().display()
        );
        let mut start = self.command("pg_ctl");
        start.arg("-D").arg(self.data()).args(["-w", "-s", "-o", &options, "-l"]);
        run(start.arg(self.folder.path().join("log")).arg("start").current_dir(self.folder.path()))
    }

    /// Address of the server, with its maintenance database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://trueline@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.arg("-D").arg(self.data()).args(["-s", "-m", "immediate", "stop"]).current_dir("/");
        drop(run(&mut stop));
    }
}

fn allow_everybody(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))?)
}

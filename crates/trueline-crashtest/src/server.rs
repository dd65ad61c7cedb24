//! The process under test: started, watched until it is ready, killed or stopped, and its ledger verified offline.

use crate::Disk;
use crate::api::Api;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often something is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(1);
/// A server that is not ready by then will not be.
const GIVE_UP: Duration = Duration::from_secs(20);
/// A stop lets requests finish, which takes the server up to 20 s.
const STOP: Duration = Duration::from_secs(30);

/// How the server is started: the same command each time.
#[derive(Debug)]
pub struct Launch {
    binary: PathBuf,
    pub(crate) data_dir: PathBuf,
    port: u16,
    /// Where its log goes.
    log: PathBuf,
    /// `synchronous=OFF`, for the control.
    pub(crate) synchronous_off: bool,
    /// When segments of the prediction log are closed; as usual, if not said.
    pub(crate) segment_bytes: Option<u64>,
    /// The PostgreSQL database; the embedded one if not said.
    database: Option<String>,
    /// More variables of the environment.
    variables: Vec<(String, String)>,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    ready_after: Duration,
}

impl Launch {
    /// A server of its own on a free loopback port; its log is kept in `work`.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn new(binary: &Path, work: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (binary, data_dir, log) = (binary.to_owned(), data_dir.to_owned(), work.join("server.log"));
        Ok(Self {
            binary,
            data_dir,
            port,
            log,
            synchronous_off: false,
            segment_bytes: None,
            database: None,
            variables: Vec::new(),
        })
    }

    /// The same on a PostgreSQL database.
    #[must_use]
    pub fn on(self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self }
    }

    /// The same with more variables of the environment.
    #[must_use]
    pub fn with_variables(self, variables: Vec<(String, String)>) -> Self {
        Self { variables, ..self }
    }

    /// The port that the server listens on, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's address.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.port)
    }

    /// Starts the process and does not wait.
    pub(crate) fn spawn(&self, disk: Option<&Disk>) -> anyhow::Result<Server> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command.arg("server").arg("--data-dir").arg(&self.data_dir);
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(database) = &self.database {
            command.arg("--database").arg(database);
        }
        if self.synchronous_off {
            command.env("TRUELINE_TEST_SYNCHRONOUS_OFF", "1");
        }
        if let Some(bytes) = self.segment_bytes {
            command.env("TRUELINE_TEST_SEGMENT_BYTES", bytes.to_string());
        }
        if let Some(disk) = disk {
            disk.attach(&mut command);
        }
        let child = command.spawn().with_context(|| format!("can't run {}", self.binary.display()))?;
        Ok(Server { child, log: self.log.clone(), ready_after: Duration::ZERO })
    }

    /// Starts the server, on a disk whose power can be cut if one is given, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time, with the end of its log.
    pub fn start(&self, disk: Option<&Disk>) -> anyhow::Result<Server> {
        let began = Instant::now();
        let mut server = self.spawn(disk)?;
        let api = self.api();
        while !api.is_ready() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server did not start ({status}); its log ends with:\n{}", server.log_end());
            }
            if began.elapsed() > GIVE_UP {
                bail!("the server is not ready after {GIVE_UP:?}; its log ends with:\n{}", server.log_end());
            }
            std::thread::sleep(LOOK);
        }
        server.ready_after = began.elapsed();
        match disk {
            Some(disk) if !disk.was_attached() => {
                bail!("the server ignores LD_PRELOAD: is it a static binary?")
            }
            _ => Ok(server),
        }
    }

    /// Verifies the ledger and the rows that it implies, with no server running.
    pub(crate) fn verify(&self, key: &str, checkpoint: Option<&Path>) -> anyhow::Result<Result<(), String>> {
        let mut command = Command::new(&self.binary);
        command.args(["ledger", "verify", "--state", "--key", key, "--data-dir"]).arg(&self.data_dir);
        if let Some(earlier) = checkpoint {
            command.arg("--checkpoint").arg(earlier);
        }
        let done = command.stdin(Stdio::null()).output()?;
        if done.status.success() {
            return Ok(Ok(()));
        }
        let said = [done.stdout, done.stderr].concat();
        Ok(Err(format!(
            "`ledger verify --state`: {}: {}",
            done.status,
            String::from_utf8_lossy(&said).trim()
        )))
    }
}

impl Server {
    /// From the start of the process to its first answer that it is ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// The id of its process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended by itself ({status}); its log ends with:\n{}", self.log_end());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for an orderly end.
    ///
    /// # Errors
    /// When it does not end, or says that something is wrong.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let began = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{}", self.bad_end(status)),
                None if began.elapsed() > STOP => bail!("the server does not stop:\n{}", self.log_end()),
                None => std::thread::sleep(LOOK),
            }
        }
    }

    fn bad_end(&self, status: ExitStatus) -> String {
        format!("the server stopped with {status}; its log ends with:\n{}", self.log_end())
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or nobody wants it any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

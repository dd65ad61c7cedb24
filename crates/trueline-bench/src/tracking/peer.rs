//! The real MLflow server, started as its documentation says.

use super::TIMEOUT;
use crate::Memory;
use crate::http::{Connection, get};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GIVE_UP: Duration = Duration::from_secs(180);
const WORKERS: &str = "2";

/// A running MLflow server. Dropping it kills it.
pub(super) struct Peer {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
}

impl Peer {
    pub(super) fn start(program: &Path, work: &Path, postgres: Option<&str>) -> anyhow::Result<Self> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let store = match postgres {
            Some(server) => fresh_database(server, "mlflow_bench")?.replacen("postgres:", "postgresql:", 1),
            None => format!("sqlite:///{}", work.join("mlflow.db").display()),
        };
        let log = File::create(work.join("mlflow.log"))?;
        let mut command = Command::new(program);
        command
            .args(["server", "--host", "127.0.0.1", "--workers", WORKERS, "--port"])
            .arg(address.port().to_string())
            .arg("--backend-store-uri")
            .arg(store)
            .arg("--artifacts-destination")
            .arg(work.join("artifacts"))
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("can't run {}", program.display()))?;
        let mut peer = Self { child, address, ready_after: Duration::ZERO };
        while !peer.answers() {
            if let Some(status) = peer.child.try_wait()? {
                bail!(
                    "MLflow did not start ({status}): {}",
                    std::fs::read_to_string(work.join("mlflow.log"))?
                );
            }
            if began.elapsed() > GIVE_UP {
                bail!("MLflow is not ready after {GIVE_UP:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        peer.ready_after = began.elapsed();
        Ok(peer)
    }

    fn answers(&self) -> bool {
        let asked = Connection::open(self.address, TIMEOUT).and_then(|mut c| c.ask(&get("/health")));
        asked.is_ok_and(|answer| answer.status == 200)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What its processes hold, shared pages divided among them.
    pub(super) fn memory_mib(&self) -> anyhow::Result<f64> {
        let group = self.child.id();
        let mut sum = 0.0;
        for entry in std::fs::read_dir("/proc")? {
            let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // The fields after the name, which may hold anything in its brackets: state, parent, group.
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let own =
                stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(2)?.parse::<u32>().ok());
            if own == Some(group) {
                sum += Memory::of(process)?.proportional_mib;
            }
        }
        Ok(sum)
    }

    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.kill();
        Ok(self.child.wait().map(drop)?)
    }

    fn kill(&self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already is as good as killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// An empty database on a PostgreSQL server, in place of one of that name.
pub(super) fn fresh_database(server: &str, name: &str) -> anyhow::Result<String> {
    let server = server.trim_end_matches('/');
    let server = match server.rsplit_once('/') {
        Some((front, _)) if !front.ends_with('/') => front,
        _ => server,
    };
    let mut client = postgres::Client::connect(&format!("{server}/postgres"), postgres::NoTls)?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))?;
    client.batch_execute(&format!("CREATE DATABASE {name}"))?;
    Ok(format!("{server}/{name}"))
}

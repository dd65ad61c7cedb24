//! The servers that are compared: how each is started for a model, and how it is asked.

use super::asked::{Request, first};
use super::grpc;
use crate::process::{Process, free_address, own_cpu};
use crate::{ClosedLoop, LoadReport, OpenLoop, Table, Until};
use anyhow::ensure;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);
/// The libraries' threads for one prediction, in the peers: with one for each core they spin for each other while requests
/// wait, and fewer answers come, one by one and in batches.
const ONE_THREAD: (&str, &str) = ("OMP_NUM_THREADS", "1");
const WARM_UP: Duration = Duration::from_millis(500);

/// A server that answers for one model.
pub(super) struct Side {
    name: &'static str,
    process: Process,
    /// Where gRPC is answered.
    grpc: SocketAddr,
    _work: tempfile::TempDir,
}

/// What a peak came to.
pub(super) struct Figure {
    pub(super) rate: f64,
    failed: u64,
    sent: u64,
    /// The first failure.
    words: String,
}

/// Callers that send one request after the other, and for how long they do.
#[derive(Clone, Copy)]
pub(super) struct Callers(pub(super) usize, pub(super) Duration);

impl Side {
    /// `trueline serve`, as it is shipped; `switches` besides.
    pub(super) fn trueline(binary: &Path, model: &Path, switches: &[String]) -> anyhow::Result<Self> {
        let (work, address) = (tempfile::tempdir()?, free_address()?);
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .arg(model)
            .args(["--host", "127.0.0.1", "--name", "model", "--port"])
            .arg(address.port().to_string())
            .arg("--cache-dir")
            .arg(work.path().join("cache"))
            .args(switches);
        let process = Process::start(&mut command, address, "/ping", &work.path().join("log"))?;
        Ok(Self { name: "Trueline", process, grpc: address, _work: work })
    }

    /// MLServer with a repository of one model, which says the rest.
    pub(super) fn mlserver(program: &Path, repository: &Path) -> anyhow::Result<Self> {
        let (work, address, grpc, metrics) =
            (tempfile::tempdir()?, free_address()?, free_address()?, free_address()?);
        let mut command = Command::new(program);
        command
            .arg("start")
            .arg(repository)
            .env(ONE_THREAD.0, ONE_THREAD.1)
            .env("MLSERVER_HTTP_PORT", address.port().to_string())
            .env("MLSERVER_GRPC_PORT", grpc.port().to_string())
            .env("MLSERVER_METRICS_PORT", metrics.port().to_string())
            .current_dir(work.path());
        let log = work.path().join("log");
        let process = Process::start(&mut command, address, "/v2/models/model/ready", &log)?;
        Ok(Self { name: "MLServer", process, grpc, _work: work })
    }

    /// `mlflow models serve`, as its documentation has it.
    pub(super) fn mlflow(program: &Path, model: &Path) -> anyhow::Result<Self> {
        let (work, address) = (tempfile::tempdir()?, free_address()?);
        // The server is started by names that are looked up on the path.
        let own = program.parent().map(PathBuf::from).into_iter();
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(own.chain(std::env::split_paths(&inherited)))?;
        let mut command = Command::new(program);
        command
            .args(["models", "serve", "--env-manager", "local", "--host", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .arg("--model-uri")
            .arg(model)
            .env(ONE_THREAD.0, ONE_THREAD.1)
            .env("PATH", path)
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .current_dir(work.path());
        let process = Process::start(&mut command, address, "/ping", &work.path().join("log"))?;
        Ok(Self { name: "MLflow", process, grpc: address, _work: work })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Where HTTP is answered.
    pub(super) fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Notes how it started and what it holds.
    pub(super) fn told(&self, table: &mut Table, group: &str) -> anyhow::Result<()> {
        let name = self.name;
        table.add(group, &format!("{name}, start to ready"), self.process.ready_after().as_secs_f64(), "s");
        table.add(group, &format!("{name}, memory of its processes"), self.process.memory_mib()?, "MiB");
        Ok(())
    }

    /// Asks once, and holds the first number of the answer against what it should be.
    pub(super) fn check(&self, request: &Request, expected: f64) -> anyhow::Result<()> {
        let found = match request {
            Request::Grpc(call) => grpc::ask(self.grpc, call, TIMEOUT)?,
            Request::Http(bytes) => {
                let answer = crate::http::Connection::open(self.process.address(), TIMEOUT)?.ask(bytes)?;
                let said = || format!("{}: {}", self.name, String::from_utf8_lossy(&answer.body));
                ensure!(answer.status == 200, said());
                first(&answer.body)?
            }
        };
        ensure!((found - expected).abs() < 1e-5, "{} answers {found}, and {expected} is right", self.name);
        Ok(())
    }

    /// Notes how many answers a second come at most, and whose processor time they take.
    pub(super) fn peak(
        &self,
        table: &mut Table,
        group: &str,
        what: &str,
        request: &Request,
        callers: Callers,
    ) -> anyhow::Result<Figure> {
        self.send(request, Callers(callers.0, WARM_UP))?;
        let (own, theirs) = (own_cpu()?, self.process.cpu()?);
        let report = self.send(request, callers)?;
        let (own, theirs) = (own_cpu()?.saturating_sub(own), self.process.cpu()?.saturating_sub(theirs));
        let name = self.name;
        let sent = report.latency.count();
        table.add(group, &format!("{what}, {name}"), report.rate_per_s(), "requests/s");
        let p50 = report.latency.quantile(0.5).as_secs_f64() * 1e3;
        table.add(group, &format!("{what}, {name}, p50"), p50, "ms");
        for (whose, taken) in [("its", theirs), ("the load's", own)] {
            #[allow(clippy::cast_precision_loss)]
            let each = taken.as_secs_f64() * 1e6 / (sent.max(1)) as f64;
            table.add(group, &format!("{what}, {name}, {whose} processor time for a request"), each, "µs");
        }
        let words = report.failures.first().map_or_else(String::new, |words| format!("{words:.200}"));
        if report.failed > 0 {
            let why = format!("{} of {sent}: {words}", report.failed);
            table.add_none(group, &format!("{what}, {name}, failed"), why, None);
        }
        Ok(Figure { rate: report.rate_per_s(), failed: report.failed, sent, words })
    }

    /// The latencies of requests that come at a rate, whatever becomes of the earlier ones.
    pub(super) fn open_loop(
        &self,
        request: &Request,
        rate_per_s: f64,
        callers: Callers,
    ) -> anyhow::Result<LoadReport> {
        let Request::Http(bytes) = request else { anyhow::bail!("an open loop is for HTTP/1.1") };
        open_loop(self.process.address(), bytes, rate_per_s, callers)
    }

    /// Sends requests as fast as answers come.
    pub(super) fn send(&self, request: &Request, callers: Callers) -> anyhow::Result<LoadReport> {
        match request {
            Request::Grpc(call) => grpc::closed_loop(self.grpc, call, callers.0, callers.1, TIMEOUT),
            Request::Http(bytes) => closed_loop(self.process.address(), bytes, callers),
        }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.process.stop()
    }
}

/// Sends requests over HTTP/1.1 at a rate.
pub(super) fn open_loop(
    address: SocketAddr,
    bytes: &[u8],
    rate_per_s: f64,
    Callers(connections, duration): Callers,
) -> anyhow::Result<LoadReport> {
    let request = |_| bytes;
    Ok(OpenLoop { address, rate_per_s, duration, connections, timeout: TIMEOUT, request }.run()?)
}

/// Sends requests over HTTP/1.1 as fast as answers come.
pub(super) fn closed_loop(
    address: SocketAddr,
    bytes: &[u8],
    Callers(connections, time): Callers,
) -> anyhow::Result<LoadReport> {
    let until = Until::Elapsed(time);
    Ok(ClosedLoop { address, until, connections, timeout: TIMEOUT, request: |_| bytes }.run()?)
}

/// The same from callers that wait awake.
pub(super) fn closed_loop_awake(
    address: SocketAddr,
    bytes: &[u8],
    Callers(connections, time): Callers,
) -> anyhow::Result<LoadReport> {
    let until = Until::Elapsed(time);
    Ok(ClosedLoop { address, until, connections, timeout: TIMEOUT, request: |_| bytes }.run_awake()?)
}

impl Figure {
    /// Refuses one with failures.
    pub(super) fn sound(&self) -> anyhow::Result<()> {
        ensure!(self.failed == 0, "{} of {} requests failed: {}", self.failed, self.sent, self.words);
        Ok(())
    }

    /// Notes how many times as many answers come as from another; only that it can't be said when one of them has failed
    /// requests, for a refusal is quick.
    pub(super) fn over(
        &self,
        other: &Self,
        table: &mut Table,
        group: &str,
        name: &str,
        at_least: Option<f64>,
    ) {
        let failed = self.failed + other.failed;
        if failed > 0 {
            let why = format!("no fair figure: {failed} of {} requests failed", self.sent + other.sent);
            return table.add_none(group, name, why, at_least);
        }
        let ratio = self.rate / other.rate;
        match at_least {
            Some(least) => table.add_at_least(group, name, ratio, "", least),
            None => table.add(group, name, ratio, ""),
        }
    }
}

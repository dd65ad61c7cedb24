//! The servers that are compared: how each is started for a model, and how it is asked.

use super::asked::{Request, first};
use super::grpc;
use crate::process::{Process, free_address, own_cpu};
use crate::{ClosedLoop, Histogram, LoadReport, OpenLoop, Table, Until};
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
/// Of turns.
const ROUNDS: u32 = 3;

/// A server that answers for one model.
pub(super) struct Side {
    name: &'static str,
    process: Process,
    /// Where gRPC is answered.
    grpc: SocketAddr,
    _work: tempfile::TempDir,
}

/// A side that is asked a request, by turns with others.
pub(super) struct Turn<'a> {
    pub(super) side: &'a Side,
    pub(super) what: &'a str,
    pub(super) request: &'a Request,
}

/// What the peaks of a turn came to.
#[derive(Default)]
pub(super) struct Figure {
    /// Answers in a second, round by round.
    rates: Vec<f64>,
    latency: Histogram,
    failed: u64,
    sent: u64,
    /// The first failure.
    words: String,
    /// Processor time of the side, and of the load.
    taken: (Duration, Duration),
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

/// How many answers a second come at most of each turn, and whose processor time they take. A machine of others is not the same
/// from one half minute to the next, so turns that are compared are taken one after the other, several times over.
pub(super) fn by_turns<const N: usize>(
    table: &mut Table,
    group: &str,
    callers: Callers,
    turns: [Turn<'_>; N],
) -> anyhow::Result<[Figure; N]> {
    let mut figures = std::array::from_fn(|_| Figure::default());
    for round in 0..ROUNDS {
        for place in 0..N {
            // Whoever comes first in one round comes last in the next.
            let place = if round % 2 == 0 { place } else { N - 1 - place };
            let (turn, figure) = (&turns[place], &mut figures[place]);
            if round == 0 {
                turn.side.send(turn.request, Callers(callers.0, WARM_UP))?;
            }
            figure.take_in(turn, Callers(callers.0, callers.1 / ROUNDS))?;
        }
    }
    for (turn, figure) in turns.iter().zip(&figures) {
        figure.note(table, group, &format!("{}, {}", turn.what, turn.side.name));
    }
    Ok(figures)
}

/// The one in the middle; of an even number the higher of the two.
fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figure {
    fn take_in(&mut self, turn: &Turn<'_>, callers: Callers) -> anyhow::Result<()> {
        let (own, theirs) = (own_cpu()?, turn.side.process.cpu()?);
        let report = turn.side.send(turn.request, callers)?;
        self.taken.0 += turn.side.process.cpu()?.saturating_sub(theirs);
        self.taken.1 += own_cpu()?.saturating_sub(own);
        self.rates.push(report.rate_per_s());
        self.latency.merge(&report.latency);
        self.failed += report.failed;
        self.sent += report.latency.count();
        if let (true, Some(words)) = (self.words.is_empty(), report.failures.first()) {
            self.words = format!("{words:.200}");
        }
        Ok(())
    }

    fn note(&self, table: &mut Table, group: &str, what: &str) {
        table.add(group, what, middle(self.rates.clone()), "requests/s");
        let p50 = self.latency.quantile(0.5).as_secs_f64() * 1e3;
        table.add(group, &format!("{what}, p50"), p50, "ms");
        for (whose, taken) in [("its", self.taken.0), ("the load's", self.taken.1)] {
            #[allow(clippy::cast_precision_loss)]
            let each = taken.as_secs_f64() * 1e6 / (self.sent.max(1)) as f64;
            table.add(group, &format!("{what}, {whose} processor time for a request"), each, "µs");
        }
        if self.failed > 0 {
            let why = format!("{} of {}: {}", self.failed, self.sent, self.words);
            table.add_none(group, &format!("{what}, failed"), why, None);
        }
    }

    /// Refuses one with failures.
    pub(super) fn sound(&self) -> anyhow::Result<()> {
        ensure!(self.failed == 0, "{} of {} requests failed: {}", self.failed, self.sent, self.words);
        Ok(())
    }

    /// Notes how many times as many answers come as of another turn, in the round in the middle; only that it can't be said when
    /// one of them has failed requests, for a refusal is quick.
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
        let ratio = middle(self.rates.iter().zip(&other.rates).map(|(ours, theirs)| ours / theirs).collect());
        match at_least {
            Some(least) => table.add_at_least(group, name, ratio, "", least),
            None => table.add(group, name, ratio, ""),
        }
    }
}

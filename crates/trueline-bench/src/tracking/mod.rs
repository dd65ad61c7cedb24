//! Tracking through the public door, the same requests to Trueline and to the real MLflow server in one run: batches of a
//! hundred points, new runs, searches, traces; then what only a large database shows.

mod bare;
mod large;
mod peer;
mod requests;

pub use large::{points, runs};

use crate::commit::fdatasync_rate;
use crate::{ClosedLoop, LoadReport, Memory, OpenLoop, Table, Until};
use anyhow::ensure;

use requests::Requests;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use trueline_crashtest::Launch;

/// Group commit lives on concurrency.
const CALLERS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(60);
const PEAK: Duration = Duration::from_secs(10);
const OPEN_LOOP: Duration = Duration::from_secs(10);
/// How many runs are searched.
const SEARCHED: u64 = 1_000;

/// A request, how much faster it must be than MLflow's, and its name.
struct Kind {
    name: &'static str,
    at_least: f64,
    request: fn(&Requests, u64) -> Vec<u8>,
}

const KINDS: [Kind; 4] = [
    Kind { name: "log-batch, 100 points", at_least: 100.0, request: Requests::log_batch },
    Kind { name: "runs/create", at_least: 60.0, request: Requests::create },
    Kind { name: "runs/search, 50 of 1,000 runs", at_least: 100.0, request: Requests::search },
    Kind { name: "/v1/traces, a trace of 10 spans", at_least: 20.0, request: Requests::trace },
];

/// On PostgreSQL less is asked for: its commits are its own.
const AT_LEAST_ON_POSTGRES: f64 = 20.0;

/// Where the servers of a comparison keep their data.
#[derive(Clone, Debug)]
pub struct Against {
    /// The real MLflow's program; without it only Trueline is measured.
    pub mlflow: Option<std::path::PathBuf>,
    /// `postgres://user@host:port` of a server on which databases can be made; none for SQLite.
    pub postgres: Option<String>,
}

/// Measures the server `binary` beside MLflow.
///
/// # Errors
/// When a server does not start or stop, or refuses a request.
pub fn tracking(binary: &Path, against: &Against, table: &mut Table) -> anyhow::Result<()> {
    let on = if against.postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    let group = format!("tracking on {on}, {CALLERS} connections");
    table.add(&group, "bare fdatasync of 4 KiB", fdatasync_rate()?, "/s");
    let bare = match against.postgres {
        Some(_) => None,
        None => Some(bare::create_rate(CALLERS)?),
    };
    let ours = ours(binary, against, &group, table)?;
    if let Some(bare) = bare {
        table.add(&group, "runs/create, the same job through group commit alone", bare, "/s");
        table.add_at_least(
            &group,
            "runs/create, through the door ÷ group commit alone",
            ours[1] / bare,
            "",
            0.7,
        );
    }
    let Some(program) = &against.mlflow else { return Ok(()) };
    let work = tempfile::tempdir()?;
    let peer = peer::start(program, work.path(), against.postgres.as_deref())?;
    table.add(&group, "MLflow, start to ready", peer.ready_after().as_secs_f64(), "s");
    table.add(&group, "MLflow, idle memory of all its processes", peer.memory_mib()?, "MiB");
    let requests = Requests::prepare(peer.address(), CALLERS, SEARCHED)?;
    for (kind, ours) in KINDS.iter().zip(ours) {
        let peak = peak(peer.address(), |n| (kind.request)(&requests, n))?;
        table.add(&group, &format!("{}, MLflow", kind.name), peak.rate_per_s(), "/s");
        #[allow(clippy::cast_precision_loss)]
        table.add(&group, &format!("{}, MLflow, failed", kind.name), peak.failed as f64, "");
        table.add(
            &group,
            &format!("{}, MLflow, p50", kind.name),
            peak.latency.quantile(0.5).as_secs_f64() * 1e3,
            "ms",
        );
        let at_least = if against.postgres.is_some() { AT_LEAST_ON_POSTGRES } else { kind.at_least };
        let name = format!("{}, Trueline ÷ MLflow", kind.name);
        table.add_at_least(&group, &name, ours / peak.rate_per_s(), "", at_least);
    }
    peer.stop()
}

/// The peaks of all kinds of requests on Trueline.
fn ours(
    binary: &Path,
    against: &Against,
    group: &str,
    table: &mut Table,
) -> anyhow::Result<[f64; KINDS.len()]> {
    let work = tempfile::tempdir()?;
    let mut launch = Launch::new(binary, work.path(), &work.path().join("data"))?;
    if let Some(postgres) = &against.postgres {
        launch = launch.on(&peer::fresh_database(postgres, "trueline_bench")?);
    }
    let server = launch.start(None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], launch.port()));
    std::thread::sleep(Duration::from_secs(3));
    let idle = Memory::of(server.process_id())?;
    table.add_with_budget(group, "idle memory, resident", idle.resident_mib, "MiB", 60.0);
    let requests = Requests::prepare(address, CALLERS, SEARCHED)?;
    let mut peaks = [0.0; KINDS.len()];
    let mut most_memory = 0.0_f64;
    for (kind, rate) in KINDS.iter().zip(&mut peaks) {
        let request = |n| (kind.request)(&requests, n);
        let peak = peak(address, request)?;
        ensure!(peak.failed == 0, "{} requests failed: {:?}", peak.failed, peak.failures);
        *rate = peak.rate_per_s();
        most_memory = most_memory.max(Memory::of(server.process_id())?.peak_mib);
        table.add(group, &format!("{}, peak", kind.name), *rate, "/s");
        // Numbers go on where the peak left off, so that no point comes twice.
        let sent = peak.latency.count();
        let half = OpenLoop {
            address,
            rate_per_s: *rate / 2.0,
            duration: OPEN_LOOP,
            connections: CALLERS,
            timeout: TIMEOUT,
            request: |n| request(sent + n),
        };
        table.add_load(group, &format!("{}, open loop at half the peak", kind.name), &half.run()?);
    }
    table.add_with_budget(group, "memory under load, resident, peak", most_memory, "MiB", 250.0);
    server.stop()?;
    Ok(peaks)
}

fn peak(address: SocketAddr, request: impl Fn(u64) -> Vec<u8> + Sync) -> anyhow::Result<LoadReport> {
    let until = Until::Elapsed(PEAK);
    Ok(ClosedLoop { address, until, connections: CALLERS, timeout: TIMEOUT, request }.run()?)
}

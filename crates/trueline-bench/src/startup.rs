//! How quickly a server is ready, how much memory it holds when nobody asks for anything, and how large its binary is:
//! with an empty data directory, and with a hundred thousand events in the ledger, written through the public door.

use crate::http::{Connection, post_json};
use crate::{ClosedLoop, Memory, OpenLoop, Table, Until};
use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use trueline_crashtest::{Launch, Server};

const STARTS: usize = 20;
const EVENTS: u64 = 100_000;
const CALLERS: usize = 64;
const IDLE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);
const OPEN_LOOP: Duration = Duration::from_secs(10);
const MB: f64 = 1e6;

/// Measures the server `binary`.
///
/// # Errors
/// When it does not start or stop, or refuses a write.
pub fn startup(binary: &Path, table: &mut Table) -> anyhow::Result<()> {
    #[allow(clippy::cast_precision_loss)]
    let size = std::fs::metadata(binary)?.len() as f64 / MB;
    table.add_with_budget("binary", "size", size, "MB", 80.0);

    let work = tempfile::tempdir()?;
    let mut starts = Vec::new();
    for i in 0..STARTS {
        let server = launch(binary, work.path(), &format!("empty-{i}"))?.start(None)?;
        starts.push(server.ready_after());
        server.stop()?;
    }
    table.add_with_budget("empty data directory", "start to ready, median", median_ms(starts), "ms", 300.0);
    let server = launch(binary, work.path(), "idle")?.start(None)?;
    idle_memory(&server, "empty data directory", table)?;
    server.stop()?;

    let filled = launch(binary, work.path(), "filled")?;
    fill(&filled, table)?;
    let group = format!("{EVENTS} events");
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let server = filled.start(None)?;
        starts.push(server.ready_after());
        server.stop()?;
    }
    table.add(&group, "start to ready, median", median_ms(starts), "ms");
    let server = filled.start(None)?;
    idle_memory(&server, &group, table)?;
    server.stop()
}

fn launch(binary: &Path, work: &Path, name: &str) -> anyhow::Result<Launch> {
    let folder = work.join(name);
    std::fs::create_dir(&folder)?;
    Launch::new(binary, &folder, &folder.join("data"))
}

fn idle_memory(server: &Server, group: &str, table: &mut Table) -> anyhow::Result<()> {
    std::thread::sleep(IDLE);
    let memory = Memory::of(server.process_id())?;
    table.add_with_budget(group, "idle memory, resident", memory.resident_mib, "MiB", 60.0);
    table.add(group, "idle memory, proportional", memory.proportional_mib, "MiB");
    Ok(())
}

/// Logs batches to a run, one event each, as fast as they are taken; then for a while at half of that rate.
fn fill(launch: &Launch, table: &mut Table) -> anyhow::Result<()> {
    let server = launch.start(None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], launch.port()));
    let runs = (0..CALLERS).map(|_| create_run(address)).collect::<anyhow::Result<Vec<_>>>()?;
    let request = |n: u64| {
        let run = &runs[usize::try_from(n).unwrap_or(0) % runs.len()];
        log_batch(run, n)
    };
    let peak =
        ClosedLoop { address, until: Until::Sent(EVENTS), connections: CALLERS, timeout: TIMEOUT, request };
    let peak = peak.run()?;
    ensure!(peak.failed == 0, "{} requests failed: {:?}", peak.failed, peak.failures);
    let group =
        "writes through the public door (log-batch: a metric, a tag and an event, each its own request)";
    table.add(group, &format!("peak with {CALLERS} connections"), peak.rate_per_s(), "/s");
    let rate_per_s = peak.rate_per_s() / 2.0;
    let half = OpenLoop {
        address,
        rate_per_s,
        duration: OPEN_LOOP,
        connections: CALLERS,
        timeout: TIMEOUT,
        request: |n| request(EVENTS + n),
    };
    table.add_load(group, "open loop at half the peak", &half.run()?);
    server.stop()
}

fn create_run(address: SocketAddr) -> anyhow::Result<String> {
    let ask = json!({ "experiment_id": "0", "start_time": 1 });
    let request = post_json("/api/2.0/mlflow/runs/create", &ask.to_string());
    let answer = Connection::open(address, TIMEOUT)?.ask(&request)?;
    ensure!(answer.status == 200, "runs/create: {}", String::from_utf8_lossy(&answer.body));
    let made: Json = serde_json::from_slice(&answer.body)?;
    made["run"]["info"]["run_id"].as_str().map(ToOwned::to_owned).context("a run without an id")
}

fn log_batch(run: &str, n: u64) -> Vec<u8> {
    let metric = json!({ "key": "loss", "value": 0.5, "timestamp": 1000 + n, "step": n });
    let ask = json!({
        "run_id": run, "metrics": [metric], "tags": [{ "key": "last", "value": n.to_string() }], "params": [],
    });
    post_json("/api/2.0/mlflow/runs/log-batch", &ask.to_string())
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let n = times.len();
    let middle = (times[(n - 1) / 2] + times[n / 2]) / 2;
    middle.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let times = [40, 10, 20, 30].map(Duration::from_millis);
        assert!((median_ms(times.to_vec()) - 25.0).abs() < 1e-9);
        assert!((median_ms(times[..3].to_vec()) - 20.0).abs() < 1e-9);
    }
}

//! Predictions through the public door: single rows and batches, with a best-effort and with a required log; and a rollback
//! while requests go on at a fixed rate.

use crate::http::{Connection, post_json};
use crate::{ClosedLoop, Exchange, LoadReport, Memory, OpenLoop, Table, Until};
use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use trueline_crashtest::Launch;

const CALLERS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(10);
const PEAK: Duration = Duration::from_secs(8);
const OPEN_LOOP: Duration = Duration::from_secs(10);
/// The rate at which a rollback must lose nothing.
const ROLLBACK_RATE: f64 = 1_000.0;
const ROLLBACKS: usize = 5;
/// How soon after the command all answers must be the old version's.
const ROLLBACK_BUDGET_MS: f64 = 100.0;

/// A server with two versions of a model, and rows to ask with.
struct Stage {
    address: SocketAddr,
    columns: Json,
    rows: Vec<Json>,
}

/// Measures the server `binary` with the models that `python/bench/models.py` saved in `models`.
///
/// # Errors
/// When the server does not start or stop, or refuses a request.
pub fn predict(binary: &Path, models: &Path, table: &mut Table) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let launch = Launch::new(binary, work.path(), &work.path().join("data"))?;
    let server = launch.start(None)?;
    let stage = Stage::set(SocketAddr::from(([127, 0, 0, 1], launch.port())), models)?;
    for log in ["best-effort", "required"] {
        stage.call("POST", "/api/v1/endpoints", &json!({ "name": log, "log": log }))?;
        stage.deploy(log, 1)?;
        for rows in [1, 100] {
            stage.load(table, log, rows)?;
        }
    }
    let memory = Memory::of(server.process_id())?;
    table.add("predictions", "memory after all of this, resident", memory.resident_mib, "MiB");
    stage.roll_back_under_load(table)?;
    server.stop()
}

impl Stage {
    fn set(address: SocketAddr, models: &Path) -> anyhow::Result<Self> {
        let asked: Json = serde_json::from_slice(&std::fs::read(models.join("rows.json"))?)?;
        let rows = asked["data"].as_array().context("rows")?.clone();
        let stage = Self { address, columns: asked["columns"].clone(), rows };
        let named = json!({ "name": "served" });
        stage.call("POST", "/api/2.0/mlflow/registered-models/create", &named)?;
        for name in ["first", "second"] {
            for file in std::fs::read_dir(models.join(name))? {
                let file = file?;
                let path = format!(
                    "/api/2.0/mlflow-artifacts/artifacts/{name}/{}",
                    file.file_name().to_string_lossy()
                );
                stage.send("PUT", &path, "application/octet-stream", &std::fs::read(file.path())?)?;
            }
            let version = json!({ "name": "served", "source": format!("mlflow-artifacts:/{name}") });
            stage.call("POST", "/api/2.0/mlflow/model-versions/create", &version)?;
        }
        Ok(stage)
    }

    fn call(&self, method: &str, path: &str, body: &Json) -> anyhow::Result<Json> {
        let answer = self.send(method, path, "application/json", body.to_string().as_bytes())?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        let answer = Connection::open(self.address, TIMEOUT)?.ask(&[head.as_bytes(), body].concat())?;
        ensure!((200..300).contains(&answer.status), "{path}: {}", String::from_utf8_lossy(&answer.body));
        Ok(answer.body)
    }

    fn deploy(&self, endpoint: &str, version: u32) -> anyhow::Result<()> {
        let variants = json!({ "variants": [format!("served/{version}")] });
        self.call("POST", &format!("/api/v1/endpoints/{endpoint}/routes"), &variants).map(drop)
    }

    fn request(&self, endpoint: &str, rows: &[Json]) -> Vec<u8> {
        let split = json!({ "dataframe_split": { "columns": self.columns, "data": rows } });
        post_json(&format!("/endpoints/{endpoint}/invocations"), &split.to_string())
    }

    /// The peak with answers as fast as they come, then latencies at half of that.
    fn load(&self, table: &mut Table, endpoint: &str, rows: usize) -> anyhow::Result<()> {
        let bytes = self.request(endpoint, &self.rows[..rows]);
        let (address, connections, timeout) = (self.address, CALLERS, TIMEOUT);
        let request = |_| bytes.clone();
        let peak =
            ClosedLoop { address, until: Until::Elapsed(PEAK), connections, timeout, request }.run()?;
        ensure!(peak.failed == 0, "{} requests failed: {:?}", peak.failed, peak.failures);
        let group = format!("predictions, {rows} in a request, log {endpoint}");
        table.add(&group, &format!("peak with {CALLERS} connections"), peak.rate_per_s(), "requests/s");
        #[allow(clippy::cast_precision_loss)]
        let per_row = rows as f64;
        table.add(&group, "peak, rows", peak.rate_per_s() * per_row, "/s");
        let rate_per_s = peak.rate_per_s() / 2.0;
        let half =
            OpenLoop { address, rate_per_s, duration: OPEN_LOOP, connections: 4 * CALLERS, timeout, request };
        table.add_load(&group, "open loop at half the peak", &half.run()?);
        Ok(())
    }

    /// The new version is deployed and rolled back while requests come at a fixed rate: how long after the command an
    /// answer of the new version was still received.
    fn roll_back_under_load(&self, table: &mut Table) -> anyhow::Result<()> {
        let endpoint = "required";
        let bytes = self.request(endpoint, &self.rows[..1]);
        let old = self.prediction(&bytes)?;
        let answers = Mutex::new(Vec::new());
        let duration = Duration::from_secs(2 * ROLLBACKS as u64 + 2);
        let load = OpenLoop {
            address: self.address,
            rate_per_s: ROLLBACK_RATE,
            duration,
            connections: 4 * CALLERS,
            timeout: TIMEOUT,
            request: |_| bytes.clone(),
        };
        let note = |exchange: &Exchange<'_>| {
            if let Ok(answer) = exchange.answer
                && let Ok(mut answers) = answers.lock()
            {
                answers.push((exchange.received_at, !answer.body.starts_with(&old)));
            }
        };
        let command = || -> anyhow::Result<Vec<(Instant, Instant, Instant)>> {
            let mut rollbacks = Vec::new();
            for _ in 0..ROLLBACKS {
                std::thread::sleep(Duration::from_secs(1));
                let deployed = Instant::now();
                self.deploy(endpoint, 2)?;
                std::thread::sleep(Duration::from_secs(1));
                let (began, why) = (Instant::now(), json!({ "reason": "measured" }));
                self.call("POST", &format!("/api/v1/endpoints/{endpoint}/rollbacks"), &why)?;
                rollbacks.push((deployed, began, Instant::now()));
            }
            Ok(rollbacks)
        };
        let (report, rollbacks) = std::thread::scope(|scope| {
            let commands = scope.spawn(command);
            let report = load.run_with(note);
            (report, commands.join())
        });
        let (report, rollbacks) =
            (report?, rollbacks.map_err(|_| anyhow::anyhow!("the commands panicked"))??);
        let answers = answers.into_inner().unwrap_or_default();
        told(table, &report, &rollbacks, &answers)
    }

    /// How an answer of the version that answers now begins.
    fn prediction(&self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let answer = Connection::open(self.address, TIMEOUT)?.ask(request)?;
        let end = answer.body.iter().position(|b| *b == b']').context("a list of predictions")?;
        Ok(answer.body[..end].to_vec())
    }
}

/// `rollbacks`: when the new version was deployed, when the rollback was sent, when it was answered. `answers`: when one
/// was received, and whether it was the new version's.
fn told(
    table: &mut Table,
    report: &LoadReport,
    rollbacks: &[(Instant, Instant, Instant)],
    answers: &[(Instant, bool)],
) -> anyhow::Result<()> {
    let group = format!("rollback at {ROLLBACK_RATE} requests/s, log required, {ROLLBACKS} times");
    let mut longest: f64 = 0.0;
    for (i, (deployed, sent, _)) in rollbacks.iter().enumerate() {
        let until = rollbacks.get(i + 1).map(|next| next.0);
        let new = answers.iter().filter(|(at, new)| *new && at >= deployed && until.is_none_or(|u| *at < u));
        let last = new.map(|(at, _)| *at).max().context("no answer of the new version came at all")?;
        longest = longest.max(last.saturating_duration_since(*sent).as_secs_f64() * 1e3);
    }
    table.add_with_budget(
        &group,
        "last answer of the new version after the command",
        longest,
        "ms",
        ROLLBACK_BUDGET_MS,
    );
    let taken = rollbacks.iter().map(|(_, sent, done)| done.duration_since(*sent)).max().unwrap_or_default();
    table.add_with_budget(
        &group,
        "the command itself, longest",
        taken.as_secs_f64() * 1e3,
        "ms",
        ROLLBACK_BUDGET_MS,
    );
    table.add_load(&group, "open loop", report);
    Ok(())
}

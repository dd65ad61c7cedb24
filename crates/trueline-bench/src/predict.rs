//! Predictions through the public door: single rows and batches, with a best-effort and with a required log; and a rollback
//! while requests go on at a fixed rate.

use crate::stage::Stage;
use crate::{ClosedLoop, Exchange, LoadReport, Memory, OpenLoop, Table, Until};
use anyhow::{Context, ensure};
use serde_json::json;
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

/// Measures the server `binary` with the models that `python/bench/models.py` saved in `models`.
///
/// # Errors
/// When the server does not start or stop, or refuses a request.
pub fn predict(binary: &Path, models: &Path, table: &mut Table) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let launch = Launch::new(binary, work.path(), &work.path().join("data"))?;
    let server = launch.start(None)?;
    let stage = Stage::new(launch.port(), models)?;
    stage.model("served")?;
    for name in ["first", "second"] {
        stage.upload(&models.join(name), name)?;
        stage.register("served", name)?;
    }
    for log in ["best-effort", "required"] {
        stage.endpoint(log, log)?;
        stage.deploy(log, "served/1")?;
        for rows in [1, 100] {
            load(&stage, table, log, rows)?;
        }
    }
    let memory = Memory::of(server.process_id())?;
    table.add("predictions", "memory after all of this, resident", memory.resident_mib, "MiB");
    roll_back_under_load(&stage, table)?;
    server.stop()
}

/// The peak with answers as fast as they come, then latencies at half of that.
fn load(stage: &Stage, table: &mut Table, endpoint: &str, rows: usize) -> anyhow::Result<()> {
    let bytes = stage.request(endpoint, &stage.rows[..rows]);
    let (address, connections, timeout) = (stage.address, CALLERS, TIMEOUT);
    let request = |_| bytes.clone();
    let peak = ClosedLoop { address, until: Until::Elapsed(PEAK), connections, timeout, request }.run()?;
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
fn roll_back_under_load(stage: &Stage, table: &mut Table) -> anyhow::Result<()> {
    let endpoint = "required";
    let bytes = stage.request(endpoint, &stage.rows[..1]);
    let old = stage.prediction(&bytes)?;
    let answers = Mutex::new(Vec::new());
    let duration = Duration::from_secs(2 * ROLLBACKS as u64 + 2);
    let load = OpenLoop {
        address: stage.address,
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
            stage.deploy(endpoint, "served/2")?;
            std::thread::sleep(Duration::from_secs(1));
            let (began, why) = (Instant::now(), json!({ "reason": "measured" }));
            stage.call("POST", &format!("/api/v1/endpoints/{endpoint}/rollbacks"), &why)?;
            rollbacks.push((deployed, began, Instant::now()));
        }
        Ok(rollbacks)
    };
    let (report, rollbacks) = std::thread::scope(|scope| {
        let commands = scope.spawn(command);
        let report = load.run_with(note);
        (report, commands.join())
    });
    let (report, rollbacks) = (report?, rollbacks.map_err(|_| anyhow::anyhow!("the commands panicked"))??);
    let answers = answers.into_inner().unwrap_or_default();
    told(table, &report, &rollbacks, &answers)
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

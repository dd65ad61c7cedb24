//! What only a large database shows: searches through a million runs, bytes and reading of a hundred million points.

use super::requests::{call, content, fraction, run};
use super::{CALLERS, OPEN_LOOP, PEAK, TIMEOUT};
use crate::http::{Connection, get, post_json};
use crate::{ClosedLoop, Histogram, Memory, OpenLoop, Table, Until};
use anyhow::ensure;
use rustix::fs::{Advice, fadvise};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use trueline_crashtest::Launch;

/// Times that a slow search is asked.
const SLOW_ASKED: usize = 5;
/// How many bytes of the database are read at once.
const READ_AT_ONCE: usize = 1 << 20;
/// Points in a request.
const BATCH: u64 = 1_000;

/// Searches through `runs` runs of one experiment, filled through the public door.
///
/// # Errors
/// When the server does not start or stop, or refuses a request.
pub fn runs(binary: &Path, runs: u64, work: &Path, table: &mut Table) -> anyhow::Result<()> {
    let launch = Launch::new(binary, work, &work.join("data"))?;
    let mut server = launch.start(None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], launch.port()));
    let group = format!("search through {runs} runs");
    let known =
        call(&mut Connection::open(address, TIMEOUT)?, "experiments/search", &json!({ "max_results": 9 }))?;
    if known["experiments"].as_array().is_none_or(|list| list.len() < 2) {
        fill(address, runs)?;
        server.stop()?;
        server = launch.start(None)?;
    }
    let database = work.join("data/trueline.db");
    for (name, filter, order) in QUICK {
        remember(&database)?;
        let bytes = search((filter, order));
        let request = |_| bytes.clone();
        let peak = ClosedLoop {
            address,
            until: Until::Elapsed(PEAK / 2),
            connections: 4,
            timeout: TIMEOUT,
            request,
        }
        .run()?;
        ensure!(peak.failed == 0, "{name}: {:?}", peak.failures);
        let rate_per_s = peak.rate_per_s() / 2.0;
        let half = OpenLoop {
            address,
            rate_per_s,
            duration: OPEN_LOOP / 2,
            connections: CALLERS,
            timeout: TIMEOUT,
            request,
        };
        let half = half.run()?;
        ensure!(half.failed == 0, "{name}: {:?}", half.failures);
        let quantile = |q: f64| ms(half.latency.quantile(q));
        table.add(&group, &format!("{name}, peak"), peak.rate_per_s(), "/s");
        table.add_with_budget(&group, &format!("{name}, at half the peak, p50"), quantile(0.5), "ms", 15.0);
        table.add_with_budget(&group, &format!("{name}, at half the peak, p99"), quantile(0.99), "ms", 60.0);
    }
    for (name, filter, order) in SLOW {
        let bytes = search((filter, order));
        let mut connection = Connection::open(address, TIMEOUT)?;
        let mut ask = || -> anyhow::Result<Duration> {
            let began = Instant::now();
            let answer = connection.ask(&bytes)?;
            ensure!(answer.status == 200, "{name}: {}", String::from_utf8_lossy(&answer.body));
            Ok(began.elapsed())
        };
        forget(&database)?;
        let from_disk = ask()?;
        remember(&database)?;
        let mut times = Histogram::default();
        for _ in 0..SLOW_ASKED {
            times.record(ask()?);
        }
        let slowest = format!("{name}, slowest of {SLOW_ASKED}");
        table.add_with_budget(&group, &slowest, ms(times.max()), "ms", 1000.0);
        table.add(
            &group,
            &format!("{name}, with nothing of the file in the system's memory"),
            ms(from_disk),
            "ms",
        );
    }
    let memory = Memory::of(server.process_id())?;
    table.add_with_budget(&group, "memory under all of this, resident, peak", memory.peak_mib, "MiB", 250.0);
    server.stop()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn search((filter, order): (&str, &[&str])) -> Vec<u8> {
    let ask = json!({ "experiment_ids": ["1"], "filter": filter, "order_by": order, "max_results": 50 });
    post_json("/api/2.0/mlflow/runs/search", &ask.to_string())
}

/// Reads a file through, so that all of it is in the system's memory as is what has just been written.
fn remember(path: &Path) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let mut part = vec![0; READ_AT_ONCE];
    while file.read(&mut part)? > 0 {}
    Ok(())
}

/// Has the system keep nothing of a file in memory.
fn forget(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path)?;
    // Only what is on the disk can be forgotten.
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

type Asked = (&'static str, &'static str, &'static [&'static str]);

const QUICK: [Asked; 8] = [
    ("newest first", "", &[]),
    ("by a metric", "", &["metrics.metric_1 DESC"]),
    ("half of them by a metric, by another", "metrics.metric_0 > 0.5", &["metrics.metric_1 DESC"]),
    ("one of a hundred by a metric, by another", "metrics.metric_0 > 0.99", &["metrics.metric_1"]),
    ("one of a thousand by a metric, by another", "metrics.metric_0 > 0.999", &["metrics.metric_1"]),
    ("a quarter by a param, by a metric", "params.param_0 = '1'", &["metrics.metric_1 DESC"]),
    ("one by its name", "attributes.run_name = 'run-777'", &[]),
    ("by a time, by another", "attributes.start_time < 1760000500000", &["attributes.start_time ASC"]),
];

const SLOW: [Asked; 6] = [
    ("a substring of a param that none has", "params.param_0 LIKE '%none%'", &[]),
    ("a substring of a name that one has", "attributes.run_name LIKE '%-77777%'", &[]),
    (
        "two metrics that a few have",
        "metrics.metric_0 > 0.995 AND metrics.metric_1 < 0.005",
        &["metrics.metric_2"],
    ),
    ("two metrics that none has", "metrics.metric_0 > 0.5 AND metrics.metric_0 < 0.4", &["metrics.metric_1"]),
    (
        "two halves that few share, by a third",
        "metrics.metric_2 > 0.5 AND params.param_0 LIKE '%9%'",
        &["metrics.metric_1"],
    ),
    ("a metric that none has", "metrics.metric_0 > 2", &["metrics.metric_1"]),
];

fn fill(address: SocketAddr, runs: u64) -> anyhow::Result<()> {
    call(&mut Connection::open(address, TIMEOUT)?, "experiments/create", &json!({ "name": "large" }))?;
    // A run is made and filled by two requests, the second of which needs the answer to the first.
    let next = std::sync::atomic::AtomicU64::new(0);
    let failure = Mutex::new(None);
    let one = || -> anyhow::Result<()> {
        let mut connection = Connection::open(address, TIMEOUT)?;
        loop {
            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if n >= runs {
                return Ok(());
            }
            let id = run(&mut connection, "1", n)?;
            call(&mut connection, "runs/log-batch", &content(&id, n))?;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                if let (Err(error), Ok(mut failure)) = (one(), failure.lock()) {
                    *failure = Some(error);
                }
            });
        }
    });
    failure.into_inner().ok().flatten().map_or(Ok(()), Err)
}

/// `runs` runs of `points` points each: the bytes of a point, and one long series as a chart asks for it.
///
/// # Errors
/// When the server does not start or stop, or refuses a request.
pub fn points(binary: &Path, runs: u64, points: u64, work: &Path, table: &mut Table) -> anyhow::Result<()> {
    let launch = Launch::new(binary, work, &work.join("data"))?;
    let server = launch.start(None)?;
    let address = SocketAddr::from(([127, 0, 0, 1], launch.port()));
    let group = format!("{runs} runs of {points} points");
    let mut connection = Connection::open(address, TIMEOUT)?;
    let ids = (0..=runs).map(|n| run(&mut connection, "0", n)).collect::<anyhow::Result<Vec<_>>>()?;
    let batches = points.div_ceil(BATCH);
    let all = runs * batches;
    let request = |n: u64| {
        let (place, batch) = (n % runs, n / runs);
        batch_of(&ids[usize::try_from(place).unwrap_or(0)], 10, batch * BATCH / 10, BATCH / 10)
    };
    let load =
        ClosedLoop { address, until: Until::Sent(all), connections: CALLERS, timeout: TIMEOUT, request }
            .run()?;
    ensure!(load.failed == 0, "{:?}", load.failures);
    #[allow(clippy::cast_precision_loss)]
    let total = (runs * points) as f64;
    table.add(&group, "points logged", total / load.elapsed.as_secs_f64(), "/s");
    for id in &ids[..ids.len() - 1] {
        call(&mut connection, "runs/update", &json!({ "run_id": id, "status": "FINISHED" }))?;
    }
    let long = &ids[ids.len() - 1];
    for batch in 0..1_000 {
        let answer = connection.ask(&batch_of(long, 1, batch * BATCH, BATCH))?;
        ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    }
    call(&mut connection, "runs/update", &json!({ "run_id": long, "status": "FINISHED" }))?;
    let memory = Memory::of(server.process_id())?;
    table.add_with_budget(&group, "memory while logging, resident, peak", memory.peak_mib, "MiB", 250.0);
    // A stop folds what waits.
    server.stop()?;
    let server = launch.start(None)?;
    let bytes = std::fs::metadata(work.join("data/trueline.db"))?.len();
    #[allow(clippy::cast_precision_loss)]
    let per_point = bytes as f64 / (total + 1e6);
    table.add_with_budget(
        &group,
        "bytes of the database for a point, everything counted",
        per_point,
        "bytes",
        20.0,
    );

    let path = format!("/api/v1/runs/{long}/metrics/metric_0?points=1000");
    let mut times = Histogram::default();
    let mut connection = Connection::open(address, TIMEOUT)?;
    for _ in 0..50 {
        let began = Instant::now();
        let answer = connection.ask(&get(&path))?;
        ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
        times.record(began.elapsed());
    }
    table.add_with_budget(
        &group,
        "a series of 1,000,000 points as 1,000, p50",
        ms(times.quantile(0.5)),
        "ms",
        20.0,
    );
    table.add(&group, "a series of 1,000,000 points as 1,000, max", ms(times.max()), "ms");
    server.stop()
}

fn batch_of(run: &str, keys: u64, first_step: u64, steps: u64) -> Vec<u8> {
    let mut body = String::with_capacity(90_000);
    // Writing to a string can't fail.
    let _ = write!(body, r#"{{"run_id":"{run}","metrics":["#);
    for step in first_step..first_step + steps {
        for key in 0..keys {
            let comma = if step == first_step && key == 0 { "" } else { "," };
            let at = 1_760_000_000_000 + step * 50 + (step * 7919) % 13;
            let value = fraction(step * keys + key);
            let _ = write!(
                body,
                r#"{comma}{{"key":"metric_{key}","value":{value},"timestamp":{at},"step":{step}}}"#
            );
        }
    }
    body.push_str("]}");
    post_json("/api/2.0/mlflow/runs/log-batch", &body)
}

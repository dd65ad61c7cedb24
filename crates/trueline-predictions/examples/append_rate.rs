//! Appends per second that were answered as durable, with 64 callers, beside what the disk can do at most: how often it
//! syncs the same bytes appended by one plain loop. `cargo run --release --example append_rate [folder]`
#![expect(clippy::print_stdout, reason = "it is what the example is for")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_predictions::{
    EVERY, Options, Outputs, PredictionId, PredictionLog, Record, Scalar, Stage, Status, Variant,
};

const FOR: Duration = Duration::from_secs(3);

fn record(caller: u64, n: u64) -> Record {
    let column = |i: u64| (format!("feature_{i}"), Scalar::Float(n as f64 / (i + 1) as f64));
    Record {
        prediction_id: PredictionId::new(1_700_000_000_000 + n, u128::from(caller)),
        project: "default".into(),
        endpoint: "flights".into(),
        variant: Variant { model: "flights".into(), version: "3".into() },
        event_time_ms: n as i64,
        received_at_ms: n as i64,
        key: Some("N14228".into()),
        request_id: format!("{caller}-{n}"),
        inputs: (0..10).map(column).collect(),
        features: Vec::new(),
        outputs: Outputs::One(Scalar::Float(0.2)),
        status: Status::Ok,
        timings: vec![(Stage::Runtime, 80), (Stage::Total, 300)],
        share: EVERY,
        redacted: Vec::new(),
        assignment: None,
    }
}

fn bare_syncs(folder: &Path, bytes: &[u8]) -> std::io::Result<f64> {
    let mut file = File::create(folder.join("bare"))?;
    let started = Instant::now();
    let mut syncs = 0;
    while started.elapsed() < FOR {
        file.write_all(bytes)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / started.elapsed().as_secs_f64())
}

async fn appends(
    log: &Arc<PredictionLog>,
    callers: u64,
    rows: u64,
) -> Result<f64, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let log = log.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while started.elapsed() < FOR {
                let records: Vec<_> = (0..rows).map(|n| record(caller, done + n)).collect();
                log.append_required(&records).await?;
                done += rows;
            }
            Ok::<_, trueline_predictions::LogError>(done)
        });
    }
    let mut sum = 0;
    while let Some(done) = tasks.join_next().await {
        sum += done??;
    }
    Ok(sum as f64 / started.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let below = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(below)?;
    let bytes = record(0, 0).encode()?;
    println!("bare loop: {:.0} syncs/s of {} bytes", bare_syncs(folder.path(), &bytes)?, bytes.len());
    let log = Arc::new(PredictionLog::open(&folder.path().join("log"), Options::default())?);
    for (callers, rows) in [(1, 1), (64, 1), (64, 100)] {
        let rate = appends(&log, callers, rows).await?;
        println!("{callers} callers, {rows} records each: {rate:.0} records/s durable");
    }
    Ok(())
}

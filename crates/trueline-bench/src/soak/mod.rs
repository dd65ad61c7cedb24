//! A soak: hundreds of versions, each with a model of its own bytes, are registered, deployed one after the other, asked and
//! replaced, while another endpoint answers on. What the server holds of memory, files and threads must not grow with them, and
//! what it holds on the disk is told.

mod disk;
mod distinct;
mod trend;

use crate::http::{Connection, post_json};
use crate::stage::Stage;
use crate::{LoadReport, Memory, OpenLoop, Table};
use anyhow::{Context, ensure};
use disk::Disk;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trend::{Point, Slope, Trend, median};
use trueline_crashtest::Launch;

/// How often memory, files and threads are looked at.
const SAMPLE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 16;
/// How often each version is asked.
const ASKED: usize = 10;
/// How much of the time belongs to warming up: caches fill, the models that stay loaded are loaded.
const WARM_UP: f64 = 0.1;
/// The last quarter's median over the first one's.
const MOST_GROWTH: f64 = 1.1;
/// What memory grows by in an hour once the server is warm, in MiB: zero must lie in the interval of the second half's slope.
const MOST_GROWTH_PER_HOUR: f64 = 0.0;
const HOUR_S: f64 = 3_600.0;
/// Files and threads that the last quarter may have more than the first.
const MOST_MORE: f64 = 8.0;
/// Models that lie in the model cache at a time: those that stay loaded after they answered, those that answer, and one that is
/// being loaded.
const MOST_CACHED: f64 = 11.0;
/// The endpoint that answers on.
const STEADY: &str = "steady";
/// The endpoint that is answered by one version after the other.
const CHANGING: &str = "changing";

/// How a soak goes.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The folder of the models that `python/bench/models.py` saved.
    pub models: PathBuf,
    /// A folder of an ONNX model, a file with bodies to ask it with, and the library that runs it.
    pub onnx: Option<Onnx>,
    /// How long it takes.
    pub duration: Duration,
    /// How many versions are loaded and unloaded, evenly over the time.
    pub versions: u32,
    /// Requests per second to the endpoint that answers on.
    pub rate_per_s: f64,
}

/// An ONNX model.
#[derive(Clone, Debug)]
pub struct Onnx {
    /// The folder that `python/tests/onnx_models.py` made.
    pub folder: PathBuf,
    /// The library of the `onnxruntime` package.
    pub library: PathBuf,
}

/// A model of which versions are made.
struct Kind {
    name: &'static str,
    folder: PathBuf,
    request: Vec<u8>,
}

/// What the server held at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    resident_mib: f64,
    told_mib: f64,
    files: f64,
    threads: f64,
    disk: Disk,
}

/// What is looked at.
#[derive(Clone, Copy)]
struct Watched<'w> {
    /// The id of the server's process.
    server: u32,
    /// Its data directory.
    data: &'w Path,
}

/// Soaks the server `binary`.
///
/// # Errors
/// When it does not start or stop, or refuses a version.
pub fn soak(binary: &Path, soak: &Soak, table: &mut Table) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let data = work.path().join("data");
    let mut launch = Launch::new(binary, work.path(), &data)?;
    if let Some(onnx) = &soak.onnx {
        let library = onnx.library.to_string_lossy().into_owned();
        launch = launch.with_variables(vec![("TRUELINE_ONNXRUNTIME".to_owned(), library)]);
    }
    let server = launch.start(None)?;
    let stage = Stage::new(launch.port(), &soak.models)?;
    let kinds = kinds(&stage, soak)?;
    stage.endpoint(CHANGING, "best-effort")?;
    stage.endpoint(STEADY, "best-effort")?;
    stage.upload(&kinds[0].folder, kinds[0].name)?;
    stage.register(kinds[0].name, kinds[0].name)?;
    stage.deploy(STEADY, &format!("{}/1", kinds[0].name))?;
    let watched = Watched { server: server.process_id(), data: &data };
    let (report, samples, loaded) = run(&stage, soak, &kinds, watched)?;
    told(soak, &report, &samples, loaded, table)?;
    server.stop()
}

/// The models: the first of them is the one that answers on.
fn kinds(stage: &Stage, soak: &Soak) -> anyhow::Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for name in ["first", "second", "lightgbm"] {
        let folder = soak.models.join(name);
        kinds.push(Kind { name, folder, request: stage.request(CHANGING, &stage.rows[..1]) });
    }
    if let Some(onnx) = &soak.onnx {
        let folder = onnx.folder.join("classifier");
        let cases: Json = serde_json::from_slice(&std::fs::read(onnx.folder.join("classifier.cases.json"))?)?;
        let path = format!("/endpoints/{CHANGING}/invocations");
        let request = post_json(&path, &cases[0]["body"].to_string());
        kinds.push(Kind { name: "onnx", folder, request });
    }
    for kind in &kinds {
        stage.model(kind.name)?;
    }
    Ok(kinds)
}

/// Which model the version with this number, from 0, is of: mostly XGBoost, some of LightGBM, one in ten of ONNX.
fn kind_of(number: u32, kinds: &[Kind]) -> &Kind {
    let place = match number % 10 {
        9 => kinds.len() - 1,
        6..=8 => 2,
        even => usize::from(even % 2 == 1),
    };
    &kinds[place]
}

/// Has requests come, versions change and memory be looked at until the time is over.
fn run(
    stage: &Stage,
    soak: &Soak,
    kinds: &[Kind],
    watched: Watched<'_>,
) -> anyhow::Result<(LoadReport, Vec<Sample>, u32)> {
    let bytes = stage.request(STEADY, &stage.rows[..1]);
    let load = OpenLoop {
        address: stage.address,
        rate_per_s: soak.rate_per_s,
        duration: soak.duration,
        connections: CONNECTIONS,
        timeout: TIMEOUT,
        request: |_| bytes.clone(),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let samples = scope.spawn(|| samples(stage, watched, &over));
        let versions = scope.spawn(|| versions(stage, soak, kinds));
        let report = load.run();
        let loaded = versions.join().map_err(|_| anyhow::anyhow!("what loads versions panicked"));
        over.store(true, Ordering::Relaxed);
        let samples = samples.join().map_err(|_| anyhow::anyhow!("what looks at memory panicked"));
        Ok((report?, samples??, loaded??))
    })
}

/// Deploys one version after the other, and asks each.
fn versions(stage: &Stage, soak: &Soak, kinds: &[Kind]) -> anyhow::Result<u32> {
    let began = Instant::now();
    for number in 0..soak.versions {
        let due = soak.duration.mul_f64(f64::from(number) / f64::from(soak.versions));
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        if began.elapsed() > soak.duration {
            return Ok(number);
        }
        let kind = kind_of(number, kinds);
        let place = format!("{}-{number}", kind.name);
        stage.upload_as(&kind.folder, &place, |name, bytes| distinct::file(name, bytes, number))?;
        let version = stage.register(kind.name, &place)?;
        stage.deploy(CHANGING, &format!("{}/{version}", kind.name))?;
        let mut connection = Connection::open(stage.address, TIMEOUT)?;
        for _ in 0..ASKED {
            let answer = connection.ask(&kind.request)?;
            let said = || String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status == 200, "version {version} of {}: {}", kind.name, said());
        }
    }
    Ok(soak.versions)
}

fn samples(stage: &Stage, watched: Watched<'_>, over: &AtomicBool) -> anyhow::Result<Vec<Sample>> {
    let (began, mut all) = (Instant::now(), Vec::new());
    while !over.load(Ordering::Relaxed) {
        all.push(sample(stage, watched, began)?);
        std::thread::sleep(SAMPLE);
    }
    Ok(all)
}

fn sample(stage: &Stage, Watched { server, data }: Watched<'_>, began: Instant) -> anyhow::Result<Sample> {
    let endpoints = stage.get("/api/v1/endpoints")?;
    let variants = |endpoint: &Json| endpoint["live"]["variants"].as_array().cloned().unwrap_or_default();
    let told: f64 = endpoints["endpoints"]
        .as_array()
        .context("a list of endpoints")?
        .iter()
        .flat_map(variants)
        .filter_map(|variant| variant["heap_bytes"].as_f64())
        .sum();
    let entries = |of: &str| -> anyhow::Result<f64> {
        let count = std::fs::read_dir(format!("/proc/{server}/{of}"))?.count();
        Ok(f64::from(u32::try_from(count)?))
    };
    Ok(Sample {
        at: began.elapsed(),
        resident_mib: Memory::of(server)?.resident_mib,
        told_mib: told / f64::from(1 << 20),
        files: entries("fd")?,
        threads: entries("task")?,
        disk: Disk::of(data),
    })
}

fn told(
    soak: &Soak,
    report: &LoadReport,
    samples: &[Sample],
    loaded: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    let minutes = soak.duration.as_secs_f64() / 60.0;
    let group = format!("soak of {minutes:.0} minutes, {} requests/s to another endpoint", soak.rate_per_s);
    table.add_at_least(
        &group,
        "versions loaded, asked and replaced, each with a model of its own bytes",
        f64::from(loaded),
        "",
        f64::from(soak.versions),
    );
    table.add_load(&group, "the other endpoint", report);
    told_of_memory(&group, samples, table)?;
    let of_files: fn(&Sample) -> f64 = |s| s.files;
    for (what, of) in [("open files", of_files), ("threads", |s| s.threads)] {
        let all = trend_of(samples, of)?;
        table.add(&group, &format!("{what}, median of the first quarter"), all.first, "");
        let name = format!("{what}, median of the last quarter");
        table.add_with_budget(&group, &name, all.last, "", all.first + MOST_MORE);
    }
    told_of_disk(&group, samples, table);
    Ok(())
}

/// A server that fills its caches grows for a while, so the first quarter and the last are compared after a while; one that loses
/// something never stops, so the second half is looked at by itself. The ids of the open segment of the prediction log are in memory
/// until it is sealed, so memory grows with it and falls again: that is taken off.
fn told_of_memory(group: &str, samples: &[Sample], table: &mut Table) -> anyhow::Result<()> {
    let all = trend_of(samples, |s| s.resident_mib)?;
    table.add(group, "resident memory, median of the first quarter", all.first, "MiB");
    table.add(group, "resident memory, median of the last quarter", all.last, "MiB");
    table.add_with_budget(group, "last ÷ first", all.last / all.first, "", MOST_GROWTH);
    table.add(group, "resident memory, Theil–Sen slope", all.slope_per_s * HOUR_S, "MiB/h");
    let point = |s: &Sample| Point {
        at_s: s.at.as_secs_f64(),
        value: s.resident_mib,
        beside: s.disk.open_segment_mib,
    };
    let points: Vec<Point> = samples.iter().map(point).collect();
    // A soak of less than ten minutes has no second half to speak of.
    if let Some(half) = Slope::of_second_half(&points) {
        let name = |what: &str| format!("resident memory of the second half, {what}");
        table.add(group, &name("slope"), half.per_s * HOUR_S, "MiB/h");
        table.add(group, &name("slope at the most (95 %)"), half.most_per_s * HOUR_S, "MiB/h");
        table.add(group, &name("for each MiB of the open segment"), half.per_beside, "MiB");
        let least = half.least_per_s * HOUR_S;
        table.add_with_budget(
            group,
            &name("slope at the least (95 %)"),
            least,
            "MiB/h",
            MOST_GROWTH_PER_HOUR,
        );
    }
    let most = samples.iter().map(|s| s.resident_mib).fold(0.0, f64::max);
    table.add(group, "resident memory, the most", most, "MiB");
    let told: Vec<f64> = samples.iter().map(|s| s.told_mib).collect();
    table.add(group, "models that answer, as the server tells, median", median(&told), "MiB");
    Ok(())
}

/// Versions stay, and so do their files; copies of models for runtimes go with who uses them.
fn told_of_disk(group: &str, samples: &[Sample], table: &mut Table) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
    let most = |of: fn(&Disk) -> f64| samples.iter().map(|s| of(&s.disk)).fold(0.0, f64::max);
    table.add(group, "data directory at the beginning", first.disk.all_mib, "MiB");
    table.add(group, "data directory at the end", last.disk.all_mib, "MiB");
    table.add(group, "blobs at the end", last.disk.blobs_mib, "MiB");
    table.add(group, "model cache, the most", most(|disk| disk.models_mib), "MiB");
    table.add_with_budget(group, "models in the cache, the most", most(|disk| disk.models), "", MOST_CACHED);
}

/// How something went after warming up.
fn trend_of(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> anyhow::Result<Trend> {
    let whole = samples.last().map_or(Duration::ZERO, |s| s.at);
    let warm = samples.iter().filter(|s| s.at >= whole.mul_f64(WARM_UP));
    let points: Vec<(f64, f64)> = warm.map(|s| (s.at.as_secs_f64(), of(s))).collect();
    Trend::of(&points).context("too few samples to see a trend: let it go on for longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_mostly_of_xgboost_and_without_onnx_of_nothing_else_than_the_others() {
        let kind = |name| Kind { name, folder: PathBuf::new(), request: Vec::new() };
        let mut kinds = vec![kind("first"), kind("second"), kind("lightgbm")];
        let count = |kinds: &[Kind], name: &str| (0..100).filter(|n| kind_of(*n, kinds).name == name).count();
        assert_eq!(["first", "second", "lightgbm"].map(|name| count(&kinds, name)), [30, 30, 40]);
        kinds.push(kind("onnx"));
        let all = ["first", "second", "lightgbm", "onnx"];
        assert_eq!(all.map(|name| count(&kinds, name)), [30, 30, 30, 10]);
    }
}

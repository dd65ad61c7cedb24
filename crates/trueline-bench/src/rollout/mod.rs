//! Releases while requests come at a fixed rate, whether earlier ones were answered or not: a version is deployed, tried as a
//! canary, promoted and rolled back, an alias moves, a Python worker is killed, the database is killed. In none of them may a
//! request fail.

mod database;

use crate::process::children;
use crate::stage::Stage;
use crate::{Exchange, LoadReport, OpenLoop, Table};
use anyhow::{Context, ensure};
use database::Database;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use trueline_crashtest::Launch;

/// Connections of the load: the most requests that can be under way.
const CONNECTIONS: usize = 64;
/// The same to the model in a Python worker: requests that come while a new one starts wait for it. Together they are fewer than
/// the server works on at a time.
const WORKER_CONNECTIONS: usize = 384;
/// Longer than the server lets a request take.
const TIMEOUT: Duration = Duration::from_secs(70);
const LOOK: Duration = Duration::from_millis(20);
/// What is waited for comes by then, or not at all.
const GIVE_UP: Duration = Duration::from_secs(60);
/// What a server must answer of what is due, in each second, for the rate to be what it was under.
const KEPT_UP: f64 = 0.9;
/// The endpoint that is released to.
const ENDPOINT: &str = "released";
/// The endpoint that a Python worker answers for.
const WORKER: &str = "worker";

/// Under what releases are measured.
#[derive(Clone, Debug)]
pub struct Releases {
    /// The folder of the models that `python/bench/models.py` saved.
    pub models: PathBuf,
    /// The interpreter of the Python worker.
    pub python: PathBuf,
    /// Where PostgreSQL's programs are.
    pub postgres: PathBuf,
    /// Requests per second, all together.
    pub rate_per_s: f64,
    /// Requests per second of those to the model in a Python worker, while that is killed.
    pub worker_rate_per_s: f64,
    /// For how long requests come in each phase; what is done in it is done after a quarter of that.
    pub phase: Duration,
}

/// What is measured on: a server on a database of its own.
struct Scene<'r> {
    releases: &'r Releases,
    stage: Stage,
    server: u32,
    /// How answers of the first and the second version begin.
    answers: [Vec<u8>; 2],
}

/// Measures the server `binary`.
///
/// # Errors
/// When it does not start or stop, refuses what is asked of it, or a release takes longer than its phase.
pub fn rollout(binary: &Path, releases: &Releases, table: &mut Table) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let mut database = Database::start(&releases.postgres)?;
    let python = releases.python.to_string_lossy().into_owned();
    let launch = Launch::new(binary, work.path(), &work.path().join("data"))?
        .on(&database.url())
        .with_variables(vec![("TRUELINE_PYTHON_WORKERS".to_owned(), python)]);
    let server = launch.start(None)?;
    let scene = Scene::set(releases, Stage::new(launch.port(), &releases.models)?, server.process_id())?;
    scene.deploy(table)?;
    scene.canary_and_promotion(table)?;
    scene.roll_back(table)?;
    scene.alias(table)?;
    scene.worker(table)?;
    scene.database(&mut database, table)?;
    server.stop()
}

impl<'r> Scene<'r> {
    /// Versions 1 and 2 answer differently, 3 is the first again; 1 answers. And a model that a Python worker has.
    fn set(releases: &'r Releases, stage: Stage, server: u32) -> anyhow::Result<Self> {
        stage.model("served")?;
        for name in ["first", "second", "worker"] {
            stage.upload(&releases.models.join(name), name)?;
        }
        for name in ["first", "second", "first"] {
            stage.register("served", name)?;
        }
        stage.model("scikit")?;
        stage.register("scikit", "worker")?;
        stage.endpoint(ENDPOINT, "required")?;
        let request = stage.request(ENDPOINT, &stage.rows[..1]);
        stage.deploy(ENDPOINT, "served/2")?;
        let second = stage.prediction(&request)?;
        stage.deploy(ENDPOINT, "served/1")?;
        let first = stage.prediction(&request)?;
        ensure!(first != second, "the two versions predict the same, so nothing can be seen of a release");
        Ok(Self { releases, stage, server, answers: [first, second] })
    }

    fn deploy(&self, table: &mut Table) -> anyhow::Result<()> {
        self.phase(table, "deploy", true, || self.stage.deploy(ENDPOINT, "served/2"))
    }

    fn canary_and_promotion(&self, table: &mut Table) -> anyhow::Result<()> {
        let step = |share: u32, seconds: u32| json!({ "share_percent": share, "least_requests": 20, "least_seconds": seconds });
        // Two models of the same data, on a machine that is busy with measuring: what is looked at is whether requests are
        // lost, so no number is to end it. The last step waits for a person.
        let limits = json!({ "prediction_shift": 0.9, "latency_floor_ms": 60_000 });
        let plan = json!({ "steps": [step(5, 1), step(20, 1), step(50, 86_000)], "limits": limits });
        let mut id = String::new();
        self.phase(table, "canary, 5, 20 and 50 %", true, || {
            let ask = json!({ "version": "served/3", "plan": plan, "reason": "measured" });
            let path = format!("/api/v1/endpoints/{ENDPOINT}/rollouts");
            let started = self.stage.call("POST", &path, &ask)?;
            id = started["id"].as_str().context("a rollout's id")?.to_owned();
            let path = format!("/api/v1/rollouts/{id}");
            wait_for("the last step of the rollout", || Ok(self.stage.get(&path)?["step"] == 2))
        })?;
        let path = format!("/api/v1/rollouts/{id}/promotion");
        let why = json!({ "reason": "measured" });
        self.phase(table, "promote", true, || self.stage.call("POST", &path, &why).map(drop))
    }

    fn roll_back(&self, table: &mut Table) -> anyhow::Result<()> {
        let path = format!("/api/v1/endpoints/{ENDPOINT}/rollbacks");
        let why = json!({ "reason": "measured" });
        self.phase(table, "roll back", true, || self.stage.call("POST", &path, &why).map(drop))
    }

    fn alias(&self, table: &mut Table) -> anyhow::Result<()> {
        let point = |version: &str| {
            let alias = json!({ "name": "served", "alias": "champion", "version": version });
            self.stage.call("POST", "/api/2.0/mlflow/registered-models/alias", &alias).map(drop)
        };
        point("2")?;
        let following = json!({ "variants": ["served@champion"], "follow": true });
        self.stage.call("POST", &format!("/api/v1/endpoints/{ENDPOINT}/routes"), &following)?;
        let path = format!("/api/v1/endpoints/{ENDPOINT}");
        self.phase(table, "alias moved", true, || {
            point("1")?;
            let followed = |endpoint: Json| endpoint["live"]["variants"][0]["version"] == "served/1";
            wait_for("the endpoint to follow its alias", || Ok(followed(self.stage.get(&path)?)))
        })
    }

    /// Two loads at once, of which one is answered by the worker that is killed.
    fn worker(&self, table: &mut Table) -> anyhow::Result<()> {
        self.stage.endpoint(WORKER, "required")?;
        self.stage.deploy(WORKER, "scikit/1")?;
        let request = self.stage.request(WORKER, &self.stage.rows[..1]);
        self.stage.prediction(&request)?;
        let own = self.releases.worker_rate_per_s;
        let load = OpenLoop {
            address: self.stage.address,
            rate_per_s: own,
            duration: self.releases.phase,
            connections: WORKER_CONNECTIONS,
            timeout: TIMEOUT,
            request: |_| request.clone(),
        };
        let (worker, native) = std::thread::scope(|scope| {
            let worker = scope.spawn(|| load.run());
            let kill = || {
                let before = self.workers()?;
                for process in &before {
                    kill_process(*process, Signal::KILL)?;
                }
                let other = |now: Vec<Pid>| now.iter().any(|process| !before.contains(process));
                wait_for("another worker", || Ok(other(self.workers()?)))?;
                // It is there before it has loaded the model: what answers is what counts.
                self.stage.prediction(&request).map(drop)
            };
            let native = self.under_load(self.releases.rate_per_s - own, kill);
            (worker.join(), native)
        });
        let worker = worker.map_err(|_| anyhow::anyhow!("the load panicked"))??;
        let name = format!("worker killed, {own} of the requests/s to its model");
        self.told(table, &name, &worker, own);
        let name = "worker killed, the requests to another endpoint";
        self.told(table, name, &native?.report, self.releases.rate_per_s - own);
        Ok(())
    }

    /// The control plane is gone with its database; it comes back with it, which must not cost a request either.
    fn database(&self, database: &mut Database, table: &mut Table) -> anyhow::Result<()> {
        let answers = || self.stage.get("/api/v1/endpoints").is_ok();
        ensure!(answers(), "the control plane does not answer before its database is killed");
        self.phase(table, "database killed and started again", false, || {
            database.kill()?;
            ensure!(!answers(), "the control plane answers without its database");
            std::thread::sleep(self.releases.phase / 4);
            database.start_again()?;
            wait_for("the control plane", || Ok(answers()))
        })
    }

    /// Does something while requests come, and notes what became of those. `changes`: whether another version answers then.
    fn phase(
        &self,
        table: &mut Table,
        name: &str,
        changes: bool,
        act: impl FnOnce() -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<()> {
        let done = self.under_load(self.releases.rate_per_s, act)?;
        self.told(table, name, &done.report, self.releases.rate_per_s);
        let [first, second] = done.answered;
        ensure!(!changes || (first > 0 && second > 0), "{name}: one version answered all of it");
        table.add(&self.group(name), "it took", done.took.as_secs_f64() * 1e3, "ms");
        Ok(())
    }

    fn under_load(
        &self,
        rate_per_s: f64,
        act: impl FnOnce() -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<Done> {
        let bytes = self.stage.request(ENDPOINT, &self.stage.rows[..1]);
        let answered = [AtomicU64::new(0), AtomicU64::new(0)];
        let load = OpenLoop {
            address: self.stage.address,
            rate_per_s,
            duration: self.releases.phase,
            connections: CONNECTIONS,
            timeout: TIMEOUT,
            request: |_| bytes.clone(),
        };
        let note = |exchange: &Exchange<'_>| {
            let Ok(answer) = exchange.answer else { return };
            for (version, count) in self.answers.iter().zip(&answered) {
                count.fetch_add(u64::from(answer.body.starts_with(version)), Ordering::Relaxed);
            }
        };
        let began = Instant::now();
        let (report, acted) = std::thread::scope(|scope| {
            let acting = scope.spawn(|| -> anyhow::Result<(Duration, Duration)> {
                std::thread::sleep(self.releases.phase / 4);
                let act_began = Instant::now();
                act()?;
                Ok((act_began.elapsed(), began.elapsed()))
            });
            (load.run_with(note), acting.join())
        });
        let (took, until) = acted.map_err(|_| anyhow::anyhow!("what is done in a phase panicked"))??;
        let phase = self.releases.phase;
        ensure!(until < phase, "it was over {until:?} after the first request, and those came for {phase:?}");
        Ok(Done { report: report?, took, answered: answered.map(AtomicU64::into_inner) })
    }

    fn group(&self, name: &str) -> String {
        format!("releases under {} requests/s, log required: {name}", self.releases.rate_per_s)
    }

    /// What became of requests of which so many were due each second. A server that can't keep up with them answers late
    /// what was meant to come meanwhile: then nothing was shown. What waited for a worker must have been caught up with.
    fn told(&self, table: &mut Table, name: &str, report: &LoadReport, due_per_s: f64) {
        let group = self.group(name);
        table.add_load(&group, "open loop", report);
        let kept = report.rate_per_s() / due_per_s;
        table.add_at_least(&group, "open loop, answered ÷ due", kept, "", KEPT_UP);
        for failure in &report.failures {
            eprintln!("{name}: {failure}");
        }
    }

    fn workers(&self) -> anyhow::Result<Vec<Pid>> {
        let all = children(self.server)?;
        Ok(all.into_iter().filter_map(|process| Pid::from_raw(i32::try_from(process).ok()?)).collect())
    }
}

/// What came of a load, and of what was done under it.
struct Done {
    report: LoadReport,
    took: Duration,
    /// Requests that the first version answered, and the second.
    answered: [u64; 2],
}

/// Waits until it is so.
fn wait_for(what: &str, mut there: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !there()? {
        ensure!(began.elapsed() < GIVE_UP, "waited for {what} in vain");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

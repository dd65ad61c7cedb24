//! Serving through the public door, the same models and rows to `trueline serve`, MLServer and `mlflow models serve` in one
//! run, by turns: trees that are scored by the server itself, row by row and in batches, and a scikit-learn model in a Python
//! worker. Beside them the scorer of trees alone, in a loop.

mod asked;
mod bare;
mod grpc;
mod sides;

use crate::{LoadReport, Table};
use anyhow::ensure;
use asked::{Asked, Request};
use sides::{Callers, Figure, Side, Turn, by_turns};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CALLERS: usize = 64;
/// A batch keeps a processor busy for longer.
const BATCH_CALLERS: usize = 8;
const BATCH: usize = 1_000;
const PEAK: Duration = Duration::from_secs(6);
/// Of requests at half the peak.
const ROUNDS: usize = 5;
/// For what is told besides.
const SHORT: Duration = Duration::from_secs(4);

const AT_LEAST_MLSERVER: f64 = 20.0;
const AT_LEAST_MLFLOW: f64 = 300.0;
const AT_LEAST_MLSERVER_BATCH: f64 = 10.0;
const AT_LEAST_MLSERVER_PYTHON: f64 = 3.0;
const OPEN_LOOP_P99_MS: f64 = 1.0;
const OVERHEAD_US: f64 = 60.0;
/// A model that takes longer would hide what serves it.
const PREDICT_US: f64 = 200.0;

/// What is measured beside Trueline, where it is named.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// MLServer's program, in an environment with its runtimes.
    pub mlserver: Option<PathBuf>,
    /// MLflow's program.
    pub mlflow: Option<PathBuf>,
    /// The interpreter of Trueline's Python workers; without it none is measured.
    pub python: Option<PathBuf>,
    /// More switches of `trueline serve` for the model in a Python worker.
    pub worker_switches: Vec<String>,
}

/// The ways to ask for trees.
struct Ways {
    mlflow: Request,
    json: Request,
    binary: Request,
    grpc: Request,
}

/// Measures `trueline serve` of `binary` beside its peers, with the models that `python/bench/serving_models.py` saved in
/// `models`.
///
/// # Errors
/// When a server does not start, answers something else than the model, or Trueline refuses a request.
pub fn serving(binary: &Path, models: &Path, peers: &Peers, table: &mut Table) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    #[allow(clippy::cast_precision_loss)]
    table.add("machine", "cores, for servers and load together", cores as f64, "");
    let stage = Stage::set(models, table)?;
    let ours = stage.ours(binary, table)?;
    if let Some(program) = &peers.mlserver {
        stage.mlserver(program, &ours, table)?;
    }
    if let Some(program) = &peers.mlflow {
        stage.mlflow(program, &ours, table)?;
    }
    ours.stop()?;
    if let Some(python) = &peers.python {
        stage.worker(binary, python, peers, table)?;
    }
    Ok(())
}

/// The models with what is asked of them, and what the trees answer and take by themselves.
struct Stage<'m> {
    models: &'m Path,
    asked: Asked,
    one: Ways,
    batch: Ways,
    expected: f64,
    bare_us: f64,
}

fn single() -> String {
    format!("trees, 1 row in a request, {CALLERS} connections")
}

fn batch() -> String {
    format!("trees, {BATCH} rows in a request, {BATCH_CALLERS} connections")
}

const MLFLOW: &str = "MLflow's scoring";
const JSON: &str = "OIP as JSON";
const GRPC: &str = "OIP over gRPC";
const STARTS: &str = "trees, starts";
const ONE: &str = "trees, 1 row in a request, one connection";

impl<'m> Stage<'m> {
    fn set(models: &'m Path, table: &mut Table) -> anyhow::Result<Self> {
        let asked = Asked::read(models)?;
        let scorer = bare::Scorer::open(&models.join("trees"), asked.values())?;
        let (expected, bare_ns) = (scorer.first()?, scorer.nanoseconds_per_row(1)?);
        let group = "trees: XGBoost, 200 of depth 6 over 30 columns, scored in a loop";
        table.add(group, "1 row in a call", bare_ns, "ns a row");
        table.add(group, &format!("{BATCH} rows in a call"), scorer.nanoseconds_per_row(BATCH)?, "ns a row");
        let ways = |rows| Ways {
            mlflow: asked.mlflow(rows),
            json: asked.open_json(rows, "FP32"),
            binary: asked.open_binary(rows),
            grpc: asked.grpc(rows),
        };
        let (one, batch) = (ways(1), ways(BATCH));
        if let Request::Http(bytes) = &one.mlflow {
            let report = sides::closed_loop(bare::idle_server(bytes.len())?, bytes, Callers(CALLERS, SHORT))?;
            let name = "the load against a server that does nothing, in one process";
            table.add(&single(), name, report.rate_per_s(), "requests/s");
        }
        Ok(Self { models, one, batch, asked, expected, bare_us: bare_ns / 1e3 })
    }

    /// What is asked of the trees: one row at a time by many callers, and many rows by a few.
    fn groups(&self) -> [(&Ways, String, usize); 2] {
        [(&self.one, single(), CALLERS), (&self.batch, batch(), BATCH_CALLERS)]
    }

    /// Trueline with the trees.
    fn ours(&self, binary: &Path, table: &mut Table) -> anyhow::Result<Side> {
        let off = ["--python-workers".to_owned(), "off".to_owned()];
        let side = Side::trueline(binary, &self.models.join("trees"), &off)?;
        side.told(table, STARTS)?;
        self.half_the_peak(&side, table)?;
        self.nearly_idle(&side, table)?;
        for (ways, group, callers) in self.groups() {
            let turns = [
                self.turn(&side, MLFLOW, &ways.mlflow)?,
                self.turn(&side, JSON, &ways.json)?,
                self.turn(&side, "OIP with binary tensors", &ways.binary)?,
                self.turn(&side, GRPC, &ways.grpc)?,
            ];
            let [mlflow, json, binary, grpc] = by_turns(table, &group, Callers(callers, SHORT), turns)?;
            for figure in [&mlflow, &json, &binary, &grpc] {
                figure.sound()?;
            }
            binary.over(&json, table, &group, "OIP, binary ÷ JSON, Trueline", None);
            grpc.over(&json, table, &group, "OIP, gRPC ÷ JSON, Trueline", None);
        }
        Ok(side)
    }

    /// MLServer with the trees, by turns with ours.
    fn mlserver(&self, program: &Path, ours: &Side, table: &mut Table) -> anyhow::Result<()> {
        let side = Side::mlserver(program, &self.models.join("mlserver-trees"))?;
        side.told(table, STARTS)?;
        self.alone(side.name(), |callers| side.send(&self.one.json, callers), table)?;
        let least = [AT_LEAST_MLSERVER, AT_LEAST_MLSERVER_BATCH];
        for ((ways, group, callers), least) in self.groups().into_iter().zip(least) {
            let (group, callers) = (with(&group, &side), Callers(callers, PEAK));
            self.against((ours, &side), table, &group, (JSON, &ways.json), callers, Some(least))?;
            self.against((ours, &side), table, &group, (GRPC, &ways.grpc), callers, None)?;
        }
        side.stop()?;

        // It can gather rows of several requests too, which costs each of them a wait.
        let side = Side::mlserver(program, &self.models.join("mlserver-trees-batching"))?;
        let group = format!("{}, which gathers rows in batches", with(&single(), &side));
        let callers = Callers(CALLERS, PEAK);
        self.against((ours, &side), table, &group, (JSON, &self.one.json), callers, None)?;
        side.stop()
    }

    /// MLflow's own server with the trees, by turns with ours.
    fn mlflow(&self, program: &Path, ours: &Side, table: &mut Table) -> anyhow::Result<()> {
        let side = Side::mlflow(program, &self.models.join("trees"))?;
        side.told(table, STARTS)?;
        let least = [Some(AT_LEAST_MLFLOW), None];
        for ((ways, group, callers), least) in self.groups().into_iter().zip(least) {
            let (group, callers) = (with(&group, &side), Callers(callers, PEAK));
            self.against((ours, &side), table, &group, (MLFLOW, &ways.mlflow), callers, least)?;
        }
        side.stop()
    }

    /// The regression: Trueline with a Python worker and MLServer by turns, both with batching.
    fn worker(&self, binary: &Path, python: &Path, peers: &Peers, table: &mut Table) -> anyhow::Result<()> {
        let group = format!("scikit-learn in a Python worker, 1 row in a request, {CALLERS} connections");
        let (predict, callers) = (self.asked.logistic_predict_us, Callers(CALLERS, PEAK));
        table.add_with_budget(&group, "the model's own predict, p50", predict, "µs", PREDICT_US);
        let request = self.asked.open_json(1, "FP64");
        let mut switches = vec!["--python-workers".to_owned(), python.to_string_lossy().into_owned()];
        switches.extend_from_slice(&peers.worker_switches);
        let ours = Side::trueline(binary, &self.models.join("logistic"), &switches)?;
        ours.told(table, &group)?;
        let turn = |side| Turn { side, what: JSON, request: &request };
        let Some(program) = &peers.mlserver else {
            let [figure] = by_turns(table, &group, callers, [turn(&ours)])?;
            figure.sound()?;
            return ours.stop();
        };
        let theirs = Side::mlserver(program, &self.models.join("mlserver-logistic"))?;
        theirs.told(table, &group)?;
        let figures = by_turns(table, &group, callers, [turn(&ours), turn(&theirs)])?;
        compare(&figures, table, &group, &ratio(JSON, &theirs), Some(AT_LEAST_MLSERVER_PYTHON))?;
        theirs.stop()?;
        ours.stop()
    }

    /// Ours and another side, asked the same by turns.
    fn against(
        &self,
        (ours, theirs): (&Side, &Side),
        table: &mut Table,
        group: &str,
        (what, request): (&str, &Request),
        callers: Callers,
        at_least: Option<f64>,
    ) -> anyhow::Result<()> {
        let turns = [self.turn(ours, what, request)?, self.turn(theirs, what, request)?];
        let figures = by_turns(table, group, callers, turns)?;
        compare(&figures, table, group, &ratio(what, theirs), at_least)
    }

    /// Requests that come at half the rate of the peak, to Trueline and to a server that does nothing: what the machine and
    /// the load itself make them wait. A machine of others is not the same from one second to the next, so the peak is
    /// looked for anew in each of several rounds, and what is told is the round in the middle.
    fn half_the_peak(&self, side: &Side, table: &mut Table) -> anyhow::Result<()> {
        let (group, callers) = (single(), Callers(CALLERS, SHORT));
        let Request::Http(bytes) = &self.one.mlflow else { anyhow::bail!("MLflow's scoring is HTTP/1.1") };
        let idle = bare::idle_server(bytes.len())?;
        side.send(&self.one.mlflow, callers)?;
        let mut rounds = Vec::new();
        for round in 1..=ROUNDS {
            let half = side.send(&self.one.mlflow, Callers(CALLERS, SHORT / 2))?.rate_per_s() / 2.0;
            let nothing = sides::open_loop(idle, bytes, half, Callers(CALLERS, SHORT / 2))?;
            let ours = side.open_loop(&self.one.mlflow, half, callers)?;
            for (who, load) in [("a server that does nothing", &nothing), ("MLflow's scoring", &ours)] {
                let p99 = load.latency.quantile(0.99).as_secs_f64() * 1e3;
                let what = format!("{who}, open loop at half our peak ({half:.0}/s), round {round}, p99");
                table.add(&group, &what, p99, "ms");
            }
            rounds.push(ours);
        }
        rounds.sort_by_key(|load| load.latency.quantile(0.99));
        let middle = &rounds[ROUNDS / 2];
        let what = "MLflow's scoring, open loop at half the peak, the round in the middle";
        table.add_load(&group, what, middle);
        let p99 = middle.latency.quantile(0.99).as_secs_f64() * 1e3;
        table.add_with_budget(&group, &format!("{what}, its p99 again"), p99, "ms", OPEN_LOOP_P99_MS);
        let failed: u64 = rounds.iter().map(|load| load.failed).sum();
        ensure!(failed == 0, "{failed} requests failed at half the peak");
        Ok(())
    }

    /// One caller of Trueline and of a server that does nothing: one that sleeps until its answer comes, and one that waits
    /// awake. The first one's waking is in what it measures, on a virtual processor more than all the rest; the second sees
    /// what the server takes.
    fn nearly_idle(&self, side: &Side, table: &mut Table) -> anyhow::Result<()> {
        let Request::Http(bytes) = &self.one.json else {
            anyhow::bail!("the protocol over REST is HTTP/1.1")
        };
        let idle = bare::idle_server(bytes.len())?;
        let ours = side.address();
        let sleeping = |to| move |callers| sides::closed_loop(to, bytes, callers);
        let awake = |to| move |callers| sides::closed_loop_awake(to, bytes, callers);
        let nothing = "a server that does nothing";
        self.alone(nothing, sleeping(idle), table)?;
        self.alone(side.name(), sleeping(ours), table)?;
        self.alone(&format!("{nothing}, caller awake"), awake(idle), table)?;
        let over = self.alone(&format!("{}, caller awake", side.name()), awake(ours), table)?;
        let name = "Trueline, caller awake, p50 over the scorer alone, again";
        table.add_with_budget(ONE, name, over, "µs", OVERHEAD_US);
        Ok(())
    }

    /// One caller, held against the scorer alone: what all the rest of a request takes, in microseconds.
    fn alone(
        &self,
        who: &str,
        send: impl Fn(Callers) -> anyhow::Result<LoadReport>,
        table: &mut Table,
    ) -> anyhow::Result<f64> {
        let report = send(Callers(1, SHORT))?;
        let p50 = report.latency.quantile(0.5).as_secs_f64() * 1e6;
        table.add(ONE, &format!("OIP as JSON, {who}, p50"), p50, "µs");
        let p99 = report.latency.quantile(0.99).as_secs_f64() * 1e6;
        table.add(ONE, &format!("OIP as JSON, {who}, p99"), p99, "µs");
        let over = p50 - self.bare_us;
        table.add(ONE, &format!("OIP as JSON, {who}, p50 over the scorer alone"), over, "µs");
        Ok(over)
    }

    /// A turn of a side that answers as the trees do.
    fn turn<'a>(&self, side: &'a Side, what: &'a str, request: &'a Request) -> anyhow::Result<Turn<'a>> {
        side.check(request, self.expected)?;
        Ok(Turn { side, what, request })
    }
}

fn with(group: &str, side: &Side) -> String {
    format!("{group}, by turns with {}", side.name())
}

fn ratio(what: &str, theirs: &Side) -> String {
    format!("{what}, Trueline ÷ {}", theirs.name())
}

/// Trueline, which may not fail, held against another.
fn compare(
    [ours, theirs]: &[Figure; 2],
    table: &mut Table,
    group: &str,
    name: &str,
    at_least: Option<f64>,
) -> anyhow::Result<()> {
    ours.sound()?;
    ours.over(theirs, table, group, name, at_least);
    Ok(())
}

//! `trueline-bench`: the command line of the measurements. The table goes to standard output, and as JSON to a file when
//! one is named; ends with 1 when a number is over its budget.

#![allow(clippy::print_stdout)]

use anyhow::Context;
use clap::{Parser, ValueEnum};
use mimalloc::MiMalloc;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use trueline_bench::{
    Against, Onnx, Peers, Releases, Soak, Table, artifacts, commit, points, predict, rollout, runs, serving,
    soak, startup, tracking,
};

/// As in the server: what runs here without it is held against what runs there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Start-up time, idle memory, size of the binary, writes through the public door
    Startup,
    /// Group commit, beside the disk and beside the same statements without the ledger
    Commit,
    /// Predictions, and a rollback under load
    Predict,
    /// Tracking, beside the real MLflow server
    Tracking,
    /// Searches through a million runs
    Runs,
    /// A hundred million points
    Points,
    /// A large artifact up and down, on the disk and through an S3 server
    Artifacts,
    /// Serving, beside MLServer, MLflow's own server and the scorer alone
    Serving,
    /// Releases under load, of which none may cost a request: deploy, canary, promote, roll back, alias, worker and database killed
    Rollout,
    /// Memory, files and threads while hundreds of versions are loaded and unloaded
    Soak,
    /// Start-up, commit and predictions; the others take long
    All,
}

/// Measures a server and its parts.
#[derive(Parser)]
#[command(name = "trueline-bench")]
struct Args {
    /// What is measured
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// The server's binary
    #[arg(long, env = "TRUELINE_BIN")]
    binary: PathBuf,
    /// The folder of the models that are served, from `python/bench/models.py`, or `serving_models.py` for `serving`
    #[arg(long)]
    models: Option<PathBuf>,
    /// The real MLflow's program, to compare with
    #[arg(long)]
    mlflow: Option<PathBuf>,
    /// MLServer's program, to compare with
    #[arg(long)]
    mlserver: Option<PathBuf>,
    /// The interpreter of Python workers
    #[arg(long)]
    python: Option<PathBuf>,
    /// One more switch of `trueline serve` for the model in a Python worker, as of its batching; may be said again
    #[arg(long, allow_hyphen_values = true)]
    worker_switch: Vec<String>,
    /// A PostgreSQL server, `postgres://user@host:port`, on which databases are made for the comparison
    #[arg(long)]
    postgres: Option<String>,
    /// The folder of PostgreSQL's programs, `initdb` and `postgres`, for the database that `rollout` kills
    #[arg(long)]
    postgres_programs: Option<PathBuf>,
    /// Requests per second: while something is released, or during a soak; 2,000 and 200 if not said
    #[arg(long)]
    rate: Option<f64>,
    /// Requests per second to the model whose Python worker is killed
    #[arg(long, default_value_t = 50.0)]
    worker_rate: f64,
    /// How long requests come in each phase of `rollout`
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How long a soak takes
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How many versions are loaded and unloaded in a soak
    #[arg(long, default_value_t = 500)]
    versions: u32,
    /// The folder of ONNX models from `python/tests/onnx_models.py`, for the soak
    #[arg(long, requires = "onnxruntime")]
    onnx_models: Option<PathBuf>,
    /// The library that runs them
    #[arg(long, requires = "onnx_models")]
    onnxruntime: Option<PathBuf>,
    /// How many runs are searched through
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// How many runs points are logged to, and how many points to each
    #[arg(long, default_value = "10000x10000", value_parser = product)]
    points: (u64, u64),
    /// How many bytes the large artifact has
    #[arg(long, default_value_t = 5_000_000_000)]
    artifact_bytes: u64,
    /// The folder of the large databases and artifacts; a database of runs that is there already is searched as it is
    #[arg(long)]
    work: Option<PathBuf>,
    /// Where the table goes as JSON
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Args {
    fn models(&self) -> anyhow::Result<PathBuf> {
        self.models.clone().context(NO_MODELS)
    }

    fn releases(&self) -> anyhow::Result<Releases> {
        Ok(Releases {
            models: self.models()?,
            python: self.python.clone().context("--python names the interpreter of Python workers")?,
            postgres: self.postgres_programs.clone().context("--postgres-programs names their folder")?,
            rate_per_s: self.rate.unwrap_or(2_000.0),
            worker_rate_per_s: self.worker_rate,
            phase: Duration::from_secs(self.seconds),
        })
    }

    fn soak(&self) -> anyhow::Result<Soak> {
        let onnx = self.onnx_models.clone().zip(self.onnxruntime.clone());
        Ok(Soak {
            models: self.models()?,
            onnx: onnx.map(|(folder, library)| Onnx { folder, library }),
            duration: Duration::try_from_secs_f64(self.minutes * 60.0)?,
            versions: self.versions,
            rate_per_s: self.rate.unwrap_or(200.0),
        })
    }
}

const NO_MODELS: &str = "--models names the folder of the models that are served";

fn product(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` is not like 10000x10000"))
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let (mut table, out) = (Table::default(), args.out.clone());
    let measured = measure(args, &mut table);
    // What was measured before something went wrong is told all the same.
    print!("{table}");
    measured?;
    if let Some(path) = out {
        std::fs::write(&path, format!("{:#}\n", table.json())).with_context(|| path.display().to_string())?;
    }
    Ok(if table.within_budget() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(args: Args, table: &mut Table) -> anyhow::Result<()> {
    let (what, binary) = (args.what, args.binary.clone());
    let asked = |part: What| what == part || what == What::All;
    if asked(What::Startup) {
        startup(&binary, table)?;
    }
    if asked(What::Commit) {
        commit(table)?;
    }
    if asked(What::Predict) {
        predict(&binary, &args.models()?, table)?;
    }
    let folder = tempfile::tempdir()?;
    let work = args.work.as_deref().unwrap_or(folder.path());
    match what {
        What::Tracking => {
            let against = Against { mlflow: args.mlflow, postgres: args.postgres };
            tracking(&binary, &against, table)?;
        }
        What::Runs => runs(&binary, args.runs, work, table)?,
        What::Points => points(&binary, args.points.0, args.points.1, work, table)?,
        What::Rollout => rollout(&binary, &args.releases()?, table)?,
        What::Soak => soak(&binary, &args.soak()?, table)?,
        What::Serving => {
            let models = args.models()?;
            let (mlserver, mlflow, python) = (args.mlserver, args.mlflow, args.python);
            let peers = Peers { mlserver, mlflow, python, worker_switches: args.worker_switch };
            serving(&binary, &models, &peers, table)?;
        }
        What::Artifacts => artifacts(&binary, args.artifact_bytes, work, table)?,
        _ => {}
    }
    Ok(())
}

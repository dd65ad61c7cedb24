//! `trueline import`: what another tool keeps comes into the data directory of a server that is stopped.

use super::progress::ProgressLine;
use super::server::artifact_places;
use super::table;
use crate::server::Offline;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use trueline_import::{Artifacts, Count, Leaves, Progress, Report, Target, mlflow, wandb};
use trueline_ledger::ProjectId;

#[derive(Subcommand)]
pub(crate) enum ImportCommand {
    /// From MLflow: experiments, runs, logged models, registered models, traces, artifacts
    Mlflow(MlflowArgs),
    /// From W&B: offline runs, with history, config, console, files
    Wandb(WandbArgs),
}

/// Where an import goes to.
#[derive(Args)]
struct Destination {
    /// Data directory of the server, which must be stopped
    #[arg(long, env = "TRUELINE_DATA_DIR", default_value = "trueline-data")]
    data_dir: PathBuf,
    /// PostgreSQL that the server uses: postgres://user:password@host:port/name
    #[arg(long, env = "TRUELINE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Project to import into; made if it is missing
    #[arg(long, env = "TRUELINE_PROJECT", default_value = "default")]
    project: String,
    /// Folder or bucket (s3://bucket/folder) that the server is given as --artifacts-destination: copied files go there
    #[arg(long, env = "MLFLOW_ARTIFACTS_DESTINATION", value_name = "FOLDER|BUCKET")]
    artifacts_destination: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct MlflowArgs {
    /// What MLflow keeps its things in: an SQLite file, sqlite:///…, postgresql://…, or a folder mlruns
    source: String,
    /// What becomes of artifacts on this machine: copied, or left where they are
    #[arg(long, value_enum, default_value = "copy")]
    artifacts: ArtifactsArg,
    /// Folder that MLflow's server was given as --artifacts-destination; mlartifacts beside the database when not named
    #[arg(long)]
    artifacts_root: Option<PathBuf>,
    /// Workspace to import, of an MLflow that has them
    #[arg(long)]
    workspace: Option<String>,
    #[command(flatten)]
    to: Destination,
}

#[derive(Args)]
pub(crate) struct WandbArgs {
    /// A folder offline-run-…, or the folder wandb that holds many
    folder: PathBuf,
    #[command(flatten)]
    to: Destination,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ArtifactsArg {
    Copy,
    Reference,
}

pub(crate) fn run(command: ImportCommand) -> anyhow::Result<()> {
    match command {
        ImportCommand::Mlflow(args) => from_mlflow(args),
        ImportCommand::Wandb(args) => import(&args.to, |target, runtime, progress| {
            Ok(wandb::import(&args.folder, target, runtime.handle().clone(), progress)?)
        }),
    }
}

fn from_mlflow(args: MlflowArgs) -> anyhow::Result<()> {
    let store = mlflow::Store::parse(&args.source)?;
    let options = mlflow::Options {
        artifacts: match args.artifacts {
            ArtifactsArg::Copy => Artifacts::Copy,
            ArtifactsArg::Reference => Artifacts::Reference,
        },
        artifacts_root: args.artifacts_root,
        workspace: args.workspace,
    };
    import(&args.to, |target, runtime, progress| {
        Ok(mlflow::import(&store, &options, target, runtime.handle().clone(), progress)?)
    })
}

/// Opens the destination, has `work` done, and shows its report.
fn import(
    to: &Destination,
    work: impl FnOnce(Target, &Runtime, Progress) -> anyhow::Result<Report>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let places = artifact_places(None, to.artifacts_destination.as_deref())?;
    let place = Offline::open(&to.data_dir, to.database.clone())?.with_places(places);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let project = runtime.block_on(place.project(&to.project))?;
    let target = target(&place, &project)?;
    let mut line = ProgressLine::new();
    let progress: Progress =
        Box::new(move |report| line.show(began.elapsed(), || told(report, began.elapsed())));
    let report = work(target, &runtime, progress)?;
    ProgressLine::new().finish(&told(&report, began.elapsed()));
    if to.json {
        table::json(&json!(report));
    } else {
        show(&report);
    }
    table::note("The events of this import get their place in the ledger when the server starts.");
    Ok(())
}

fn target(place: &Offline, project: &ProjectId) -> anyhow::Result<Target> {
    let leaves =
        Leaves { read: place.leave(project)?, write: place.leave(project)?, register: place.leave(project)? };
    Ok(Target {
        tracking: place.tracking.clone(),
        registry: place.registry.clone(),
        traces: place.traces.clone(),
        leaves,
    })
}

fn told(report: &Report, elapsed: Duration) -> String {
    #[allow(clippy::cast_precision_loss)]
    let rate = report.points as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    format!(
        "{} runs, {} points, {rate:.0} points a second, {} traces, {} artifacts",
        report.runs.new, report.points, report.traces.new, report.artifacts.new
    )
}

fn show(report: &Report) {
    table::line(format!("Imported from {}", report.source));
    let row =
        |what: &str, count: Count| vec![what.to_owned(), count.new.to_string(), count.known.to_string()];
    let plain = |what: &str, count: u64| vec![what.to_owned(), count.to_string(), String::new()];
    table::rows(
        &["WHAT", "NEW", "HERE ALREADY"],
        &[
            row("experiments", report.experiments),
            row("runs", report.runs),
            plain("points", report.points),
            plain("params", report.params),
            plain("tags", report.tags),
            row("logged models", report.logged_models),
            row("registered models", report.registered_models),
            plain("versions", report.versions),
            row("traces", report.traces),
            plain("spans", report.spans),
            plain("assessments", report.assessments),
            row("evaluation datasets", report.evaluation_datasets),
            plain("their records", report.records),
            row("versions of scorers", report.scorers),
            row("issues", report.issues),
            row("artifacts", report.artifacts),
        ],
    );
    for (was, is) in &report.renumbered {
        table::line(format!("Experiment {was} is experiment {is} here, where its id was taken."));
    }
    for miss in &report.not_taken {
        table::line(format!("Not taken: {} {}: {}", miss.count, miss.what, miss.why));
    }
}

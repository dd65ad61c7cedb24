//! `trueline export mlflow`: what a project holds goes into a new database of MLflow's.

use super::progress::ProgressLine;
use super::table;
use crate::server::Offline;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trueline_import::NotTaken;
use trueline_import::export::{self, Exported, Progress, Project, To};

#[derive(Subcommand)]
pub(crate) enum ExportCommand {
    /// To MLflow: a database that MLflow 3.17.2 opens, with experiments, runs, models, traces
    Mlflow(MlflowArgs),
}

#[derive(Args)]
#[command(after_help = "Example:  trueline export mlflow sqlite:///mlflow.db --artifacts copy mlartifacts\n\
                        Then:     mlflow server --backend-store-uri sqlite:///mlflow.db")]
pub(crate) struct MlflowArgs {
    /// The database to make: an SQLite file that is not there yet, sqlite:///…, or an empty postgresql://…
    target: String,
    /// What becomes of artifacts: `copy <folder>` to an empty folder, or `reference` to leave them where they are
    #[arg(long, num_args = 1..=2, value_names = ["HOW", "FOLDER"], default_value = "reference")]
    artifacts: Vec<String>,
    /// Data directory of the server, which must be stopped
    #[arg(long, env = "TRUELINE_DATA_DIR", default_value = "trueline-data")]
    data_dir: PathBuf,
    /// PostgreSQL that the server uses: postgres://user:password@host:port/name
    #[arg(long, env = "TRUELINE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Project to export
    #[arg(long, env = "TRUELINE_PROJECT", default_value = "default")]
    project: String,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The folder that artifacts are to be copied to, if they are.
fn folder(artifacts: &[String]) -> anyhow::Result<Option<PathBuf>> {
    match artifacts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["reference"] => Ok(None),
        ["copy", folder] => Ok(Some(PathBuf::from(folder))),
        _ => anyhow::bail!(
            "--artifacts {}: say `--artifacts copy <folder>`, or `--artifacts reference`",
            artifacts.join(" ")
        ),
    }
}

pub(crate) fn run(command: ExportCommand) -> anyhow::Result<()> {
    let ExportCommand::Mlflow(args) = command;
    let began = Instant::now();
    let folder = folder(&args.artifacts)?;
    let to = To::parse(&args.target)?;
    let place = Offline::open_existing(&args.data_dir, args.database.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let project = runtime.block_on(place.existing_project(&args.project))?;
    let read = place.leave(&project)?;
    let mut line = ProgressLine::new();
    let progress: Progress =
        Box::new(move |report| line.show(began.elapsed(), || told(report, began.elapsed())));
    let project = Project { read: &read, tracking: &place.tracking, runtime: runtime.handle() };
    let users = runtime.block_on(place.users())?;
    let report = place.inspect(|tx| {
        let webhooks = trueline_webhooks::export::count(tx, &read)?;
        let mut report = export::export(tx, &project, &to, folder.as_deref(), progress)?;
        let left =
            |what: &str, count, why: &str| NotTaken { what: what.to_owned(), count, why: why.to_owned() };
        report.not_told.extend(
            [
                left(
                    "webhooks",
                    webhooks,
                    "their secrets can only be sealed with MLflow's own key; make them there",
                ),
                left(
                    "users",
                    users,
                    "MLflow keeps users and permissions in a database of their own; make them there",
                ),
            ]
            .into_iter()
            .filter(|left| left.count > 0),
        );
        Ok::<_, anyhow::Error>(report)
    })?;
    ProgressLine::new().finish(&told(&report, began.elapsed()));
    if args.json {
        table::json(&json!(report));
    } else {
        show(&report);
    }
    Ok(())
}

fn told(report: &Exported, elapsed: Duration) -> String {
    #[allow(clippy::cast_precision_loss)]
    let rate = report.points as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let done = (report.runs * 100).checked_div(report.all_runs).unwrap_or(100).min(100);
    let filled = usize::try_from(done / 5).unwrap_or(20);
    format!(
        "[{:<20}] {} of {} runs, {} points, {rate:.0} points a second, {} traces, {} artifacts",
        "=".repeat(filled),
        report.runs,
        report.all_runs,
        report.points,
        report.traces,
        report.artifacts
    )
}

fn show(report: &Exported) {
    table::line(format!("Exported to {}", report.target));
    let rows = [
        ("experiments", report.experiments),
        ("runs", report.runs),
        ("points", report.points),
        ("params", report.params),
        ("tags", report.tags),
        ("datasets", report.datasets),
        ("logged models", report.logged_models),
        ("registered models", report.registered_models),
        ("versions", report.versions),
        ("traces", report.traces),
        ("spans", report.spans),
        ("assessments", report.assessments),
        ("evaluation datasets", report.evaluation_datasets),
        ("their records", report.records),
        ("versions of scorers", report.scorers),
        ("issues", report.issues),
        ("artifacts", report.artifacts),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(what, count)| vec![what.to_owned(), count.to_string()]).collect();
    table::rows(&["WHAT", "COUNT"], &rows);
    for miss in &report.not_told {
        table::line(format!("Not told: {} {}: {}", miss.count, miss.what, miss.why));
    }
}

#[cfg(test)]
mod tests {
    use super::folder;
    use std::path::PathBuf;

    #[test]
    fn what_becomes_of_artifacts_is_said_in_one_or_two_words() {
        let read = |words: &[&str]| folder(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["reference"]).unwrap(), None);
        assert_eq!(read(&["copy", "out"]).unwrap(), Some(PathBuf::from("out")));
        for wrong in [&["copy"][..], &["reference", "out"], &["move", "out"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}

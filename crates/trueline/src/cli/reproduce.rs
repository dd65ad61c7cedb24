//! `trueline reproduce <run>`: a captured run is run again, from its own commit, changes and inputs, in a checkout of its
//! own, and the server compares what both logged.

mod checkout;

use super::client::Client;
use super::run::CapturedCommand;
use super::{Connection, table};
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trueline_flows::{interpreter_of, packages};
use trueline_tracking::Capture;

#[derive(Args)]
pub(crate) struct ReproduceArgs {
    /// Id of the run
    run: String,
    /// A repository that holds the commit; else where the run found it, or where that came from
    #[arg(long)]
    repo: Option<PathBuf>,
    /// What may differ in proportion to a value
    #[arg(long, default_value_t = 0.0)]
    rtol: f64,
    /// What may differ at all
    #[arg(long, default_value_t = 0.0)]
    atol: f64,
    /// Don't run it when the installed packages are others than they were
    #[arg(long)]
    strict: bool,
    /// Keep the checkout
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What is needed and is not there.
pub(crate) type Missing = Vec<String>;

pub(crate) fn run(args: &ReproduceArgs) -> ExitCode {
    match reproduce(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn reproduce(args: &ReproduceArgs) -> anyhow::Result<bool> {
    let client = Client::new(&args.connection);
    let run = client.get(&format!("/api/2.0/mlflow/runs/get?run_id={}", args.run))?;
    let capture = match client.get(&format!("/api/v1/runs/{}/capture", args.run)) {
        Ok(capture) => serde_json::from_value::<Capture>(capture).context("its capture can't be read")?,
        Err(_) => {
            let missing = "a capture: start runs with `trueline run` or as steps of a pipeline".to_owned();
            return record(args, &client, json!({ "missing": [missing] }));
        }
    };
    let folder = tempfile::Builder::new().prefix("trueline-reproduce-").tempdir()?;
    let fetch = |sha256: &str| client.get_bytes(&format!("/api/v1/capture-files/{sha256}"));
    let checkout = match checkout::make(&capture, args.repo.as_deref(), folder.path(), &fetch)? {
        Ok(dir) => dir,
        Err(missing) => return record(args, &client, json!({ "missing": missing })),
    };
    let differs = environment_differences(&capture, &checkout, &fetch)?;
    for line in &differs {
        table::note(format!("environment: {line}"));
    }
    if args.strict && !differs.is_empty() {
        let missing = format!("the same environment ({} packages differ)", differs.len());
        return record(args, &client, json!({ "missing": [missing], "environment": differs }));
    }
    let again = run_again(args, &client, &run, &capture, checkout)?;
    if args.keep {
        table::note(format!("the checkout is kept in {}", folder.keep().display()));
    }
    record(
        args,
        &client,
        json!({ "again": again, "rtol": args.rtol, "atol": args.atol, "environment": differs }),
    )
}

fn run_again(
    args: &ReproduceArgs,
    client: &Client,
    run: &Value,
    capture: &Capture,
    dir: PathBuf,
) -> anyhow::Result<String> {
    let experiment =
        run["run"]["info"]["experiment_id"].as_str().context("the server named no experiment")?;
    let name = run["run"]["info"]["run_name"].as_str().unwrap_or_default();
    let command = CapturedCommand {
        dir,
        name: Some(format!("{name}-again")),
        command: capture.command.clone(),
        inputs: capture.inputs.clone(),
        variables: capture.variables.clone(),
        tags: vec![("trueline.reproduces".to_owned(), args.run.clone())],
    };
    Ok(command.run(client, experiment, args.connection.token.as_deref())?.0)
}

/// The packages that are others than they were, one line for each.
fn environment_differences(
    capture: &Capture,
    dir: &Path,
    fetch: &checkout::Fetch<'_>,
) -> anyhow::Result<Vec<String>> {
    let Some(sha256) = &capture.environment else { return Ok(Vec::new()) };
    let lines = |bytes: &[u8]| -> BTreeSet<String> {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect()
    };
    let was = lines(&fetch(sha256).context("the environment's lock is not kept any more")?);
    let is = lines(&packages(dir, interpreter_of(&capture.command)).unwrap_or_default());
    let gone = was.difference(&is).map(|line| format!("was {line}"));
    Ok(gone.chain(is.difference(&was).map(|line| format!("is {line}"))).collect())
}

fn record(args: &ReproduceArgs, client: &Client, body: Value) -> anyhow::Result<bool> {
    let told = client.send("POST", &format!("/api/v1/runs/{}/reproductions", args.run), &body)?;
    let verdict = told["verdict"].as_str().unwrap_or_default();
    if args.connection.json {
        table::json(&told);
    } else {
        table::line(verdict.replace('_', " "));
        explain(&told);
    }
    Ok(matches!(verdict, "identical" | "within_tolerance"))
}

fn explain(told: &Value) {
    let compared = format!("{} points of {} metrics compared", told["points"], told["metrics"]);
    match told["verdict"].as_str() {
        Some("unreplayable") => {
            for missing in told["missing"].as_array().into_iter().flatten() {
                table::line(format!("missing: {}", missing.as_str().unwrap_or_default()));
            }
        }
        Some("drifted") if told["first"].is_null() => {
            table::line(format!("{compared}, none differs, but the runs ended differently"));
        }
        Some("drifted" | "within_tolerance") => {
            let first = &told["first"];
            table::line(format!(
                "first difference: {} at step {}: {} before, {} now; the largest difference is {}",
                table::cell(first, "metric"),
                first["step"],
                first["was"],
                first["is"],
                told["largest_difference"]
            ));
            table::line(compared);
        }
        _ => table::line(compared),
    }
    if let Some(again) = told["again"].as_str() {
        table::note(format!("the run that did it again: {again}"));
    }
}

//! `trueline pipeline`: runs of pipelines, started, followed, cancelled.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How often a run that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(crate) enum PipelineCommand {
    /// Start a run of a pipeline
    Run(RunArgs),
    /// List pipelines with their last runs
    List(Connection),
    /// Show a pipeline and its runs, or one run by its id
    Show {
        /// Name of the pipeline, or id of a run
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Print the log of a step
    Logs(LogsArgs),
    /// End a run
    Cancel {
        /// Id of the run
        run: String,
        /// Why, for the ledger
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Name of the pipeline
    name: String,
    /// A param, as name=value. May be given more than once
    #[arg(long, value_parser = pair)]
    param: Vec<(String, String)>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait until it has ended; the exit code is then 0 only if it succeeded
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(crate) struct LogsArgs {
    /// Id of the run
    run: String,
    /// Name of the step
    step: String,
    /// Attempt, from 1; the newest when it is left out
    #[arg(long)]
    attempt: Option<u32>,
    /// Go on until the step has ended
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(command: PipelineCommand) -> ExitCode {
    let done = match command {
        PipelineCommand::Run(args) => start(&args),
        PipelineCommand::List(connection) => list(&connection).map(|()| true),
        PipelineCommand::Show { name, connection } => show(&name, &connection).map(|()| true),
        PipelineCommand::Logs(args) => logs(&args).map(|()| true),
        PipelineCommand::Cancel { run, reason, connection } => {
            cancel(&run, &reason, &connection).map(|()| true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(args: &RunArgs) -> anyhow::Result<bool> {
    let client = Client::new(&args.connection);
    let params: serde_json::Map<String, Value> =
        args.param.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let path = format!("/api/v1/pipelines/{}/runs", args.name);
    let mut run = client.send("POST", &path, &json!({ "params": params, "reason": args.reason }))?;
    let id = run["id"].as_str().context("the server named no run")?.to_owned();
    if !args.wait {
        tell_run(&args.connection, &run);
        return Ok(true);
    }
    table::note(format!("run {id} of {}", args.name));
    let mut seen = Value::Null;
    while run["state"] == "running" {
        std::thread::sleep(LOOK);
        run = client.get(&format!("/api/v1/pipeline-runs/{id}"))?;
        tell_news(&mut seen, &run);
    }
    tell_run(&args.connection, &run);
    Ok(run["state"] == "succeeded")
}

/// Tells which steps stand elsewhere than they did.
fn tell_news(seen: &mut Value, run: &Value) {
    for step in run["steps"].as_array().into_iter().flatten() {
        let (name, state) = (table::cell(step, "step"), table::cell(step, "state"));
        if seen[&name] != step["state"] && state != "queued" {
            let error = step["error"].as_str().map(|e| format!(": {e}")).unwrap_or_default();
            table::note(format!("{name} {state}{error}"));
        }
        seen[&name] = step["state"].clone();
    }
}

fn tell_run(connection: &Connection, run: &Value) {
    if connection.json {
        table::json(run);
        return;
    }
    table::line(format!(
        "{} {} {} (started by {}, {})",
        table::cell(run, "pipeline"),
        table::cell(run, "id"),
        table::cell(run, "state"),
        table::cell(run, "created_by"),
        why(&run["reason"]),
    ));
    let row = |s: &Value| {
        let attempts = s["attempts"].as_array().map_or(0, Vec::len).to_string();
        let run = s["attempts"]
            .as_array()
            .and_then(|a| a.last())
            .map_or("–".to_owned(), |a| table::cell(a, "run"));
        vec![table::cell(s, "step"), table::cell(s, "state"), attempts, run, table::cell(s, "error")]
    };
    let rows: Vec<Vec<String>> = run["steps"].as_array().into_iter().flatten().map(row).collect();
    table::rows(&["STEP", "STATE", "ATTEMPTS", "RUN", "ERROR"], &rows);
}

fn why(reason: &Value) -> String {
    match reason["kind"].as_str() {
        Some("trigger") => format!(
            "trigger {} on {} {}",
            table::cell(reason, "trigger"),
            table::cell(reason, "action"),
            table::cell(reason, "event")
        ),
        _ => match reason["note"].as_str() {
            None | Some("") => "by hand".to_owned(),
            Some(note) => note.to_owned(),
        },
    }
}

fn list(connection: &Connection) -> anyhow::Result<()> {
    let client = Client::new(connection);
    let all = client.get("/api/v1/pipelines")?;
    if connection.json {
        table::json(&all);
        return Ok(());
    }
    let mut rows = Vec::new();
    for pipeline in all["pipelines"].as_array().into_iter().flatten() {
        let name = table::cell(pipeline, "name");
        let runs = client.get(&format!("/api/v1/pipelines/{name}/runs?limit=1"))?;
        let last = runs["runs"].as_array().and_then(|r| r.first()).cloned().unwrap_or_default();
        let steps = pipeline["declaration"]["steps"].as_array().map_or(0, Vec::len).to_string();
        let version = table::cell(pipeline, "version").chars().take(12).collect();
        rows.push(vec![name, version, steps, table::cell(&last, "state"), table::cell(&last, "created_at")]);
    }
    table::rows(&["PIPELINE", "VERSION", "STEPS", "LAST RUN", "AT"], &rows);
    Ok(())
}

fn show(name: &str, connection: &Connection) -> anyhow::Result<()> {
    let client = Client::new(connection);
    if name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        let run = client.get(&format!("/api/v1/pipeline-runs/{name}"))?;
        tell_run(connection, &run);
        return Ok(());
    }
    let pipeline = client.get(&format!("/api/v1/pipelines/{name}"))?;
    let runs = client.get(&format!("/api/v1/pipelines/{name}/runs?limit=20"))?;
    if connection.json {
        table::json(&json!({ "pipeline": pipeline, "runs": runs["runs"] }));
        return Ok(());
    }
    table::line(format!(
        "{name} {}  in {}",
        table::cell(&pipeline, "version"),
        table::cell(&pipeline, "directory")
    ));
    let row = |r: &Value| {
        let cells = ["id", "state", "created_at", "finished_at"].iter().map(|f| table::cell(r, f));
        cells.chain([why(&r["reason"])]).collect()
    };
    let rows: Vec<Vec<String>> = runs["runs"].as_array().into_iter().flatten().map(row).collect();
    table::rows(&["RUN", "STATE", "STARTED", "ENDED", "WHY"], &rows);
    Ok(())
}

fn logs(args: &LogsArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.connection);
    let mut out = std::io::stdout().lock();
    let attempt = args.attempt.map(|a| format!("&attempt={a}")).unwrap_or_default();
    let mut offset = 0;
    loop {
        let path =
            format!("/api/v1/pipeline-runs/{}/steps/{}/log?offset={offset}{attempt}", args.run, args.step);
        let piece = client.get(&path)?;
        let text = piece["text"].as_str().unwrap_or_default();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        let next = piece["next_offset"].as_u64().unwrap_or(offset);
        let over = piece["complete"] == true || !args.follow;
        if text.is_empty() && over {
            return Ok(());
        }
        if text.is_empty() {
            std::thread::sleep(LOOK);
        }
        if next < offset {
            bail!("the log grew shorter");
        }
        offset = next;
    }
}

fn cancel(run: &str, reason: &str, connection: &Connection) -> anyhow::Result<()> {
    let path = format!("/api/v1/pipeline-runs/{run}/cancellation");
    let run = Client::new(connection).send("POST", &path, &json!({ "reason": reason }))?;
    tell_run(connection, &run);
    Ok(())
}

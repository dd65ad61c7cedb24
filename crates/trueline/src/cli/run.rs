//! `trueline run -- <command>`: a run whose origin is captured: commit, uncommitted changes, environment, command,
//! seeds and inputs by hash. The command finds server and run in MLflow's own variables.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use trueline_flows::{capture_code, capture_environment, seeds};
use trueline_tracking::Capture;

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Experiment that the run belongs to; made if it is missing
    #[arg(long, default_value = "Default")]
    experiment: String,
    /// Name of the run
    #[arg(long)]
    name: Option<String>,
    /// A file that the command reads; its hash is captured. May be given more than once
    #[arg(long)]
    input: Vec<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: RunArgs) -> ExitCode {
    match start(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(args: &RunArgs) -> anyhow::Result<u8> {
    let client = Client::new(&args.connection);
    let experiment = experiment_id(&client, &args.experiment)?;
    let dir = std::env::current_dir()?;
    let mut inputs = BTreeMap::new();
    for input in &args.input {
        inputs.insert(input.display().to_string(), hash_of(input)?);
    }
    let command = CapturedCommand {
        dir,
        name: args.name.clone(),
        command: args.command.clone(),
        inputs,
        variables: BTreeMap::new(),
        tags: Vec::new(),
    };
    let (_, code) = command.run(&client, &experiment, args.connection.token.as_deref())?;
    Ok(code)
}

/// A command to be run as a captured run.
pub(crate) struct CapturedCommand {
    /// Where it runs.
    pub(crate) dir: PathBuf,
    /// Name of the run.
    pub(crate) name: Option<String>,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Declared inputs with their hashes.
    pub(crate) inputs: BTreeMap<String, String>,
    /// Variables set for it.
    pub(crate) variables: BTreeMap<String, String>,
    /// Tags of the run besides those that every run has.
    pub(crate) tags: Vec<(String, String)>,
}

impl CapturedCommand {
    /// Runs it; answers the run and the exit code.
    pub(crate) fn run(
        &self,
        client: &Client,
        experiment: &str,
        token: Option<&str>,
    ) -> anyhow::Result<(String, u8)> {
        let capture = self.capture(client)?;
        let run = create_run(client, experiment, self)?;
        client.send("PUT", &format!("/api/v1/runs/{run}/capture"), &json!(capture))?;
        table::note(format!("run {run}: captured {}", describe(&capture)));
        let mut child = Command::new(&self.command[0]);
        child
            .args(&self.command[1..])
            .current_dir(&self.dir)
            .envs(&self.variables)
            .env("MLFLOW_TRACKING_URI", client.tracking_uri())
            .env("MLFLOW_EXPERIMENT_ID", experiment)
            .env("MLFLOW_RUN_ID", &run)
            .env("TRUELINE_RUN_ID", &run);
        if let Some(token) = token {
            child.env("MLFLOW_TRACKING_TOKEN", token);
        }
        let ended = child.status();
        let code = match &ended {
            Ok(status) => status.code().map_or(1, |c| u8::try_from(c).unwrap_or(1)),
            Err(_) => 1,
        };
        finish(client, &run, code == 0)?;
        ended.with_context(|| format!("can't start `{}`", self.command[0]))?;
        Ok((run, code))
    }

    fn capture(&self, client: &Client) -> anyhow::Result<Capture> {
        let mut keep = |bytes: Vec<u8>| -> Result<String, String> {
            let kept = client.send_bytes("POST", "/api/v1/capture-files", "application/octet-stream", bytes);
            let kept = kept.map_err(|e| e.to_string())?;
            kept["sha256"].as_str().map(ToOwned::to_owned).ok_or_else(|| "the server kept no file".to_owned())
        };
        let code = capture_code(&self.dir, &mut keep).map_err(anyhow::Error::msg)?;
        let found = capture_environment(&self.dir, &self.command, &mut keep).map_err(anyhow::Error::msg)?;
        let mut variables = seeds(std::env::vars());
        variables.extend(self.variables.clone());
        Ok(Capture {
            command: self.command.clone(),
            environment: found.0,
            interpreter: found.1,
            variables,
            inputs: self.inputs.clone(),
            ..code
        })
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn experiment_id(client: &Client, name: &str) -> anyhow::Result<String> {
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    let path = format!("/api/2.0/mlflow/experiments/get-by-name?experiment_name={encoded}");
    let found = match client.get(&path) {
        Ok(found) => found["experiment"]["experiment_id"].clone(),
        Err(_) => {
            let made = client.send("POST", "/api/2.0/mlflow/experiments/create", &json!({ "name": name }))?;
            made["experiment_id"].clone()
        }
    };
    found.as_str().map(ToOwned::to_owned).context("the server named no experiment")
}

fn create_run(client: &Client, experiment: &str, args: &CapturedCommand) -> anyhow::Result<String> {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let mut tags = vec![
        json!({ "key": "mlflow.user", "value": user }),
        json!({ "key": "mlflow.source.name", "value": args.command.join(" ") }),
        json!({ "key": "mlflow.source.type", "value": "LOCAL" }),
    ];
    tags.extend(args.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })));
    let body = json!({
        "experiment_id": experiment,
        "run_name": args.name,
        "user_id": user,
        "start_time": now_ms(),
        "tags": tags,
    });
    let made = client.send("POST", "/api/2.0/mlflow/runs/create", &body)?;
    made["run"]["info"]["run_id"].as_str().map(ToOwned::to_owned).context("the server named no run")
}

fn finish(client: &Client, run: &str, well: bool) -> anyhow::Result<()> {
    let status = if well { "FINISHED" } else { "FAILED" };
    let body = json!({ "run_id": run, "status": status, "end_time": now_ms() });
    client.send("POST", "/api/2.0/mlflow/runs/update", &body)?;
    Ok(())
}

fn describe(capture: &Capture) -> String {
    let commit = capture.commit.as_deref().map_or("no commit", |c| c.get(..12).unwrap_or(c));
    let dirty = if capture.diff.is_some() { " with uncommitted changes" } else { "" };
    format!("{commit}{dirty}, {} inputs", capture.inputs.len())
}

/// The hash of a file that a command reads.
pub(crate) fn hash_of(path: &Path) -> anyhow::Result<String> {
    if path.is_dir() {
        bail!("the input {} is a folder; name files", path.display());
    }
    let hashed = trueline_pipelines::hash_file(path);
    Ok(hashed.with_context(|| format!("can't read the input {}", path.display()))?.0)
}

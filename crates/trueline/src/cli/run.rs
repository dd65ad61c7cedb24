//! `trueline run -- <command>`: a run whose origin is captured: commit, uncommitted changes, environment, command,
//! seeds and inputs by hash. The command finds server and run in MLflow's own variables.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use trueline_tracking::Capture;

/// Untracked files above this size are named but not kept: they are data, which belongs into a dataset.
const LARGEST_UNTRACKED: u64 = 10 << 20;
/// Variables that choose seeds, threads and devices.
const VARIABLES: &[&str] = &["PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TZ", "LANG"];

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
    let capture = capture(&client, args)?;
    let run = create_run(&client, &experiment, args)?;
    client.send("PUT", &format!("/api/v1/runs/{run}/capture"), &json!(capture))?;
    table::note(format!("run {run}: captured {}", describe(&capture)));

    let mut child = Command::new(&args.command[0]);
    child
        .args(&args.command[1..])
        .env("MLFLOW_TRACKING_URI", client.tracking_uri())
        .env("MLFLOW_EXPERIMENT_ID", &experiment)
        .env("MLFLOW_RUN_ID", &run)
        .env("TRUELINE_RUN_ID", &run);
    if let Some(token) = &args.connection.token {
        child.env("MLFLOW_TRACKING_TOKEN", token);
    }
    let ended = child.status();
    let code = match &ended {
        Ok(status) => status.code().map_or(1, |c| u8::try_from(c).unwrap_or(1)),
        Err(_) => 1,
    };
    finish(&client, &run, code == 0)?;
    ended.with_context(|| format!("can't start `{}`", args.command[0]))?;
    Ok(code)
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

fn create_run(client: &Client, experiment: &str, args: &RunArgs) -> anyhow::Result<String> {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let body = json!({
        "experiment_id": experiment,
        "run_name": args.name,
        "user_id": user,
        "start_time": now_ms(),
        "tags": [
            { "key": "mlflow.user", "value": user },
            { "key": "mlflow.source.name", "value": args.command.join(" ") },
            { "key": "mlflow.source.type", "value": "LOCAL" },
        ],
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

fn capture(client: &Client, args: &RunArgs) -> anyhow::Result<Capture> {
    let keep = |bytes: Vec<u8>| -> anyhow::Result<String> {
        let kept = client.send_bytes("POST", "/api/v1/capture-files", "application/octet-stream", bytes)?;
        kept["sha256"].as_str().map(ToOwned::to_owned).context("the server kept no file")
    };
    let commit = text_of("git", &["rev-parse", "HEAD"]);
    let diff = commit.as_ref().and_then(|_| output_of("git", &["diff", "HEAD", "--binary"]));
    let diff = diff.filter(|d| !d.is_empty()).map(keep).transpose()?;
    let environment = packages(&args.command[0]).map(keep).transpose()?;
    let mut untracked = BTreeMap::new();
    for path in untracked_files() {
        let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= LARGEST_UNTRACKED);
        let bytes = if small { std::fs::read(&path).ok() } else { None };
        let sha256 = match bytes {
            Some(bytes) => keep(bytes)?,
            None => format!("not kept: above {} MiB or unreadable", LARGEST_UNTRACKED >> 20),
        };
        untracked.insert(path, sha256);
    }
    let mut inputs = BTreeMap::new();
    for input in &args.input {
        inputs.insert(input.display().to_string(), hash_of(input)?);
    }
    let seeds = |name: &str| VARIABLES.contains(&name) || name.to_uppercase().contains("SEED");
    Ok(Capture {
        command: args.command.clone(),
        working_dir: text_of("git", &["rev-parse", "--show-prefix"]).unwrap_or_default(),
        remote: text_of("git", &["config", "--get", "remote.origin.url"]),
        commit,
        diff,
        untracked,
        environment,
        interpreter: interpreter(&args.command[0]),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        variables: std::env::vars().filter(|(name, _)| seeds(name)).collect(),
        inputs,
    })
}

fn output_of(program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let done = Command::new(program).args(args).output().ok()?;
    done.status.success().then_some(done.stdout)
}

fn text_of(program: &str, args: &[&str]) -> Option<String> {
    let text = String::from_utf8(output_of(program, args)?).ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// Files that git neither tracks nor ignores.
fn untracked_files() -> Vec<String> {
    let listed = text_of("git", &["ls-files", "--others", "--exclude-standard"]).unwrap_or_default();
    listed.lines().map(ToOwned::to_owned).collect()
}

/// The Python that a command runs on: itself, or the one on the path.
fn python(command: &str) -> &str {
    let name = Path::new(command).file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if name.starts_with("python") { command } else { "python3" }
}

fn packages(command: &str) -> Option<Vec<u8>> {
    output_of(python(command), &["-m", "pip", "freeze", "--all"])
}

fn interpreter(command: &str) -> Option<String> {
    text_of(python(command), &["--version"])
}

fn hash_of(path: &Path) -> anyhow::Result<String> {
    let mut file =
        std::fs::File::open(path).with_context(|| format!("can't read the input {}", path.display()))?;
    if file.metadata()?.is_dir() {
        bail!("the input {} is a folder; name files", path.display());
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_a_command_is_asked_for_its_packages() {
        assert_eq!(python("/opt/venv/bin/python3.11"), "/opt/venv/bin/python3.11");
        assert_eq!(python("make"), "python3");
    }
}

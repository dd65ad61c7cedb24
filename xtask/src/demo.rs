//! `cargo xtask demo`: one real model on real data, act by act, through the built server and the unmodified client.

use crate::setup;
use crate::shell::{self, output, root, say};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A server that the demo has started.
struct Server {
    child: Child,
    url: String,
}

/// What the acts share.
struct Stage {
    binary: PathBuf,
    python: PathBuf,
    data_dir: PathBuf,
    server: Server,
    began: Instant,
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let exit = match arguments {
        [] => false,
        [one] if one == "--exit" => true,
        _ => bail!("the demo takes one argument at the most: --exit"),
    };
    let python = setup::python()?;
    let binary = shell::built_server()?;
    let folder = tempfile::Builder::new().prefix("trueline-demo").tempdir()?;
    let data_dir = folder.path().join("data");
    let server = start(&binary, &data_dir)?;
    let mut stage = Stage { binary, python, data_dir, server, began: Instant::now() };
    let played = play(&stage);
    if played.is_ok() && !exit {
        say(format!("the server stays up: {}  (Ctrl-C ends it)", stage.server.url));
        stage.server.child.wait()?;
        return Ok(());
    }
    stop(&mut stage.server)?;
    played
}

fn start(binary: &Path, data_dir: &Path) -> anyhow::Result<Server> {
    let mut child = Command::new(binary)
        .args(["server", "--port", "0", "--log", "json", "--data-dir"])
        .arg(data_dir)
        .stderr(Stdio::piped())
        .spawn()
        .context("the server")?;
    let mut lines = BufReader::new(child.stderr.take().context("its log")?);
    loop {
        let mut line = String::new();
        ensure!(lines.read_line(&mut line)? > 0, "the server ended before it listened");
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event["address"].as_str() {
            let ready = event["ready_ms"].to_string();
            say(format!("the server was ready after {ready} ms: http://{address}"));
            let url = format!("http://{address}");
            std::thread::spawn(move || for _ in lines.lines() {});
            return Ok(Server { child, url });
        }
    }
}

fn stop(server: &mut Server) -> anyhow::Result<()> {
    shell::run(Command::new("kill").args(["-TERM", &server.child.id().to_string()]))?;
    let status = server.child.wait()?;
    ensure!(status.success(), "the server stopped with {status}");
    Ok(())
}

impl Stage {
    fn act(&self, number: u32, title: &str) {
        println!("\nAct {number} · {title}  [{:.1} s]", self.began.elapsed().as_secs_f32());
    }

    fn trueline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("TRUELINE_URL", &self.server.url);
        command
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let text = ureq::get(format!("{}{path}", self.server.url)).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let request = ureq::post(format!("{}{path}", self.server.url)).content_type("application/json");
        request.send(body.to_string())?;
        Ok(())
    }
}

fn play(stage: &Stage) -> anyhow::Result<()> {
    stage.act(1, "a model is trained on the flights of January to March, as a captured run");
    train(stage)?;
    stage.act(
        2,
        "it was registered; the alias `champion` is pointed at it and it is loaded back by its alias",
    );
    promote(stage)?;
    stage.act(3, "what happened, in the ledger's words");
    shell::run(&mut stage.trueline(&["ledger", "events", "--limit", "8"]))?;
    stage.act(4, "the ledger is checked offline, on a copy of the data");
    verify(stage)?;
    println!("\nEvery act went as told, in {:.1} s.", stage.began.elapsed().as_secs_f32());
    Ok(())
}

fn train(stage: &Stage) -> anyhow::Result<()> {
    let script = root().join("examples/flights/train.py");
    let mut command = stage.trueline(&["run", "--experiment", "flights", "--"]);
    command.arg(&stage.python).arg(script).env("MLFLOW_DISABLE_TELEMETRY", "true");
    shell::run(&mut command)?;
    let search = json!({ "experiment_ids": ["1"], "max_results": 1 });
    let request = ureq::post(format!("{}/api/2.0/mlflow/runs/search", stage.server.url));
    let text =
        request.content_type("application/json").send(search.to_string())?.body_mut().read_to_string()?;
    let run = &serde_json::from_str::<Value>(&text)?["runs"][0];
    ensure!(run["info"]["status"] == "FINISHED", "the run did not finish: {}", run["info"]);
    let id = run["info"]["run_id"].as_str().context("a run id")?;
    let capture = stage.get(&format!("/api/v1/runs/{id}/capture"))?;
    println!("captured: commit {}, interpreter {}", capture["commit"], capture["interpreter"]);
    Ok(())
}

fn promote(stage: &Stage) -> anyhow::Result<()> {
    let alias = json!({ "name": "flight-delay", "alias": "champion", "version": "1" });
    stage.post("/api/2.0/mlflow/registered-models/alias", &alias)?;
    let load = "import mlflow, pandas as pd\n\
                m = mlflow.xgboost.load_model('models:/flight-delay@champion')\n\
                print('loaded by its alias:', m.num_boosted_rounds(), 'trees,', len(m.feature_names), 'features')";
    let mut python = Command::new(&stage.python);
    python.args(["-c", load]).env("MLFLOW_TRACKING_URI", &stage.server.url);
    shell::run(python.env("MLFLOW_DISABLE_TELEMETRY", "true"))
}

fn verify(stage: &Stage) -> anyhow::Result<()> {
    let key = output(&mut stage.trueline(&["ledger", "key"])).context("the key")?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    let copy = tempfile::tempdir()?;
    let mut cp = Command::new("cp");
    shell::run(cp.arg("-r").arg(stage.data_dir.join(".")).arg(copy.path()))?;
    let check = |state: bool| {
        let mut command = stage.trueline(&["ledger", "verify", "--key", &key, "--data-dir"]);
        command.arg(copy.path());
        if state {
            command.arg("--state");
        }
        command
    };
    shell::run(&mut check(true))?;
    let entries = copy.path().join("ledger/tile/entries");
    let bundle = std::fs::read_dir(entries.join("000.p"))?.next().context("an entry bundle")??.path();
    let mut bytes = std::fs::read(&bundle)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bundle, bytes)?;
    let done = check(false).output()?;
    ensure!(done.status.code() == Some(1), "a flipped bit went unnoticed");
    println!("one bit flipped in the copy: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

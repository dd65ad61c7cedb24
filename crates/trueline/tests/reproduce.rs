//! `trueline reproduce` through the binary: a captured run gives the same again, nearly the same, something else, or can't
//! be run again.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Logs a series that depends on a seed, an input, and on `NOISE` when it is in a file outside of the repository.
const TRAIN: &str = r#"
import json, os, pathlib, random, urllib.request
random.seed(int(os.environ["SEED"]))
start = float(pathlib.Path("data.csv").read_text())
noise = pathlib.Path(os.environ["NOISE_FILE"])
noise = float(noise.read_text()) if noise.exists() else 0.0
points = []
for step in range(5):
    value = start + random.random() + (noise if step >= 3 else 0.0)
    points.append({"key": "loss", "value": value, "timestamp": 1, "step": step})
body = json.dumps({"run_id": os.environ["MLFLOW_RUN_ID"], "metrics": points}).encode()
url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-batch"
urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}))
"#;

struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir(repository.path()).expect("a folder");
        repository.write("train.py", TRAIN);
        repository.write(".gitignore", "data.csv\n");
        for args in [
            vec!["init", "--quiet"],
            vec!["add", "-A"],
            vec!["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "first"],
        ] {
            assert!(
                Command::new("git")
                    .args(args)
                    .current_dir(repository.path())
                    .status()
                    .expect("git")
                    .success()
            );
        }
        repository.write("data.csv", "1.5");
        repository
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("repository")
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).expect("a file");
    }

    fn noise(&self) -> std::path::PathBuf {
        self.folder.path().join("noise")
    }

    fn command(&self, server: &Server, args: &[&str], dir: &Path) -> Output {
        let mut command = Command::new(common::BINARY);
        command.args(args).current_dir(dir).env("TRUELINE_URL", &server.url);
        command.env("SEED", "7").env("NOISE_FILE", self.noise()).output().expect("the command runs")
    }

    /// A captured run: its id.
    fn run(&self, server: &Server) -> String {
        let args = ["run", "--input", "data.csv", "--", "python3", "train.py"];
        let done = self.command(server, &args, &self.path());
        let told = text(&done.stderr);
        assert!(done.status.success(), "{told}");
        let id = told.lines().find_map(|l| l.strip_prefix("run ")).and_then(|l| l.split(':').next());
        id.unwrap_or_else(|| panic!("no run in {told}")).to_owned()
    }

    /// Reproduces from elsewhere; answers the exit code and what was told.
    fn reproduce(&self, server: &Server, run: &str, more: &[&str]) -> (bool, Value) {
        let mut args = vec!["reproduce", run, "--json"];
        args.extend(more);
        let done = self.command(server, &args, Path::new("/"));
        let told = serde_json::from_slice(&done.stdout);
        let told = told.unwrap_or_else(|e| panic!("{e}: {} {}", text(&done.stdout), text(&done.stderr)));
        (done.status.success(), told)
    }
}

#[test]
fn a_run_gives_the_same_again_from_its_commit_changes_and_inputs() {
    let (server, repository) = (Server::start(On::Sqlite), Repository::new());
    repository.write("train.py", &TRAIN.replace("random.random()", "2 * random.random()"));
    let run = repository.run(&server);
    // The checkout must take the change from the capture, not from here.
    repository.write("train.py", "raise SystemExit('another program')");
    let (well, told) = repository.reproduce(&server, &run, &[]);
    assert!(well, "{told}");
    assert_eq!((&told["verdict"], &told["points"]), (&"identical".into(), &5.into()), "{told}");
    let again = told["again"].as_str().expect("a run");
    assert_ne!(again, run);

    let events = server.get("/api/v1/ledger/events?action=run.reproduced").1;
    assert_eq!(events["events"][0]["resource"]["id"], run.as_str(), "{events}");
    let listed = server.get(&format!("/api/v1/runs/{run}/reproductions")).1;
    assert_eq!(listed["reproductions"][0]["verdict"], "identical", "{listed}");
}

#[test]
fn a_drift_is_told_with_its_first_metric_and_step_and_a_tolerance_admits_it() {
    let (server, repository) = (Server::start(On::Sqlite), Repository::new());
    let run = repository.run(&server);
    std::fs::write(repository.noise(), "0.001").expect("a file");
    let (well, told) = repository.reproduce(&server, &run, &[]);
    assert!(!well, "{told}");
    assert_eq!(told["verdict"], "drifted", "{told}");
    assert_eq!((&told["first"]["metric"], &told["first"]["step"]), (&"loss".into(), &3.into()), "{told}");
    let (well, told) = repository.reproduce(&server, &run, &["--atol", "0.01"]);
    assert!(well, "{told}");
    assert_eq!(told["verdict"], "within_tolerance", "{told}");
}

#[test]
fn what_is_missing_is_named() {
    let (server, repository) = (Server::start(On::Sqlite), Repository::new());
    let run = repository.run(&server);
    repository.write("data.csv", "2.5");
    let (well, told) = repository.reproduce(&server, &run, &[]);
    assert!(!well, "{told}");
    assert_eq!(told["verdict"], "unreplayable", "{told}");
    assert!(told["missing"][0].as_str().is_some_and(|m| m.contains("the input data.csv")), "{told}");

    repository.write("data.csv", "1.5");
    std::fs::remove_dir_all(repository.path().join(".git")).expect("git's folder goes");
    let (_, told) = repository.reproduce(&server, &run, &[]);
    assert!(told["missing"][0].as_str().is_some_and(|m| m.starts_with("commit ")), "{told}");

    let made = server.ok("/api/2.0/mlflow/runs/create", serde_json::json!({ "experiment_id": "0" }));
    let bare = made["run"]["info"]["run_id"].as_str().expect("an id");
    let (_, told) = repository.reproduce(&server, bare, &[]);
    assert!(told["missing"][0].as_str().is_some_and(|m| m.starts_with("a capture")), "{told}");
}

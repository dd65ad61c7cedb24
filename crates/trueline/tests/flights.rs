//! The flights example through the built binary, on a slice of it: tables made, training set joined, model trained by the
//! example's own script, gates, approval, deployment, replay with features and labels, and the line of one prediction.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::users::{admin_of, as_user, user_of};
use common::{BINARY, On, Server, python, text, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Who trains, and who reviews.
struct Story {
    server: Server,
    folder: tempfile::TempDir,
    ada: String,
    rita: String,
}

fn checked(what: &str, done: &Output) -> String {
    assert!(done.status.success(), "{what}:\n{}\n{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights")
}

impl Story {
    fn new() -> Self {
        let server = Server::start(On::Sqlite);
        let ada = admin_of(&server);
        let rita = user_of(&server, &ada, "rita", "reviewer", "default");
        Self { server, folder: tempfile::tempdir().unwrap(), ada, rita }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn python(&self, script: &Path, args: &[&str]) -> String {
        let mut command = Command::new(python());
        command.arg(script).args(args).current_dir(self.folder.path());
        command.env("MLFLOW_TRACKING_URI", &self.server.url).env("MLFLOW_TRACKING_TOKEN", &self.ada);
        let done = command.env("MLFLOW_DISABLE_TELEMETRY", "true").output().expect("Python runs");
        checked(&script.display().to_string(), &done)
    }

    fn cli_as(&self, token: &str, args: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(args).env("TRUELINE_URL", &self.server.url).env("TRUELINE_TOKEN", token);
        command.output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        checked(&args.join(" "), &self.cli_as(&self.ada, args))
    }

    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        serde_json::from_str(&self.done(&args)).unwrap()
    }

    /// Tables of the last weeks before February, a training set, a version; what it answers is deployed.
    fn release(&self) {
        let known = ["--out", "known", "--from", "2013-01-13", "--until", "2013-02-01"];
        self.python(&example().join("prepare.py"), &known);
        for table in ["flights", "weather", "planes", "route_rates", "carrier_rates"] {
            self.done(&["data", "add", &self.file(&format!("known/{table}.csv"))]);
        }
        let declared = |name: &str| example().join(name).to_str().unwrap().to_owned();
        // Features, model with its policy, endpoint, monitor, and the pipeline that trains again; and nothing twice.
        let apply = ["apply", "-f", &declared("trueline.yaml")];
        assert!(self.json(&apply)["changed"].as_u64().unwrap() > 10);
        assert_eq!(self.json(&apply)["changed"], 0);
        let join = ["features", "join", "flights", "--name", "training", "--timestamp", "event_time"];
        let views =
            ["--view", "weather", "--view", "planes", "--view", "route_rates", "--view", "carrier_rates"];
        let version = self.done(&[&join[..], &views].concat());
        std::fs::write(self.file("dataset"), format!("training@{version}")).unwrap();
        let got = self.done(&["data", "get", "training", "--to", &self.file("."), "--csv"]);
        let table = got.trim();
        // Features of the first days lack the arrivals of the week before the slice.
        let whole = self.file("whole.csv");
        later_rows(table, "2013-01-22", &whole);
        self.python(&example().join("../../python/tests/flights_leaks.py"), &[&whole]);

        let args = ["--table", table, "--until", "2013-02-01", "--months", "1", "--validate-days", "5"];
        let told = self.python(&example().join("train.py"), &[&args[..], &["--trees", "30"]].concat());
        assert!(told.contains("flight-delay/1 valid_auc=0."), "{told}");
        let deploy = ["endpoint", "deploy", "delays", "flight-delay/1"];
        let early = self.cli_as(&self.ada, &deploy);
        assert_eq!(early.status.code(), Some(1), "nobody has judged or approved it");
        self.done(&["gate", "run", "flight-delay/1"]);
        checked(
            "approve",
            &self.cli_as(&self.rita, &["approve", "flight-delay/1", "--comment", "looks right"]),
        );
        for view in ["weather", "planes", "route_rates", "carrier_rates"] {
            self.done(&["features", "materialize", view]);
        }
        self.done(&deploy);
        // Predictions don't ask the database, so a new token takes a moment to reach them.
        wait_until("the token is known", || {
            as_user(&self.server, &self.ada, "POST", "/endpoints/delays/invocations", json!({})).0 == 400
        });
    }
}

/// The rows of a CSV file whose `event_time` is not before `first`.
fn later_rows(table: &str, first: &str, to: &str) {
    let text = std::fs::read_to_string(table).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let column = header.split(',').position(|c| c == "event_time").unwrap();
    let later = lines.filter(|l| l.split(',').nth(column).unwrap() >= first);
    let kept: Vec<&str> = std::iter::once(header).chain(later).collect();
    assert!(kept.len() > 1000);
    std::fs::write(to, kept.join("\n") + "\n").unwrap();
}

#[test]
fn a_model_of_the_flights_goes_from_raw_tables_to_a_traced_prediction() {
    let story = Story::new();
    story.release();
    // Beside it an endpoint with the same version, which is asked the same.
    story.done(&["endpoint", "create", "delays-beside"]);
    story.done(&["endpoint", "deploy", "delays-beside", "flight-delay/1"]);
    let next = ["--out", "next", "--from", "2013-02-01", "--until", "2013-02-03"];
    story.python(&example().join("prepare.py"), &next);
    let out = story.file("predictions.jsonl");
    let rows = story.file("next/flights.csv");
    let pushes: Vec<String> = ["weather", "route_rates", "carrier_rates"]
        .iter()
        .map(|v| format!("{v}={}", story.file(&format!("next/{v}.csv"))))
        .collect();
    let mut args = vec!["replay", "delays", &rows, "--event-time", "event_time", "--out", &out];
    args.extend(["--label", "late", "--label-time", "arrived_at", "--label-delay", "1d", "--key", "tailnum"]);
    args.extend(["--compare", "delays-beside"]);
    pushes.iter().for_each(|p| args.extend(["--push", p]));
    let told = story.json(&args);
    let (asked, labelled) = counts(&rows);
    assert_eq!(
        (&told["predictions"]["answered"], &told["predictions"]["failed"]),
        (&json!(2 * asked), &json!(0))
    );
    assert_eq!(
        (&told["labels"]["told"], &told["labels"]["new"]),
        (&json!(2 * labelled), &json!(2 * labelled))
    );
    assert!(told["feature_rows"]["pushed"].as_u64().unwrap() > 1000, "{told}");

    // Resumed after its end, it asks nothing again, and labels that are there change nothing.
    let again = story.json(&[&args[..], &["--resume"]].concat());
    assert_eq!(again["predictions"]["answered"], 0, "{again}");
    assert_eq!((&again["labels"]["told"], &again["labels"]["new"]), (&json!(2 * labelled), &json!(0)));

    let lines = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2 * asked);
    for both in lines.chunks(2) {
        assert_eq!((&both[0]["row"], &both[0]["prediction"]), (&both[1]["row"], &both[1]["prediction"]));
        assert_eq!((&both[0]["endpoint"], &both[1]["endpoint"]), (&json!("delays"), &json!("delays-beside")));
    }
    let last = &lines[lines.len() - 2];
    assert_eq!(last["variant"], "flight-delay/1");
    assert!((0.0..=1.0).contains(&last["prediction"].as_f64().unwrap()), "{last}");
    let id = last["prediction_id"].as_str().unwrap();
    let trace = story.json(&["trace", id]);
    assert_eq!(trace["prediction"]["event_time"], last["event_time"], "{trace}");
    trained_on_its_training_set(&story, &trace);
}

/// Both the line of a prediction and the monitor know which dataset version the model was trained on.
fn trained_on_its_training_set(story: &Story, trace: &Value) {
    let training = trace["run"]["datasets"].as_array().unwrap().iter().find(|d| d["name"] == "flights-train");
    assert_eq!(training.unwrap()["dataset_version"]["name"], "training", "{trace}");
    let monitor = || story.json(&["monitor", "show", "delays"])["monitor"].clone();
    wait_until("its training data is looked up", || monitor()["reference"]["state"] == "known");
    let reference = monitor()["reference"].clone();
    let features = &reference["versions"][0]["features"];
    assert_eq!(features.as_array().unwrap().len(), 19, "all that the model reads: {reference}");
    assert!(!reference.to_string().contains("can't be compared"), "{reference}");
}

#[test]
fn a_replay_whose_requests_fail_says_so_and_ends_with_1() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(&rows, "{\"t\": \"2013-01-01T00:00:00Z\"}\n{\"t\": \"2013-01-02T00:00:00Z\"}\n").unwrap();
    let done = server.cli(&["replay", "nowhere", rows.to_str().unwrap(), "--event-time", "t", "--json"]);
    assert_eq!(done.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&told["predictions"]["answered"], &told["predictions"]["failed"]), (&json!(0), &json!(2)));
    assert!(text(&done.stderr).contains("2 requests failed; the first: 404"), "{}", text(&done.stderr));
}

/// Rows of a table of flights, and those with a label.
fn counts(table: &str) -> (usize, usize) {
    let text = std::fs::read_to_string(table).unwrap();
    let column = text.lines().next().unwrap().split(',').position(|c| c == "late").unwrap();
    let labelled = text.lines().skip(1).filter(|l| !l.split(',').nth(column).unwrap().is_empty());
    (text.lines().count() - 1, labelled.count())
}

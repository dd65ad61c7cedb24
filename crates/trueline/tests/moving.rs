//! Moving in: stores that the real MLflow made come into a data directory, and a client finds in the server what it finds
//! in the store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BINARY, On, Server, fresh_database, python, text, verify, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn script(folder: &Path, name: &str, arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests").join(name);
    let done = Command::new(python())
        .args(["-W", "ignore"])
        .arg(path)
        .args(arguments)
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("MLFLOW_ALLOW_FILE_STORE", "true")
        .current_dir(folder)
        .output()
        .expect("Python runs");
    assert!(done.status.success(), "{name} failed:\n{}\n{}", text(&done.stdout), text(&done.stderr));
    done
}

struct Moved {
    folder: tempfile::TempDir,
    source: String,
    database: Option<String>,
}

impl Moved {
    /// A store that the client has filled, seen from a folder of its own.
    fn filled(source: &str, on: On) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        script(folder.path(), "moving_fill.py", &[source]);
        Self { folder, source: source.to_owned(), database: (on == On::Postgres).then(fresh_database) }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["import", "mlflow", &self.source, "--json", "--data-dir", "data"]).args(more);
        if let Some(url) = &self.database {
            command.args(["--database", url]);
        }
        command.current_dir(self.folder.path());
        command
    }

    fn import(&self, more: &[&str]) -> Value {
        let done = self.command(more).output().expect("the command runs");
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("a report")
    }

    fn export(&self, target: &str, more: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(["export", "mlflow", target, "--json", "--data-dir", "data"]).args(more);
        if let Some(url) = &self.database {
            command.args(["--database", url]);
        }
        command.current_dir(self.folder.path()).output().expect("the command runs")
    }

    /// Exports, and answers the report.
    fn exported(&self, target: &str, more: &[&str]) -> Value {
        let done = self.export(target, more);
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("a report")
    }

    /// How many files the client has logged: those of runs and models, and the spans of traces, which it writes to a file
    /// when it is quicker than the store, and always into folders.
    fn files(&self) -> u64 {
        let mut folders = vec![self.folder.path().join("mlruns")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for path in
                std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
            {
                let spans = path.ends_with("traces.json");
                let artifact = spans || path.ends_with("MLmodel") || path.ends_with("notes ü.txt");
                files += u64::from(artifact);
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        files
    }

    fn server(&self) -> Server {
        Server::start_in(&self.data_dir(), self.database.clone())
    }

    fn compare(&self, server: &Server, more: &[&str]) {
        let arguments = [&[self.source.as_str(), &server.url], more].concat();
        script(self.folder.path(), "moving_compare.py", &arguments);
    }
}

fn counts(report: &Value) -> [&Value; 6] {
    ["experiments", "runs", "logged_models", "registered_models", "artifacts"]
        .map(|kind| &report[kind]["new"])
        .into_iter()
        .chain([&report["versions"]])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

fn comes_in(source: &str, on: On) {
    let moved = Moved::filled(source, on);
    let report = moved.import(&[]);
    assert_eq!(report["not_taken"], json!([]), "{report}");
    assert_eq!(report["runs"], json!({ "new": 5, "known": 0 }));
    let files = moved.files();
    assert_eq!(report["artifacts"]["new"], files);
    let folder = if source == "./mlruns" { &["--folder"][..] } else { &[] };
    // Folders keep no issues, nor what says that a trace shows one.
    let issues = if folder.is_empty() { 2 } else { 0 };
    let assessments = if folder.is_empty() { 4 } else { 3 };
    assert_eq!((&report["traces"]["new"], &report["assessments"]), (&json!(2), &json!(assessments)));
    assert_eq!(report["issues"], json!({ "new": issues, "known": 0 }));
    let again = moved.import(&[]);
    assert!(counts(&again).iter().all(|new| **new == 0), "{again}");
    assert_eq!((&again["runs"]["known"], &again["artifacts"]["known"]), (&json!(5), &json!(files)));
    assert_eq!((&again["traces"], &again["records"]), (&json!({ "new": 0, "known": 2 }), &json!(0)));
    assert_eq!(again["issues"], json!({ "new": 0, "known": issues }));
    assert_eq!((&again["points"], &again["registered_models"]["known"]), (&json!(0), &json!(3)));

    let server = moved.server();
    moved.compare(&server, &[&["--artifacts"], folder].concat());
    // What came in can be worked on: numbers go on, and a released version is frozen.
    let version = server.get("/api/2.0/mlflow/model-versions/get?name=fraud&version=1").1;
    let uri = server.get("/api/2.0/mlflow/model-versions/get-download-uri?name=fraud&version=1").1;
    let uri = uri["artifact_uri"].as_str().expect("an address");
    assert!(uri.starts_with("mlflow-artifacts:/model-versions/"), "{uri}: {version}");
    let next = json!({ "name": "fraud", "source": "s3://bucket/m" });
    let next = server.ok("/api/2.0/mlflow/model-versions/create", next);
    assert_eq!(next["model_version"]["version"], "4");
    let made = server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "after" }));
    let run = json!({ "experiment_id": made["experiment_id"] });
    server.ok("/api/2.0/mlflow/runs/create", run);
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    if on == On::Sqlite {
        let done = verify(&stopped.data_dir, &key, &["--state"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
}

#[test]
fn a_database_comes_in_whole_and_once() {
    comes_in("sqlite:///mlflow.db", On::Sqlite);
}

#[test]
fn a_database_comes_into_postgres() {
    comes_in("sqlite:///mlflow.db", On::Postgres);
}

#[test]
fn a_folder_comes_in_whole_and_once() {
    comes_in("./mlruns", On::Sqlite);
}

#[test]
fn a_database_on_postgres_comes_in() {
    let url = fresh_database();
    comes_in(&url.replace("postgres://", "postgresql+psycopg2://"), On::Sqlite);
}

#[test]
fn artifacts_that_are_referred_to_stay_where_they_are() {
    let moved = Moved::filled("sqlite:///mlflow.db", On::Sqlite);
    let report = moved.import(&["--artifacts", "reference"]);
    assert_eq!(report["artifacts"], json!({ "new": 0, "known": 0 }));
    let server = moved.server();
    moved.compare(&server, &["--artifacts"]);
}

#[test]
fn copied_artifacts_go_where_the_server_keeps_its_own() {
    let moved = Moved::filled("sqlite:///mlflow.db", On::Sqlite);
    let kept = moved.folder.path().join("kept");
    let kept = kept.to_str().unwrap();
    let report = moved.import(&["--artifacts-destination", kept]);
    assert_eq!(report["artifacts"], json!({ "new": moved.files(), "known": 0 }));
    let again = moved.import(&["--artifacts-destination", kept]);
    assert_eq!(again["artifacts"], json!({ "new": 0, "known": moved.files() }));
    let server = Server::start_in_with(&moved.data_dir(), &[("MLFLOW_ARTIFACTS_DESTINATION", kept)]);
    moved.compare(&server, &["--artifacts"]);
}

#[test]
fn points_that_were_changed_after_an_import_are_found() {
    let moved = Moved::filled("sqlite:///mlflow.db", On::Sqlite);
    moved.import(&[]);
    let server = moved.server();
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    common::sqlite(&stopped.data_dir, "DELETE FROM metric_blocks WHERE key = 'odd'");
    let done = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(!done.status.success());
    assert!(text(&done.stderr).contains("chunk 0 of its metrics"), "{}", text(&done.stderr));
}

/// Adds many runs to a store, and one whose points are too many for one transaction.
const MANY: &str = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
(experiment,) = c.execute(\"SELECT experiment_id FROM experiments WHERE name = 'first'\").fetchone()
def run(n, points):
    id = f'{n:032x}'
    c.execute('INSERT INTO runs (run_uuid, name, user_id, status, start_time, lifecycle_stage, artifact_uri, experiment_id, '
              'source_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
              (id, f'r{n}', 'u', 'FINISHED', 10000 + n, 'active', f'/nowhere/{id}/artifacts', experiment, 'LOCAL'))
    c.execute('INSERT INTO params VALUES (?, ?, ?)', ('n', str(n), id))
    rows = ((f'm{i % 3}', i / 7, i, id, i // 3, 0) for i in range(points))
    c.executemany('INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)', rows)
for n in range(600):
    run(n, 100)
run(5000, 450000)
c.commit()
";

fn killed(on: On) {
    let moved = Moved::filled("sqlite:///mlflow.db", on);
    let file = moved.folder.path().join("mlflow.db");
    let done = Command::new(python()).args(["-c", MANY]).arg(&file).output().expect("Python runs");
    assert!(done.status.success(), "{}", text(&done.stderr));
    let blobs = moved.data_dir();
    let mut kills = 0;
    // Each is left alone a little longer than the one before.
    for patience in 1.. {
        let mut child = moved.command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let began = std::time::Instant::now();
        let wait = std::time::Duration::from_millis(300 * patience);
        wait_until("the import has got somewhere", || {
            began.elapsed() >= wait || child.try_wait().unwrap().is_some()
        });
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills < 100 && blobs.is_dir());
    }
    assert!(kills > 0, "nothing was killed");
    let report = moved.import(&[]);
    assert!(counts(&report).iter().all(|new| **new == 0), "the last one had finished: {report}");
    let server = moved.server();
    let run = format!("{:032x}", 5000);
    for key in ["m0", "m1", "m2"] {
        let path = format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key={key}");
        let (mut points, mut page) = (0, String::new());
        loop {
            let (status, history) = server.get(&format!("{path}{page}"));
            assert_eq!(status, 200);
            points += history["metrics"].as_array().unwrap().len();
            let Some(token) = history["next_page_token"].as_str() else { break };
            page = format!("&page_token={token}");
        }
        assert_eq!(points, 150_000, "{key}");
    }
    let query = json!({ "experiment_ids": ["1"], "max_results": 10000, "filter": "params.n != ''" });
    let found = server.ok("/api/2.0/mlflow/runs/search", query);
    assert_eq!(found["runs"].as_array().unwrap().len(), 601);
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    if on == On::Sqlite {
        let done = verify(&stopped.data_dir, &key, &["--state"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
}

#[test]
fn an_import_that_is_killed_again_and_again_comes_to_the_same_on_sqlite() {
    killed(On::Sqlite);
}

#[test]
fn an_import_that_is_killed_again_and_again_comes_to_the_same_on_postgres() {
    killed(On::Postgres);
}

#[test]
fn a_server_that_runs_is_not_imported_into() {
    let moved = Moved::filled("sqlite:///mlflow.db", On::Sqlite);
    let _server = moved.server();
    let refused = moved.command(&[]).output().unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("server that is stopped"), "{}", text(&refused.stderr));
}

/// A database of the real MLflow's comes in and goes out again: both databases hold the same, table by table, and the real
/// MLflow finds the same in both.
fn comes_back(source: &str, target: &str, on: On) {
    let moved = Moved::filled(source, on);
    moved.import(&[]);
    let report = moved.exported(target, &["--artifacts", "copy", "files"]);
    assert_eq!(report["not_told"], json!([]), "{report}");
    assert_eq!((&report["runs"], &report["points"], &report["spans"]), (&json!(5), &json!(910), &json!(3)));
    assert_eq!(
        (&report["records"], &report["scorers"], &report["issues"], &report["artifacts"]),
        (&json!(2), &json!(2), &json!(2), &json!(moved.files()))
    );
    script(moved.folder.path(), "moving_tables.py", &[source, target]);
    script(moved.folder.path(), "moving_compare.py", &[source, target, "--artifacts"]);
    let again = moved.export(target, &[]);
    assert!(!again.status.success(), "nothing is written over");
}

#[test]
fn what_came_from_a_database_goes_out_as_it_was() {
    comes_back("sqlite:///mlflow.db", "sqlite:///out.db", On::Sqlite);
}

#[test]
fn what_came_from_postgres_goes_out_to_postgres_as_it_was() {
    let driver = |url: String| url.replace("postgres://", "postgresql+psycopg2://");
    comes_back(&driver(fresh_database()), &driver(fresh_database()), On::Postgres);
}

/// What clients told a server is what MLflow finds in the database that is made of it.
fn goes_out(on: On) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = (on == On::Postgres).then(fresh_database);
    let moved = Moved { folder, source: "sqlite:///out.db".to_owned(), database };
    let server = moved.server();
    script(moved.folder.path(), "moving_fill.py", &[&server.url]);
    let running = moved.export(&moved.source, &[]);
    assert!(text(&running.stderr).contains("server that is stopped"), "{}", text(&running.stderr));
    server.stop();
    let report = moved.exported(&moved.source, &["--artifacts", "copy", "files"]);
    assert_eq!(report["not_told"], json!([]), "{report}");
    assert_eq!(report["points"], json!(910));
    moved.compare(&moved.server(), &["--artifacts"]);
    let full = moved.export("sqlite:///other.db", &["--artifacts", "copy", "files"]);
    assert!(text(&full.stderr).contains("not empty"), "{}", text(&full.stderr));
    assert!(!moved.folder.path().join("other.db").exists());
}

#[test]
fn what_a_server_was_told_goes_out() {
    goes_out(On::Sqlite);
}

#[test]
fn what_a_server_on_postgres_was_told_goes_out() {
    goes_out(On::Postgres);
}

#[test]
fn an_export_without_a_server_or_a_project_says_so_and_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let moved = Moved { folder, source: String::new(), database: None };
    let nothing = moved.export("out.db", &[]);
    assert!(text(&nothing.stderr).contains("no data of a server"), "{}", text(&nothing.stderr));
    drop(moved.server().stop());
    let unknown = moved.export("out.db", &["--project", "nowhere"]);
    assert!(text(&unknown.stderr).contains("nowhere"), "{}", text(&unknown.stderr));
    let here: Vec<_> =
        std::fs::read_dir(moved.folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(here, ["data"]);
}

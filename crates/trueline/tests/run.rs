//! `trueline run -- <command>`: what it captures, and how the run ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BINARY, On, Server, python, text};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::{Command, Output};

fn git(folder: &Path, args: &[&str]) -> Vec<u8> {
    let who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
    let done = Command::new("git").args(who).args(args).current_dir(folder).output().expect("git runs");
    assert!(done.status.success(), "git {args:?}: {}", text(&done.stderr));
    done.stdout
}

fn start(server: &Server, folder: &Path, options: &[&str], command: &[&str]) -> Output {
    let mut run = Command::new(BINARY);
    run.arg("run").args(options).arg("--").args(command).current_dir(folder);
    // A test may itself run inside a checkout, which must not be taken for the folder's own.
    run.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap()).env("TRUELINE_URL", &server.url);
    run.output().expect("the command runs")
}

/// The only run of the default experiment, and what was captured of it.
fn captured(server: &Server) -> (Value, Value) {
    let found = server.ok("/api/2.0/mlflow/runs/search", json!({ "experiment_ids": ["0"] }));
    assert_eq!(found["runs"].as_array().map(Vec::len), Some(1), "{found}");
    let run = found["runs"][0].clone();
    let id = run["info"]["run_id"].as_str().unwrap();
    let (status, capture) = server.get(&format!("/api/v1/runs/{id}/capture"));
    assert_eq!(status, 200, "{capture}");
    (run, capture)
}

fn sha256(bytes: &[u8]) -> Value {
    json!(hex::encode(Sha256::digest(bytes)))
}

/// Whether the server keeps these bytes.
fn kept(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .any(|path| if path.is_dir() { kept(&path, bytes) } else { std::fs::read(&path).unwrap() == bytes })
}

#[test]
fn commit_changes_environment_inputs_and_command_are_captured() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir_all(work.join("training")).unwrap();
    git(&work, &["init", "--quiet"]);
    std::fs::write(work.join("train.py"), "print('one')\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "first"]);
    std::fs::write(work.join("train.py"), "print('two')\n").unwrap();
    std::fs::write(work.join("new.py"), "untracked").unwrap();
    let data = folder.path().join("data.csv");
    std::fs::write(&data, "a,b\n1,2\n").unwrap();

    let python = python();
    let data = data.to_str().unwrap();
    let code = "import os; print(os.environ['MLFLOW_RUN_ID'])";
    let done = start(&server, &work, &["--name", "captured", "--input", data], &[&python, "-c", code]);
    assert!(done.status.success(), "{}", text(&done.stderr));

    let (run, capture) = captured(&server);
    assert_eq!(text(&done.stdout).trim(), run["info"]["run_id"]);
    assert_eq!((&run["info"]["status"], &run["info"]["run_name"]), (&json!("FINISHED"), &json!("captured")));
    assert!(run["info"]["end_time"].as_i64() >= run["info"]["start_time"].as_i64());
    assert_eq!(capture["commit"], json!(text(&git(&work, &["rev-parse", "HEAD"])).trim()));
    let diff = git(&work, &["diff", "HEAD", "--binary"]);
    assert!(text(&diff).contains("+print('two')"));
    assert_eq!(capture["diff"], sha256(&diff));
    assert_eq!(capture["untracked"], json!({ "new.py": sha256(b"untracked") }));
    let packages = Command::new(&python).args(["-m", "pip", "freeze", "--all"]).output().unwrap().stdout;
    assert!(text(&packages).contains("mlflow-skinny=="));
    assert_eq!(capture["environment"], sha256(&packages));
    assert_eq!(capture["command"], json!([python, "-c", code]));
    assert_eq!(capture["inputs"], json!({ data: sha256(b"a,b\n1,2\n") }));
    assert!(capture["interpreter"].as_str().unwrap().starts_with("Python 3."));
    let blobs = server.data_dir.join("blobs");
    for bytes in [&diff[..], &packages[..], b"untracked"] {
        assert!(kept(&blobs, bytes), "{}", text(bytes));
    }
}

#[test]
fn a_command_that_fails_ends_its_run_as_failed_with_its_own_code() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let done = start(&server, folder.path(), &[], &["sh", "-c", "echo told; exit 3"]);
    assert_eq!(done.status.code(), Some(3), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), "told\n");
    assert_eq!(captured(&server).0["info"]["status"], "FAILED");
}

#[test]
fn a_command_that_cannot_be_started_ends_its_run_as_failed_and_is_named() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let done = start(&server, folder.path(), &[], &["no-such-command"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("can't start `no-such-command`"), "{}", text(&done.stderr));
    assert_eq!(captured(&server).0["info"]["status"], "FAILED");
}

#[test]
fn it_works_outside_a_git_repository() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let done = start(&server, folder.path(), &[], &["true"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("no commit"), "{}", text(&done.stderr));
    let (run, capture) = captured(&server);
    assert_eq!(run["info"]["status"], "FINISHED");
    assert_eq!(capture["command"], json!(["true"]));
    assert_eq!((&capture["commit"], &capture["diff"]), (&Value::Null, &Value::Null));
    assert_eq!(capture["untracked"], json!({}));
}

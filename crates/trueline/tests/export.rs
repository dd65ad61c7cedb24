//! The ledger taken elsewhere: an export holds on its own, erased payloads or not, and whatever is changed in it is found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BINARY, On, Server, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A server with more events than one bundle holds, one of them erased.
fn history(on: On) -> Server {
    let server = Server::start(on);
    for i in 0..300 {
        server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": format!("experiment {i}") }));
    }
    server.settle();
    // It is under the checkpoint, its erasure is not as yet.
    let (_, events) = server.get("/api/v1/ledger/events?action=experiment.created&limit=1");
    let id = events["events"][0]["id"].as_str().unwrap();
    server.ok(&format!("/api/v1/ledger/events/{id}/erasure"), json!({ "reason": "asked for" }));
    server
}

fn verify(export: &Path, key: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["ledger", "verify", "--json", "--key", key, "--export"]).arg(export).output().unwrap()
}

fn report(export: &Path, key: &str) -> Value {
    let done = verify(export, key);
    assert!(done.status.success(), "{}", text(&done.stderr));
    serde_json::from_slice::<Value>(&done.stdout).unwrap()["report"].clone()
}

#[test]
fn a_running_server_is_exported_and_checked_elsewhere() {
    for on in [On::Sqlite, On::Postgres] {
        let server = history(on);
        let elsewhere = tempfile::tempdir().unwrap();
        let tar = elsewhere.path().join("ledger.tar");
        // The erasure may not be under a checkpoint yet; the export waits for it.
        let done = server.cli(&["ledger", "export", "--out", tar.to_str().unwrap()]);
        assert!(done.status.success(), "{on:?}: {}", text(&done.stderr));
        let key = server.ledger_key();
        drop(server);
        let report = report(&tar, &key);
        assert!(report["entries"].as_u64() > Some(300), "{on:?}: {report}");
        assert_eq!(report["erased"], 1, "{on:?}: {report}");
        let left: Vec<_> = fs::read_dir(elsewhere.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left, ["ledger.tar"], "nothing lies beside it");
    }
}

#[test]
fn a_data_directory_gives_the_same_export_as_its_server() {
    let server = history(On::Sqlite);
    server.settle();
    let elsewhere = tempfile::tempdir().unwrap();
    let (online, offline) = (elsewhere.path().join("online.tar"), elsewhere.path().join("offline.tar"));
    assert!(server.cli(&["ledger", "export", "--out", online.to_str().unwrap()]).status.success());
    let stopped = server.stop();
    let done = Command::new(BINARY)
        .args(["ledger", "export", "--out", offline.to_str().unwrap(), "--data-dir"])
        .arg(&stopped.data_dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(fs::read(online).unwrap() == fs::read(offline).unwrap(), "byte for byte");
}

#[test]
fn what_is_changed_in_an_export_is_found() {
    let server = history(On::Sqlite);
    let key = server.ledger_key();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("ledger");
    assert!(server.cli(&["ledger", "export", "--out", folder.to_str().unwrap()]).status.success());
    assert_eq!(report(&folder, &key)["erased"], 1);
    let lines: Vec<String> =
        fs::read_to_string(folder.join("events.jsonl")).unwrap().lines().map(ToOwned::to_owned).collect();
    let change = |line: usize, f: &dyn Fn(&mut Value)| {
        let mut changed = lines.clone();
        let mut value: Value = serde_json::from_str(&changed[line]).unwrap();
        f(&mut value);
        changed[line] = value.to_string();
        changed.join("\n")
    };
    let swapped = [&lines[1..2], &lines[0..1], &lines[2..]].concat().join("\n");
    let erased = lines.iter().position(|line| !line.contains("\"body\"")).unwrap();
    for (what, changed, expected) in [
        ("a body", change(7, &|v| v["body"] = json!("{}")), "entry 7: its payload was altered"),
        ("an entry", change(8, &|v| v["event"]["actor"] = json!("mallory")), "entry 8"),
        ("a body taken out", change(9, &|v| drop(v.as_object_mut().unwrap().remove("body"))), "entry 9"),
        (
            "a payload taken out",
            change(9, &|v| v.as_object_mut().unwrap().retain(|k, _| k != "body" && k != "salt")),
            "no event says that it was erased",
        ),
        (
            "an erased payload made up",
            change(erased, &|v| (v["salt"], v["body"]) = (json!("s"), json!("{}"))),
            "salt",
        ),
        ("the order", swapped, "entry 0"),
        ("the end", lines[..lines.len() - 1].join("\n"), "is missing"),
        ("more lines", [lines.clone(), lines[..1].to_vec()].concat().join("\n"), "goes on beyond"),
    ] {
        fs::write(folder.join("events.jsonl"), changed).unwrap();
        let done = verify(&folder, &key);
        assert_eq!(done.status.code(), Some(1), "{what}");
        assert!(text(&done.stderr).contains(expected), "{what}: {}", text(&done.stderr));
    }
    fs::write(folder.join("events.jsonl"), lines.join("\n")).unwrap();
    assert!(verify(&folder, &key).status.success());
    let other = Server::start(On::Sqlite);
    assert_eq!(verify(&folder, &other.ledger_key()).status.code(), Some(1), "another key is not trusted");
    fs::remove_file(folder.join("tile/entries/000")).unwrap();
    assert!(text(&verify(&folder, &key).stderr).contains("is missing"));
}

#[test]
fn an_export_never_mixes_with_what_is_there() {
    let server = Server::start(On::Sqlite);
    server.settle();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("mine"), "").unwrap();
    let done = server.cli(&["ledger", "export", "--out", elsewhere.path().to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("not empty"), "{}", text(&done.stderr));
}

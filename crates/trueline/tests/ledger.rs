//! The ledger through the public door: what is written is under a signed checkpoint, and whatever is changed
//! afterwards, in any file or row, is found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, Stopped, copy_tree, sqlite as sql, text, verify};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// A stopped server with some history, its key and its last checkpoint.
fn history() -> (Stopped, String, String) {
    let server = Server::start(On::Sqlite);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "e" }));
    server.ok("/api/2.0/mlflow/registered-models/create", json!({ "name": "m" }));
    for run in 0..3 {
        let made =
            server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "1", "start_time": run }));
        let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/model/MLmodel");
        server.call("PUT", &path, Some(b"flavors: {}".to_vec()), &[]);
        let source = format!("mlflow-artifacts:/1/{run}/artifacts/model");
        let version = json!({ "name": "m", "source": source, "run_id": run });
        server.ok("/api/2.0/mlflow/model-versions/create", version);
    }
    let alias = json!({ "name": "m", "alias": "champion", "version": "2" });
    server.ok("/api/2.0/mlflow/registered-models/alias", alias);
    server.settle();
    let key = server.ledger_key();
    let checkpoint = server.get("/api/v1/ledger").1["checkpoint"]["note"].as_str().unwrap().to_owned();
    (server.stop(), key, checkpoint)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            out.extend(files_below(&entry.path()));
        } else {
            out.push(entry.path());
        }
    }
    out
}

/// Whether any file of a data directory holds these bytes.
fn bytes_lie_below(folder: &Path, bytes: &[u8]) -> bool {
    let holds = |file: &PathBuf| fs::read(file).unwrap().windows(bytes.len()).any(|w| w == bytes);
    files_below(folder).iter().any(holds)
}

#[test]
fn an_untouched_history_holds_and_says_so() {
    let (stopped, key, _) = history();
    let done = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).starts_with("ok: "), "{}", text(&done.stdout));
}

#[test]
fn any_one_byte_flipped_in_the_ledgers_files_is_found() {
    let (stopped, key, _) = history();
    let ledger = stopped.data_dir.join("ledger");
    let mut tried = 0;
    for file in files_below(&ledger) {
        let original = fs::read(&file).unwrap();
        // Every byte of the small files, a spread of those of the entries.
        let step = (original.len() / 150).max(1);
        for at in (0..original.len()).step_by(step) {
            let mut changed = original.clone();
            changed[at] ^= 1;
            fs::write(&file, &changed).unwrap();
            let done = verify(&stopped.data_dir, &key, &[]);
            assert_eq!(done.status.code(), Some(1), "byte {at} of {} went unnoticed", file.display());
            tried += 1;
        }
        fs::write(&file, &original).unwrap();
    }
    assert!(tried > 200, "only {tried} bytes were tried");
    assert!(verify(&stopped.data_dir, &key, &[]).status.success());
}

#[test]
fn a_changed_row_names_its_entry() {
    let (stopped, key, _) = history();
    let changes = [
        ("UPDATE ledger_events SET actor = 'mallory' WHERE idx = 3", "entry 3: the column actor"),
        (
            "UPDATE ledger_payloads SET body = '{}' WHERE event_id = (SELECT id FROM ledger_events WHERE idx = 2)",
            "entry 2: its payload was altered",
        ),
        (
            "DELETE FROM ledger_payloads WHERE event_id = (SELECT id FROM ledger_events WHERE idx = 1)",
            "entry 1: its payload is missing",
        ),
        ("DELETE FROM ledger_events WHERE idx = 4", "entry 4: its row is missing"),
        ("UPDATE ledger_events SET entry = x'00' WHERE idx = 5", "entry 5: its row in the database is not"),
    ];
    for (statement, expected) in changes {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data_dir, copy.path());
        sql(copy.path(), statement);
        let done = verify(copy.path(), &key, &[]);
        assert_eq!(done.status.code(), Some(1), "{statement}");
        assert!(text(&done.stderr).contains(expected), "{statement}: {}", text(&done.stderr));
    }
}

#[test]
fn state_that_the_events_do_not_tell_is_named() {
    let (stopped, key, _) = history();
    let changes = [
        ("UPDATE model_aliases SET version = 3", "alias default: m@champion"),
        ("UPDATE model_versions SET manifest_digest = 'f00' WHERE version = 1", "version default: m/1"),
        ("DELETE FROM model_versions WHERE version = 3", "version default: m/3"),
    ];
    for (statement, expected) in changes {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data_dir, copy.path());
        sql(copy.path(), statement);
        assert!(verify(copy.path(), &key, &[]).status.success(), "the log itself is untouched");
        let done = verify(copy.path(), &key, &["--state"]);
        assert_eq!(done.status.code(), Some(1), "{statement}");
        assert!(text(&done.stderr).contains(expected), "{statement}: {}", text(&done.stderr));
    }
}

#[test]
fn a_rollback_is_found_against_an_earlier_checkpoint() {
    let server = Server::start(On::Sqlite);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "first" }));
    server.settle();
    let key = server.ledger_key();
    let old = tempfile::tempdir().unwrap();
    copy_tree(&server.data_dir, old.path());
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "second" }));
    server.settle();
    let note = server.get("/api/v1/ledger").1["checkpoint"]["note"].as_str().unwrap().to_owned();
    let later = old.path().join("later-checkpoint");
    fs::write(&later, note).unwrap();
    let later = later.to_str().unwrap();

    let done = verify(old.path(), &key, &["--checkpoint", later]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("rolled back"), "{}", text(&done.stderr));
    assert!(verify(&server.stop().data_dir, &key, &["--checkpoint", later]).status.success());
}

#[test]
fn another_key_is_not_trusted() {
    let (stopped, _, _) = history();
    let (_other, key, _) = history();
    let done = verify(&stopped.data_dir, &key, &[]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stdout));
}

#[test]
fn an_erased_payload_is_told_from_an_altered_one() {
    let server = Server::start(On::Sqlite);
    server.ok("/api/2.0/mlflow/registered-models/create", json!({ "name": "m" }));
    for description in ["secret-of-the-person", "something else"] {
        let described = json!({ "name": "m", "description": description });
        let (status, _) = server.call(
            "PATCH",
            "/api/2.0/mlflow/registered-models/update",
            Some(described.to_string().into()),
            &[],
        );
        assert_eq!(status, 200);
    }
    server.settle();
    // Both events tell of it: one as what came, one as what was there before.
    let (_, events) = server.get("/api/v1/ledger/events?action=model.described");
    let later = events["events"][0]["id"].as_str().unwrap();
    server.ok(
        &format!("/api/v1/ledger/events/{later}/erasure"),
        json!({ "reason": "asked for by the person" }),
    );
    let events = json!({ "events": [events["events"][1]] });
    let id = events["events"][0]["id"].as_str().unwrap().to_owned();
    let (status, _) = server.post(&format!("/api/v1/ledger/events/{id}/erasure"), json!({ "reason": " " }));
    assert_eq!(status, 400, "an erasure needs a reason");
    assert!(bytes_lie_below(&server.data_dir, b"secret-of-the-person"), "it is in the database as yet");
    server.ok(&format!("/api/v1/ledger/events/{id}/erasure"), json!({ "reason": "asked for by the person" }));
    assert!(
        !bytes_lie_below(&server.data_dir, b"secret-of-the-person"),
        "no file of the running server has it"
    );
    let (_, event) = server.get(&format!("/api/v1/ledger/events/{id}"));
    assert_eq!(event["erased"], true);
    server.settle();
    let key = server.ledger_key();
    let done = verify(&server.stop().data_dir, &key, &["--state"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("2 payloads erased"), "{}", text(&done.stderr));
}

#[test]
fn rows_whose_events_were_erased_are_counted_and_not_called_wrong() {
    let (stopped, _, _) = history();
    let server = Server::start_in(&stopped.data_dir, None);
    for action in ["version.registered", "alias.set"] {
        let (_, events) = server.get(&format!("/api/v1/ledger/events?action={action}"));
        let id = events["events"][0]["id"].as_str().unwrap();
        server.ok(&format!("/api/v1/ledger/events/{id}/erasure"), json!({ "reason": "asked for" }));
    }
    server.settle();
    let key = server.ledger_key();
    let asked = server.ok("/api/v1/ledger/verifications", json!({}));
    let follow = asked["follow"].as_str().unwrap().to_owned();
    common::wait_until("the check is done", || server.get(&follow).1["state"] == "done");
    assert_eq!(server.get(&follow).1["result"]["ok"], true, "{}", server.get(&follow).1);
    let data_dir = server.stop().data_dir;
    let done = verify(&data_dir, &key, &["--state", "--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["report"]["unknowable"], 2, "{report}");
    assert_eq!(report["report"]["erased"], 2, "{report}");
    sql(&data_dir, "UPDATE model_versions SET manifest_digest = 'f00' WHERE version = 1");
    assert!(
        text(&verify(&data_dir, &key, &["--state"]).stderr).contains("m/1"),
        "the others are still compared"
    );
}

#[test]
fn an_erasure_that_is_not_under_the_checkpoint_yet_is_told_apart() {
    let (stopped, key, _) = history();
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&stopped.data_dir, copy.path());
    let server = Server::start_in(&stopped.data_dir, None);
    let (_, events) = server.get("/api/v1/ledger/events?action=alias.set");
    let id = events["events"][0]["id"].as_str().unwrap();
    server.ok(&format!("/api/v1/ledger/events/{id}/erasure"), json!({ "reason": "asked for" }));
    let data_dir = server.stop().data_dir;
    // The files are those from before the erasure.
    fs::remove_dir_all(data_dir.join("ledger")).unwrap();
    copy_tree(&copy.path().join("ledger"), &data_dir.join("ledger"));
    let done = verify(&data_dir, &key, &["--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["report"]["erased_unconfirmed"], 1, "{report}");
}

/// A run with points from before and after its end, and its server, which has sealed both.
fn sealed_points(on: On) -> (Server, String) {
    let server = Server::start(on);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "e" }));
    let made = server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "1" }));
    let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let log = |key: &str, value: f64| {
        let point = json!({ "run_id": run, "key": key, "value": value, "timestamp": 1, "step": 0 });
        server.ok("/api/2.0/mlflow/runs/log-metric", point);
    };
    let seals = || server.get("/api/v1/ledger/events?action=metrics.sealed").1["events"].clone();
    log("loss", 0.5);
    log("accuracy", 0.75);
    // More than are hashed in one read.
    for batch in 0..6 {
        let point = |i: i64| json!({ "key": "many", "value": 0.1, "timestamp": 1, "step": batch * 1000 + i });
        let points: Vec<serde_json::Value> = (0..1000).map(point).collect();
        server.ok("/api/2.0/mlflow/runs/log-batch", json!({ "run_id": run, "metrics": points }));
    }
    assert_eq!(seals().as_array().unwrap().len(), 0, "the run has not ended");
    server.ok("/api/2.0/mlflow/runs/update", json!({ "run_id": run, "status": "FINISHED" }));
    common::wait_until("the points are sealed", || seals()[0]["payload"]["points"] == 6002);
    log("late", 1.0);
    common::wait_until("the late point is sealed", || seals()[0]["payload"]["points"] == 1);
    assert_eq!(seals()[0]["payload"]["chunk"], 1);
    server.settle();
    (server, run)
}

#[test]
fn points_of_an_ended_run_are_sealed_and_a_change_of_any_is_named() {
    let (server, run) = sealed_points(On::Sqlite);
    let key = server.ledger_key();
    let stopped = server.stop();
    let done = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    for statement in [
        // Values that were changed, blocks that can't be read, points that are gone, moved or come from elsewhere.
        "UPDATE metric_blocks SET body = CAST(substr(body, 1, length(body) - 1) || x'77' AS BLOB) WHERE key = 'accuracy'",
        "UPDATE metric_blocks SET body = CAST(substr(body, 1, length(body) - 1) || x'77' AS BLOB) WHERE key = 'late'",
        "UPDATE metric_blocks SET body = CAST(substr(body, 1, 3) AS BLOB) WHERE key = 'many'",
        "DELETE FROM metric_blocks WHERE key = 'loss'",
        "DELETE FROM metric_blocks WHERE key = 'many' AND block = (SELECT MAX(block) FROM metric_blocks WHERE key = 'many')",
        "UPDATE metric_blocks SET chunk = 9 WHERE key = 'loss'",
        "INSERT INTO metric_blocks SELECT run, 'more', block, chunk, points, body FROM metric_blocks LIMIT 1",
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data_dir, copy.path());
        sql(copy.path(), statement);
        let done = verify(copy.path(), &key, &["--state"]);
        assert_eq!(done.status.code(), Some(1), "{statement}");
        assert!(text(&done.stderr).contains(&run), "{statement}: {}", text(&done.stderr));
    }
}

#[test]
fn points_are_sealed_and_compared_on_postgresql_too() {
    let (server, run) = sealed_points(On::Postgres);
    let check = || {
        let asked = server.ok("/api/v1/ledger/verifications", json!({}));
        let follow = asked["follow"].as_str().unwrap().to_owned();
        common::wait_until("the check is done", || server.get(&follow).1["state"] == "done");
        server.get(&follow).1["result"].clone()
    };
    assert_eq!(check()["ok"], true);
    let body = "substring(body from 1 for length(body) - 1) || '\\x77'::bytea";
    server.sql(&format!("UPDATE metric_blocks SET body = {body} WHERE key = 'accuracy'"));
    let found = check();
    assert_eq!(found["ok"], false);
    assert!(found["finding"].as_str().unwrap().contains(&run), "{found}");
}

#[test]
fn what_ended_before_a_stop_is_sealed_by_it() {
    let server = Server::start(On::Sqlite);
    let made = server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "0" }));
    let run = made["run"]["info"]["run_id"].as_str().unwrap();
    let point = json!({ "run_id": run, "key": "k", "value": 1.0, "timestamp": 1 });
    server.ok("/api/2.0/mlflow/runs/log-metric", point);
    server.ok("/api/2.0/mlflow/runs/update", json!({ "run_id": run, "status": "FAILED" }));
    let stopped = server.stop();
    let again = Server::start_in(&stopped.data_dir, None);
    let (_, events) = again.get("/api/v1/ledger/events?action=metrics.sealed");
    assert_eq!(events["events"][0]["resource"]["id"], run, "{events}");
    let (_, head) = again.get("/api/v1/ledger");
    let (index, size) = (events["events"][0]["index"].as_i64(), head["checkpoint"]["size"].as_i64());
    assert!(index < size, "and its seal is under the checkpoint: {index:?} {size:?}");
}

#[test]
fn the_server_checks_its_own_ledger_as_a_task() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "e" }));
        server.settle();
        let asked = server.ok("/api/v1/ledger/verifications", json!({}));
        let follow = asked["follow"].as_str().unwrap().to_owned();
        common::wait_until("the check is done", || server.get(&follow).1["state"] == "done");
        assert_eq!(server.get(&follow).1["result"]["ok"], true, "{on:?}");
    }
}

#[test]
fn an_event_can_be_proven_alone() {
    let server = Server::start(On::Sqlite);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "e" }));
    server.settle();
    let (_, events) = server.get("/api/v1/ledger/events?action=experiment.created");
    let id = events["events"][0]["id"].as_str().unwrap().to_owned();
    let (status, proof) = server.get(&format!("/api/v1/ledger/events/{id}/proof"));
    assert_eq!(status, 200);
    assert!(proof.as_str().unwrap().starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
}

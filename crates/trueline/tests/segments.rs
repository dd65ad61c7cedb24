//! Sealed segments of the prediction log through the public door: the ledger tells of each, and whatever is changed in
//! them afterwards is found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::{On, Server, Stopped, copy_tree, sqlite as sql, text, verify, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const LOG: &str = "predictions/default";

/// Segments that the ledger tells of, newest first.
fn seals(server: &Server) -> Vec<Value> {
    let (_, events) = server.get("/api/v1/ledger/events?action=predictions.sealed&limit=100");
    events["events"].as_array().unwrap().clone()
}

/// A running server with several sealed segments of predictions and of labels.
fn with_segments() -> Server {
    let server = Server::start_with(&[("TRUELINE_TEST_SEGMENT_BYTES", "1000")]);
    fill(&server);
    server
}

fn fill(server: &Server) {
    Models::saved().register(server, "binary", "delays");
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"], "reason": "the first" }));
    for hour in 0..24 {
        let split = json!({ "columns": ["hour", "distance", "day"], "data": [[hour, 300.0, 2.0]] });
        let answer = server.ok("/endpoints/delays/invocations", json!({ "dataframe_split": split }));
        let id = &answer["prediction_ids"][0];
        server.ok(
            "/endpoints/delays/labels",
            json!({ "prediction_id": id, "value": 1, "source": "s".repeat(90) }),
        );
    }
    let sealed = |stream: &str| {
        let of = |event: &&Value| event["payload"]["stream"] == stream;
        seals(server).iter().filter(of).count()
    };
    wait_until("some are sealed", || sealed("endpoints/delays") > 2 && sealed("labels") > 2);
    server.settle();
}

fn stopped() -> (Stopped, String) {
    let server = with_segments();
    let key = server.ledger_key();
    (server.stop(), key)
}

/// The sealed segments below a folder of the log.
fn sealed(data_dir: &Path, stream: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join(LOG).join(stream)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "idx")).collect();
    found.sort();
    found.into_iter().map(|index| index.with_extension("log")).collect()
}

#[track_caller]
fn refused(data_dir: &Path, key: &str, expected: &str) {
    let done = verify(data_dir, key, &["--state"]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains(expected), "`{expected}` is missing of: {said}");
}

#[test]
fn any_one_byte_flipped_in_a_sealed_segment_or_its_index_is_found() {
    let (stopped, key) = stopped();
    assert!(verify(&stopped.data_dir, &key, &["--state"]).status.success());
    let mut tried = 0;
    for (stream, name) in [("endpoints/delays", "endpoints/delays/1"), ("labels", "labels/1")] {
        let segment = sealed(&stopped.data_dir, stream)[0].clone();
        for file in [segment.clone(), segment.with_extension("idx")] {
            let original = fs::read(&file).unwrap();
            for at in (0..original.len()).step_by(original.len() / 40) {
                let mut changed = original.clone();
                changed[at] ^= 1 << (at % 8);
                fs::write(&file, &changed).unwrap();
                refused(
                    &stopped.data_dir,
                    &key,
                    &format!("the prediction segment {name} of the project default"),
                );
                tried += 1;
            }
            fs::write(&file, &original).unwrap();
        }
    }
    assert!(tried >= 160, "only {tried} bytes were tried");
    assert!(verify(&stopped.data_dir, &key, &["--state"]).status.success());
}

#[test]
fn a_segment_that_is_missing_or_another_or_told_by_no_event_is_named() {
    let (stopped, key) = stopped();
    let changed = |change: &dyn Fn(&[PathBuf])| {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data_dir, copy.path());
        change(&sealed(copy.path(), "endpoints/delays"));
        copy
    };
    let both = |from: &Path, to: &Path| {
        for extension in ["log", "idx"] {
            fs::copy(from.with_extension(extension), to.with_extension(extension)).unwrap();
        }
    };
    let lost = changed(&|segments| fs::remove_file(&segments[1]).unwrap());
    refused(lost.path(), &key, "the prediction segment endpoints/delays/2 of the project default");
    refused(lost.path(), &key, "it is missing");

    let lost_with_its_index = changed(&|segments| {
        fs::remove_file(&segments[1]).unwrap();
        fs::remove_file(segments[1].with_extension("idx")).unwrap();
    });
    refused(
        lost_with_its_index.path(),
        &key,
        "the prediction segment endpoints/delays/2 of the project default",
    );

    // Files that agree with each other, and not with the ledger.
    let another = changed(&|segments| both(&segments[0], &segments[1]));
    refused(another.path(), &key, "endpoints/delays/2 of the project default: the ledger says");

    let told_by_no_event =
        changed(&|segments| both(&segments[0], &segments[0].with_file_name("00000000000000000000.log")));
    refused(told_by_no_event.path(), &key, "endpoints/delays/0 of the project default: no event tells of it");

    let gone = changed(&|segments| fs::remove_dir_all(segments[0].ancestors().nth(4).unwrap()).unwrap());
    refused(gone.path(), &key, "entry ");
    refused(gone.path(), &key, "it is missing");
    assert!(verify(gone.path(), &key, &[]).status.success(), "the log itself is untouched");
}

#[test]
fn rows_of_segments_that_the_events_do_not_tell_are_named() {
    let (stopped, key) = stopped();
    for statement in [
        "UPDATE sealed_segments SET sha256 = 'f00' WHERE stream = 'labels' AND number = 2",
        "DELETE FROM sealed_segments WHERE stream = 'labels' AND number = 2",
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data_dir, copy.path());
        sql(copy.path(), statement);
        refused(copy.path(), &key, "prediction segment default: labels/2");
    }
}

/// What a check by the server comes to.
fn checked(server: &Server) -> Value {
    let asked = server.ok("/api/v1/ledger/verifications", json!({}));
    let follow = asked["follow"].as_str().unwrap().to_owned();
    wait_until("the check is done", || server.get(&follow).1["state"] == "done");
    server.get(&follow).1["result"].clone()
}

#[test]
fn the_server_finds_a_changed_segment_too() {
    let server = with_segments();
    let check = || checked(&server);
    assert_eq!(check()["ok"], true);
    let segment = sealed(&server.data_dir, "labels")[1].clone();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let found = check();
    assert_eq!(found["ok"], false);
    assert!(found["finding"].as_str().unwrap().contains("labels/2"), "{found}");
}

#[test]
fn a_segment_whose_event_was_erased_is_still_read_and_can_not_be_compared() {
    let server = with_segments();
    let first = seals(&server).last().unwrap().clone();
    let id = first["id"].as_str().unwrap();
    server.ok(&format!("/api/v1/ledger/events/{id}/erasure"), json!({ "reason": "asked for" }));
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let done = verify(&stopped.data_dir, &key, &["--state", "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["ok"], &report["report"]["unknowable"]), (&json!(true), &json!(1)), "{report}");
    let name = first["resource"]["id"].as_str().unwrap();
    let (stream, _) = name.rsplit_once('/').unwrap();
    fs::remove_file(&sealed(&stopped.data_dir, stream)[0]).unwrap();
    refused(&stopped.data_dir, &key, name);
}

fn events(server: &Server, action: &str) -> Vec<Value> {
    let (_, events) = server.get(&format!("/api/v1/ledger/events?action={action}&limit=500"));
    events["events"].as_array().unwrap().clone()
}

fn logged(server: &Server, endpoint: &str) -> Value {
    server.get(&format!("/api/v1/endpoints/{endpoint}")).1["logged"].clone()
}

fn ask(server: &Server, endpoint: &str) -> String {
    let split = json!({ "columns": ["hour", "distance", "day"], "data": [[1, 300.0, 2.0]] });
    let answer =
        server.ok(&format!("/endpoints/{endpoint}/invocations"), json!({ "dataframe_split": split }));
    answer["prediction_ids"][0].as_str().unwrap().to_owned()
}

#[test]
fn what_was_kept_for_long_enough_is_deleted_and_everybody_says_so() {
    let server = Server::start_with(&[
        ("TRUELINE_TEST_SEGMENT_BYTES", "1000"),
        ("TRUELINE_PREDICTION_RETENTION", "1s"),
    ]);
    fill(&server);
    let id = ask(&server, "delays");
    wait_until("all is gone, what was open too", || {
        let held = logged(&server, "delays");
        let of_labels = |event: &Value| event["payload"]["stream"] == "labels";
        held["segments"] == 0
            && held["records"] == 0
            && held["bytes"] == 0
            && events(&server, "predictions.deleted").iter().any(of_labels)
    });
    assert!(sealed(&server.data_dir, "endpoints/delays").is_empty());
    let (status, told) = server.get(&format!("/api/v1/predictions/{id}"));
    assert_eq!(status, 404);
    assert!(told.to_string().contains("kept for long enough"), "{told}");
    let label = json!({ "prediction_id": id, "value": 1 });
    let labelled = server.ok("/endpoints/delays/labels", label);
    assert_eq!((&labelled["deleted"], &labelled["unknown"]), (&json!(1), &json!(0)), "{labelled}");
    assert!(logged(&server, "delays")["deleted_until"].is_string());

    let declared = server.cli(&["endpoint", "log", "delays", "--keep-days", "forever"]);
    assert!(text(&declared.stdout).contains("for ever"), "{}", text(&declared.stdout));
    ask(&server, "delays");
    let count = server.ok("/api/v1/queries", json!({ "sql": "SELECT count(*) FROM predictions" }));
    assert_eq!(count["rows"], json!([[1]]), "what came since is there");
    let (_, metrics) = server.call_bytes("GET", "/metrics", None, &[]);
    assert!(
        text(&metrics)
            .contains("trueline_prediction_log_segments{project=\"default\",endpoint=\"delays\"} 1")
    );

    let deleted = events(&server, "predictions.deleted");
    let of_stream = |stream: &str| deleted.iter().filter(|e| e["payload"]["stream"] == stream).count();
    assert!(of_stream("endpoints/delays") > 2 && of_stream("labels") > 0, "{deleted:?}");
    let first = &deleted.last().unwrap()["payload"];
    assert_eq!((&first["reason"], &first["kept_ms"]), (&json!("retention"), &json!(1_000)), "{first}");
    assert_eq!(first["sha256"].as_str().unwrap().len(), 64);
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let done = verify(&stopped.data_dir, &key, &["--state", "--json"]);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    assert!(report["report"]["deleted_segments"].as_u64().unwrap() >= deleted.len() as u64, "{report}");
    sql(&stopped.data_dir, "UPDATE sealed_segments SET deleted_at_ms = NULL WHERE number = 1");
    refused(&stopped.data_dir, &key, "deleted, the database says");
}

#[test]
fn what_a_monitor_or_a_rollout_waits_for_is_not_deleted_and_what_is_declared_holds() {
    let server = Server::start_with(&[
        ("TRUELINE_TEST_SEGMENT_BYTES", "1000"),
        ("TRUELINE_PREDICTION_RETENTION", "1s"),
    ]);
    (0..2).for_each(|_| Models::saved().register(&server, "binary", "delays"));
    for name in ["a-declared", "b-tried", "b-watched", "c-usual"] {
        server.ok("/api/v1/endpoints", json!({ "name": name, "log": "required" }));
        server.ok(&format!("/api/v1/endpoints/{name}/routes"), json!({ "variants": ["delays/1"] }));
    }
    let refused = server.cli(&["endpoint", "log", "a-declared", "--keep-days", "0"]);
    assert!(text(&refused.stderr).contains("1 to 36500 days"), "{}", text(&refused.stderr));
    assert!(server.cli(&["endpoint", "log", "a-declared", "--keep-days", "2"]).status.success());
    let made = server.cli(&["monitor", "create", "watching", "--endpoint", "b-watched", "--window", "1d"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let plan = json!({
        "steps": [{ "share_percent": 50, "least_requests": 100_000 }],
        "limits": { "quality": { "measure": "accuracy", "margin": 0.1 } },
    });
    let wanted = json!({ "version": "delays/2", "plan": plan, "reason": "late labels" });
    let tried = server.ok("/api/v1/endpoints/b-tried/rollouts", wanted);
    for name in ["a-declared", "b-tried", "b-watched", "c-usual"] {
        (0..9).for_each(|_| drop(ask(&server, name)));
    }
    // They are swept in the order of their names.
    wait_until("the last is swept", || logged(&server, "c-usual")["records"] == 0);
    for name in ["a-declared", "b-tried", "b-watched"] {
        assert_eq!(logged(&server, name)["records"], 9, "{name}");
    }
    let id = tried["id"].as_str().unwrap();
    server.ok(&format!("/api/v1/rollouts/{id}/cancellation"), json!({}));
    wait_until("nothing waits for labels any more", || logged(&server, "b-tried")["records"] == 0);
    assert_eq!(logged(&server, "a-declared")["kept_ms"], 2 * 86_400_000);
}

#[test]
fn servers_that_share_a_database_have_their_segments_each() {
    let archive = tempfile::tempdir().unwrap();
    let place = archive.path().display().to_string();
    let one = Server::start_on(
        On::Postgres,
        &[
            ("TRUELINE_TEST_SEGMENT_BYTES", "1000"),
            ("TRUELINE_PREDICTION_RETENTION", "2s"),
            ("TRUELINE_PREDICTION_ARCHIVE", &place),
        ],
    );
    Models::saved().register(&one, "binary", "delays");
    for (name, days) in [("delays", "forever"), ("short", "default")] {
        one.ok("/api/v1/endpoints", json!({ "name": name, "log": "required" }));
        one.ok(&format!("/api/v1/endpoints/{name}/routes"), json!({ "variants": ["delays/1"] }));
        let declared = one.cli(&["endpoint", "log", name, "--keep-days", days]);
        assert!(declared.status.success(), "{}", text(&declared.stderr));
    }
    let other = one.beside();
    let asked =
        json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": [[1, 300.0, 2.0]] } });
    let knows =
        |endpoint: &str| other.post(&format!("/endpoints/{endpoint}/invocations"), asked.clone()).0 == 200;
    wait_until("the other answers too", || knows("delays") && knows("short"));
    // What the one is asked, and the other, differs in number.
    for (server, times) in [(&one, 16), (&other, 24)] {
        for _ in 0..times {
            drop((ask(server, "delays"), ask(server, "short")));
        }
    }
    let told = |action: &str, stream: &str| -> Vec<(String, u64)> {
        let of_stream = |event: &&Value| event["payload"]["stream"] == stream;
        let key = |event: &Value| {
            let (name, number) = (&event["payload"]["server"], &event["payload"]["number"]);
            (name.as_str().unwrap().to_owned(), number.as_u64().unwrap())
        };
        events(&one, action).iter().filter(of_stream).map(key).collect()
    };
    let servers_with_second = |told: &[(String, u64)]| told.iter().filter(|(_, number)| *number == 2).count();
    wait_until("both have sealed segments of the same numbers", || {
        servers_with_second(&told("predictions.sealed", "endpoints/delays")) == 2
    });
    wait_until("both have deleted what was kept for long enough", || {
        servers_with_second(&told("predictions.deleted", "endpoints/short")) == 2
    });
    let question = json!({ "sql": "SELECT count(*) > 40, count(DISTINCT prediction_id) = count(*) FROM predictions
                                   WHERE endpoint = 'short'" });
    for server in [&one, &other] {
        wait_until("each answers from what both have archived", || {
            server.post("/api/v1/queries", question.clone()).1["rows"] == json!([[1, 1]])
        });
    }
    other.settle();
    let other = other.stop();
    let by_one = checked(&one);
    assert_eq!(by_one["ok"], true, "{by_one}");
    assert!(by_one["segments_elsewhere"].as_u64().unwrap() >= 2, "{by_one}");
    let flip = |data_dir: &Path| {
        let segment = sealed(data_dir, "endpoints/delays")[1].clone();
        let mut bytes = fs::read(&segment).unwrap();
        bytes[20] ^= 1;
        fs::write(&segment, bytes).unwrap();
    };
    flip(&other.data_dir);
    assert_eq!(checked(&one)["ok"], true, "it is not this server's to find");
    flip(&one.data_dir);
    let found = checked(&one);
    assert!(found["finding"].as_str().unwrap().contains("endpoints/delays/2"), "{found}");
    assert_eq!(found["server"], by_one["server"], "{found}");
}

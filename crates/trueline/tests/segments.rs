//! Sealed segments of the prediction log through the public door: the ledger tells of each, and whatever is changed in
//! them afterwards is found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::{Server, Stopped, copy_tree, sqlite as sql, text, verify, wait_until};
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
    Models::saved().register(&server, "binary", "delays");
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
        seals(&server).iter().filter(of).count()
    };
    wait_until("some are sealed", || sealed("endpoints/delays") > 2 && sealed("labels") > 2);
    server.settle();
    server
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
        "UPDATE prediction_segments SET sha256 = 'f00' WHERE stream = 'labels' AND number = 2",
        "DELETE FROM prediction_segments WHERE stream = 'labels' AND number = 2",
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&stopped.data_dir, copy.path());
        sql(copy.path(), statement);
        refused(copy.path(), &key, "prediction segment default: labels/2");
    }
}

#[test]
fn the_server_finds_a_changed_segment_too() {
    let server = with_segments();
    let check = || {
        let asked = server.ok("/api/v1/ledger/verifications", json!({}));
        let follow = asked["follow"].as_str().unwrap().to_owned();
        wait_until("the check is done", || server.get(&follow).1["state"] == "done");
        server.get(&follow).1["result"].clone()
    };
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

//! Monitors that compare with training data, through the public door: what a run says it read is what windows of its version
//! are compared with, a version that was trained on the new world ends the alert, and what is not known is told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::watch::{alerts, get, is_closed, predict, window};
use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use std::fmt::Write;

/// Rows of a prediction request by hour 0 to 4, as usual and in the new world.
const USUAL: [u32; 5] = [45, 60, 90, 60, 45];
const MOVED: [u32; 5] = [150, 60, 30, 30, 30];
/// So many times as many rows were trained on: more than the profile's sketch counts exactly.
const TIMES: u32 = 70;

fn each(counts: [u32; 5], mut row: impl FnMut(u32, u32)) {
    let mut at = 0;
    for (hour, count) in (0..).zip(counts) {
        for _ in 0..count {
            row(hour, at);
            at += 1;
        }
    }
}

fn request(counts: [u32; 5]) -> Value {
    let mut data = Vec::new();
    each(counts, |hour, i| {
        data.push(json!([f64::from(hour), 300.0 + f64::from((i * 53) % 200), f64::from(i % 7)]));
    });
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": data } })
}

/// A training set with an id and a label that the model does not read; answers the version's id.
fn add_training_set(server: &Server, counts: [u32; 5]) -> String {
    let mut csv = "tailnum,hour,distance,day,late\n".to_owned();
    each(counts.map(|n| n * TIMES), |hour, i| {
        let distance = if i % 2 == 0 { String::new() } else { (300 + (i * 53) % 200).to_string() };
        writeln!(csv, "N{i},{hour},{distance},{},{}", i % 7, i % 2).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training.csv");
    std::fs::write(&path, csv).unwrap();
    let done = server.cli(&["data", "add", path.to_str().unwrap(), "--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let added: Value = serde_json::from_slice(&done.stdout).unwrap();
    added["id"].as_str().unwrap().to_owned()
}

/// A run as MLflow's client writes it, which says of one of its inputs which dataset version that is.
fn trained_on(server: &Server, dataset: &str) -> String {
    let made = server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "0" }));
    let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let input = |name: &str, context: &str, more: Value| {
        let mut tags = vec![json!({ "key": "mlflow.data.context", "value": context })];
        tags.extend(more.as_array().unwrap().iter().cloned());
        json!({ "tags": tags, "dataset": {
            "name": name, "digest": name, "source_type": "local", "source": "{}", "schema": "{}", "profile": "{}",
        } })
    };
    let named = json!([{ "key": "trueline.dataset", "value": dataset }]);
    let inputs = [input("train", "training", named), input("valid", "evaluation", json!([]))];
    server.ok("/api/2.0/mlflow/runs/log-inputs", json!({ "run_id": run, "datasets": inputs }));
    run
}

fn deploy(server: &Server, variants: &[&str]) {
    server
        .ok("/api/v1/endpoints/delays/routes", json!({ "variants": variants, "reason": "another version" }));
}

fn finding(server: &Server, day: u32, subject: &str) -> Value {
    let window = window(server, day).unwrap();
    let all = window["verdicts"].as_array().unwrap().iter().flat_map(|v| v["findings"].as_array().unwrap());
    all.clone()
        .find(|f| f["subject"] == subject)
        .cloned()
        .unwrap_or_else(|| panic!("no {subject} in {window}"))
}

/// PSI by its definition, over shares with half a count added to each bin.
fn psi(reference: [u32; 5], current: [u32; 5]) -> f64 {
    let shares = |counts: [u32; 5]| {
        let total: u32 = counts.iter().sum();
        counts.map(|n| (f64::from(n) + 0.5) / (f64::from(total) + 2.5))
    };
    let (r, c) = (shares(reference), shares(current));
    r.iter().zip(c).map(|(r, c)| (r - c) * (r / c).ln()).sum()
}

fn reference_of(server: &Server) -> Value {
    get(server, "/api/v1/monitors/delays-inputs")["reference"].clone()
}

fn page(server: &Server) -> String {
    let path = "/p/default/monitors/delays-inputs";
    let (status, html) = server.call_bytes("GET", path, None, &[("accept", "text/html")]);
    assert_eq!(status, 200);
    text(&html)
}

fn show(server: &Server) -> String {
    text(&server.cli(&["monitor", "show", "delays-inputs"]).stdout)
}

/// Declared before anything is deployed, as `trueline apply` does it.
fn with_monitor(on: On) -> Server {
    let server = Server::start(on);
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
    let create = ["monitor", "create", "delays-inputs", "--endpoint", "delays", "--window", "1d"];
    let made = server.cli(&[&create[..], &["--reference", "training"]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(reference_of(&server)["state"], "unknown");
    for told in [show(&server), page(&server)] {
        assert!(told.contains("no training data known yet: no version has answered"), "{told}");
    }
    server
}

fn windows_are_compared_with_what_their_version_was_trained_on(on: On) {
    let server = with_monitor(on);
    let models = Models::saved();
    let first = trained_on(&server, &format!("training@{}", &add_training_set(&server, USUAL)[..12]));
    models.register_from_run(&server, "binary", "delays", &first);
    deploy(&server, &["delays/1"]);
    predict(&server, 0, 6, &request(USUAL));
    let answer = predict(&server, 1, 6, &request(MOVED));
    predict(&server, 2, 6, &request(MOVED));
    wait_until("the second day is over", || is_closed(&server, 1));

    // Only what the model reads: neither the id nor the label.
    let reference = reference_of(&server);
    assert_eq!(reference["state"], "known");
    assert_eq!(reference["versions"][0]["features"], json!(["day", "distance", "hour"]));
    let source = reference["source"].as_str().unwrap();
    assert_eq!(source, "delays/1 was trained on training@1 (21000 rows)");
    assert!(page(&server).contains("training@1") && show(&server).contains("training@1"));
    let trained = USUAL.map(|n| n * TIMES);
    for (day, asked) in [(0, USUAL), (1, MOVED)] {
        let told = finding(&server, day, "psi:hour")["value"].as_f64().unwrap();
        assert!((told - psi(trained, asked)).abs() < 1e-12, "day {day}: {told}");
    }
    assert_eq!(finding(&server, 0, "psi:hour")["level"], "clear");
    assert_eq!(finding(&server, 1, "psi:hour")["level"], "breach");
    // Half of the distances that it was trained on were missing, so that none is missing now is no more than well.
    assert_eq!(finding(&server, 0, "missing:distance")["enter"], 0.55);
    wait_until("it fires", || alerts(&server).contains(&("psi:hour".to_owned(), "firing".to_owned())));

    // The line of a prediction goes on to the dataset version.
    let id = answer["prediction_ids"][0].as_str().unwrap();
    let line = text(&server.cli(&["trace", id]).stdout);
    assert!(line.contains("train train, of training@1 ("), "{line}");

    // The next version was trained on the new world: it is compared with that, and the alert ends.
    let second = trained_on(&server, &format!("training@{}", &add_training_set(&server, MOVED)[..12]));
    models.register_from_run(&server, "binary-other", "delays", &second);
    deploy(&server, &["delays/2"]);
    predict(&server, 3, 6, &request(MOVED));
    // In one window with others it is judged beside them, and speaks for all when it answered most.
    deploy(&server, &["delays/1"]);
    predict(&server, 4, 6, &request(MOVED.map(|n| n / 2)));
    deploy(&server, &["delays/2"]);
    predict(&server, 4, 7, &request(MOVED));
    predict(&server, 5, 6, &request(MOVED));
    wait_until("the fifth day is over", || is_closed(&server, 4));
    assert_eq!(finding(&server, 3, "psi:hour")["level"], "clear");
    assert_eq!(finding(&server, 4, "psi:hour"), {
        let mut own = finding(&server, 4, "psi:hour@delays/2");
        own["subject"] = json!("psi:hour");
        own
    });
    assert_eq!(finding(&server, 4, "psi:hour@delays/1")["level"], "breach");
    wait_until("it ends", || alerts(&server).contains(&("psi:hour".to_owned(), "resolved".to_owned())));
    assert_eq!(reference_of(&server)["source"], "delays/2 was trained on training@2 (21000 rows)");

    // Two versions that learnt from the old world: the second one's alert is its own, though the first one's never ended.
    deploy(&server, &["delays/1"]);
    predict(&server, 6, 6, &request(MOVED));
    models.register_from_run(&server, "binary", "delays", &first);
    deploy(&server, &["delays/3"]);
    predict(&server, 7, 6, &request(MOVED));
    predict(&server, 8, 6, &request(MOVED));
    wait_until("the eighth day is over", || is_closed(&server, 7));
    let newest = || {
        let all = get(&server, "/api/v1/alerts");
        let of_hour = |a: &&Value| a["subject"] == "psi:hour";
        let told = |a: &Value| format!("{} {}", a["compared_with"], a["state"]);
        let newest = all["alerts"].as_array().unwrap().iter().filter(of_hour).map(told).take(2);
        // In one moment they may have begun.
        newest.collect::<std::collections::BTreeSet<_>>()
    };
    let expected = [r#""delays/1" "resolved""#, r#""delays/3" "firing""#].map(str::to_owned).into();
    wait_until("the alert over the other version is over", || newest() == expected);
}

#[test]
fn windows_are_compared_with_what_their_version_was_trained_on_on_sqlite() {
    windows_are_compared_with_what_their_version_was_trained_on(On::Sqlite);
}

#[test]
fn windows_are_compared_with_what_their_version_was_trained_on_on_postgresql() {
    windows_are_compared_with_what_their_version_was_trained_on(On::Postgres);
}

#[test]
fn what_a_version_was_trained_on_is_unknown_with_a_reason() {
    let server = with_monitor(On::Sqlite);
    let models = Models::saved();
    add_training_set(&server, USUAL);
    models.register(&server, "binary", "delays");
    for named in ["training", "training@7", "nothing@1"] {
        models.register_from_run(&server, "binary", "delays", &trained_on(&server, named));
    }
    let reasons = [
        "registered without a run",
        "`training`, which names no version",
        "no dataset version training@7",
        "no dataset version nothing@1",
    ];
    for (day, (version, reason)) in (0_u32..).zip((1..).zip(reasons)) {
        deploy(&server, &[&format!("delays/{version}")]);
        predict(&server, day, 6, &request(USUAL));
        predict(&server, day + 1, 6, &request(MOVED));
        wait_until("it was looked up", || {
            reference_of(&server)["versions"].as_array().unwrap().len() == version as usize
        });
        let told = reference_of(&server);
        assert_eq!(told["state"], "unknown");
        assert!(told["reason"].as_str().unwrap().contains(reason), "{told}");
        assert!(show(&server).contains(reason) && page(&server).contains("unknown: no training data"));
    }
    // Nothing can be compared, so nothing alarms; what labels tell is judged as ever.
    wait_until("the first day is over", || is_closed(&server, 0));
    let found = finding(&server, 0, "reference");
    assert_eq!((&found["level"], &found["value"]), (&json!("unknown"), &Value::Null));
    assert!(found["reason"].as_str().unwrap().contains("without a run"), "{found}");
    assert_eq!(alerts(&server), []);
}

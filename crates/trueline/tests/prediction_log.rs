//! What an endpoint declares of its log through the public door: shares, redaction, what became of it, and who may see it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::watch::{predict, window};
use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use std::path::Path;

const ASK: &str = "/endpoints/delays/invocations";
const SECRET: f64 = 1_069.531;

fn with_endpoint(on: On) -> Server {
    let server = Server::start(on);
    Models::saved().register(&server, "binary", "delays");
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"], "reason": "the first" }));
    server
}

fn rows(count: usize) -> Value {
    let data: Vec<Value> = (0..count).map(|i| json!([i % 24, SECRET, 2.0])).collect();
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": data } })
}

fn ids(answer: &Value) -> Vec<String> {
    answer["prediction_ids"].as_array().unwrap().iter().map(|i| i.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn cli(server: &Server, args: &[&str]) -> String {
    let done = server.cli(args);
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout)
}

fn is_logged(server: &Server, id: &str) -> bool {
    server.get(&format!("/api/v1/predictions/{id}")).0 == 200
}

fn labelled(server: &Server, ids: &[String]) -> Value {
    let labels: Vec<Value> = ids.iter().map(|id| json!({ "prediction_id": id, "value": 1 })).collect();
    server.ok("/endpoints/delays/labels", json!({ "labels": labels }))
}

/// All bytes of the prediction log, as they lie on the disk.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(bytes_below(&path)),
            false => all.extend(std::fs::read(&path).unwrap()),
        }
    }
    all
}

#[test]
fn a_share_is_logged_and_a_label_for_the_rest_is_told_apart() {
    for on in [On::Sqlite, On::Postgres] {
        let mut server = with_endpoint(on);
        let before = ids(&server.ok(ASK, rows(1)));
        let said = cli(&server, &["endpoint", "log", "delays", "--sample", "0.25", "--reason", "it is much"]);
        assert!(said.contains("0.25 by id"), "{said}");
        let made = ids(&server.ok(ASK, rows(2_000)));
        assert_eq!(made.len(), 2_000, "each has an id, logged or not");
        let logged = |server: &Server| server.get("/api/v1/endpoints/delays").1["logged"]["records"].clone();
        let count = logged(&server).as_u64().unwrap();
        assert!((401..601).contains(&count), "{count}");
        let told = labelled(&server, &made);
        assert_eq!((&told["unknown"], told["left_out"].as_u64()), (&json!(0), Some(2_001 - count)));
        let stranger = format!("{}{}", "0".repeat(12), "f".repeat(20));
        let told = labelled(&server, &[before[0].clone(), stranger]);
        assert_eq!((&told["unknown"], &told["left_out"]), (&json!(1), &json!(0)), "it was made before");
        let (_, shown) = server.get(&format!("/api/v1/predictions/{}", before[0]));
        assert_eq!(shown["prediction"]["share"], 1.0);

        // A refused request is logged all the same, unless it is declared otherwise.
        let refuse = |server: &Server| server.post(ASK, json!({ "inputs": [[1.0]] })).0;
        (0..5).for_each(|_| assert_eq!(refuse(&server), 400));
        wait_until("failures are on the disk", || logged(&server) == json!(count + 5));
        assert!(cli(&server, &["endpoint", "log", "delays"]).contains("0.25 by id"), "it is shown");

        // The rules are those of the next server, too, and of the pages.
        server = server.kill_and_restart();
        server.ok(ASK, rows(2_000));
        let more = logged(&server).as_u64().unwrap() - count - 5;
        assert!((400..600).contains(&more), "{more}");
        let (_, html) = server.call_bytes("GET", "/p/default/endpoints/delays", None, &[]);
        assert!(text(&html).contains("25 % of predictions"), "{}", text(&html));
        let (_, events) = server.get("/api/v1/ledger/events?action=endpoint.log_declared");
        let event = &events["events"][0]["payload"];
        assert_eq!((&event["after"]["sample"], &event["reason"]), (&json!(0.25), &json!("it is much")));
    }
}

#[test]
fn a_caller_is_logged_as_a_whole() {
    let server = with_endpoint(On::Sqlite);
    cli(&server, &["endpoint", "log", "delays", "--sample", "0.5", "--sample-by", "key"]);
    let (mut all, mut none) = (0, 0);
    for caller in 0..24 {
        let key = format!("caller-{caller}");
        let answers: Vec<bool> = (0..3)
            .flat_map(|_| {
                let body = rows(2).to_string().into_bytes();
                let (status, answer) = server.call("POST", ASK, Some(body), &[("x-trueline-key", &key)]);
                assert_eq!(status, 200, "{answer}");
                ids(&answer)
            })
            .map(|id| is_logged(&server, &id))
            .collect();
        match answers.iter().filter(|is| **is).count() {
            6 => all += 1,
            0 => none += 1,
            some => panic!("{some} of 6 predictions of one caller are logged"),
        }
    }
    assert!(all > 3 && none > 3, "{all} and {none}");
}

#[test]
fn what_is_redacted_is_nowhere_on_the_disk_and_can_be_joined_by() {
    let server = with_endpoint(On::Sqlite);
    let said = cli(&server, &["endpoint", "log", "delays", "--redact", "distance=hash,day"]);
    assert!(said.contains("day=drop, distance=hash"), "{said}");
    let made = ids(&server.ok(ASK, rows(2)));
    let inputs = |id: &str| server.get(&format!("/api/v1/predictions/{id}")).1["prediction"].clone();
    let (first, second) = (inputs(&made[0]), inputs(&made[1]));
    assert_eq!(first["redacted"], json!(["day", "distance"]));
    assert_eq!(first["inputs"]["day"], Value::Null);
    assert_eq!(first["inputs"]["distance"].as_str().unwrap().len(), 32);
    assert_eq!(first["inputs"]["distance"], second["inputs"]["distance"], "the same value has the same hash");
    assert_eq!((&first["inputs"]["hour"], &second["inputs"]["hour"]), (&json!(0), &json!(1)));

    // Neither a failure nor a page nor the trace tells it.
    let telling = json!([["x", "secret-of-a-caller", 2.0]]);
    let split = json!({ "columns": ["hour", "distance", "day"], "data": telling });
    let (status, refused) = server.post(ASK, json!({ "dataframe_split": split }));
    assert_eq!(status, 400, "{refused}");
    wait_until("the failure is logged", || {
        server.get("/api/v1/endpoints/delays").1["logged"]["records"] == json!(3)
    });
    let traced = cli(&server, &["trace", &made[0]]);
    assert!(traced.contains("redacted") && !traced.contains("1069"), "{traced}");
    let (_, page) = server.call_bytes("GET", &format!("/p/default/predictions/{}", made[0]), None, &[]);
    assert!(text(&page).contains("day, distance") && !text(&page).contains("1069"), "{}", text(&page));

    // The values are again what they were once nothing is redacted; what was logged before stays as it is.
    cli(&server, &["endpoint", "log", "delays", "--redact", "distance=keep,day=keep"]);
    let later = ids(&server.ok(ASK, rows(1)));
    assert_eq!(inputs(&later[0])["inputs"]["distance"], json!(SECRET));
    assert_eq!(inputs(&made[0]), first);
    cli(&server, &["endpoint", "log", "delays", "--redact", "distance"]);

    let stopped = server.stop();
    let bytes = bytes_below(&stopped.data_dir.join("predictions"));
    let has = |what: &[u8]| bytes.windows(what.len()).filter(|w| *w == what).count();
    assert_eq!(has(b"secret-of-a-caller"), 0);
    assert_eq!(has(&SECRET.to_le_bytes()), 1, "only the one that was not redacted");
}

#[test]
fn a_change_from_a_stale_view_and_what_can_not_be_declared_are_refused() {
    let server = with_endpoint(On::Sqlite);
    let put = |path: &str, body: Value| server.call("PUT", path, Some(body.to_string().into_bytes()), &[]);
    let declare = |body: Value| put("/api/v1/endpoints/delays/log", body);
    assert_eq!(declare(json!({ "revision": 0, "sample": 0.5 })).0, 200);
    let (status, stale) = declare(json!({ "revision": 0, "sample": 1 }));
    assert_eq!(status, 409, "{stale}");
    for (bad, why) in [
        (json!({ "sample": 0 }), "0.000001 to 1"),
        (json!({ "sample": 1.5 }), "0.000001 to 1"),
        (json!({ "redact": { "": "drop" } }), "can't name a column"),
        (json!({ "redact": { "a": "blur" } }), "blur"),
        (json!({ "sampel": 1 }), "sampel"),
    ] {
        let (status, answer) = declare(bad);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains(why), "{answer}");
    }
    let (status, _) = put("/api/v1/endpoints/nowhere/log", json!({}));
    assert_eq!(status, 404);
    let wrong = server.cli(&["endpoint", "log", "delays", "--redact", "a=blur"]);
    assert!(text(&wrong.stderr).contains("a=hash"), "{}", text(&wrong.stderr));
}

#[test]
fn a_monitor_tells_how_many_predictions_a_sample_stands_for() {
    let server = with_endpoint(On::Sqlite);
    let made = ["monitor", "create", "delays-inputs", "--endpoint", "delays", "--window", "1d"];
    cli(&server, &made);
    cli(&server, &["endpoint", "log", "delays", "--sample", "0.5", "--redact", "day"]);
    for day in 0..3 {
        predict(&server, day, 6, &rows(1_000));
    }
    wait_until("the second day is over", || window(&server, 1).is_some_and(|w| w["closed"] == true));
    let second = window(&server, 1).unwrap()["verdicts"][0].clone();
    let logged = second["predictions"].as_u64().unwrap();
    assert!((400..600).contains(&logged), "{logged}");
    assert_eq!(second["answered"], json!(logged * 2));
    let missing = second["findings"].as_array().unwrap().iter().find(|f| f["subject"] == "missing:day");
    assert!(
        missing.is_none_or(|f| f["level"] == "unknown"),
        "{missing:?}: nobody can tell of what is redacted"
    );
}

#[test]
fn what_best_effort_loses_is_told() {
    let server = with_endpoint(On::Sqlite);
    let (_, endpoint) = server.get("/api/v1/endpoints/delays");
    for (what, so_far) in [("records", 0), ("bytes", 0), ("dropped", 0), ("failed_appends", 0)] {
        assert_eq!(endpoint["logged"][what], so_far, "{endpoint}");
    }
    server.ok(ASK, rows(3));
    let metrics = || text(&server.call_bytes("GET", "/metrics", None, &[]).1);
    let has = |metric: &str, value: &str| {
        metrics().lines().any(|l| l.starts_with(metric) && l.contains("delays") && l.ends_with(value))
    };
    assert!(has("trueline_prediction_log_records{", " 3"), "{}", metrics());
    assert!(has("trueline_prediction_log_dropped_total{", " 0"), "{}", metrics());
    cli(&server, &["endpoint", "log", "delays", "--sample", "0.000001"]);
    server.ok(ASK, rows(3));
    assert!(has("trueline_predictions_left_out_total{", " 3"), "{}", metrics());
}

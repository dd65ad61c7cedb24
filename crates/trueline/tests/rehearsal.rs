//! Rehearsals over the public door: logged traffic is put to a version before any exposure, and nothing but the ledger
//! notices.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::rollouts::{values, with_delays};
use common::{On, Server, text, wait_until};
use serde_json::{Value, json};

const REHEARSE: &str = "/api/v1/endpoints/delays/rehearsals";

/// `delays/1` has answered sixty rows, in two forms, and refused one; `delays/2` is the same model again, `delays/3` another,
/// `delays/4` one that answers three numbers.
fn with_traffic(on: On) -> Server {
    let server = with_delays(Server::start(on), &["binary", "binary", "binary-other", "three-classes"]);
    let path = "/endpoints/delays/invocations";
    let rows = |from: u64| -> Vec<[f64; 3]> { (from..from + 30).map(values).collect() };
    let refused = json!({ "dataframe_split": { "columns": ["hour"], "data": [[1.0]] } });
    assert_eq!(server.post(path, refused).0, 400);
    server.ok(path, json!({ "instances": rows(0) }));
    let last = json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": rows(30) } });
    let answer = server.ok(path, last);
    let id = answer["prediction_ids"][29].as_str().unwrap();
    wait_until("the last prediction is in the log", || {
        server.get(&format!("/api/v1/predictions/{id}")).0 == 200
    });
    server
}

fn rehearse(server: &Server, ask: Value) -> Value {
    let done = server.ok(REHEARSE, ask);
    assert_eq!(done["endpoint"], "delays");
    done["numbers"].clone()
}

fn a_copy_answers_alike_and_another_model_is_told_with_examples(on: On) {
    let server = with_traffic(on);
    let live = || {
        let told = server.get("/api/v1/endpoints/delays").1;
        let counted =
            ["version", "requests", "errors"].map(|field| told["live"]["variants"][0][field].clone());
        (told["route"].clone(), told["logged"].clone(), told["live"]["generation"].clone(), counted)
    };
    let before = live();

    let same = rehearse(&server, json!({ "version": "delays/2", "tolerance": { "absolute": 0.0 } }));
    let counted = ["read", "without_answer", "asked", "compared", "differing", "failed"]
        .map(|field| same[field].as_u64().unwrap());
    assert_eq!(counted, [61, 1, 60, 60, 0, 0], "{same}");
    assert_eq!((same["largest_difference"].as_f64(), same["cut_short"].as_bool()), (Some(0.0), Some(false)));
    assert!(
        same["latency_ms"][1].as_f64().unwrap() > 0.0 && same["latency_then_ms"][1].is_number(),
        "{same}"
    );

    let other = rehearse(&server, json!({ "version": "delays/3", "tolerance": { "absolute": 0.0001 } }));
    assert!(other["differing"].as_u64().unwrap() > 30, "{other}");
    let worst = other["worst"].as_array().unwrap();
    let by: Vec<f64> = worst.iter().map(|w| w["by"].as_f64().unwrap()).collect();
    assert!(by.len() == 10 && by.windows(2).all(|pair| pair[0] >= pair[1]), "{by:?}");
    assert_eq!(by[0], other["largest_difference"].as_f64().unwrap());
    let (status, found) =
        server.get(&format!("/api/v1/predictions/{}", worst[0]["prediction_id"].as_str().unwrap()));
    assert_eq!((status, found["prediction"]["version"].as_str()), (200, Some("delays/1")), "{found}");

    let newest = rehearse(&server, json!({ "version": "delays/4", "limit": 10, "reason": "a look" }));
    assert_eq!((newest["read"].as_u64(), newest["differing"].as_u64()), (Some(10), Some(10)), "{newest}");
    assert!(newest["worst"][0]["by"].is_null(), "three numbers are no number: {newest}");

    assert_eq!(live(), before, "what answers has not noticed");
    let (_, events) = server.get("/api/v1/ledger/events?action=endpoint.rehearsed");
    let events = events["events"].as_array().unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    let told = |event: &Value| {
        let (_, event) = server.get(&format!("/api/v1/ledger/events/{}", event["id"].as_str().unwrap()));
        event["payload"].clone()
    };
    let look = events.iter().map(told).find(|payload| payload["reason"] == "a look").unwrap();
    assert_eq!((&look["candidate"], &look["numbers"]), (&json!("delays/4"), &newest));
}

#[test]
fn a_rehearsal_compares_what_was_logged_and_leaves_the_endpoint_alone() {
    a_copy_answers_alike_and_another_model_is_told_with_examples(On::Sqlite);
}

#[test]
fn the_same_on_postgres() {
    a_copy_answers_alike_and_another_model_is_told_with_examples(On::Postgres);
}

#[test]
fn people_rehearse_some_of_the_traffic_and_are_told_what_makes_no_sense() {
    let server = with_traffic(On::Sqlite);
    let cli = |args: &[&str]| {
        let done = server.cli(&[&["rollout", "rehearse", "delays"], args].concat());
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    };
    let (code, said) = cli(&["delays/3", "--last", "1h", "--tolerance", "0.0001"]);
    assert_eq!(code, Some(0), "{said}");
    for part in
        ["delays/3 was asked 60 of 61 logged predictions of delays", "DIFFERS MOST", "p50 / p95 / p99"]
    {
        assert!(said.contains(part), "{said}");
    }
    let (code, said) = cli(&["delays/3", "--from", "2100-01-01T00:00:00Z"]);
    assert!(code == Some(0) && said.contains("asked 0 of 0"), "{said}");
    let (code, said) = cli(&["delays/3", "--to", "2100-01-01T00:00:00Z", "--limit", "5"]);
    assert!(code == Some(0) && said.contains("asked 5 of 5"), "{said}");

    for (ask, status) in [
        (json!({ "version": "delays/2", "limit": 0 }), 400),
        (json!({ "version": "delays/2", "limit": 10_001 }), 400),
        (json!({ "version": "delays/2", "tolerance": { "absolute": -1 } }), 400),
        (json!({ "version": "delays/2", "last_seconds": 60, "from": "2013-07-01T00:00:00Z" }), 400),
        (json!({ "version": "delays/2", "from": "2013-07-01T00:00:00Z", "to": "2013-06-01T00:00:00Z" }), 400),
        (json!({ "version": "delays/2", "tolerence": {} }), 400),
        (json!({ "version": "delays/99" }), 404),
    ] {
        let (got, answer) = server.post(REHEARSE, ask);
        assert_eq!(got, status, "{answer}");
    }
    let (status, _) = server.post("/api/v1/endpoints/nowhere/rehearsals", json!({ "version": "delays/2" }));
    assert_eq!(status, 404);
    server.ok("/api/v1/endpoints", json!({ "name": "fresh" }));
    let none = server.ok("/api/v1/endpoints/fresh/rehearsals", json!({ "version": "delays/2" }));
    assert_eq!(none["numbers"]["read"], 0, "nothing was logged there: {none}");
}

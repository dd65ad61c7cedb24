//! What MLflow's own server was seen to answer, call by call (`data/mlflow_transcript.jsonl`), asked of this one. A `*` in
//! an expected answer stands for any value, `{run}` for the id of the run that the calls make.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text};
use serde_json::{Value, json};

const TRANSCRIPT: &str = include_str!("data/mlflow_transcript.jsonl");

/// What `expected` has and `actual` has not, told with its place.
fn missing(expected: &Value, actual: &Value, place: &str) -> Vec<String> {
    match (expected, actual) {
        (Value::String(any), _) if any == "*" && !actual.is_null() => Vec::new(),
        (Value::Object(e), Value::Object(a)) => {
            let of = |key: &String| a.get(key).unwrap_or(&Value::Null);
            e.iter().flat_map(|(key, value)| missing(value, of(key), &format!("{place}.{key}"))).collect()
        }
        (Value::Array(e), Value::Array(a)) if e.len() == a.len() => e
            .iter()
            .zip(a)
            .enumerate()
            .flat_map(|(i, (e, a))| missing(e, a, &format!("{place}[{i}]")))
            .collect(),
        _ if expected == actual => Vec::new(),
        _ => vec![format!("{place}: expected {expected}, got {actual}")],
    }
}

fn address(call: &Value) -> String {
    let path = call["path"].as_str().unwrap();
    let query = call["query"].as_object().into_iter().flatten();
    let pair = |(key, value): (&String, &Value)| {
        format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
    };
    let query: Vec<String> = query.map(pair).collect();
    format!("{path}?{}", query.join("&"))
}

/// What differs from the transcript.
fn differences(server: &Server) -> Vec<String> {
    let (mut run, mut out) = (String::new(), Vec::new());
    for line in TRANSCRIPT.lines() {
        let call: Value = serde_json::from_str(&line.replace("{run}", &run)).unwrap();
        let headers = call["headers"].as_object().into_iter().flatten();
        let headers: Vec<(&str, &str)> =
            headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let body = call.get("body").map(|body| body.to_string().into_bytes());
        let method = call["method"].as_str().unwrap();
        let (status, bytes) = server.call_bytes(method, &address(&call), body, &headers);
        let told = text(&bytes);
        let answer: Value = serde_json::from_str(&told.replace(":NaN", ":\"bare NaN\"")).unwrap_or_default();
        if let Some(id) = answer["run"]["info"]["run_id"].as_str() {
            run = id.to_owned();
        }
        let call: Value = serde_json::from_str(&line.replace("{run}", &run)).unwrap();
        let mut wrong = missing(&call["status"], &json!(status), "status");
        if let Some(expected) = call.get("json") {
            wrong.extend(missing(expected, &answer, "body"));
        }
        if let Some(expected) = call["text"].as_str().filter(|expected| *expected != told) {
            wrong.push(format!("expected `{expected}`, got `{told}`"));
        }
        let message = answer["message"].as_str().unwrap_or_default();
        if let Some(begin) = call["message_begins"].as_str().filter(|begin| !message.starts_with(begin)) {
            wrong.push(format!("expected a message that begins `{begin}`, got `{message}`"));
        }
        let asked = format!("{method} {} {}", address(&call), call["body"]);
        out.extend(wrong.into_iter().map(|wrong| format!("{asked:.200}\n  {wrong}")));
    }
    out
}

fn holds_on(on: On) {
    let server = Server::start(on);
    server.ok("/api/2.0/mlflow/registered-models/create", json!({ "name": "rm" }));
    let file = "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/a.txt";
    assert_eq!(server.call("PUT", file, Some(b"hi".to_vec()), &[]).0, 200);
    let differences = differences(&server);
    assert!(differences.is_empty(), "{on:?}\n{}", differences.join("\n"));
}

#[test]
fn every_call_is_answered_as_mlflow_answers_it_on_sqlite() {
    holds_on(On::Sqlite);
}

#[test]
fn every_call_is_answered_as_mlflow_answers_it_on_postgres() {
    holds_on(On::Postgres);
}

//! Watching through the public door: drift fires and ends, labels make quality known, webhooks are told, incidents keep the
//! story, and `kill -9` loses nothing and counts nothing twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::watch::{DAY_MS, alerts, get, is_closed, predict, window};
use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const ROWS: u32 = 300;

/// Somebody who is told of alerts; the first request is refused, so that it must be tried again.
struct Listener {
    url: String,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Listener {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook/secret", listener.local_addr().unwrap());
        let told: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (into, mut refused) = (Arc::clone(&told), false);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                let status = if refused { "200 OK" } else { "503 Service Unavailable" };
                if refused {
                    into.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                refused = true;
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { url, told }
    }

    fn states(&self) -> Vec<(String, String)> {
        let field = |v: &Value, f: &str| v[f].as_str().unwrap().to_owned();
        let told = self.told.lock().unwrap();
        told.iter().map(|v| (field(v, "state"), v["alert"]["subject"].as_str().unwrap().to_owned())).collect()
    }
}

/// Rows `from..to` of a day; in a drifted one all is in the small hours.
fn rows(from: u32, to: u32, drifted: bool) -> Value {
    let row = |i: u32| {
        let hour = if drifted { f64::from(i % 30) / 10.0 } else { f64::from((i * 37) % 240) / 10.0 };
        json!([hour, 300.0 + f64::from((i * 53) % 200), f64::from(i % 7)])
    };
    let data: Vec<Value> = (from..to).map(row).collect();
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": data } })
}

fn with_monitor(on: On, listener: &Listener) -> Server {
    let server = Server::start(on);
    Models::saved().register(&server, "binary", "delays");
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"], "reason": "the first" }));
    let made = server.cli(&[
        "monitor",
        "create",
        "delays-inputs",
        "--endpoint",
        "delays",
        "--window",
        "1d",
        "--quality",
        "auc:0.6:0.7",
        "--webhook",
        &listener.url,
    ]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    server
}

fn drift_fires_and_ends(on: On) {
    let listener = Listener::start();
    let server = with_monitor(on, &listener);
    predict(&server, 0, 6, &rows(0, ROWS, false));
    let second = predict(&server, 1, 6, &rows(0, ROWS, false));
    wait_until("the first day is over and taught the reference", || is_closed(&server, 0));

    // The third day has drifted; the server is killed in the middle of it, and what comes later happened earlier.
    predict(&server, 2, 12, &rows(0, ROWS / 2, true));
    wait_until("half of the day is counted or about to be", || window(&server, 1).is_some());
    let server = server.kill_and_restart();
    predict(&server, 2, 3, &rows(ROWS / 2, ROWS, true));
    predict(&server, 3, 6, &rows(0, ROWS, true));
    wait_until("it fires", || alerts(&server) == [("psi:hour".to_owned(), "firing".to_owned())]);
    let third = window(&server, 2).unwrap();
    assert_eq!(third["verdicts"][0]["predictions"], ROWS, "nothing is lost, nothing counted twice");
    assert_eq!(third["verdicts"][0]["quality"]["auc"], "unknown");
    assert!(!text(&server.cli(&["monitor", "show", "delays-inputs"]).stdout).is_empty());

    // What people do is told beside it, and nobody resolves what still fires.
    let incidents = get(&server, "/api/v1/incidents");
    assert_eq!(incidents["incidents"].as_array().unwrap().len(), 1);
    let id = incidents["incidents"][0]["id"].as_str().unwrap().to_owned();
    server
        .ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1:2"], "reason": "try again" }));
    assert!(server.cli(&["incident", "note", &id, "the feed sends UTC"]).status.success());
    let refused = server.cli(&["incident", "resolve", &id]);
    assert!(text(&refused.stderr).contains("firing still"), "{}", text(&refused.stderr));

    // Another drifted day opens no second alert; a usual one ends the first.
    predict(&server, 4, 6, &rows(0, ROWS, false));
    wait_until("the fourth day is over", || is_closed(&server, 3));
    assert_eq!(alerts(&server).len(), 1);
    predict(&server, 5, 6, &rows(0, ROWS, false));
    wait_until("it ends", || alerts(&server) == [("psi:hour".to_owned(), "resolved".to_owned())]);
    wait_until("both were told", || {
        let told = |state: &str| (state.to_owned(), "psi:hour".to_owned());
        let states = listener.states();
        states.len() == 2 && states.contains(&told("firing")) && states.contains(&told("resolved"))
    });
    wait_until("the deployment is in the story", || {
        let story = get(&server, &format!("/api/v1/incidents/{id}"));
        let kinds: Vec<&str> =
            story["timeline"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
        ["alert", "action", "note"].iter().all(|k| kinds.contains(k))
    });
    assert!(server.cli(&["incident", "resolve", &id, "--reason", "fixed"]).status.success());
    assert_eq!(get(&server, &format!("/api/v1/incidents/{id}"))["state"], "resolved");

    labels_make_quality_known(&server, &second);
    pages_show_it(&server, &id);
    for day in 0..6 {
        assert_eq!(window(&server, day).unwrap()["verdicts"][0]["predictions"], ROWS, "day {day}");
    }
    let shown = get(&server, "/api/v1/monitors/delays-inputs").to_string();
    assert!(!shown.contains("secret"), "{shown}");
}

fn pages_show_it(server: &Server, incident: &str) {
    for (path, words) in [
        ("/p/default/monitors".to_owned(), vec!["delays-inputs", "No alert fires"]),
        (
            "/p/default/monitors/delays-inputs".to_owned(),
            vec!["drift of hour", "Drift of day", "<path d=\"M", "unknown", "Closed"],
        ),
        ("/p/default/incidents".to_owned(), vec!["delays", "Resolved"]),
        (
            format!("/p/default/incidents/{incident}"),
            vec![
                "the feed sends UTC",
                "try again",
                "Alert began: drift of hour at ",
                "Alert ended: drift of hour at ",
            ],
        ),
    ] {
        let (status, html) = server.call_bytes("GET", &path, None, &[("accept", "text/html")]);
        let html = text(&html);
        assert_eq!(status, 200, "{path}: {html}");
        for word in words {
            assert!(html.contains(word), "{path} has no {word}: {html}");
        }
    }
    assert_eq!(server.call_bytes("GET", "/p/default/monitors/nothing", None, &[]).0, 404);
}

/// Late labels for a day that was closed long ago: half of them, then all, then one corrected.
fn labels_make_quality_known(server: &Server, answer: &Value) {
    let quality = |server: &Server| window(server, 1).unwrap()["verdicts"][0]["quality"].clone();
    assert_eq!((&quality(server)["auc"], &quality(server)["labelled"]), (&json!("unknown"), &json!(0)));
    let scores: Vec<f64> =
        answer["predictions"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    let mut sorted = scores.clone();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted[sorted.len() / 2];
    let ids = answer["prediction_ids"].as_array().unwrap();
    let truth = |i: usize| i64::from(scores[i] > middle);
    let label =
        |i: usize, value: i64| json!({ "prediction_id": ids[i], "value": value, "source": "arrivals" });
    let tell = |labels: Vec<Value>| server.ok("/endpoints/delays/labels", json!({ "labels": labels }));
    tell((0..150).map(|i| label(i, truth(i))).collect());
    wait_until("half of the labels count", || quality(server)["labelled"] == 150);
    // The first is told wrong, and corrected after a crash of nobody's making.
    tell((150..300).map(|i| label(i, if i == 150 { 1 - truth(i) } else { truth(i) })).collect());
    wait_until("all labels count", || quality(server)["labelled"] == 300);
    let wrong = quality(server)["log_loss"].as_f64().unwrap();
    tell(vec![label(150, truth(150))]);
    wait_until("the correction counts", || quality(server)["log_loss"].as_f64().unwrap() != wrong);
    let known = quality(server);
    assert_eq!((&known["labelled"], &known["coverage"]), (&json!(300), &json!(1.0)));
    assert!(known["auc"].as_f64().unwrap() > 0.99, "labels follow the scores: {known}");
    let loss = |i: usize| if truth(i) == 1 { -scores[i].ln() } else { -(1.0 - scores[i]).ln() };
    let mean = (0..300).map(loss).sum::<f64>() / 300.0;
    assert!((known["log_loss"].as_f64().unwrap() - mean).abs() < 1e-6, "{known}, {mean}");
}

#[test]
fn drift_fires_and_ends_on_sqlite() {
    drift_fires_and_ends(On::Sqlite);
}

#[test]
fn drift_fires_and_ends_on_postgresql() {
    drift_fires_and_ends(On::Postgres);
}

#[test]
fn windows_are_the_same_however_often_the_server_is_killed() {
    let listener = Listener::start();
    let mut server = with_monitor(On::Sqlite, &listener);
    predict(&server, 0, 6, &rows(0, ROWS, false));
    for round in 0..4 {
        for part in 0..3 {
            predict(&server, round + 1, 23 - part, &rows(part * 100, (part + 1) * 100, false));
        }
        // While it reads, counts or closes, as it happens.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 400));
        server = server.kill_and_restart();
    }
    predict(&server, 5, 6, &rows(0, ROWS, false));
    wait_until("all whole days are over", || is_closed(&server, 4));
    for day in 0..6 {
        assert_eq!(window(&server, day).unwrap()["verdicts"][0]["predictions"], ROWS, "day {day}");
    }
    let events = get(&server, "/api/v1/ledger/events?limit=500");
    let closed: Vec<i64> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["action"] == "monitor.window_closed" && e["payload"]["judged"] == "inputs")
        .map(|e| e["payload"]["start_ms"].as_i64().unwrap())
        .collect();
    let first = closed.iter().min().unwrap();
    let mut days: Vec<i64> = closed.iter().map(|start| (start - first) / DAY_MS).collect();
    days.sort_unstable();
    assert_eq!(days, [0, 1, 2, 3, 4], "each is closed once");
    assert_eq!(alerts(&server), []);
}

#[test]
fn monitors_that_make_no_sense_are_refused() {
    let server = with_monitor(On::Sqlite, &Listener::start());
    let ask = |name: &str, endpoint: &str, spec: Value| {
        server.post("/api/v1/monitors", json!({ "name": name, "endpoint": endpoint, "spec": spec }))
    };
    let day = json!({ "window_ms": DAY_MS });
    assert_eq!(ask("delays-inputs", "delays", day.clone()).0, 409);
    assert_eq!(ask("m", "nowhere", day.clone()).0, 404);
    assert_eq!(ask("Not a name", "delays", day).0, 400);
    for spec in [
        json!({ "window_ms": 1 }),
        json!({ "window_ms": DAY_MS, "surprise": 1 }),
        json!({ "window_ms": DAY_MS, "webhooks": ["http://169.254.169.254/latest"] }),
        json!({ "window_ms": DAY_MS, "webhooks": ["file:///etc/passwd"] }),
        json!({ "window_ms": DAY_MS, "reference": "yesterday" }),
        json!({ "window_ms": DAY_MS, "quality": [{ "metric": "auc", "enter": 0.8, "exit": 0.7 }] }),
    ] {
        let (status, answer) = ask("m", "delays", spec.clone());
        assert_eq!(status, 400, "{spec}: {answer}");
    }
    assert_eq!(server.get("/api/v1/monitors/nothing").0, 404);
    assert_eq!(server.get("/api/v1/incidents/nothing").0, 404);
}

#[test]
fn a_monitor_that_is_declared_otherwise_counts_again_and_ends_what_it_judges_no_more() {
    let server = with_monitor(On::Sqlite, &Listener::start());
    for (day, drifted) in [(0, false), (1, true), (2, false)] {
        predict(&server, day, 6, &rows(0, ROWS, drifted));
    }
    wait_until("it fires", || alerts(&server) == [("psi:hour".to_owned(), "firing".to_owned())]);
    let declare = |spec: Value| {
        let body = json!({ "endpoint": "delays", "spec": spec }).to_string().into_bytes();
        server.call("PUT", "/api/v1/monitors/delays-inputs", Some(body), &[])
    };
    let (status, told) = declare(json!({ "window_ms": 2 * DAY_MS }));
    assert_eq!((status, &told["code"]), (409, &json!("state")), "{told}");
    let narrower = json!({ "window_ms": DAY_MS, "features": ["distance"] });
    let (status, changed) = declare(narrower.clone());
    assert_eq!((status, &changed["reference"]["state"]), (200, &json!("learning")), "{changed}");
    assert_eq!(declare(narrower).1["digest"], changed["digest"]);

    // The log is counted again, windows that were closed stay closed, and each is told once.
    wait_until("the log was read again", || {
        window(&server, 2).is_some_and(|w| w["verdicts"][0]["predictions"] == ROWS)
    });
    predict(&server, 3, 6, &rows(0, ROWS, false));
    wait_until("the third day is over", || is_closed(&server, 2));
    let findings = window(&server, 2).unwrap()["verdicts"][0]["findings"].clone();
    let subjects: Vec<&str> =
        findings.as_array().unwrap().iter().map(|f| f["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["psi:distance", "missing:distance"]);
    wait_until("it ends", || alerts(&server) == [("psi:hour".to_owned(), "resolved".to_owned())]);
    let events = get(&server, "/api/v1/ledger/events?limit=500");
    let of =
        |action: &str| events["events"].as_array().unwrap().iter().filter(|e| e["action"] == action).count();
    assert_eq!((of("monitor.window_closed"), of("monitor.changed")), (3, 1));
    assert_eq!(window(&server, 1).unwrap()["verdicts"][0]["predictions"], ROWS);
}

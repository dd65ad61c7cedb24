//! The log of predictions through the public door: ids, required logs and `kill -9`, labels, the line of a prediction.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use std::sync::Mutex;

const ASK: &str = "/endpoints/delays/invocations";

fn rows(hours: &[f64]) -> Value {
    let data: Vec<Value> = hours.iter().map(|h| json!([h, 300.0, 2.0])).collect();
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": data } })
}

fn with_endpoint(on: On, log: &str) -> Server {
    let server = Server::start(on);
    Models::saved().register(&server, "binary", "delays");
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": log }));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"], "reason": "the first" }));
    server
}

fn ids(answer: &Value) -> Vec<String> {
    answer["prediction_ids"].as_array().unwrap().iter().map(|i| i.as_str().unwrap().to_owned()).collect()
}

fn trace(server: &Server, id: &str) -> Value {
    let (status, trace) = server.get(&format!("/api/v1/predictions/{id}/trace"));
    assert_eq!(status, 200, "{trace}");
    trace
}

#[test]
fn what_a_required_log_answered_survives_kill_9() {
    let mut server = with_endpoint(On::Sqlite, "required");
    let mut kept: Vec<(String, Value)> = Vec::new();
    for _ in 0..3 {
        let answered = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for caller in 0..4_u32 {
                let (server, answered) = (&server, &answered);
                scope.spawn(move || {
                    for i in 0..40_u32 {
                        let hour = f64::from(caller * 1000 + i);
                        // The server may die between the request and its answer.
                        let Some((200, answer)) = server.try_post(ASK, &rows(&[hour, hour + 0.5])) else {
                            return;
                        };
                        let ids = ids(&answer);
                        answered
                            .lock()
                            .unwrap()
                            .extend([(ids[0].clone(), json!(hour)), (ids[1].clone(), json!(hour + 0.5))]);
                    }
                });
            }
            wait_until("some are answered", || answered.lock().unwrap().len() > 40);
            server.kill();
        });
        kept.extend(answered.into_inner().unwrap());
        server = server.kill_and_restart();
        for (id, hour) in &kept {
            assert_eq!(trace(&server, id)["prediction"]["inputs"]["hour"], *hour);
        }
    }
    assert!(kept.len() > 120);
}

#[test]
fn best_effort_predictions_are_found_a_moment_later() {
    let server = with_endpoint(On::Sqlite, "best-effort");
    let id = ids(&server.ok(ASK, rows(&[3.0])))[0].clone();
    let path = format!("/api/v1/predictions/{id}/trace");
    wait_until("it is on the disk", || server.get(&path).0 == 200);
}

#[test]
fn what_was_asked_is_looked_through_from_the_newest_back() {
    let server = with_endpoint(On::Sqlite, "required");
    let list = "/api/v1/endpoints/delays/predictions";
    let (status, none) = server.get(list);
    let nothing = json!({
        "predictions": [], "next_cursor": null, "looked_at": 0, "looked_back_to": null, "gave_up": false,
    });
    assert_eq!((status, &none), (200, &nothing));
    let (_, page) = server.call_bytes("GET", "/p/default/endpoints/delays/predictions", None, &[]);
    assert!(text(&page).contains("Nothing was asked yet"), "an empty log teaches");
    let mut expected = Vec::new();
    for hour in 0..5 {
        let body = rows(&[f64::from(hour), f64::from(hour) + 0.5]).to_string().into_bytes();
        let key = format!("N{}", hour % 2);
        let (status, answer) = server.call("POST", ASK, Some(body), &[("x-trueline-key", &key)]);
        assert_eq!(status, 200, "{answer}");
        expected.extend(ids(&answer));
    }
    let (status, _) = server.post(ASK, json!({ "dataframe_records": [{ "hour": "late" }] }));
    assert_eq!(status, 400);
    wait_until("what was refused is on the disk", || {
        server.get(list).1["predictions"][0]["error"].as_str().is_some_and(|e| e.contains("hour"))
    });
    expected.reverse();
    let listed = |query: &str| {
        let (status, found) = server.get(&format!("{list}?{query}"));
        assert_eq!(status, 200, "{found}");
        let all = found["predictions"].as_array().unwrap();
        let all: Vec<String> = all.iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect();
        (all, found["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(listed("outcome=answered"), (expected.clone(), None));
    let (first, next) = listed("outcome=answered&limit=4");
    let (second, last) = listed(&format!("outcome=answered&limit=6&cursor={}", next.unwrap()));
    assert_eq!((first, second, last), (expected[..4].to_vec(), expected[4..].to_vec(), None));
    assert_eq!(listed("outcome=failed").0.len(), 1);
    assert_eq!(listed("key=N1").0.len(), 4);
    assert_eq!(listed("version=delays/1&outcome=answered").0, expected);
    assert_eq!(listed("version=delays/2").0.len(), 0);
    assert_eq!(listed(&format!("id={}", expected[3])).0, [expected[3].clone()]);
    assert_eq!(listed("to=2020-01-01").0.len(), 0);
    assert_eq!(listed("from=2020-01-01T00:00:00Z").0.len(), 11);
    for wrong in ["id=7", "outcome=odd", "from=noon", "cursor=x", "cursor=1-3-9"] {
        let (status, problem) = server.get(&format!("{list}?{wrong}"));
        assert_eq!((status, &problem["code"]), (400, &json!("invalid")), "{wrong}: {problem}");
    }
    assert_eq!(server.get("/api/v1/endpoints/nowhere/predictions").0, 404);
    let told = server.cli(&["prediction", "list", "delays", "--key", "N1", "--limit", "3"]);
    let (rows, notes) = (text(&told.stdout), text(&told.stderr));
    assert_eq!(rows.lines().count(), 4, "{rows}");
    assert!(notes.contains("go on with: --cursor "), "{notes}");
    let (_, page) =
        server.call_bytes("GET", "/p/default/endpoints/delays/predictions?outcome=failed", None, &[]);
    let page = text(&page);
    assert!(page.contains("Failed") && page.contains("1 prediction on this page"), "{page}");
    let (_, page) = server.call_bytes("GET", "/p/default/endpoints/delays/predictions?from=noon", None, &[]);
    assert!(text(&page).contains("`noon` is no time"), "what can't be read is told on the page");
}

#[test]
fn labels_come_in_any_order_and_twice() {
    let server = with_endpoint(On::Sqlite, "required");
    let ids = ids(&server.ok(ASK, rows(&[1.0, 2.0, 3.0])));
    let tell = |labels: Value| server.ok("/endpoints/delays/labels", labels);
    let label = |id: &str, value: i64| json!({ "prediction_id": id, "value": value, "source": "arrivals" });
    let told = tell(json!({ "labels": [label(&ids[2], 1), label(&ids[0], 0)] }));
    assert_eq!((&told["new"], &told["duplicates"], &told["unknown"]), (&json!(2), &json!(0), &json!(0)));
    let told = tell(json!({ "labels": [label(&ids[0], 0), label(&ids[2], 1)] }));
    assert_eq!((&told["new"], &told["duplicates"]), (&json!(0), &json!(2)), "again is nothing new");
    let told = tell(label(&ids[2], 0));
    assert_eq!(told["corrections"], 1);
    let stranger = "0".repeat(32);
    let told = tell(label(&stranger, 1));
    assert_eq!((&told["unknown"], &told["unknown_ids"]), (&json!(1), &json!([stranger])));
    let known = trace(&server, &ids[2])["labels"].clone();
    let (status, alone) = server.get(&format!("/api/v1/predictions/{}", ids[2]));
    assert_eq!((status, &alone["labels"]), (200, &known));
    assert_eq!(alone["prediction"], trace(&server, &ids[2])["prediction"]);
    assert_eq!(server.get(&format!("/api/v1/predictions/{stranger}")).0, 404);
    assert_eq!(server.get("/api/v1/predictions/none").0, 400);
    let values: Vec<&Value> = known.as_array().unwrap().iter().map(|l| &l["value"]).collect();
    assert_eq!(values, [&json!(1), &json!(0)], "the last one holds, the first one stays");
    let server = server.kill_and_restart();
    assert_eq!(trace(&server, &ids[2])["labels"], known);
    assert_eq!(trace(&server, &ids[1])["labels"], json!([]));
    let (status, answer) = server.post("/endpoints/delays/labels", json!({ "labels": [{ "value": 1 }] }));
    assert_eq!(status, 400, "{answer}");
    let (status, _) = server.post("/endpoints/nowhere/labels", json!({ "labels": [] }));
    assert_eq!(status, 404);
}

#[test]
fn a_prediction_is_traced_back_to_its_run_on_both_databases() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run =
            server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "0", "run_name": "the run" }));
        let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let commit = json!({ "run_id": run, "key": "mlflow.source.git.commit", "value": "0123abc" });
        server.ok("/api/2.0/mlflow/runs/set-tag", commit);
        server.ok(
            "/api/2.0/mlflow/runs/log-metric",
            json!({ "run_id": run, "key": "auc", "value": 0.75, "timestamp": 1 }),
        );
        let dataset = json!({ "name": "april", "digest": "1a2b", "source_type": "local", "source": "{}" });
        let inputs = json!({ "run_id": run, "datasets": [{ "dataset": dataset, "tags": [] }] });
        server.ok("/api/2.0/mlflow/runs/log-inputs", inputs);
        Models::saved().register_from_run(&server, "binary", "delays", &run);
        server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
        server.ok(
            "/api/v1/endpoints/delays/routes",
            json!({ "variants": ["delays/1"], "reason": "the first" }),
        );
        let answer = server.ok(ASK, rows(&[4.0]));
        let id = ids(&answer)[0].clone();

        let trace = trace(&server, &id);
        assert_eq!(trace["prediction"]["output"], answer["predictions"][0]);
        assert_eq!(trace["route"]["generation"], 1);
        assert_eq!(trace["route"]["reason"], "the first");
        assert_eq!(trace["version"]["version"], "delays/1");
        assert_eq!(trace["version"]["manifest_digest"].as_str().unwrap().len(), 64);
        assert_eq!(trace["run"]["id"], json!(run));
        assert_eq!(trace["run"]["code"]["commit"], "0123abc");
        assert_eq!(trace["run"]["metrics"]["auc"], 0.75);
        assert_eq!(trace["run"]["datasets"][0]["name"], "april");
        let actions: Vec<&str> =
            trace["events"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
        for expected in ["run.created", "version.registered", "endpoint.created", "endpoint.deployed"] {
            assert!(actions.contains(&expected), "{on:?}: {expected} is missing of {actions:?}");
        }

        let told = server.cli(&["trace", &id]);
        assert!(told.status.success(), "{}", text(&told.stderr));
        let told = text(&told.stdout);
        for expected in [&id, "delays/1", &run, "0123abc", "april 1a2b", "endpoint.deployed"] {
            assert!(told.contains(expected), "{expected} is missing of\n{told}");
        }
        let unknown = server.cli(&["trace", &"f".repeat(32)]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(text(&unknown.stderr).contains("there is no prediction"), "{}", text(&unknown.stderr));
        assert_eq!(server.get("/api/v1/predictions/xyz/trace").0, 400);
        server.ok("/api/v1/projects", json!({ "name": "other" }));
        let elsewhere = server.get(&format!("/projects/other/api/v1/predictions/{id}/trace"));
        assert_eq!(elsewhere.0, 404, "another project sees nothing of it");
    }
}

#[test]
fn a_refused_request_leaves_a_record_without_inputs_and_counts() {
    let server = with_endpoint(On::Sqlite, "required");
    let body = json!({ "dataframe_split": { "columns": ["hour"], "data": [[1.0]] } });
    assert_eq!(server.post(ASK, body).0, 400);
    server.ok(ASK, rows(&[1.0]));
    let (_, endpoint) = server.get("/api/v1/endpoints/delays");
    assert_eq!(endpoint["live"]["variants"][0]["requests"], 2);
    assert_eq!(endpoint["live"]["variants"][0]["errors"], 1);
    let metrics = metrics(&server);
    assert!(metrics.contains(
        "trueline_predictions_total{project=\"default\",endpoint=\"delays\",variant=\"delays/1\"} 1\n"
    ));
    assert_eq!(value_of(&metrics, "trueline_prediction_errors_total{", "cause=\"input\""), Some(1.0));
}

fn metrics(server: &Server) -> String {
    text(&server.call_bytes("GET", "/metrics", None, &[]).1)
}

/// The value of the one line that begins so and has this label.
fn value_of(metrics: &str, begins: &str, label: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(begins) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The bounds, in milliseconds, between which the histogram of `/metrics` has this quantile of a version's requests.
fn bounds_of(metrics: &str, variant: &str, quantile: f64) -> (f64, f64) {
    let name = "trueline_prediction_duration_seconds";
    let all = value_of(metrics, &format!("{name}_count"), variant).unwrap();
    let mut below = 0.0;
    for line in metrics.lines().filter(|l| l.starts_with(&format!("{name}_bucket")) && l.contains(variant)) {
        let bound: f64 =
            line.split("le=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap_or(f64::MAX);
        if line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= (all * quantile).ceil() {
            return (below * 1_000.0, bound * 1_000.0);
        }
        below = bound;
    }
    panic!("no bucket has the quantile {quantile} of {variant}:\n{metrics}");
}

#[test]
fn the_last_minutes_of_an_endpoint_are_those_of_what_was_sent() {
    const ASKED: u64 = 40;
    let server = with_endpoint(On::Sqlite, "required");
    Models::saved().register(&server, "binary-other", "delays");
    let live = || server.get("/api/v1/endpoints/delays").1["live"].clone();
    assert_eq!(live()["last_minute"]["latency_ms"]["p99"], Value::Null, "nothing came yet");
    let mut client_ms = Vec::new();
    for hour in 0..ASKED {
        let began = std::time::Instant::now();
        server.ok(ASK, rows(&[hour as f64]));
        client_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    client_ms.sort_by(f64::total_cmp);
    let now = live();
    let minute = &now["last_minute"];
    assert_eq!((&minute["requests"], &minute["errors"]), (&json!(ASKED), &json!({})), "{now}");
    let seconds = ASKED as f64 / minute["per_second"].as_f64().unwrap();
    assert!((55.0..=60.0).contains(&seconds), "the rate is that of a minute: {now}");
    assert_eq!(now["requests_per_second"].as_array().unwrap().len(), 59);
    let metrics = metrics(&server);
    for (quantile, part) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let told = now["variants"][0]["last_15_minutes"]["latency_ms"][quantile].as_f64().unwrap();
        let (low, high) = bounds_of(&metrics, "delays/1", part);
        assert!(
            low * 15.0 / 16.0 <= told && told <= high * 17.0 / 16.0,
            "{quantile} {told} of {low} to {high}"
        );
        let rank = (ASKED as f64 * part).ceil() as usize;
        assert!(told <= client_ms[rank - 1] * 17.0 / 16.0, "the caller waited less: {told} of {client_ms:?}");
    }
}

#[test]
fn errors_are_told_by_cause_through_a_change_of_the_route() {
    let server = with_endpoint(On::Sqlite, "required");
    Models::saved().register(&server, "binary-other", "delays");
    server.ok(ASK, rows(&[1.0, 2.0]));
    assert_eq!(server.post(ASK, json!({ "dataframe_records": [{ "hour": 1.0 }] })).0, 400);
    assert_eq!(server.post(ASK, json!({ "no": "input" })).0, 400);
    let nobody = json!({ "inputs": [{ "name": "hour", "datatype": "FP64", "shape": [1], "data": [1.0] }] });
    assert_eq!(server.post("/v2/models/delays/versions/7/infer", nobody).0, 404);
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/2"], "reason": "another" }));
    server.ok(ASK, rows(&[3.0]));
    let now = server.get("/api/v1/endpoints/delays").1["live"].clone();
    let (all, own) = (&now["last_15_minutes"], &now["variants"][0]["last_15_minutes"]);
    assert_eq!(
        (&all["requests"], &all["errors"]),
        (&json!(5), &json!({ "input": 1, "unreadable": 2 })),
        "{now}"
    );
    assert_eq!((&own["requests"], &own["errors"]), (&json!(1), &json!({})), "the new version's alone: {now}");
    let metrics = metrics(&server);
    let errors = |label| value_of(&metrics, "trueline_prediction_errors_total{", label);
    assert_eq!(
        (errors("cause=\"unreadable\""), errors("delays/1\",cause=\"input\"")),
        (Some(2.0), Some(1.0))
    );
    let shown = text(&server.cli(&["endpoint", "show", "delays"]).stdout);
    let together = shown.lines().find(|line| line.starts_with("together")).unwrap();
    assert!(together.contains("input 1") && together.contains("unreadable 2"), "{shown}");
}

#[test]
fn metrics_of_versions_that_are_gone_do_not_pile_up() {
    const VERSIONS: usize = 50;
    let server = with_endpoint(On::Sqlite, "best-effort");
    let models = Models::saved();
    for number in 2..=VERSIONS {
        models.register(&server, "binary", "delays");
        let version = format!("delays/{number}");
        server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": [version], "reason": "the next" }));
        server.ok(ASK, rows(&[1.0]));
    }
    let told = || {
        let metrics = metrics(&server);
        let counted = metrics.lines().filter(|line| line.starts_with("trueline_predictions_total{"));
        (counted.map(ToOwned::to_owned).collect::<Vec<_>>(), metrics.len())
    };
    // Those that went last are told for a while yet, so that nothing of them is lost between two looks.
    wait_until("what is gone is let go of", || told().0.len() == 32 + 1);
    let (lines, bytes) = told();
    let of = |number: usize| lines.iter().find(|line| line.contains(&format!("delays/{number}\"")));
    assert!(of(2).is_none() && of(VERSIONS - 1).is_some_and(|line| line.ends_with(" 1")), "{lines:?}");
    assert!(of(VERSIONS).is_some(), "what answers is told");
    assert!(bytes < 500_000, "{bytes} bytes");
    // What answers again counts on.
    let back = json!({ "variants": [format!("delays/{}", VERSIONS - 1)], "reason": "back" });
    server.ok("/api/v1/endpoints/delays/routes", back);
    server.ok(ASK, rows(&[1.0]));
    let again = told().0.into_iter().find(|line| line.contains(&format!("delays/{}\"", VERSIONS - 1)));
    assert!(again.is_some_and(|line| line.ends_with(" 2")), "a counter does not jump back");
}

//! Tracking over the wire: projects stay apart, concurrent calls lose nothing, texts beyond the ordinary are kept or
//! refused alike on both databases.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server};
use serde_json::{Value, json};

fn run(server: &Server, prefix: &str) -> String {
    let made = server.ok(&format!("{prefix}/api/2.0/mlflow/runs/create"), json!({ "experiment_id": "0" }));
    made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn points_for_a_logged_model_of_another_project_are_refused() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        server.ok("/api/v1/projects", json!({ "name": "theirs" }));
        let theirs = "/projects/theirs";
        let (own_run, their_run) = (run(&server, ""), run(&server, theirs));
        let made = server.ok(
            &format!("{theirs}/api/2.0/mlflow/logged-models"),
            json!({ "experiment_id": "0", "name": "m" }),
        );
        let model = made["model"]["info"]["model_id"].as_str().unwrap();
        let point = |run: &str| json!({ "run_id": run, "key": "auc", "value": 0.5, "timestamp": 1, "step": 0, "model_id": model });
        let (status, told) = server.post("/api/2.0/mlflow/runs/log-metric", point(&own_run));
        assert_eq!((status, told["error_code"].as_str()), (404, Some("RESOURCE_DOES_NOT_EXIST")), "{on:?}");
        let kept = |prefix: &str| {
            let path = format!("{prefix}/api/2.0/mlflow/logged-models/{model}");
            server.get(&path).1["model"]["data"]["metrics"].clone()
        };
        assert_eq!(kept(theirs), Value::Null, "{on:?}");
        // Nothing of the refused call stays, not even the point of the run.
        let own = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={own_run}")).1;
        assert_eq!(own["run"]["data"]["metrics"], Value::Null, "{on:?}");

        server.ok(&format!("{theirs}/api/2.0/mlflow/runs/log-metric"), point(&their_run));
        assert_eq!(kept(theirs)[0]["value"], json!(0.5), "{on:?}");
    }
}

#[test]
fn models_that_are_logged_at_the_same_time_are_all_in_the_history() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run = run(&server, "");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (server, run) = (&server, &run);
                scope.spawn(move || {
                    let model = json!({
                        "artifact_path": format!("model-{n}"), "flavors": { "padding": "x".repeat(2000) },
                        "utc_time_created": "now", "run_id": run,
                    });
                    let body = json!({ "run_id": run, "model_json": model.to_string() });
                    server.ok("/api/2.0/mlflow/runs/log-model", body);
                });
            }
        });
        let found = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={run}")).1;
        let tags = found["run"]["data"]["tags"].as_array().unwrap();
        let history = tags.iter().find(|t| t["key"] == "mlflow.log-model.history").unwrap();
        let list: Vec<Value> = serde_json::from_str(history["value"].as_str().unwrap()).unwrap();
        assert_eq!(list.len(), 8, "{on:?}");
    }
}

/// A text that no compression makes smaller.
fn random_text(length: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..length).map(letter).collect()
}

#[test]
fn long_params_and_tags_are_kept_whole_and_found() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run = run(&server, "");
        let (param, tag) = (random_text(6000), random_text(8000));
        let batch = json!({
            "run_id": run,
            "params": [{ "key": "k".repeat(250), "value": param }],
            "tags": [{ "key": "t", "value": tag }],
        });
        server.ok("/api/2.0/mlflow/runs/log-batch", batch);
        let filter = format!("tags.t LIKE '{}%'", tag[..8].replace(['%', '_', '\\', '\''], "_"));
        let search = json!({ "experiment_ids": ["0"], "filter": filter });
        let found = server.ok("/api/2.0/mlflow/runs/search", search);
        let data = &found["runs"][0]["data"];
        assert_eq!(data["params"][0]["value"], json!(param), "{on:?}");
        let kept = data["tags"].as_array().unwrap().iter().find(|t| t["key"] == "t").unwrap();
        assert_eq!(kept["value"], json!(tag), "{on:?}");
    }
}

#[test]
fn nul_characters_are_refused_alike_on_both_databases() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run = run(&server, "");
        let bodies = [
            ("/api/2.0/mlflow/experiments/create", json!({ "name": "a\0b" })),
            (
                "/api/2.0/mlflow/runs/log-batch",
                json!({ "run_id": run, "tags": [{ "key": "k", "value": "\0" }] }),
            ),
            ("/api/2.0/mlflow/registered-models/create", json!({ "name": "m", "description": "\0" })),
        ];
        for (path, body) in bodies {
            let (status, told) = server.post(path, body);
            assert_eq!(status, 400, "{on:?} {path} {told}");
            assert_eq!(told["error_code"], "INVALID_PARAMETER_VALUE", "{on:?} {path}");
        }
        for path in [
            "/api/2.0/mlflow/runs/get?run_id=%00",
            "/api/2.0/mlflow/logged-models/m-%00",
            "/api/v1/ledger/events/a%00",
            "/p/default/models/a%00b",
        ] {
            assert_eq!(server.get(path).0, 400, "{on:?} {path}");
        }
        let (status, told) = server.post("/api/v1/projects", json!({ "name": "a\0" }));
        assert_eq!((status, &told["code"]), (400, &json!("invalid")), "{on:?}");
    }
}

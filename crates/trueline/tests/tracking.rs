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

//! The registry over the wire: where versions come from, and what the lineage says of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server};
use serde_json::{Value, json};

const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";
const MLFLOW: &str = "/api/2.0/mlflow";

/// A run with one artifact: its id.
fn run_with_model(server: &Server, bytes: &str) -> String {
    let made = server.ok(&format!("{MLFLOW}/runs/create"), json!({ "experiment_id": "0" }));
    let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    put(server, &run, bytes);
    run
}

fn put(server: &Server, run: &str, bytes: &str) {
    let path = format!("{PROXY}/0/{run}/artifacts/model/MLmodel");
    assert_eq!(server.call_bytes("PUT", &path, Some(bytes.as_bytes().to_vec()), &[]).0, 200);
}

fn model(server: &Server, name: &str) {
    server.ok(&format!("{MLFLOW}/registered-models/create"), json!({ "name": name }));
}

fn register(server: &Server, body: Value) -> (u16, Value) {
    server.post(&format!("{MLFLOW}/model-versions/create"), body)
}

/// The payload of the newest event of a kind.
fn newest(server: &Server, action: &str) -> Value {
    server.get(&format!("/api/v1/ledger/events?limit=1&action={action}")).1["events"][0]["payload"].clone()
}

#[test]
fn a_version_made_from_a_version_has_its_frozen_files() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run = run_with_model(&server, "first");
        model(&server, "m");
        let source = format!("runs:/{run}/model");
        let (status, first) = register(&server, json!({ "name": "m", "source": source, "run_id": run }));
        assert_eq!(status, 200, "{first}");
        let digest = newest(&server, "version.registered")["manifest_digest"].clone();
        put(&server, &run, "second");
        for source in [
            "models:/m/1".to_owned(),
            format!("mlflow-artifacts:/model-versions/{}", digest.as_str().unwrap()),
        ] {
            let (status, copy) = register(&server, json!({ "name": "m", "source": source }));
            assert_eq!(status, 200, "{copy}");
            assert_eq!(newest(&server, "version.registered")["manifest_digest"], digest, "{on:?} {source}");
        }
        let path = format!("{MLFLOW}/model-versions/get-download-uri?name=m&version=2");
        let uri = server.get(&path).1["artifact_uri"].as_str().unwrap().to_owned();
        let folder = uri.strip_prefix("mlflow-artifacts:/").unwrap();
        let listed = server.get(&format!("{PROXY}?path={folder}")).1;
        assert_eq!(
            listed["files"],
            json!([{ "path": "MLmodel", "is_dir": false, "file_size": 5 }]),
            "{on:?}"
        );
        let read = server.call_bytes("GET", &format!("{PROXY}/{folder}/MLmodel"), None, &[]);
        assert_eq!(read, (200, b"first".to_vec()), "{on:?}");
    }
}

#[test]
fn frozen_files_of_another_project_are_not_found() {
    let server = Server::start(On::Sqlite);
    server.ok("/api/v1/projects", json!({ "name": "theirs" }));
    let run = run_with_model(&server, "ours");
    model(&server, "m");
    register(&server, json!({ "name": "m", "source": format!("runs:/{run}/model") }));
    let digest = newest(&server, "version.registered")["manifest_digest"].as_str().unwrap().to_owned();
    let file = format!("{PROXY}/model-versions/{digest}/MLmodel");
    assert_eq!(server.call_bytes("GET", &file, None, &[]).0, 200);
    assert_eq!(server.call_bytes("GET", &format!("/projects/theirs{file}"), None, &[]).0, 404);
}

#[test]
fn a_source_that_contradicts_the_run_is_refused() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let (run, other) = (run_with_model(&server, "a"), run_with_model(&server, "b"));
        model(&server, "m");
        for source in [format!("runs:/{run}/model"), format!("mlflow-artifacts:/0/{run}/artifacts/model")] {
            let (status, told) = register(&server, json!({ "name": "m", "source": source, "run_id": other }));
            assert_eq!((status, &told["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")), "{on:?}");
            let message = told["message"].as_str().unwrap();
            assert!(message.contains(&format!("lies in the artifacts of run '{run}'")), "{message}");
        }
        let (status, told) = register(&server, json!({ "name": "m", "source": "/etc", "run_id": run }));
        assert_eq!(status, 400, "{told}");
        assert!(told["message"].as_str().unwrap().contains("To use a local path"), "{told}");
    }
}

#[test]
fn lineage_holds_what_the_project_has_and_nothing_else() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run = run_with_model(&server, "a");
        model(&server, "m");
        let source = format!("mlflow-artifacts:/0/{run}/artifacts/model");
        // Without a run, it is taken from where the source lies.
        let (_, made) = register(&server, json!({ "name": "m", "source": source }));
        assert_eq!(made["model_version"]["run_id"], json!(run), "{on:?}");
        let (status, made) =
            register(&server, json!({ "name": "m", "source": "s3://b/x", "run_id": "elsewhere" }));
        assert_eq!((status, &made["model_version"]["run_id"]), (200, &json!("elsewhere")), "{on:?}");
        server.ok(
            &format!("{MLFLOW}/runs/log-inputs"),
            json!({ "run_id": run, "models": [{ "model_id": "m-of-somebody" }] }),
        );
        let page = |path: &str| common::text(&server.call_bytes("GET", path, None, &[]).1);
        let first = page("/p/default/models/m/versions/1");
        assert!(first.contains(&format!("/p/default/runs/{run}")), "{on:?}");
        assert!(page(&format!("/p/default/runs/{run}")).contains("m/1"), "{on:?}");
        assert!(!page(&format!("/p/default/runs/{run}")).contains("m-of-somebody"), "{on:?}");
    }
}

#[test]
fn lineage_follows_a_model_through_renames_and_not_to_a_new_one_of_its_name() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let run = run_with_model(&server, "a");
        model(&server, "before");
        let source = format!("runs:/{run}/model");
        register(&server, json!({ "name": "before", "source": source }));
        server.ok(
            &format!("{MLFLOW}/registered-models/rename"),
            json!({ "name": "before", "new_name": "after" }),
        );
        model(&server, "before");
        register(&server, json!({ "name": "before", "source": "s3://b/x" }));
        let page = |path: &str| common::text(&server.call_bytes("GET", path, None, &[]).1);
        assert!(page(&format!("/p/default/runs/{run}")).contains("after/1"), "{on:?}");
        assert!(!page(&format!("/p/default/runs/{run}")).contains("before/1"), "{on:?}");
        assert!(page("/p/default/models/after/versions/1").contains(&format!("/p/default/runs/{run}")));
        assert!(!page("/p/default/models/before/versions/1").contains(&format!("/p/default/runs/{run}")));
        // MLflow's numbers start again in a model that was made again.
        let removed = json!({ "name": "after" }).to_string().into_bytes();
        assert_eq!(
            server.call("DELETE", &format!("{MLFLOW}/registered-models/delete"), Some(removed), &[]).0,
            200
        );
        model(&server, "after");
        let (_, made) = register(&server, json!({ "name": "after", "source": "s3://b/y" }));
        assert_eq!(made["model_version"]["version"], json!("1"), "{on:?}");
        assert!(!page(&format!("/p/default/runs/{run}")).contains("after/1"), "{on:?}");
    }
}

#[test]
fn taking_away_a_tag_that_is_not_there_is_no_event() {
    let server = Server::start(On::Sqlite);
    model(&server, "m");
    register(&server, json!({ "name": "m", "source": "s3://b/x" }));
    let body = json!({ "name": "m", "version": "1", "key": "none" }).to_string().into_bytes();
    assert_eq!(server.call("DELETE", &format!("{MLFLOW}/model-versions/delete-tag"), Some(body), &[]).0, 200);
    assert_eq!(newest(&server, "version.untagged"), Value::Null);
}

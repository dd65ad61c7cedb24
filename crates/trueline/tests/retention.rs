//! Real deletion and collection, as whoever runs a server sees them: what goes, what stays, and what a crash leaves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BINARY, On, Server, text, verify, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";
const MLFLOW: &str = "/api/2.0/mlflow";

/// A server that deletes for good and collects at once, when it is asked.
fn server(on: On) -> Server {
    let at_once =
        [("TRUELINE_RETENTION", "0s"), ("TRUELINE_BLOB_GRACE", "0s"), ("TRUELINE_COLLECT_EVERY", "off")];
    Server::start_on(on, &at_once)
}

fn experiment(server: &Server, name: &str) -> String {
    let made = server.ok(&format!("{MLFLOW}/experiments/create"), json!({ "name": name }));
    made["experiment_id"].as_str().unwrap().to_owned()
}

fn run(server: &Server, experiment: &str) -> String {
    let asked = json!({ "experiment_id": experiment, "start_time": 1 });
    let made = server.ok(&format!("{MLFLOW}/runs/create"), asked);
    let id = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let points: Vec<Value> =
        (0..50).map(|s| json!({"key": "m", "value": 0.5, "timestamp": s, "step": s})).collect();
    let batch = json!({ "run_id": id, "metrics": points, "params": [{"key": "p", "value": "1"}] });
    server.ok(&format!("{MLFLOW}/runs/log-batch"), batch);
    server.ok(&format!("{MLFLOW}/runs/update"), json!({ "run_id": id, "status": "FINISHED", "end_time": 2 }));
    id
}

fn put(server: &Server, path: &str, bytes: &str) {
    assert_eq!(
        server.call_bytes("PUT", &format!("{PROXY}/{path}"), Some(bytes.into()), &[]).0,
        200,
        "{path}"
    );
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let (status, bytes) = server.call_bytes("GET", &format!("{PROXY}/{path}"), None, &[]);
    (status, text(&bytes))
}

fn delete_run(server: &Server, id: &str) {
    server.ok(&format!("{MLFLOW}/runs/delete"), json!({ "run_id": id }));
}

fn gc(server: &Server, more: &[&str]) -> Value {
    let done = server.cli(&[&["gc", "--json"], more].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    told["projects"][0].clone()
}

/// The blobs of a data directory: their number and their bytes.
fn blobs(data_dir: &Path) -> (u64, u64) {
    fn count(folder: PathBuf, found: &mut (u64, u64)) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                count(entry.path(), found);
            } else {
                found.0 += 1;
                found.1 += entry.metadata().unwrap().len();
            }
        }
    }
    let mut found = (0, 0);
    count(data_dir.join("blobs/default"), &mut found);
    found
}

/// Waits until the points of all runs that have ended are sealed.
fn wait_for_seals(server: &Server, how_many: usize) {
    wait_until("points are sealed", || {
        let (_, told) = server.get("/api/v1/ledger/events?limit=500&action=metrics.sealed");
        told["events"].as_array().map_or(0, Vec::len) == how_many
    });
}

fn verify_state(server: Server) -> (bool, String) {
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let done = verify(&stopped.data_dir, &key, &["--state"]);
    (done.status.success(), text(&done.stderr))
}

#[test]
fn a_deleted_run_comes_back_until_its_time_is_over_and_then_it_and_its_bytes_are_gone() {
    for on in [On::Sqlite, On::Postgres] {
        let server = server(on);
        let id = experiment(&server, "e");
        let (gone, stays) = (run(&server, &id), run(&server, &id));
        for (of, bytes) in [(&gone, "its own"), (&stays, "the other's")] {
            put(&server, &format!("{id}/{of}/artifacts/own"), bytes);
            put(&server, &format!("{id}/{of}/artifacts/shared"), "both have this");
        }
        wait_for_seals(&server, 2);
        assert_eq!(blobs(&server.data_dir), (3, 7 + 11 + 14));
        delete_run(&server, &gone);
        let kept = gc(&server, &["--older-than", "30d"]);
        assert_eq!((&kept["purged"]["runs"], &kept["removed"]["count"]), (&json!(0), &json!(0)), "{on:?}");
        server.ok(&format!("{MLFLOW}/runs/restore"), json!({ "run_id": gone }));
        assert_eq!(get(&server, &format!("{id}/{gone}/artifacts/own")), (200, "its own".to_owned()));
        delete_run(&server, &gone);

        let told = gc(&server, &["--dry-run"]);
        assert_eq!(
            (&told["purged"]["runs"], &told["removed"]),
            (&json!(1), &json!({"count": 1, "bytes": 7})),
            "{on:?}"
        );
        assert_eq!(blobs(&server.data_dir).0, 3, "a dry run changes nothing");
        let done = gc(&server, &[]);
        assert_eq!((&done["purged"], &done["removed"]), (&told["purged"], &told["removed"]), "{on:?}");
        assert_eq!(blobs(&server.data_dir), (2, 11 + 14));
        assert_eq!(get(&server, &format!("{id}/{gone}/artifacts/own")).0, 404);
        assert_eq!(server.get(&format!("{MLFLOW}/runs/get?run_id={gone}")).0, 404);
        let (status, told) = server.post(&format!("{MLFLOW}/runs/restore"), json!({ "run_id": gone }));
        assert_eq!(status, 404);
        assert!(told["message"].as_str().unwrap().contains("deleted for good"), "{told}");
        assert_eq!(
            get(&server, &format!("{id}/{stays}/artifacts/shared")),
            (200, "both have this".to_owned())
        );
        let (_, history) = server.get(&format!("{MLFLOW}/metrics/get-history?run_id={stays}&metric_key=m"));
        assert_eq!(history["metrics"].as_array().unwrap().len(), 50);

        let (_, last) = server.get("/api/v1/collections");
        assert_eq!(last["last"]["result"]["projects"][0]["removed"]["bytes"], 7, "{last}");
        let (_, events) = server.get("/api/v1/ledger/events?limit=50&action=blobs.");
        let actions: Vec<&str> =
            events["events"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["blobs.collected", "blobs.condemned"], "{on:?}");
        if on == On::Sqlite {
            let (holds, said) = verify_state(server);
            assert!(holds, "{said}");
        }
    }
}

#[test]
fn a_run_stays_while_a_version_stands_on_it_and_a_version_whose_bytes_are_lost_is_found() {
    let server = server(On::Sqlite);
    let id = experiment(&server, "e");
    let made = run(&server, &id);
    put(&server, &format!("{id}/{made}/artifacts/model/MLmodel"), "flavors: {}");
    wait_for_seals(&server, 1);
    server.ok(&format!("{MLFLOW}/registered-models/create"), json!({ "name": "m" }));
    let source = json!({ "name": "m", "source": format!("runs:/{made}/model"), "run_id": made });
    server.ok(&format!("{MLFLOW}/model-versions/create"), source);
    delete_run(&server, &made);
    let told = gc(&server, &[]);
    assert_eq!((&told["purged"]["runs"], &told["purged"]["kept_back"]), (&json!(0), &json!(1)), "{told}");
    assert_eq!(blobs(&server.data_dir).0, 1);
    let version = json!({ "name": "m", "version": "1" }).to_string().into_bytes();
    let deleted = server.call("DELETE", &format!("{MLFLOW}/model-versions/delete"), Some(version), &[]);
    assert_eq!(deleted.0, 200, "{}", deleted.1);
    let told = gc(&server, &[]);
    assert_eq!((&told["purged"]["runs"], &told["removed"]["count"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(blobs(&server.data_dir).0, 0);

    let again = run(&server, &id);
    put(&server, &format!("{id}/{again}/artifacts/model/MLmodel"), "flavors: {}");
    let source = json!({ "name": "m", "source": format!("runs:/{again}/model"), "run_id": again });
    server.ok(&format!("{MLFLOW}/model-versions/create"), source);
    wait_for_seals(&server, 2);
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let checked = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    std::fs::remove_dir_all(stopped.data_dir.join("blobs/default")).unwrap();
    let checked = verify(&stopped.data_dir, &key, &["--state"]);
    let said = text(&checked.stderr);
    assert!(!checked.status.success() && said.contains("MLmodel of version m/2"), "{said}");
}

#[test]
fn a_collection_that_is_killed_leaves_nothing_half_and_the_next_ends_it() {
    let server = server(On::Sqlite);
    let id = experiment(&server, "e");
    let (gone, stays) = (run(&server, &id), run(&server, &id));
    for n in 0..120 {
        put(&server, &format!("{id}/{gone}/artifacts/{n}"), &format!("gone {n}"));
    }
    put(&server, &format!("{id}/{stays}/artifacts/kept"), "kept");
    wait_for_seals(&server, 2);
    delete_run(&server, &gone);
    server.ok("/api/v1/collections", json!({}));
    wait_until("the collection has begun to remove", || blobs(&server.data_dir).0 < 121);
    let server = server.kill_and_restart();
    assert_eq!(get(&server, &format!("{id}/{stays}/artifacts/kept")), (200, "kept".to_owned()));
    gc(&server, &[]);
    assert_eq!(blobs(&server.data_dir).0, 1);
    assert_eq!(server.get(&format!("{MLFLOW}/runs/get?run_id={gone}")).0, 404);
    let (holds, said) = verify_state(server);
    assert!(holds, "{said}");
}

#[test]
fn a_stopped_servers_data_directory_is_collected_too_and_a_running_ones_is_not() {
    let server = server(On::Sqlite);
    let id = experiment(&server, "e");
    let deleted = run(&server, &id);
    put(&server, &format!("{id}/{deleted}/artifacts/own"), "its own");
    delete_run(&server, &deleted);
    let offline = |data_dir: &Path| {
        let mut command = Command::new(BINARY);
        command.args(["gc", "--json", "--older-than", "0s", "--grace", "0s", "--data-dir"]).arg(data_dir);
        command.output().unwrap()
    };
    let refused = offline(&server.data_dir);
    assert!(!refused.status.success() && text(&refused.stderr).contains("server that is stopped"));
    let stopped = server.stop();
    let done = offline(&stopped.data_dir);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["projects"][0]["removed"], json!({ "count": 1, "bytes": 7 }));
    assert_eq!(blobs(&stopped.data_dir).0, 0);
}

#[test]
fn a_server_collects_by_itself_when_it_is_time() {
    let often =
        [("TRUELINE_RETENTION", "0s"), ("TRUELINE_BLOB_GRACE", "0s"), ("TRUELINE_COLLECT_EVERY", "1s")];
    let server = Server::start_on(On::Sqlite, &often);
    let id = experiment(&server, "e");
    let deleted = run(&server, &id);
    delete_run(&server, &deleted);
    wait_until("the run is purged", || {
        let (_, told) = server.get("/api/v1/ledger/events?limit=50&action=run.purged");
        told["events"][0]["resource"]["id"].as_str() == Some(&deleted)
    });
}

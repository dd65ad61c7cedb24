//! What changes what answers costs no request: deployments, rollouts, rollbacks, aliases that endpoints follow, a worker that is
//! killed, a database that goes. And what an alias points at but may not or can't be served changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::{self, Models};
use common::proxy::Proxy;
use common::{On, Server, fresh_database, python, text, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ASK: &str = "/endpoints/delays/invocations";

fn one_row() -> Value {
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": [[7.5, 300.0, 2.0]] } })
}

/// Versions 1 to 3 of `delays` and the endpoint of that name, which nothing answers yet.
fn furnish(server: &Server) {
    for name in ["binary", "binary-other", "binary"] {
        Models::saved().register(server, name, "delays");
    }
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
}

fn route(server: &Server, endpoint: &str, variants: &[&str], follow: bool) -> (u16, Value) {
    let ask = json!({ "variants": variants, "follow": follow, "reason": "test" });
    server.post(&format!("/api/v1/endpoints/{endpoint}/routes"), ask)
}

fn point(server: &Server, alias: &str, version: u32) {
    let ask = json!({ "name": "delays", "alias": alias, "version": version.to_string() });
    server.ok("/api/2.0/mlflow/registered-models/alias", ask);
}

fn shown(server: &Server, endpoint: &str) -> Value {
    let (status, shown) = server.get(&format!("/api/v1/endpoints/{endpoint}"));
    assert_eq!(status, 200, "{shown}");
    shown
}

/// The only version that answers, once the data plane is where the database is.
fn answers(server: &Server, endpoint: &str) -> String {
    let shown = shown(server, endpoint);
    let live = shown["live"]["variants"].as_array().cloned().unwrap_or_default();
    let swapped = shown["live"]["generation"] == shown["route"]["generation"];
    match live.as_slice() {
        [one] if swapped => one["version"].as_str().unwrap().to_owned(),
        _ => String::new(),
    }
}

fn wait_for(server: &Server, endpoint: &str, version: &str) {
    wait_until(&format!("{version} answers at {endpoint}"), || answers(server, endpoint) == version);
}

fn events(server: &Server, action: &str) -> Vec<Value> {
    let (_, page) = server.get(&format!("/api/v1/ledger/events?action={action}"));
    let event = |row: &Value| server.get(&format!("/api/v1/ledger/events/{}", row["id"].as_str().unwrap())).1;
    page["events"].as_array().unwrap().iter().map(event).collect()
}

/// Has several callers ask while `act` runs. None may be refused; all versions that answered.
fn under_load(server: &Server, body: &Value, act: impl FnOnce()) -> BTreeSet<String> {
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let (seen, failed) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let bytes = Some(body.to_string().into_bytes());
                    let (status, answer, head) = server.call_with_headers("POST", ASK, bytes, &[]);
                    match head.get("x-trueline-variant") {
                        Some(version) if status == 200 => drop(seen.lock().unwrap().insert(version.clone())),
                        _ => failed.lock().unwrap().push(format!("{status} {}", text(&answer))),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("requests come", || asked.load(Ordering::Relaxed) > 20);
            act();
            let by_then = asked.load(Ordering::Relaxed);
            wait_until("requests go on", || asked.load(Ordering::Relaxed) > by_then + 20);
        }));
        // The callers are stopped also when something is waited for in vain, or the test would never end.
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(failed.into_inner().unwrap(), Vec::<String>::new());
    seen.into_inner().unwrap()
}

fn loses_nothing_to_releases(on: On) {
    let server = Server::start(on);
    furnish(&server);
    assert_eq!(route(&server, "delays", &["delays/1"], false).0, 201);
    let seen = under_load(&server, &one_row(), || {
        assert_eq!(route(&server, "delays", &["delays/2"], false).0, 201);
        let step = |share: u32, seconds: u32| json!({ "share_percent": share, "least_requests": 5, "least_seconds": seconds });
        let limits = json!({ "prediction_shift": 0.9, "latency_floor_ms": 60_000 });
        let plan = json!({ "steps": [step(20, 1), step(50, 3_600)], "limits": limits });
        let ask = json!({ "version": "delays/3", "plan": plan });
        let started = server.ok("/api/v1/endpoints/delays/rollouts", ask);
        let rollout = format!("/api/v1/rollouts/{}", started["id"].as_str().unwrap());
        wait_until("the rollout goes on", || server.get(&rollout).1["step"] == 1);
        server.ok(&format!("{rollout}/promotion"), json!({ "reason": "test" }));
        assert_eq!(answers(&server, "delays"), "delays/3");
        server.ok("/api/v1/endpoints/delays/rollbacks", json!({}));
        assert_eq!(answers(&server, "delays"), "delays/2");
        point(&server, "champion", 1);
        assert_eq!(route(&server, "delays", &["delays@champion"], true).0, 201);
        point(&server, "champion", 3);
        wait_for(&server, "delays", "delays/3");
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["delays/1", "delays/2", "delays/3"]);
}

#[test]
fn releases_and_aliases_cost_no_request() {
    loses_nothing_to_releases(On::Sqlite);
}

#[test]
fn the_same_on_postgres() {
    loses_nothing_to_releases(On::Postgres);
}

#[test]
fn a_database_that_goes_and_comes_back_costs_no_request() {
    let proxy = Proxy::before(&fresh_database());
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(&folder.path().join("data"), Some(proxy.url()));
    furnish(&server);
    assert_eq!(route(&server, "delays", &["delays/1"], false).0, 201);
    under_load(&server, &one_row(), || {
        proxy.cut();
        wait_until("the server misses its database", || server.get("/ready").0 == 503);
        proxy.mend();
        wait_until("the server has its database", || server.get("/ready").0 == 200);
    });
}

#[test]
fn a_worker_that_is_killed_costs_no_request() {
    let (folder, interpreter) = (tempfile::tempdir().unwrap(), python());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/runtime_models.py");
    let made = Command::new(&interpreter).arg(script).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let files = std::fs::read_dir(folder.path().join("pipeline")).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    });
    let server = Server::start_with_flags(&["--python-workers", &interpreter]);
    models::register_files(&server, &files.collect(), "pipeline");
    server.ok("/api/v1/endpoints", json!({ "name": "delays" }));
    assert_eq!(route(&server, "delays", &["pipeline/1"], false).0, 201);
    let cases = std::fs::read(folder.path().join("pipeline.cases.json")).unwrap();
    let cases: Value = serde_json::from_slice(&cases).unwrap();
    let worker = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let all: Vec<u32> = children
            .flat_map(|told| told.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
            .collect();
        all.first().copied()
    };
    under_load(&server, &cases[0]["body"], || {
        let before = worker().expect("a worker");
        assert!(Command::new("kill").args(["-9", &before.to_string()]).status().unwrap().success());
        wait_until("another worker", || worker().is_some_and(|now| now != before));
    });
}

#[test]
fn an_endpoint_follows_its_alias_and_the_event_names_what_moved_it() {
    let server = Server::start(On::Sqlite);
    furnish(&server);
    server.ok("/api/v1/endpoints", json!({ "name": "other" }));
    let (status, refused) = route(&server, "delays", &["delays/1"], true);
    assert_eq!(status, 400);
    assert!(refused["detail"].as_str().unwrap().contains("model@alias"), "{refused}");

    point(&server, "champion", 1);
    let told = server.cli(&["endpoint", "deploy", "delays", "delays@champion", "--follow"]);
    assert!(text(&told.stdout).contains("delays/1 (@champion) 100 %"), "{}", text(&told.stdout));
    assert_eq!(route(&server, "other", &["delays@champion:9", "delays/2:1"], true).0, 201);
    point(&server, "champion", 3);
    wait_for(&server, "delays", "delays/3");
    let route_now = shown(&server, "delays")["route"].clone();
    assert_eq!(
        (&route_now["change"], &route_now["variants"][0]["follows"]),
        (&json!("followed"), &json!("champion"))
    );
    let reason = route_now["reason"].as_str().unwrap();
    assert!(reason.contains("delays@champion points at delays/3"), "{reason}");
    let moved = events(&server, "alias.set").remove(0);
    let followed = events(&server, "endpoint.followed");
    let of_delays = followed.iter().find(|e| e["resource"]["id"] == "delays").unwrap();
    assert_eq!(of_delays["payload"]["cause"]["event"], moved["id"], "{of_delays}");
    assert_eq!(of_delays["actor"], "system:aliases");
    wait_until("the other endpoint follows too", || {
        shown(&server, "other")["route"]["variants"][0]["version"] == "delays/3"
    });
    let others = shown(&server, "other")["route"]["variants"].clone();
    assert_eq!((&others[0]["weight"], &others[1]["version"]), (&json!(9), &json!("delays/2")));

    // Who goes back stays there: the other endpoint shows when the alias has been seen to move again.
    server.ok("/api/v1/endpoints/delays/rollbacks", json!({}));
    assert_eq!(answers(&server, "delays"), "delays/1");
    point(&server, "champion", 1);
    wait_until("the other endpoint follows again", || {
        shown(&server, "other")["route"]["variants"][0]["version"] == "delays/1"
    });
    assert_eq!(shown(&server, "delays")["route"]["change"], "rolled_back");

    // What moves while the server is down is followed when it is back.
    assert_eq!(route(&server, "delays", &["delays@champion"], true).0, 201);
    point(&server, "champion", 3);
    let server = server.kill_and_restart();
    wait_for(&server, "delays", "delays/3");
}

#[test]
fn what_an_alias_points_at_but_cannot_answer_leaves_the_old_one_and_says_why() {
    let server = Server::start(On::Sqlite);
    furnish(&server);
    models::register_files(&server, &Models::saved().with_cyclic_tree(), "delays");
    point(&server, "champion", 1);
    assert_eq!(route(&server, "delays", &["delays@champion"], true).0, 201);
    let why = || shown(&server, "delays")["not_followed"]["why"].as_str().unwrap_or_default().to_owned();

    point(&server, "champion", 4);
    wait_until("it is said that version 4 can't be served", || why().contains("delays/4"));
    assert_eq!(answers(&server, "delays"), "delays/1");
    assert_eq!(server.post(ASK, one_row()).0, 200);
    let said = text(&server.cli(&["endpoint", "show", "delays"]).stdout);
    assert!(said.contains("delays@champion points at delays/4, which does not answer"), "{said}");
    // Said once, however often it is tried: whatever moves has it tried again, and an endpoint that has followed two moves shows
    // that the first of them was gone through to its end.
    server.ok("/api/v1/endpoints", json!({ "name": "clock" }));
    point(&server, "hand", 1);
    assert_eq!(route(&server, "clock", &["delays@hand"], true).0, 201);
    for version in [2, 3] {
        point(&server, "hand", version);
        wait_for(&server, "clock", &format!("delays/{version}"));
    }
    let told = events(&server, "endpoint.not_followed");
    assert_eq!(told.len(), 1);
    assert!(told[0]["payload"]["reason"].as_str().unwrap().contains("delays/4"), "{told:?}");
    point(&server, "champion", 2);
    wait_for(&server, "delays", "delays/2");
    assert_eq!(why(), "");

    // A version that has not passed its policy waits until it has.
    let policy = json!({ "gates": [], "approvals": { "required": 1 }, "protected_aliases": [] });
    let bytes = Some(policy.to_string().into_bytes());
    let (status, said) = server.call("PUT", "/api/v1/models/delays/policy", bytes, &[]);
    assert_eq!(status, 200, "{said}");
    point(&server, "champion", 3);
    wait_until("it is said that version 3 is not released", || why().contains("approv"));
    assert_eq!(answers(&server, "delays"), "delays/2");
    let open = json!({ "gates": [], "approvals": { "required": 0 }, "protected_aliases": [] });
    server.call("PUT", "/api/v1/models/delays/policy", Some(open.to_string().into_bytes()), &[]);
    wait_for(&server, "delays", "delays/3");

    // So does one that moves while a rollout is under way.
    let plan = json!({ "steps": [{ "share_percent": 10, "least_seconds": 3_600 }] });
    let started =
        server.ok("/api/v1/endpoints/delays/rollouts", json!({ "version": "delays/1", "plan": plan }));
    point(&server, "champion", 2);
    // The shares of a rollout follow nothing, so there is nothing to be told of either.
    let path = format!("/api/v1/rollouts/{}/cancellation", started["id"].as_str().unwrap());
    server.ok(&path, json!({ "reason": "test" }));
    wait_for(&server, "delays", "delays/2");

    let (status, _) = server.call(
        "DELETE",
        "/api/2.0/mlflow/registered-models/alias?name=delays&alias=champion",
        Some(json!({ "name": "delays", "alias": "champion" }).to_string().into_bytes()),
        &[],
    );
    assert_eq!(status, 200);
    wait_until("it is said that the alias is gone", || why().contains("points at no version"));
    assert_eq!(answers(&server, "delays"), "delays/2");
}

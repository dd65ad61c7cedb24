//! Rollouts that begin in shadow, over the public door: what a candidate would have answered is compared, and no caller ever
//! gets it, whatever the candidate does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::{self, Models};
use common::rollouts::{rollout, row, with_delays};
use common::{On, Server, python, text, verify, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const ASK: &str = "/endpoints/delays/invocations";

/// `delays/1` answers; `delays/2` is the same model again, `delays/3` another, `delays/4` one that answers three numbers.
fn with_endpoint(server: Server) -> Server {
    with_delays(server, &["binary", "binary", "binary-other", "three-classes"])
}

/// A shadow of a second, and a step that nothing goes beyond.
fn plan(tolerance: f64) -> Value {
    json!({
        "shadow": { "least_requests": 30, "least_seconds": 1, "tolerance": { "absolute": tolerance },
                    "most_differing": 0.2, "most_failing": 0.2 },
        "steps": [{ "share_percent": 50, "least_requests": 1_000_000 }],
    })
}

fn start(server: &Server, version: &str, plan: Value) -> String {
    let ask = json!({ "version": version, "plan": plan, "reason": "test" });
    let started = server.ok("/api/v1/endpoints/delays/rollouts", ask);
    assert_eq!((started["shadowing"].as_bool(), started["share_percent"].as_f64()), (Some(true), Some(0.0)));
    started["id"].as_str().unwrap().to_owned()
}

/// Asks once; answers the prediction, its id and who answered.
fn ask(server: &Server, i: u64, key: Option<&str>) -> (Value, String, String) {
    let headers: Vec<(&str, &str)> = key.map(|k| ("x-trueline-key", k)).into_iter().collect();
    let body = Some(row(i).to_string().into_bytes());
    let (status, answer, head) = server.call_with_headers("POST", ASK, body, &headers);
    assert_eq!(status, 200, "{}", text(&answer));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let id = answer["prediction_ids"][0].as_str().unwrap().to_owned();
    (answer["predictions"].clone(), id, head["x-trueline-variant"].clone())
}

/// Asks until the rollout leaves its shadow, with answers by `delays/1` alone; answers the rollout as it is then.
fn until_it_moves(server: &Server, id: &str) -> Value {
    let mut i = 0;
    wait_until("the shadow is over", || {
        for _ in 0..20 {
            i += 1;
            let before = rollout(server, id)["shadowing"] == true;
            let (_, _, by) = ask(server, i, None);
            // It may have moved between the two.
            assert!(by == "delays/1" || !before || rollout(server, id)["shadowing"] == false, "{by}");
        }
        let now = rollout(server, id);
        now["state"] != "running" || now["shadowing"] == false
    });
    rollout(server, id)
}

fn a_copy_goes_on_and_another_model_is_taken_off(on: On) -> Server {
    let server = with_endpoint(Server::start(on));
    let id = start(&server, "delays/2", plan(0.0001));
    let (_, endpoint) = server.get("/api/v1/endpoints/delays");
    assert_eq!(endpoint["route"]["variants"].as_array().unwrap().len(), 1, "{endpoint}");
    assert_eq!(endpoint["route"]["shadow"]["version"], "delays/2", "{endpoint}");
    let moved = until_it_moves(&server, &id);
    assert_eq!((moved["state"].as_str(), moved["share_percent"].as_f64()), (Some("running"), Some(50.0)));
    let last = moved["decisions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["decision"], "stepped", "{last}");
    assert!(last["reason"].as_str().unwrap().starts_with("in shadow delays/2 did what is allowed"), "{last}");
    let shadow = &last["numbers"]["shadow"];
    assert_eq!((shadow["rows_differing"].as_u64(), shadow["within_limits"].as_bool()), (Some(0), Some(true)));
    assert!(shadow["asked"].as_u64().unwrap() >= 30, "{shadow}");
    let by: BTreeMap<String, u64> = (0..40).fold(BTreeMap::new(), |mut by, i| {
        *by.entry(ask(&server, i, None).2).or_default() += 1;
        by
    });
    assert_eq!(by.keys().collect::<Vec<_>>(), ["delays/1", "delays/2"], "it has its share now");
    server.ok(&format!("/api/v1/rollouts/{id}/cancellation"), json!({}));

    let id = start(&server, "delays/3", plan(0.0001));
    let ended = until_it_moves(&server, &id);
    assert_eq!((ended["state"].as_str(), ended["shadowing"].as_bool()), (Some("rolled_back"), Some(true)));
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.starts_with("delays/3 answers") && reason.contains("otherwise than delays/1"), "{reason}");
    let shadow = &ended["numbers"]["shadow"];
    assert!(shadow["differing"]["share"]["lower"].as_f64().unwrap() > 0.2, "{shadow}");
    // The example is a prediction that a caller was given, by what answers.
    let example = shadow["example"]["prediction_id"].as_str().unwrap();
    assert!(shadow["example"]["by"].as_f64().unwrap() > 0.0001, "{shadow}");
    let path = format!("/api/v1/predictions/{example}");
    wait_until("the prediction is in the log", || server.get(&path).0 == 200);
    assert_eq!(server.get(&path).1["prediction"]["version"], "delays/1");
    assert_eq!(ask(&server, 1, None).2, "delays/1");
    server
}

#[test]
fn a_copy_goes_on_and_another_model_is_taken_off_without_a_caller_ever_seeing_it_and_the_ledger_tells_it() {
    let server = a_copy_goes_on_and_another_model_is_taken_off(On::Sqlite);
    let said = server.cli(&["rollout", "show", "delays"]);
    let said = text(&said.stdout);
    for part in ["shadow", "differing in shadow", "differs most:", "not asked because too many waited"] {
        assert!(said.contains(part), "{said}");
    }
    let (status, page) = server.get("/p/default/endpoints/delays");
    assert_eq!(status, 200);
    assert!(page.to_string().contains("Answers that differ in shadow"), "{page}");
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let verified = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

#[test]
fn the_same_on_postgres() {
    drop(a_copy_goes_on_and_another_model_is_taken_off(On::Postgres));
}

#[test]
fn a_candidate_that_answers_other_shapes_is_taken_off() {
    let server = with_endpoint(Server::start(On::Sqlite));
    let id = start(&server, "delays/4", plan(1_000.0));
    let ended = until_it_moves(&server, &id);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    let example = &ended["numbers"]["shadow"]["example"];
    assert!(example["by"].is_null() && example["prediction_id"].is_string(), "{example}");
}

#[test]
fn a_key_counts_once_however_often_it_asks() {
    let server = with_endpoint(Server::start(On::Sqlite));
    let id = start(&server, "delays/3", plan(0.0001));
    let asked =
        |server: &Server| rollout(server, &id)["numbers"]["shadow"]["asked"].as_u64().unwrap_or_default();
    wait_until("a few keys have asked often", || {
        (0..40).for_each(|i| drop(ask(&server, i, Some(["ann", "ben", "cleo"][i as usize % 3]))));
        asked(&server) >= 200
    });
    let now = rollout(&server, &id);
    assert_eq!((now["state"].as_str(), now["shadowing"].as_bool()), (Some("running"), Some(true)), "{now}");
    assert_eq!(now["numbers"]["shadow"]["differing"]["units"], 3, "{now}");
    let missing = now["numbers"]["missing"].as_array().unwrap();
    assert!(missing.iter().any(|m| m["name"] == "shadow_failing"), "three keys say little: {missing:?}");
    let found = server.kill_and_restart();
    assert!(asked(&found) >= 200, "what was seen is kept");
    assert_eq!(ask(&found, 1, None).2, "delays/1");
}

#[test]
fn a_candidate_that_can_not_be_loaded_again_takes_nothing_from_what_answers() {
    let server = with_endpoint(Server::start(On::Sqlite));
    let id = start(&server, "delays/3", plan(0.0001));
    // Another rollout, by whose numbers one sees that the judge has sat.
    server.ok("/api/v1/endpoints", json!({ "name": "beside" }));
    server.ok("/api/v1/endpoints/beside/routes", json!({ "variants": ["delays/1"] }));
    let steps = json!({ "steps": [{ "share_percent": 50, "least_requests": 1_000_000 }] });
    let beside =
        server.ok("/api/v1/endpoints/beside/rollouts", json!({ "version": "delays/2", "plan": steps }));
    let candidate = &Models::saved().files("binary-other")["model.ubj"];
    let blobs = server.data_dir.join("blobs");
    let found: Vec<String> = models::files_below(&blobs)
        .into_iter()
        .filter_map(|(path, bytes)| (bytes == *candidate).then_some(path))
        .collect();
    assert!(!found.is_empty());
    found.iter().for_each(|path| std::fs::remove_file(blobs.join(path)).unwrap());

    let server = server.kill_and_restart();
    (0..40).for_each(|i| assert_eq!(ask(&server, i, None).2, "delays/1"));
    let judged = |server: &Server| {
        let requests = rollout(server, beside["id"].as_str().unwrap())["numbers"]["requests"].clone();
        ["baseline", "candidate"].map(|arm| requests[arm].as_u64().unwrap_or_default()).iter().sum::<u64>()
    };
    for sat in [1, 2] {
        server.ok("/endpoints/beside/invocations", row(1));
        wait_until("the judge has sat", || judged(&server) >= sat);
    }
    let now = rollout(&server, &id);
    assert_eq!((now["state"].as_str(), now["shadowing"].as_bool()), (Some("running"), Some(true)), "{now}");
    let shadow = &now["numbers"]["shadow"];
    assert_eq!(shadow["asked"], 0, "nothing was seen of the candidate: {now}");
    assert!(shadow["shed"].as_u64() >= Some(40), "that it was not asked is counted: {now}");

    // It is tried again without anybody deploying anything.
    found.iter().for_each(|path| std::fs::write(blobs.join(path), candidate).unwrap());
    wait_until("the candidate is asked", || {
        ask(&server, 1, None);
        rollout(&server, &id)["numbers"]["shadow"]["asked"].as_u64() > Some(0)
    });
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let server = with_endpoint(Server::start(On::Sqlite));
    for shadow in [
        json!({ "share_percent": 0 }),
        json!({ "most_differing": 0 }),
        json!({ "tolerance": { "absolute": -1 } }),
        json!({ "tolerence": {} }),
    ] {
        let ask = json!({ "version": "delays/2", "plan": { "shadow": shadow } });
        let (status, answer) = server.post("/api/v1/endpoints/delays/rollouts", ask);
        assert_eq!(status, 400, "{answer}");
    }
    let said = server.cli(&["rollout", "start", "delays", "delays/2", "--tolerance", "0.5", "--json"]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let started: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(started["plan"]["shadow"]["tolerance"], json!({ "absolute": 0.5, "relative": 0.0 }));
    assert_eq!(started["plan"]["shadow"]["share_percent"], 100.0);
}

/// A server with workers, `delays/1` behind its endpoint, and the models of `shadow_models.py` as `failing/1` and `gated/1`.
fn with_workers() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/shadow_models.py");
    let mut run = Command::new(python());
    run.arg(script).arg(folder.path()).env("MLFLOW_DISABLE_TELEMETRY", "true");
    let done = run.output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let interpreter = python();
    let server = with_endpoint(Server::start_with_flags(&["--python-workers", &interpreter]));
    for name in ["failing", "gated"] {
        models::register_files(&server, &models::files_below(&folder.path().join(name)), name);
    }
    (server, folder)
}

#[test]
fn callers_see_nothing_of_a_candidate_that_fails_or_hangs() {
    let (server, folder) = with_workers();
    let before: Vec<Value> = (0..300).map(|i| ask(&server, i, None).0).collect();
    let id = start(&server, "failing/1", plan(0.1));
    let ended = until_it_moves(&server, &id);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    let why = ended["reason"].as_str().unwrap();
    assert!(why.contains("version failing/1 failed") && !why.contains("always fails"), "no values: {ended}");
    assert_eq!(ended["numbers"]["shadow"]["differing"]["units"], 0, "{ended}");

    // It hangs until the gate is opened, and by then everybody has the answers of before.
    let mut unhurried = plan(0.1);
    unhurried["shadow"]["most_differing"] = json!(0.99);
    unhurried["shadow"]["least_requests"] = json!(1_000_000);
    let id = start(&server, "gated/1", unhurried);
    let meanwhile: Vec<Value> = (0..300).map(|i| ask(&server, i, None).0).collect();
    assert_eq!(meanwhile, before);
    let shadow = |field: &str| rollout(&server, &id)["numbers"]["shadow"][field].as_u64().unwrap_or_default();
    wait_until("what is too much is shed", || shadow("shed") >= 40);
    std::fs::write(folder.path().join("open"), []).unwrap();
    wait_until("those that waited are asked", || shadow("asked") + shadow("shed") >= 300);
    let (_, variants) = server.get("/api/v1/endpoints/delays");
    let live = &variants["live"]["variants"];
    assert_eq!((live.as_array().unwrap().len(), &live[0]["errors"]), (1, &json!(0)), "{live}");
}

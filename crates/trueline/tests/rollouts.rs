//! Rollouts over the public door: judged under traffic, promoted, taken off, ended by people, and going on after a crash.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::rollouts::{ask, ask_until_drawn, comes, rollout, row, with_delays};
use common::{BINARY, On, Server, python, text, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ASK: &str = "/endpoints/delays/invocations";

/// A server whose endpoint `delays` is answered by `delays/1`; `delays/2` is the same model again, `delays/3` another one
/// with another mean.
fn with_endpoint(on: On) -> Server {
    with_delays(Server::start(on), &["binary", "binary", "binary-other"])
}

/// Steps of a second each, and margins that fit the small test models.
fn quick(shift: f64) -> Value {
    let step = |share: u32| json!({ "share_percent": share, "least_requests": 20, "least_seconds": 1 });
    json!({
        "steps": [step(10), step(50)],
        "limits": { "prediction_shift": shift, "error_difference": 0.05, "slow_difference": 0.2,
                    "latency_ratio": 3.0, "latency_floor_ms": 50.0 },
    })
}

fn start(server: &Server, version: &str, plan: Value) -> Value {
    let ask = json!({ "version": version, "plan": plan, "reason": "test" });
    server.ok("/api/v1/endpoints/delays/rollouts", ask)
}

/// The rows by which `delays/1` and `delays/3` differ most, so that few of them tell the two apart.
fn telling_rows(server: &Server) -> Vec<Value> {
    server.ok("/api/v1/endpoints", json!({ "name": "other" }));
    server.ok("/api/v1/endpoints/other/routes", json!({ "variants": ["delays/3"] }));
    let predicted = |endpoint: &str, i: u64| {
        let answer = server.ok(&format!("/endpoints/{endpoint}/invocations"), row(i));
        answer["predictions"][0].as_f64().unwrap()
    };
    let mut rows: Vec<(f64, u64)> =
        (0..60).map(|i| (predicted("other", i) - predicted("delays", i), i)).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    rows.iter().take(4).map(|(_, i)| row(*i)).collect()
}

/// Asks with several callers until `done`; answers how many were asked and how many failed.
fn traffic(server: &Server, rows: &[Value], done: impl Fn() -> bool) -> (u64, u64) {
    let (stop, asked, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let i = asked.fetch_add(1, Ordering::Relaxed) as usize;
                    let (status, _) = server.post(ASK, rows[i % rows.len()].clone());
                    failed.fetch_add(u64::from(status != 200), Ordering::Relaxed);
                }
            });
        }
        // The callers are stopped also when it is waited for in vain, or the test would never end.
        let came = comes(done);
        stop.store(true, Ordering::Relaxed);
        assert!(came, "the rollout does not come to what is waited for");
    });
    (asked.into_inner(), failed.into_inner())
}

fn versions(server: &Server) -> Vec<(String, u64)> {
    let (_, endpoint) = server.get("/api/v1/endpoints/delays");
    let variants = endpoint["route"]["variants"].as_array().unwrap().clone();
    variants
        .iter()
        .map(|v| (v["version"].as_str().unwrap().to_owned(), v["weight"].as_u64().unwrap()))
        .collect()
}

fn alone(version: &str, weight: u64) -> Vec<(String, u64)> {
    vec![(version.to_owned(), weight)]
}

fn promotes_a_copy_and_takes_another_off(on: On) -> Server {
    let server = with_endpoint(on);
    let rows = telling_rows(&server);
    let good = start(&server, "delays/2", quick(0.1));
    let id = good["id"].as_str().unwrap();
    assert_eq!(versions(&server), [("delays/1".to_owned(), 9), ("delays/2".to_owned(), 1)]);
    let (_, failed) = traffic(&server, &rows, || rollout(&server, id)["state"] != "running");
    assert_eq!(failed, 0);
    let ended = rollout(&server, id);
    assert_eq!((ended["state"].as_str(), ended["share_percent"].as_f64()), (Some("promoted"), Some(100.0)));
    assert_eq!(versions(&server), alone("delays/2", 1));
    let decisions: Vec<&str> =
        ended["decisions"].as_array().unwrap().iter().map(|d| d["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["started", "stepped", "promoted"]);
    assert_eq!(ended["numbers"]["verdict"], "promote");
    assert!(ended["numbers"]["prediction"]["shift"]["upper"].as_f64().unwrap() < 0.1);

    let bad = start(&server, "delays/3", quick(0.01));
    let id = bad["id"].as_str().unwrap();
    let (asked, failed) = traffic(&server, &rows, || rollout(&server, id)["state"] != "running");
    assert!(asked > 0);
    assert_eq!(failed, 0);
    let ended = rollout(&server, id);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    assert!(
        ended["reason"].as_str().unwrap().contains("the mean prediction of delays/3 is between"),
        "{ended}"
    );
    assert_eq!(versions(&server), alone("delays/2", 1));
    assert_eq!(server.get("/api/v1/endpoints/delays").1["rollout"]["id"], id);

    // The numbers are in the ledger, and it is the judge who decided, for whoever started it.
    let (_, events) = server.get("/api/v1/ledger/events?action=rollout.rolled_back");
    let event = &events["events"][0];
    assert_eq!(event["actor"], "system:rollout", "{event}");
    let (_, event) = server.get(&format!("/api/v1/ledger/events/{}", event["id"].as_str().unwrap()));
    assert!(event["payload"]["numbers"]["p_value"].as_f64().unwrap() <= 0.05, "{event}");

    // A rollback by hand returns to before the promotion, over the steps.
    server.ok("/api/v1/endpoints/delays/rollbacks", json!({}));
    assert_eq!(versions(&server), alone("delays/1", 1));
    server
}

#[test]
fn a_copy_is_promoted_and_another_model_is_taken_off_without_a_failed_request_and_the_ledger_tells_it() {
    let server = promotes_a_copy_and_takes_another_off(On::Sqlite);
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let verify = || {
        let mut command = Command::new(BINARY);
        command.args(["ledger", "verify", "--state", "--key", &key, "--data-dir"]).arg(&stopped.data_dir);
        command.output().unwrap()
    };
    let fine = verify();
    assert!(fine.status.success(), "{}", text(&fine.stderr));
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\n\
                  c.execute(\"UPDATE rollouts SET state = 'promoted' WHERE state = 'rolled_back'\")\nc.commit()";
    let path = stopped.data_dir.join("trueline.db");
    assert!(Command::new(python()).args(["-c", script]).arg(path).status().unwrap().success());
    let found = verify();
    assert_eq!(found.status.code(), Some(1));
    let said = text(&found.stderr);
    assert!(
        said.contains("delays/3 at delays: rolled_back") && said.contains("delays/3 at delays: promoted"),
        "{said}"
    );
}

#[test]
fn the_same_on_postgres() {
    drop(promotes_a_copy_and_takes_another_off(On::Postgres));
}

#[test]
fn keys_stay_while_the_share_grows_and_a_crash_loses_little() {
    let server = with_endpoint(On::Sqlite);
    let step = |share: u32, least: u32| json!({ "share_percent": share, "least_requests": least, "least_seconds": 1 });
    let limits = json!({ "prediction_shift": 0.0001, "alpha": 0.001 });
    let plan = json!({ "steps": [step(10, 20), step(40, 500), step(80, 1)], "limits": limits });
    let started = start(&server, "delays/2", plan);
    let id = started["id"].as_str().unwrap().to_owned();
    let ask_all = |server: &Server| -> BTreeMap<u64, String> {
        let one = |user: u64| {
            let body = Some(row(user).to_string().into_bytes());
            let key = format!("user-{user}");
            let (status, _, head) = server.call_with_headers("POST", ASK, body, &[("x-trueline-key", &key)]);
            assert_eq!(status, 200);
            (user, head["x-trueline-variant"].clone())
        };
        (0..200).map(one).collect()
    };
    let moved = |before: &BTreeMap<u64, String>, after: &BTreeMap<u64, String>| {
        assert!(before.iter().all(|(user, on)| on == "delays/1" || after[user] == "delays/2"));
        after.values().filter(|on| *on == "delays/2").count()
    };
    let at_step = |server: &Server| rollout(server, &id)["step"].as_u64().unwrap();
    let seen = |server: &Server| rollout(server, &id)["numbers"]["requests"].clone();

    let first = ask_all(&server);
    assert!(first.values().any(|on| on == "delays/2") && first.values().any(|on| on == "delays/1"));
    assert!(comes(|| {
        ask_all(&server);
        at_step(&server) == 1
    }));
    let second = ask_all(&server);
    assert!(moved(&first, &second) > moved(&first, &first));
    assert!(comes(|| {
        ask_all(&server);
        !seen(&server).is_null() && at_step(&server) == 1
    }));
    let before = seen(&server)["candidate"].as_u64().unwrap();

    let server = server.kill_and_restart();
    let after = ask_all(&server);
    assert!(moved(&second, &after) >= moved(&second, &second), "the shares survived");
    assert!(comes(|| {
        ask_all(&server);
        at_step(&server) == 2
    }));
    let third = ask_all(&server);
    assert!(moved(&second, &third) > moved(&second, &second));
    assert!(comes(|| { seen(&server)["candidate"].as_u64().is_some_and(|n| n > before) }));
    assert_eq!(rollout(&server, &id)["state"], "running", "two hundred keys can't show so small a shift");
    let units = &rollout(&server, &id)["numbers"]["prediction"]["units"];
    assert!(units["candidate"].as_u64().unwrap() + units["baseline"].as_u64().unwrap() <= 200, "{units}");

    let cancelled = server.cli(&["rollout", "cancel", &id, "--reason", "enough", "--json"]);
    assert!(cancelled.status.success(), "{}", text(&cancelled.stderr));
    assert_eq!(ask_all(&server).values().filter(|on| *on == "delays/2").count(), 0);
}

#[test]
fn of_two_servers_one_judges_what_both_have_seen_and_a_stop_loses_nothing() {
    let one = with_endpoint(On::Postgres);
    let step = json!({ "share_percent": 50, "least_requests": 1_000_000, "least_seconds": 1 });
    let id = start(&one, "delays/2", json!({ "steps": [step] }))["id"].as_str().unwrap().to_owned();
    let other = one.beside();
    ask_until_drawn(&other);
    let twenty = |server: &Server| (0..20).for_each(|i| drop(ask(server, i, None)));
    let seen = |server: &Server| {
        let numbers = &rollout(server, &id)["numbers"];
        assert_eq!(numbers["uncounted"].as_u64().unwrap_or(0), 0, "{numbers}");
        let of = |arm: &str| numbers["requests"][arm].as_u64().unwrap_or(0);
        of("baseline") + of("candidate")
    };
    twenty(&one);
    twenty(&other);
    assert!(comes(|| seen(&one) == 41), "{}", rollout(&one, &id));
    twenty(&one);
    twenty(&other);
    // It writes down what it saw last, and lets the other judge at once.
    drop(one.stop());
    assert!(comes(|| seen(&other) == 81), "{}", rollout(&other, &id));
    twenty(&other);
    assert!(comes(|| seen(&other) == 101), "{}", rollout(&other, &id));
    other.ok(&format!("/api/v1/rollouts/{id}/promotion"), json!({ "reason": "enough" }));
    assert_eq!(rollout(&other, &id)["state"], "promoted");
}

#[test]
fn people_start_see_and_end_rollouts_and_other_changes_wait() {
    let server = with_endpoint(On::Sqlite);
    let cli = |args: &[&str]| {
        let done = server.cli(args);
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    };
    let (code, said) = cli(&["rollout", "show", "delays"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("trueline rollout start"), "{said}");
    let (code, said) = cli(&[
        "rollout",
        "start",
        "delays",
        "delays/3",
        "--steps",
        "5,20",
        "--margin-shift",
        "0.2",
        "--alpha",
        "0.01",
    ]);
    assert_eq!(code, Some(0), "{said}");
    let (_, list) = server.get("/api/v1/endpoints/delays/rollouts");
    let open = &list["rollouts"][0];
    assert_eq!(open["plan"]["limits"]["alpha"], 0.01);
    assert_eq!(open["plan"]["steps"][1]["share_percent"], 20.0);
    let id = open["id"].as_str().unwrap();

    let (status, refused) =
        server.post("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/2"] }));
    assert_eq!((status, refused["code"].as_str()), (409, Some("state")), "{refused}");
    assert!(
        refused["detail"].as_str().unwrap().contains(&format!("trueline rollout cancel {id}")),
        "{refused}"
    );
    let (status, refused) =
        server.post("/api/v1/endpoints/delays/rollouts", json!({ "version": "delays/2" }));
    assert_eq!(status, 409, "{refused}");

    let (code, said) = cli(&["rollback", "delays", "--reason", "no"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(versions(&server), alone("delays/1", 1));
    let ended = rollout(&server, id);
    assert_eq!((ended["state"].as_str(), ended["reason"].as_str()), (Some("cancelled"), Some("no")));
    let (status, _) = server.post(&format!("/api/v1/rollouts/{id}/promotion"), json!({}));
    assert_eq!(status, 409, "what has ended stays so");

    let again = start(&server, "delays/3", json!({}));
    let id = again["id"].as_str().unwrap();
    let (code, said) = cli(&["rollout", "promote", id, "--reason", "we know better"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(versions(&server), alone("delays/3", 1));
    let (code, said) = cli(&["rollout", "show", "delays"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("promoted") && said.contains("we know better"), "{said}");
    let (_, page) = server.get("/api/v1/rollouts?limit=1");
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = server.get(&format!("/api/v1/rollouts?limit=1&cursor={cursor}"));
    assert_ne!(page["rollouts"][0]["id"], rest["rollouts"][0]["id"]);

    for (plan, version, status) in [
        (json!({ "steps": [] }), "delays/2", 400),
        (json!({ "limits": { "alhpa": 0.1 } }), "delays/2", 400),
        (json!({}), "delays/3", 409),
        (json!({}), "delays/99", 404),
    ] {
        let ask = json!({ "version": version, "plan": plan });
        let (got, answer) = server.post("/api/v1/endpoints/delays/rollouts", ask);
        assert_eq!(got, status, "{answer}");
    }
    server.ok("/api/v1/endpoints", json!({ "name": "empty" }));
    let (status, answer) = server.post("/api/v1/endpoints/empty/rollouts", json!({ "version": "delays/2" }));
    assert_eq!(status, 409, "{answer}");
}

#[test]
fn without_requests_it_holds_until_a_person_decides() {
    let server = with_endpoint(On::Sqlite);
    let started = start(&server, "delays/2", json!({ "longest_seconds": 1 }));
    let id = started["id"].as_str().unwrap();
    wait_until("its time is over", || rollout(&server, id)["state"] == "held");
    let held = rollout(&server, id);
    assert!(held["reason"].as_str().unwrap().contains("a person decides"), "{held}");
    assert_eq!((held["share_percent"].as_f64(), held["ended_at"].is_null()), (Some(5.0), true));
    server.ok(&format!("/api/v1/rollouts/{id}/cancellation"), json!({}));
    assert_eq!(versions(&server), alone("delays/1", 1));
    let gone = json!({ "longest_seconds": 1, "on_inconclusive": "roll_back" });
    let id = start(&server, "delays/2", gone)["id"].as_str().unwrap().to_owned();
    wait_until("it gives up", || rollout(&server, &id)["state"] == "rolled_back");
}

/// Asks so many rows and tells the truth of each: what `delays/1` answered is right, what `delays/2` answered is wrong.
fn ask_and_label(server: &Server, rows: std::ops::Range<u64>) {
    let label = |i: u64| {
        let body = Some(row(i).to_string().into_bytes());
        let (status, body, head) = server.call_with_headers("POST", ASK, body, &[]);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{answer}");
        let yes = answer["predictions"][0].as_f64().unwrap() >= 0.5;
        let right = head["x-trueline-variant"] == "delays/1";
        json!({ "prediction_id": answer["prediction_ids"][0], "value": yes == right, "source": "test" })
    };
    let labels: Vec<Value> = rows.map(label).collect();
    server.ok("/endpoints/delays/labels", json!({ "labels": labels }));
    // Whoever corrects a label does not choose what counts.
    let mut corrected = labels[0].clone();
    corrected["value"] = json!(!corrected["value"].as_bool().unwrap());
    server.ok("/endpoints/delays/labels", json!({ "labels": [corrected] }));
}

#[test]
fn labels_that_arrive_take_a_version_off_whose_answers_are_the_same_and_wrong() {
    let server = with_endpoint(On::Sqlite);
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.yaml");
    let text_of_plan = "steps: [{ share_percent: 50, least_requests: 100000 }]\n\
                        segments: [{ column: day, values: [1] }]\n\
                        limits:\n  alpha: 0.5\n  quality: { measure: accuracy, margin: 0.1 }\n";
    let path = plan.to_str().unwrap();
    std::fs::write(&plan, text_of_plan.replace("column: day", "column: month")).unwrap();
    let refused = server.cli(&["rollout", "start", "delays", "delays/2", "--plan", path, "--alpha", "0.01"]);
    let told = text(&refused.stderr);
    assert!(!refused.status.success() && told.contains("column `month`") && told.contains("`day`"), "{told}");
    std::fs::write(&plan, text_of_plan).unwrap();
    let started =
        server.cli(&["rollout", "start", "delays", "delays/2", "--plan", path, "--alpha", "0.01", "--json"]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let started: Value = serde_json::from_slice(&started.stdout).unwrap();
    assert_eq!(started["plan"]["limits"]["alpha"], 0.01, "what is said goes before the file");
    let id = started["id"].as_str().unwrap();
    let answer = server.ok(ASK, row(0));
    wait_until("it is looked at", || !rollout(&server, id)["numbers"].is_null());
    let lot = |prediction: &Value| {
        let path = format!("/api/v1/predictions/{}", prediction.as_str().unwrap());
        wait_until("it is logged", || server.get(&path).0 == 200);
        server.get(&path).1["prediction"]["assignment"].clone()
    };
    assert_eq!(lot(&answer["prediction_ids"][0]), json!({ "trial": id, "chance": 0.5 }));
    let missing = rollout(&server, id)["numbers"]["missing"].to_string();
    assert!(missing.contains("\"quality\"") && missing.contains("quality where day = 1"), "{missing}");

    let mut asked = 0;
    assert!(comes(|| {
        ask_and_label(&server, asked..asked + 30);
        asked += 30;
        rollout(&server, id)["state"] != "running"
    }));
    let ended = rollout(&server, id);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.contains("the mean loss (accuracy) of delays/2 is between"), "{reason}");
    let quality = &ended["numbers"]["quality"];
    assert_eq!(quality["difference"]["upper"].as_f64(), Some(1.0), "{quality}");
    assert!(quality["difference"]["lower"].as_f64().unwrap() > 0.1);
    assert!(quality["left_out"]["corrections"].as_u64().unwrap() >= 1, "{quality}");
    let segments: Vec<&str> =
        quality["segments"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(segments, ["day = 1", "day = any other"]);
    let requests = &ended["numbers"]["segments"][0]["errors"]["units"];
    assert!(requests["candidate"].as_u64().unwrap() > 0, "{requests}");
    assert_eq!(versions(&server), alone("delays/1", 1));

    let shown = text(&server.cli(&["rollout", "show", "delays"]).stdout);
    assert!(shown.contains("mean loss (accuracy) where day = 1") && shown.contains("corrections"), "{shown}");
    let (status, page) = server.call_bytes("GET", "/p/default/endpoints/delays", None, &[]);
    assert_eq!(status, 200);
    let page = text(&page);
    assert!(
        page.contains("Mean loss (accuracy) where day = 1") && page.contains("<dt>Labels</dt>"),
        "{page}"
    );

    let answer = server.ok(ASK, row(1));
    assert!(lot(&answer["prediction_ids"][0]).is_null(), "no lot is drawn any more");
}

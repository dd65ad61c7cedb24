//! Bandits over the public door: shares follow rewards that are told as labels, over a crash; people end them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::rollouts::{ask, ask_until_drawn, comes, with_delays_as};
use common::{On, Server, sqlite, text, verify};
use serde_json::{Value, json};

/// What is answered is in the log: the tests kill servers and count.
fn with_endpoint(on: On) -> Server {
    let endpoint = json!({ "name": "delays", "log": "required" });
    with_delays_as(Server::start(on), &["binary", "binary", "binary-other"], endpoint)
}

fn bandit(server: &Server) -> Value {
    let (status, endpoint) = server.get("/api/v1/endpoints/delays");
    assert_eq!(status, 200, "{endpoint}");
    endpoint["bandit"].clone()
}

/// A bandit of all three versions that allots as soon as it may.
fn quick(more: Value) -> Value {
    let mut plan = json!({ "label_within_seconds": 5, "every_seconds": 1, "least_rewards": 20 });
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "versions": ["delays/1", "delays/2", "delays/3"], "plan": plan, "reason": "test" })
}

/// Asks twenty times and tells what became of it: `delays/3` is right nine times of ten, the others twice.
fn traffic(server: &Server, from: u64) {
    let label = |i: u64| {
        let (id, version) = ask(server, i, None);
        let right = if version == "delays/3" { 9 } else { 2 };
        json!({ "prediction_id": id, "value": u8::from(i % 10 < right) })
    };
    let labels: Vec<Value> = (from..from + 20).map(label).collect();
    server.ok("/endpoints/delays/labels", json!({ "labels": labels }));
}

fn share(bandit: &Value, arm: usize) -> f64 {
    bandit["arms"][arm]["share_percent"].as_f64().unwrap()
}

fn counted(bandit: &Value) -> u64 {
    let tally = &bandit["numbers"]["tally"];
    tally["rewards"].as_u64().unwrap_or(0) + tally["without_label"].as_u64().unwrap_or(0)
}

fn shares_follow_rewards_over_a_crash(on: On) -> Server {
    let server = with_endpoint(on);
    // What was predicted before is nobody's reward.
    ask(&server, 1, None);
    let (status, started) = server.post("/api/v1/endpoints/delays/bandits", quick(json!({})));
    assert_eq!(status, 201, "{started}");
    assert!((0..3).all(|arm| (share(&started, arm) - 33.3).abs() < 0.1), "{started}");

    let mut asked = 0;
    assert!(comes(|| {
        traffic(&server, asked);
        asked += 20;
        counted(&bandit(&server)) > 20
    }));
    assert!(comes(|| counted(&bandit(&server)) == asked), "{}", bandit(&server));
    let server = server.kill_and_restart();
    assert!(comes(|| {
        traffic(&server, asked);
        asked += 20;
        share(&bandit(&server), 2) > 80.0
    }));
    assert!(comes(|| counted(&bandit(&server)) >= asked), "{}", bandit(&server));
    server.settle();
    let now = bandit(&server);
    assert_eq!(counted(&now), asked, "each prediction once, over the crash: {now}");
    assert!(share(&now, 0) >= 5.0 && share(&now, 1) >= 5.0, "the floor holds: {now}");
    let arm = &now["numbers"]["arms"][2];
    assert!((arm["mean"].as_f64().unwrap() - 0.9).abs() < 0.1, "{arm}");
    assert!(
        arm["interval"]["lower"].as_f64() <= Some(0.9) && arm["interval"]["upper"].as_f64() >= Some(0.9),
        "{arm}"
    );

    // Every allotment is an event with its numbers, for whoever started it.
    let (_, events) = server.get("/api/v1/ledger/events?action=bandit.allotted");
    let event = &events["events"][0];
    assert_eq!(event["actor"], "system:bandit", "{event}");
    let (_, event) = server.get(&format!("/api/v1/ledger/events/{}", event["id"].as_str().unwrap()));
    assert!(event["payload"]["numbers"]["arms"][2]["probability_best"].as_f64().unwrap() > 0.5, "{event}");
    server
}

#[test]
fn shares_follow_rewards_over_a_crash_and_none_counts_twice() {
    let server = shares_follow_rewards_over_a_crash(On::Sqlite);
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let fine = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(fine.status.success(), "{}", text(&fine.stderr));
    sqlite(&stopped.data_dir, "UPDATE bandits SET state = 'finished'");
    let found = verify(&stopped.data_dir, &key, &["--state"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stderr).contains("delays: finished, generation"), "{}", text(&found.stderr));
}

#[test]
fn the_same_on_postgres() {
    drop(shares_follow_rewards_over_a_crash(On::Postgres));
}

#[test]
fn of_two_servers_one_counts_what_both_have_seen_once_and_the_other_goes_on_when_it_dies() {
    let one = with_endpoint(On::Postgres);
    let (status, started) = one.post("/api/v1/endpoints/delays/bandits", quick(json!({})));
    assert_eq!(status, 201, "{started}");
    let other = one.beside();
    ask_until_drawn(&other);
    let mut asked = 1;
    for from in 0..3 {
        traffic(&one, from * 20);
        traffic(&other, 1_000 + from * 20);
        asked += 40;
    }
    assert!(comes(|| counted(&bandit(&one)) == asked), "{asked}: {}", bandit(&one));
    assert_eq!(bandit(&other)["numbers"]["tally"], bandit(&one)["numbers"]["tally"]);

    // What the one has logged when it dies, and nobody has counted, waits until it is back.
    traffic(&one, 60);
    one.kill();
    traffic(&other, 1_060);
    asked += 20;
    assert!(comes(|| counted(&bandit(&other)) == asked), "{asked}: {}", bandit(&other));
    let one = one.kill_and_restart();
    asked += 20;
    assert!(comes(|| counted(&bandit(&other)) == asked), "{asked}: {}", bandit(&other));

    // It hands over from now on what it sees, and takes over when the other stops.
    traffic(&one, 80);
    asked += 20;
    assert!(comes(|| counted(&bandit(&one)) == asked), "{asked}: {}", bandit(&one));
    drop(other.stop());
    traffic(&one, 100);
    asked += 20;
    assert!(comes(|| counted(&bandit(&one)) >= asked), "{asked}: {}", bandit(&one));
    assert_eq!(counted(&bandit(&one)), asked, "each once: {}", bandit(&one));

    one.ok("/api/v1/endpoints/delays/bandits/end", json!({}));
    let numbers = bandit(&one)["numbers"].clone();
    assert_eq!(counted(&bandit(&one)), asked, "what is known stays with the decision: {numbers}");
    let rows = "DO $$ BEGIN IF EXISTS (SELECT 1 FROM trial_evidence) OR EXISTS (SELECT 1 FROM trial_batches)
                THEN RAISE EXCEPTION 'left'; END IF; END $$";
    assert!(comes(|| one.try_sql(rows)), "the evidence of what has ended is swept");
}

#[test]
fn people_start_see_and_end_bandits_and_a_deployment_ends_them_too() {
    let server = with_endpoint(On::Sqlite);
    let cli = |args: &[&str]| {
        let done = server.cli(args);
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    };
    let (code, said) = cli(&["bandit", "show", "delays"]);
    assert!(code == Some(1) && said.contains("trueline bandit start"), "{said}");
    let start =
        ["bandit", "start", "delays", "delays/1", "delays/3", "--reward", "accuracy", "--floor", "10"];
    let (code, said) = cli(&start);
    assert!(code == Some(0) && said.contains("50 %"), "{said}");
    let now = bandit(&server);
    assert_eq!((&now["plan"]["reward"]["measure"], &now["plan"]["floor"]), (&json!("accuracy"), &json!(0.1)));

    // A rollout would share the traffic with it, and so would a second one.
    let (status, refused) =
        server.post("/api/v1/endpoints/delays/rollouts", json!({ "version": "delays/2" }));
    assert_eq!(status, 409, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("trueline bandit stop delays"), "{refused}");
    let (code, _) = cli(&start);
    assert_eq!(code, Some(1));

    // Keys stay, also when it is over and the shares stay.
    let ask_all =
        || -> Vec<String> { (0..40).map(|i| ask(&server, i, Some(&format!("user-{i}"))).1).collect() };
    let first = ask_all();
    assert!(["delays/1", "delays/3"].iter().all(|arm| first.iter().any(|on| on == arm)));
    let (code, said) = cli(&["bandit", "stop", "delays", "--reason", "enough"]);
    assert!(code == Some(0) && said.contains("stopped"), "{said}");
    assert_eq!(ask_all(), first);
    assert_eq!(server.post("/api/v1/endpoints/delays/bandits/end", json!({})).0, 409, "it has ended");

    // One of its arms may have it all; a rollback returns to what answered before this bandit, the shares that the last one left.
    assert_eq!(cli(&start).0, Some(0));
    let (status, refused) = server.post("/api/v1/endpoints/delays/bandits/end", json!({ "to": "delays/2" }));
    assert!(status == 422 || status == 400, "{refused}");
    server.ok("/api/v1/endpoints/delays/bandits/end", json!({ "to": "delays/3", "reason": "better" }));
    assert!(ask_all().iter().all(|on| on == "delays/3"));
    server.ok("/api/v1/endpoints/delays/rollbacks", json!({}));
    let back = ask_all();
    assert!(["delays/1", "delays/3"].iter().all(|arm| back.iter().any(|on| on == arm)), "{back:?}");

    assert_eq!(cli(&start).0, Some(0));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/2"], "reason": "by hand" }));
    let now = bandit(&server);
    assert_eq!(now["state"], "overruled", "{now}");
    assert!(now["reason"].as_str().unwrap().contains("by hand"), "{now}");
    let (_, events) = server.get("/api/v1/ledger/events?action=bandit.overruled");
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
}

#[test]
fn the_page_of_an_endpoint_stops_its_bandit() {
    let server = with_endpoint(On::Sqlite);
    let page = || {
        let (status, body) = server.call_bytes("GET", "/p/default/endpoints/delays", None, &[]);
        assert_eq!(status, 200);
        text(&body)
    };
    assert!(!page().contains("bandit-stop"));
    let (status, started) = server.post("/api/v1/endpoints/delays/bandits", quick(json!({})));
    assert_eq!(status, 201, "{started}");
    let action = "action=\"/p/default/endpoints/delays/bandit\"";
    assert!(page().contains(action) && page().contains("<option value=\"delays/3\">"));

    let stop = |form: &str| {
        let form_type = [("content-type", "application/x-www-form-urlencoded")];
        let body = Some(form.as_bytes().to_vec());
        server.call_with_headers("POST", "/p/default/endpoints/delays/bandit", body, &form_type)
    };
    let (status, refused, _) = stop("to=delays%2F4&reason=");
    assert!((400..500).contains(&status) && text(&refused).contains("is no arm of this bandit"), "{status}");
    stop("to=delays%2F3&reason=seen+enough");
    let now = bandit(&server);
    assert_eq!((&now["state"], &now["reason"]), (&json!("stopped"), &json!("seen enough")), "{now}");
    assert_eq!(ask(&server, 1, None).1, "delays/3");
    assert!(!page().contains(action), "what has ended can't be stopped");
}

#[test]
fn plans_that_make_no_sense_are_refused_with_what_is_wrong() {
    let server = with_endpoint(On::Sqlite);
    let refused = |ask: Value| {
        let (status, said) = server.post("/api/v1/endpoints/delays/bandits", ask);
        assert!((400..500).contains(&status), "{status}: {said}");
        said["detail"].as_str().unwrap().to_owned()
    };
    assert!(refused(quick(json!({ "floor": 0.5 }))).contains("floor"));
    assert!(refused(quick(json!({ "flor": 0.1 }))).contains("flor"));
    assert!(refused(json!({ "versions": ["delays/1"] })).contains("2 to 16"));
    assert!(refused(json!({ "versions": ["delays/1", "delays/1"] })).contains("twice"));
    assert!(refused(json!({ "versions": ["delays/1:3", "delays/2"] })).contains("without weights"));
    assert!(bandit(&server).is_null());
}

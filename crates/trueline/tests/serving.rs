//! Endpoints over the public door: models that MLflow saved, deployed, asked, rolled back, and asked on without a
//! database.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::{self, Models};
use common::proxy::Proxy;
use common::users::{admin_of, user_of};
use common::{BINARY, On, Server, fresh_database, text, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const ASK: &str = "/endpoints/delays/invocations";

fn one_row() -> Value {
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": [[7.5, 300.0, 2.0]] } })
}

/// A server with the endpoint `delays`, answered by version 1, which was registered from the model `binary`; version 2
/// was registered from `binary-other`.
fn with_endpoint(on: On) -> Server {
    let server = Server::start(on);
    let models = Models::saved();
    for name in ["binary", "binary-other"] {
        models.register(&server, name, "delays");
    }
    server.ok("/api/v1/endpoints", json!({ "name": "delays" }));
    deploy(&server, &["delays/1"]);
    server
}

fn deploy(server: &Server, variants: &[&str]) -> Value {
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": variants, "reason": "test" }))
}

/// The version that answered.
fn answered_by(server: &Server, headers: &[(&str, &str)]) -> String {
    let (status, answer, head) =
        server.call_with_headers("POST", ASK, Some(one_row().to_string().into_bytes()), headers);
    assert_eq!(status, 200, "{}", text(&answer));
    head["x-trueline-variant"].clone()
}

#[test]
fn every_model_answers_what_mlflow_answers_in_every_form() {
    let server = Server::start(On::Sqlite);
    let models = Models::saved();
    for name in models::NAMES {
        models.register(&server, name, name);
        let endpoint = format!("{name}-answers");
        server.ok("/api/v1/endpoints", json!({ "name": endpoint }));
        let path = format!("/api/v1/endpoints/{endpoint}/routes");
        server.ok(&path, json!({ "variants": [format!("{name}/1")] }));
        let expected = models.expected(name);
        for (form, body) in expected.requests() {
            let answer = server.ok(&format!("/endpoints/{endpoint}/invocations"), body);
            assert_eq!(answer["predictions"], expected.predictions, "{name} as {form}");
            let ids = answer["prediction_ids"].as_array().unwrap();
            let distinct: std::collections::BTreeSet<&str> =
                ids.iter().map(|i| i.as_str().unwrap()).collect();
            assert_eq!(distinct.len(), expected.rows.len());
        }
    }
}

#[test]
fn wrong_input_is_refused_by_column_with_what_was_expected_and_what_came() {
    let server = with_endpoint(On::Sqlite);
    let split =
        |columns: Value, row: Value| json!({ "dataframe_split": { "columns": columns, "data": [row] } });
    let cases = [
        (split(json!(["hour", "distance"]), json!([1.0, 2.0])), r#"Model is missing inputs ["day"]"#),
        (
            split(json!(["hour", "distance", "day"]), json!([1.0, "far", 2.0])),
            r#"Column 'distance', row 0: expected double, got text "far"."#,
        ),
        (json!({ "instances": [[1.0, 2.0]] }), "expected rows of 3 values, got rows of 2 values"),
        (json!({ "rows": [] }), "exactly one of the input fields"),
    ];
    for (body, expected) in cases {
        let (status, answer) = server.post(ASK, body);
        assert_eq!((status, answer["error_code"].as_str()), (400, Some("BAD_REQUEST")), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{answer}");
    }
    let (status, _) = server.call("POST", ASK, Some(b"a,b\n1,2".to_vec()), &[("content-type", "text/plain")]);
    assert_eq!(status, 415);
    let csv = b"day,hour,distance\n2,7.5,300\n,8,NA\n".to_vec();
    let (status, answer) = server.call("POST", ASK, Some(csv), &[("content-type", "text/csv")]);
    assert_eq!((status, answer["predictions"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    let (status, answer) = server.post("/endpoints/nowhere/invocations", one_row());
    assert_eq!((status, answer["error_code"].as_str()), (404, Some("RESOURCE_DOES_NOT_EXIST")));
    let (status, _) = server.call("GET", "/endpoints/nowhere/ping", None, &[]);
    assert_eq!(status, 404);
    let (status, answer) = server.call_bytes("GET", "/projects/default/endpoints/delays/ping", None, &[]);
    assert_eq!((status, answer.as_slice()), (200, b"\n".as_slice()));
    let (status, answer) = server.call("POST", ASK, Some(vec![b' '; 65 << 20]), &[]);
    assert_eq!(status, 413, "{answer}");
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_changes() {
    let server = with_endpoint(On::Sqlite);
    let models = Models::saved();
    let cases = [
        ("truncated", models.damaged("binary", |bytes| bytes.truncate(bytes.len() / 2)), "model"),
        ("cyclic", models.with_cyclic_tree(), "cycl"),
        ("empty", BTreeMap::from([("readme.txt".to_owned(), b"nothing".to_vec())]), "MLmodel"),
    ];
    for (name, files, expected) in cases {
        models::register_files(&server, &files, name);
        let ask = json!({ "variants": [format!("{name}/1")] });
        let (status, answer) = server.post("/api/v1/endpoints/delays/routes", ask);
        assert_eq!((status, answer["code"].as_str()), (422, Some("unservable")), "{name}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(expected), "{name}: {answer}");
    }
    for (variants, status) in [
        (json!([]), 400),
        (json!(["delays/1:0"]), 400),
        (json!(["delays/1", "delays/1"]), 400),
        (json!(["delays"]), 400),
        (json!(["delays/99"]), 404),
        (json!(["nobody/1"]), 404),
        (json!(["delays@nobody"]), 400),
    ] {
        let (got, answer) = server.post("/api/v1/endpoints/delays/routes", json!({ "variants": variants }));
        assert_eq!(got, status, "{answer}");
    }
    assert_eq!(answered_by(&server, &[]), "delays/1");
    assert_eq!(server.get("/api/v1/endpoints/delays").1["route"]["generation"], 1);
}

#[test]
fn traffic_follows_the_weights_and_a_key_stays_where_it_is() {
    let server = with_endpoint(On::Sqlite);
    deploy(&server, &["delays/1:70", "delays/2:30"]);
    let mut counts = BTreeMap::new();
    for _ in 0..400 {
        *counts.entry(answered_by(&server, &[])).or_insert(0) += 1;
    }
    // 30 % of 400 is 120, with a standard deviation of 9.2: six of them to either side.
    assert!((65..=175).contains(&counts["delays/2"]), "{counts:?}");
    let mut seen = BTreeMap::new();
    for round in 0..3 {
        for user in 0..40 {
            let user = format!("user-{user}");
            let variant = answered_by(&server, &[("x-trueline-key", &user)]);
            let before = seen.entry(user.clone()).or_insert_with(|| variant.clone());
            assert_eq!(*before, variant, "{user} in round {round}");
        }
    }
    let on_two = seen.values().filter(|v| *v == "delays/2").count();
    assert!((1..40).contains(&on_two), "{on_two} of 40");
}

#[test]
fn an_endpoint_of_its_own_header_sticks_to_it() {
    let server = with_endpoint(On::Sqlite);
    server.ok("/api/v1/endpoints", json!({ "name": "sticky", "sticky_header": "X-User" }));
    server.ok("/api/v1/endpoints/sticky/routes", json!({ "variants": ["delays/1", "delays/2"] }));
    let ask = |user: &str| {
        let body = Some(one_row().to_string().into_bytes());
        let (_, _, head) =
            server.call_with_headers("POST", "/endpoints/sticky/invocations", body, &[("x-user", user)]);
        head["x-trueline-variant"].clone()
    };
    let all: Vec<String> = (0..40).map(|u| ask(&format!("u{u}"))).collect();
    assert_eq!(all, (0..40).map(|u| ask(&format!("u{u}"))).collect::<Vec<_>>());
    assert!(all.contains(&"delays/1".to_owned()) && all.contains(&"delays/2".to_owned()));
}

#[test]
fn a_rollback_returns_to_what_was_good_before_while_requests_go_on() {
    let server = with_endpoint(On::Sqlite);
    let (stop, failed, asked) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (status, _) = server.post(ASK, one_row());
                    failed.fetch_add(u32::from(status != 200), Ordering::Relaxed);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..5 {
            deploy(&server, &["delays/2"]);
            assert_eq!(answered_by(&server, &[]), "delays/2");
            let done = server.cli(&["rollback", "delays", "--reason", "worse than before", "--json"]);
            assert!(done.status.success(), "{}", text(&done.stderr));
            let told: Value = serde_json::from_slice(&done.stdout).unwrap();
            assert_eq!(told["route"]["change"], "rolled_back");
            // From its answer on, every new request is on the old version.
            for _ in 0..20 {
                assert_eq!(answered_by(&server, &[]), "delays/1", "round {round}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.into_inner(), 0);
    assert!(asked.into_inner() > 0);
    let (status, answer) = server.post("/api/v1/endpoints/delays/rollbacks", json!({}));
    assert_eq!(
        (status, answer["code"].as_str()),
        (409, Some("state")),
        "what was rolled back is not good: {answer}"
    );
    let (_, routes) = server.get("/api/v1/endpoints/delays/routes?limit=2");
    assert_eq!(routes["routes"].as_array().unwrap().len(), 2);
    assert_eq!(routes["routes"][0]["reason"], "worse than before");
    let (_, events) = server.get("/api/v1/ledger/events?action=endpoint.rolled_back");
    assert_eq!(events["events"].as_array().unwrap().len(), 5);
}

#[test]
fn the_registered_files_answer_whatever_becomes_of_their_source() {
    let server = with_endpoint(On::Sqlite);
    let before = server.ok(ASK, one_row())["predictions"].clone();
    let (status, _) = server.call(
        "PUT",
        "/api/2.0/mlflow-artifacts/artifacts/models/binary/model.ubj",
        Some(b"spoiled".to_vec()),
        &[],
    );
    assert_eq!(status, 200);
    let again = server.kill_and_restart();
    assert_eq!(again.ok(ASK, one_row())["predictions"], before);
    again.ok("/api/v1/endpoints", json!({ "name": "second" }));
    again.ok("/api/v1/endpoints/second/routes", json!({ "variants": ["delays/1"] }));
    assert_eq!(again.ok("/endpoints/second/invocations", one_row())["predictions"], before);
}

#[test]
fn answers_go_on_without_the_database_and_after_a_restart_without_it() {
    let proxy = Proxy::before(&fresh_database());
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let server = Server::start_in(&data_dir, Some(proxy.url()));
    let models = Models::saved();
    for name in ["binary", "binary-other"] {
        models.register(&server, name, "delays");
    }
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
    deploy(&server, &["delays/1"]);
    deploy(&server, &["delays/2"]);
    let expected = server.ok(ASK, one_row())["predictions"].clone();

    proxy.cut();
    assert_eq!(server.ok(ASK, one_row())["predictions"], expected);
    assert_eq!(server.get("/ready").0, 503);
    assert_eq!(server.get("/ready/serving").0, 200);

    let server = server.kill_and_restart();
    assert_eq!(server.ok(ASK, one_row())["predictions"], expected);
    let (status, answer) = server.get("/api/v1/endpoints");
    assert_eq!(status, 503, "{answer}");
    assert_eq!(server.get("/ready").0, 503);

    proxy.mend();
    wait_until("the database is back", || server.get("/ready").0 == 200);
    assert_eq!(server.get("/api/v1/endpoints/delays").1["route"]["generation"], 2);
    server.ok("/api/v1/endpoints/delays/rollbacks", json!({}));
    assert_eq!(answered_by(&server, &[]), "delays/1");
}

#[test]
fn an_endpoint_whose_model_cannot_be_loaded_is_left_out_by_name_until_it_can() {
    let server = with_endpoint(On::Sqlite);
    let (there, away) = (server.data_dir.join("blobs"), server.data_dir.join("blobs-away"));
    server.kill();
    std::fs::rename(&there, &away).unwrap();
    let server = server.kill_and_restart();

    let (status, ready) = server.get("/ready/serving");
    assert_eq!((status, &ready["endpoints"]), (503, &json!(0)), "{ready}");
    assert_eq!(ready["left_out"], 1);
    let (status, ready) = server.get("/ready");
    assert_eq!((status, &ready["left_out"]), (200, &json!(1)), "what repairs it is there");
    let why = server.get("/api/v1/endpoints/delays").1["left_out"].clone();
    assert!(why.as_str().unwrap().contains("there is no blob"), "{why}");
    assert_eq!(server.get("/v2/health/ready"), (503, json!({ "ready": false })));
    let (status, told) = server.get("/v2/models/delays/ready");
    assert_eq!(status, 503);
    assert!(told["error"].as_str().unwrap().contains("can't be loaded"), "{told}");
    let (status, told) = server.post(ASK, one_row());
    assert_eq!(status, 503);
    assert!(told["message"].as_str().unwrap().contains("until its model can be loaded"), "{told}");

    // What a server that starts finds missing it does not forget, not even over another start.
    let server = server.kill_and_restart();
    assert_eq!(server.get("/ready/serving").1["left_out"], 1);
    std::fs::remove_dir_all(&there).ok();
    std::fs::rename(&away, &there).unwrap();
    wait_until("the endpoint answers", || server.get("/ready/serving").0 == 200);
    assert_eq!(answered_by(&server, &[]), "delays/1");
    assert_eq!(server.get("/ready/serving").1["left_out"], 0);
    assert_eq!(server.get("/api/v1/endpoints/delays").1["left_out"], json!(null));
}

#[test]
fn what_does_not_fit_into_memory_sleeps_and_answers_when_it_is_asked() {
    let little = [("TRUELINE_MODEL_MEMORY", "1")];
    let server = Server::start_with(&little);
    for (name, endpoint, version) in
        [("binary", "delays", "delays/1"), ("binary-other", "others", "delays/2")]
    {
        Models::saved().register(&server, name, "delays");
        server.ok("/api/v1/endpoints", json!({ "name": endpoint }));
        server.ok(&format!("/api/v1/endpoints/{endpoint}/routes"), json!({ "variants": [version] }));
    }
    let variant = |server: &Server, name: &str| {
        server.get(&format!("/api/v1/endpoints/{name}")).1["live"]["variants"][0].clone()
    };
    let asked = |server: &Server, name: &str| {
        let answer = server.ok(&format!("/endpoints/{name}/invocations"), one_row());
        assert_eq!(variant(server, name)["loaded"], true);
        answer["predictions"].clone()
    };
    let expected = ["delays", "others"].map(|name| asked(&server, name));
    assert_ne!(expected[0], expected[1]);
    let asleep = variant(&server, "delays");
    assert_eq!(asleep["loaded"], false, "the other one took its room");
    assert!(asleep["heap_bytes"].as_u64() > Some(1), "what it takes is known: {asleep}");
    let shown = text(&server.cli(&["endpoint", "show", "delays"]).stdout);
    assert!(shown.contains("asleep, "), "{shown}");
    let (_, metrics, _) = server.call_with_headers("GET", "/metrics", None, &[]);
    let metrics = text(&metrics);
    assert!(metrics.contains("trueline_models_loaded 1\n"), "{metrics}");
    assert!(metrics.contains("trueline_model_load_wait_seconds_count"), "{metrics}");

    let server = server.kill_and_restart_with(&little);
    let ready = server.get("/ready/serving").1;
    assert_eq!((&ready["endpoints"], &ready["left_out"]), (&json!(2), &json!(0)), "what sleeps is ready");
    assert_eq!(["delays", "others"].map(|name| variant(&server, name)["loaded"].clone()), [false, false]);
    assert_eq!(server.get("/v2/models/delays").1["inputs"][0]["name"], "hour", "what it takes is known");
    assert_eq!(server.post("/v2/repository/models/delays/load", json!({})).0, 200);
    assert_eq!(variant(&server, "delays")["loaded"], true);
    assert_eq!(["delays", "others"].map(|name| asked(&server, name)), expected);
}

#[test]
fn a_database_that_is_not_there_is_told_when_nothing_can_be_served() {
    let proxy = Proxy::before(&fresh_database());
    proxy.cut();
    let folder = tempfile::tempdir().unwrap();
    let refused = Command::new(BINARY)
        .args(["server", "--port", "0", "--database", &proxy.url(), "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("can't be reached"), "{}", text(&refused.stderr));
}

#[test]
fn tokens_open_the_endpoints_of_their_projects_alone() {
    let server = with_endpoint(On::Sqlite);
    for project in ["alpha", "beta"] {
        server.ok("/api/v1/projects", json!({ "name": project }));
    }
    let admin = admin_of(&server);
    let user = |name: &str, role: &str, project: &str| user_of(&server, &admin, name, role, project);
    let caller = user("app", "viewer", "default");
    let stranger = user("stranger", "admin", "beta");
    let auditor = user("watch", "auditor", "default");
    let ask = |token: Option<&str>, headers: &[(&str, &str)]| {
        let bearer = token.map(|t| format!("Bearer {t}"));
        let mut all = headers.to_vec();
        all.extend(bearer.as_deref().map(|b| ("authorization", b)));
        server.call("POST", ASK, Some(one_row().to_string().into_bytes()), &all)
    };
    wait_until("the caller's token is known", || ask(Some(&caller), &[]).0 == 200);
    assert_eq!(ask(None, &[]).0, 401);
    assert_eq!(ask(Some("tl_invented"), &[]).0, 401);
    wait_until("the stranger's token is known", || ask(Some(&stranger), &[]).0 == 404);
    wait_until("the auditor's token is known", || ask(Some(&auditor), &[]).0 == 404);
    let (status, answer) = ask(Some(&caller), &[("x-trueline-event-time", "2013-05-01T00:00:00Z")]);
    assert_eq!(status, 403, "{answer}");
    assert_eq!(ask(Some(&admin), &[("x-trueline-event-time", "2013-05-01T00:00:00Z")]).0, 200);
}

#[test]
fn two_projects_have_endpoints_of_one_name() {
    let server = with_endpoint(On::Sqlite);
    server.ok("/api/v1/projects", json!({ "name": "other" }));
    let (status, _) = server.post("/projects/other/endpoints/delays/invocations", one_row());
    assert_eq!(status, 404);
    server.ok("/projects/other/api/v1/endpoints", json!({ "name": "delays" }));
    let (_, listed) = server.get("/projects/other/api/v1/endpoints");
    assert_eq!(listed["endpoints"][0]["route"], Value::Null);
    let (status, _) =
        server.post("/projects/other/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"] }));
    assert_eq!(status, 404, "the other project has no such model");
    assert_eq!(answered_by(&server, &[]), "delays/1");
}

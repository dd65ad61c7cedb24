//! Views declared, training sets joined as of each row's time, the online store loaded, fed and read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::{On, Server, text};
use serde_json::{Value, json};
use std::path::Path;

fn ok(server: &Server, args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.push("--json");
    let done = server.cli(&args);
    assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn refused(server: &Server, args: &[&str]) -> String {
    let done = server.cli(args);
    assert_eq!(done.status.code(), Some(1), "{args:?}");
    text(&done.stderr)
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

const WEATHER: &str = "origin,time,written,temp\n\
EWR,2013-01-01T06:00:00Z,2013-01-01T06:05:00Z,39\n\
EWR,2013-01-01T07:00:00Z,2013-01-01T07:05:00Z,40\n\
EWR,2013-01-01T07:00:00Z,2013-01-01T07:30:00Z,41\n\
JFK,2013-01-01T06:00:00Z,2013-01-01T06:05:00Z,NA\n";

const FLIGHTS: &str = "origin,tailnum,departs\n\
EWR,N1,2013-01-01T06:59:59Z\n\
EWR,N1,2013-01-01T09:00:00Z\n\
EWR,N2,2013-01-01T09:00:01Z\n\
JFK,,2013-01-01T07:00:00Z\n\
LGA,N2,2013-01-01T07:00:00Z\n";

const DECLARED: &str = "
features:
  entities:
    - { name: airport, join_key: origin }
    - { name: aircraft, join_key: tailnum }
  views:
    - name: weather
      dataset: weather
      entities: [airport]
      timestamp: time
      created: written
      ttl: 2h
      features: [temp]
    - name: planes
      dataset: planes
      entities: [aircraft]
      features: [year]
";

fn prepared(on: On, folder: &Path) -> Server {
    let server = Server::start(on);
    ok(&server, &["data", "add", &write(folder, "weather.csv", WEATHER)]);
    ok(&server, &["data", "add", &write(folder, "flights.csv", FLIGHTS)]);
    ok(&server, &["data", "add", &write(folder, "planes.csv", "tailnum,year\nN1,1999\nN2,2004\n")]);
    let applied = ok(&server, &["features", "apply", &write(folder, "features.yaml", DECLARED)]);
    assert_eq!(applied["views"], json!(["weather@1", "planes@1"]), "{applied}");
    server
}

fn join_args<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    let base = [
        "features",
        "join",
        "flights",
        "--name",
        "train",
        "--timestamp",
        "departs",
        "--view",
        "weather",
        "--view",
        "planes",
    ];
    base.iter().chain(extra).copied().collect()
}

#[test]
fn a_training_set_knows_what_was_known_and_remembers_its_recipe() {
    for on in [On::Sqlite, On::Postgres] {
        let folder = tempfile::tempdir().unwrap();
        let server = prepared(on, folder.path());
        let made = ok(&server, &join_args(&[]));
        assert_eq!(
            (&made["number"], &made["rows"], &made["new"]),
            (&json!(1), &json!(5), &json!(true)),
            "{on:?}"
        );
        let matched: Vec<i64> = made["recipe"]["views"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["rows_matched"].as_i64().unwrap())
            .collect();
        assert_eq!(matched, [3, 4]);
        let version = ok(&server, &["data", "show", "train"]);
        assert_eq!(version["recipe"]["rows"]["dataset"], "flights");
        assert_eq!(version["recipe"]["views"][0]["version"], 1);
        assert_eq!(version["recipe"]["views"][0]["ttl"], "2h");
        let columns: Vec<&str> =
            version["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(columns, ["origin", "tailnum", "departs", "temp", "year"]);
        // 39 before seven; 41 (the later written) up to two hours after seven, not a second longer.
        let temp = &version["profile"]["columns"][3];
        assert_eq!((&temp["nulls"], &temp["min"], &temp["max"]), (&json!(3), &json!(39), &json!(41)));
        // The same inputs give the same bytes, so the same version.
        let again = ok(&server, &join_args(&[]));
        assert_eq!((&again["id"], &again["new"]), (&made["id"], &json!(false)));
        let full = ok(&server, &join_args(&["--full-names"]));
        assert_eq!((&full["number"], &full["new"]), (&json!(2), &json!(true)));
    }
}

#[test]
fn a_changed_view_is_a_new_version_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(On::Sqlite, folder.path());
    let unchanged = ok(&server, &["features", "apply", &write(folder.path(), "f.yaml", DECLARED)]);
    assert_eq!((&unchanged["views"], &unchanged["unchanged"]), (&json!([]), &json!(4)));
    let longer = write(folder.path(), "f.yaml", &DECLARED.replace("2h", "3h"));
    assert_eq!(ok(&server, &["features", "apply", &longer])["views"], json!(["weather@2"]));
    assert_eq!(ok(&server, &["features", "show", "weather@1"])["ttl"], "2h");
    assert_eq!(ok(&server, &["features", "show", "weather"])["ttl"], "3h");
    for (change, told) in [
        (("features: [temp]", "features: [tmep]"), "no column `tmep`"),
        (("entities: [airport]", "entities: [airprot]"), "no entity airprot"),
        (("join_key: origin", "join_key: dest"), "views rely on it"),
        (("ttl: 2h", "ttl: soon"), "no span of time"),
        (("features: [temp]", "fetures: [temp]"), "fetures"),
    ] {
        let bad = write(folder.path(), "bad.yaml", &DECLARED.replace(change.0, change.1));
        let said = refused(&server, &["features", "apply", &bad]);
        assert!(said.contains(told), "{said}");
    }
    assert_eq!(ok(&server, &["features", "list"])["views"].as_array().unwrap().len(), 2);
}

#[test]
fn the_online_store_has_what_the_join_would_find_and_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(On::Sqlite, folder.path());
    let loaded = ok(&server, &["features", "materialize", "weather"]);
    assert_eq!((&loaded["rows_read"], &loaded["rows_written"]), (&json!(4), &json!(2)));
    let get =
        |server: &Server, at: &str| ok(server, &["features", "get", "weather", "origin=EWR", "--at", at]);
    let found = get(&server, "2013-01-01T09:00:00Z");
    assert_eq!(found["status"], "present");
    assert_eq!(
        (&found["values"]["temp"], &found["event_time"]),
        (&json!(41), &json!("2013-01-01T07:00:00Z"))
    );
    assert_eq!(get(&server, "2013-01-01T09:00:01Z")["status"], "outside_max_age");

    let rows = "{\"origin\":\"EWR\",\"temp\":1,\"time\":\"2013-01-01T06:30:00Z\"}\n\
                {\"origin\":\"LGA\",\"temp\":50,\"event_timestamp\":\"2013-01-01T08:00:00Z\"}\n";
    let pushed = ok(&server, &["features", "push", "weather", &write(folder.path(), "rows.jsonl", rows)]);
    assert_eq!(pushed, json!({ "written": 1, "skipped": 1 }));
    assert_eq!(ok(&server, &["features", "materialize", "weather"])["rows_written"], 0);

    let server = server.kill_and_restart();
    assert_eq!(get(&server, "2013-01-01T09:00:00Z")["values"]["temp"], 41);
    let other = ok(&server, &["features", "get", "weather", "origin=LGA"]);
    assert_eq!((&other["status"], &other["values"]["temp"]), (&json!("present"), &json!(50)));
    let missing = refused(&server, &["features", "get", "weather", "origin=XXX"]);
    assert!(missing.contains("no row for this key"), "{missing}");
    let wrong = refused(&server, &["features", "get", "weather", "tailnum=N1"]);
    assert!(wrong.contains("is read by origin"), "{wrong}");
    assert_eq!(
        ok(&server, &["features", "show", "weather"])["materialisations"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_view_without_a_time_is_always_true() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(On::Sqlite, folder.path());
    ok(&server, &["features", "materialize", "planes"]);
    let found = ok(&server, &["features", "get", "planes", "tailnum=N2", "--at", "2099-01-01T00:00:00Z"]);
    assert_eq!((&found["status"], &found["values"]["year"]), (&json!("present"), &json!(2004)));
}

#[test]
fn a_join_that_can_not_be_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(On::Sqlite, folder.path());
    for (change, told) in [
        (("departs", "departed"), "no column `departed`"),
        (("departs", "origin"), "can't be processed"),
        (("weather", "wether"), "trueline features list"),
        (("weather", "weather:tmep"), "no feature `tmep`"),
        (("flights", "fights"), "trueline data list"),
    ] {
        let args: Vec<&str> =
            join_args(&[]).into_iter().map(|a| if a == change.0 { change.1 } else { a }).collect();
        let said = refused(&server, &args);
        assert!(said.contains(told), "{change:?}: {said}");
    }
    let path =
        write(folder.path(), "gaps.csv", "origin,tailnum,departs\nEWR,N1,2013-01-01T06:00:00Z\nEWR,N1,NA\n");
    ok(&server, &["data", "add", &path]);
    let said = refused(
        &server,
        &["features", "join", "gaps", "--name", "x", "--timestamp", "departs", "--view", "weather"],
    );
    assert!(said.contains("row 2 of column `departs`"), "{said}");
}

#[test]
fn rows_that_were_acknowledged_survive_a_kill_while_more_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(On::Sqlite, folder.path());
    let acknowledged = std::sync::Mutex::new(Vec::new());
    let push = |n: usize| {
        let row = json!({ "origin": format!("X{n}"), "temp": n, "time": "2013-01-01T00:00:00Z" });
        let agent = ureq::Agent::new_with_defaults();
        let url = format!("{}/api/v1/feature-views/weather/rows", server.url);
        agent.post(url).send_json(json!({ "rows": [row] })).is_ok()
    };
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (push, acknowledged) = (&push, &acknowledged);
            scope.spawn(move || {
                let mine = (0..).map(|i| i * 4 + writer).take_while(|n| push(*n));
                mine.for_each(|n| acknowledged.lock().unwrap().push(n));
            });
        }
        common::wait_until("rows are acknowledged", || acknowledged.lock().unwrap().len() > 60);
        let killed = std::process::Command::new("kill").args(["-9", &server.pid().to_string()]).status();
        assert!(killed.unwrap().success());
    });
    let server = server.kill_and_restart();
    let acknowledged = acknowledged.into_inner().unwrap();
    let keys: Vec<Value> = acknowledged.iter().map(|n| json!({ "origin": format!("X{n}") })).collect();
    let found = server.ok("/api/v1/feature-views/weather/lookups", json!({ "keys": keys }));
    for (n, result) in acknowledged.iter().zip(found["results"].as_array().unwrap()) {
        assert_eq!(result["values"]["temp"], json!(n), "row {n} was acknowledged and is gone");
    }
}

#[test]
fn the_pages_show_datasets_views_and_how_they_hang_together() {
    let folder = tempfile::tempdir().unwrap();
    let server = prepared(On::Sqlite, folder.path());
    ok(&server, &join_args(&[]));
    ok(&server, &["features", "materialize", "weather"]);
    let shows = |path: &str, expected: &[&str]| {
        let (status, body) = server.call_bytes("GET", &format!("/p/default/{path}"), None, &[]);
        let body = text(&body);
        assert_eq!(status, 200, "{path}");
        expected.iter().for_each(|e| assert!(body.contains(e), "{path} does not show `{e}`"));
    };
    shows("data", &["flights", "Training set"]);
    shows("data/weather", &["/p/default/data/weather/versions/1"]);
    shows("data/weather/versions/1", &["timestamp[s]", "25.0 %", "class=\"bars\"", "/files/0"]);
    shows(
        "data/train/versions/1",
        &["How it was made", "features/weather%401", "2h", "flights@1", "data/weather/versions/1"],
    );
    shows("features", &["airport", "tailnum", "any age"]);
    shows("features/weather", &["int64", "data/weather/versions/1", "train@1"]);
    let search = text(&server.call_bytes("GET", "/search?q=WEATH", None, &[]).1);
    assert!(
        search.contains("/p/default/data/weather") && search.contains("/p/default/features/weather"),
        "{search}"
    );
    let (status, body) = server.call_bytes("GET", "/p/default/data/nothing", None, &[]);
    assert_eq!(status, 404);
    assert!(text(&body).contains("trueline data list"), "{}", text(&body));
}

/// The model reads `distance` from the view `routes`, by the key `route`; the request brings the rest.
#[test]
fn a_prediction_reads_its_features_by_key_as_of_its_event() {
    const ASK: &str = "/endpoints/delays/invocations";
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(On::Sqlite);
    let routes = "route,time,distance\nEWR-SFO,2013-01-01T00:00:00Z,100\n";
    ok(&server, &["data", "add", &write(folder.path(), "routes.csv", routes)]);
    let declared = "entities: [{ name: route }]\nviews:\n  - { name: routes, dataset: routes, entities: [route], \
                    timestamp: time, ttl: 1d, features: [distance] }\n";
    ok(&server, &["features", "apply", &write(folder.path(), "features.yaml", declared)]);
    Models::saved().register(&server, "with-features", "delays");
    Models::saved().register(&server, "binary", "plain");
    server.ok("/api/v1/endpoints", json!({ "name": "delays", "log": "required" }));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"] }));
    server.ok("/api/v1/endpoints", json!({ "name": "plain" }));
    server.ok("/api/v1/endpoints/plain/routes", json!({ "variants": ["plain/1"] }));
    let ask = |event_time: &str| {
        let row = json!({ "dataframe_records": [{ "hour": 7.5, "day": 2.0, "route": "EWR-SFO" }] });
        let headers = [("x-trueline-event-time", event_time)];
        server.call("POST", ASK, Some(row.to_string().into_bytes()), &headers)
    };
    let with_distance = |distance: Value| {
        let row = json!({ "dataframe_records": [{ "hour": 7.5, "day": 2.0, "distance": distance }] });
        server.ok("/endpoints/plain/invocations", row)["predictions"].clone()
    };
    let (status, unknown) = ask("2013-01-01T12:00:00Z");
    assert_eq!((status, &unknown["predictions"]), (200, &with_distance(Value::Null)), "nothing is known yet");

    ok(&server, &["features", "materialize", "routes"]);
    let known = ask("2013-01-01T12:00:00Z").1;
    assert_eq!(known["predictions"], with_distance(json!(100)));
    let too_old = ask("2013-01-02T00:00:01Z").1;
    assert_eq!(too_old["predictions"], with_distance(Value::Null), "the row is older than its ttl");
    let newer = "{\"route\": \"EWR-SFO\", \"time\": \"2013-01-03T00:00:00Z\", \"distance\": 2500}\n";
    ok(&server, &["features", "push", "routes", &write(folder.path(), "rows.jsonl", newer)]);
    let pushed = ask("2013-01-03T01:00:00Z").1;
    assert_eq!(pushed["predictions"], with_distance(json!(2500)));
    assert_ne!(pushed["predictions"], known["predictions"]);

    let id = pushed["prediction_ids"][0].as_str().unwrap();
    let (_, trace) = server.get(&format!("/api/v1/predictions/{id}/trace"));
    assert_eq!(trace["prediction"]["features"], json!({ "distance": 2500 }));
    assert_eq!(trace["prediction"]["inputs"]["route"], "EWR-SFO");

    let without_key = json!({ "dataframe_records": [{ "hour": 7.5, "day": 2.0 }] });
    let (status, answer) = server.post(ASK, without_key);
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().unwrap().contains(r#"missing inputs ["route"]"#), "{answer}");

    let server = server.kill_and_restart();
    let row = json!({ "dataframe_records": [{ "hour": 7.5, "day": 2.0, "route": "EWR-SFO" }] });
    let headers = [("x-trueline-event-time", "2013-01-03T01:00:00Z")];
    let again = server.call("POST", ASK, Some(row.to_string().into_bytes()), &headers).1;
    assert_eq!(again["predictions"], pushed["predictions"]);
}

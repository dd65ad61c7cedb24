//! Files become dataset versions through the command line.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

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

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

const WEATHER: &str = "origin,time,temp\nEWR,2013-01-01T06:00:00Z,39.02\nJFK,2013-01-01T06:00:00Z,NA\n";

#[test]
fn the_same_bytes_are_the_same_version_whatever_they_are_called() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let folder = tempfile::tempdir().unwrap();
        let first = ok(&server, &["data", "add", &write(folder.path(), "weather.csv", WEATHER)]);
        assert_eq!(
            (&first["dataset"], &first["number"], &first["new"]),
            (&json!("weather"), &json!(1), &json!(true))
        );
        let renamed = write(folder.path(), "other.csv", WEATHER);
        let again = ok(&server, &["data", "add", &renamed, "--name", "weather"]);
        assert_eq!((&again["id"], &again["number"], &again["new"]), (&first["id"], &json!(1), &json!(false)));
        let more = write(folder.path(), "more.csv", &format!("{WEATHER}LGA,2013-01-01T07:00:00Z,40\n"));
        let second = ok(&server, &["data", "add", &more, "--name", "weather"]);
        assert_eq!((&second["number"], &second["new"]), (&json!(2), &json!(true)));
        assert_ne!(second["id"], first["id"]);
        let list = ok(&server, &["data", "list"]);
        assert_eq!(list["datasets"].as_array().unwrap().len(), 1, "{on:?}: {list}");
        assert_eq!(list["datasets"][0]["rows"], 3);
        let named =
            |q: &str| server.get(&format!("/api/v1/datasets?q={q}")).1["datasets"].as_array().unwrap().len();
        assert_eq!([named("THER"), named("w_ather"), named("%25")], [1, 0, 0], "{on:?}");
        let id = &first["id"].as_str().unwrap()[..10];
        for (named, number) in [("weather", 2), ("weather@1", 1), (&*format!("weather@{id}"), 1)] {
            assert_eq!(ok(&server, &["data", "show", named])["number"], number, "{on:?} {named}");
        }
    }
}

#[test]
fn a_version_shows_schema_and_profile_and_gives_its_bytes_back() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "w/2013/01.csv", WEATHER);
    write(folder.path(), "w/2013/02.csv", "origin,time,temp\nEWR,2013-02-01T06:00:00Z,20\n");
    let pattern = folder.path().join("w/*/*.csv");
    ok(&server, &["data", "add", pattern.to_str().unwrap(), "--name", "w"]);
    let version = ok(&server, &["data", "show", "w"]);
    assert_eq!(version["rows"], 3);
    let kinds: Vec<&str> =
        version["columns"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["string", "timestamp[s]", "float64"]);
    let temp = &version["profile"]["columns"][2];
    assert_eq!((&temp["nulls"], &temp["min"], &temp["max"]), (&json!(1), &json!(20.0), &json!(39.02)));
    assert_eq!(version["profile"]["columns"][1]["min"], "2013-01-01T06:00:00Z");
    assert_eq!(version["files"][1]["name"], "02.csv");
    let shown = text(&server.cli(&["data", "show", "w"]).stdout);
    assert!(shown.contains("timestamp[s]") && shown.contains("EWR, JFK"), "{shown}");
    let out = folder.path().join("out");
    assert!(server.cli(&["data", "get", "w", "--to", out.to_str().unwrap()]).status.success());
    assert_eq!(std::fs::read_to_string(out.join("01.csv")).unwrap(), WEATHER);
    server.settle();
    let (_, events) = server.get("/api/v1/ledger/events?action=dataset.version_added");
    assert_eq!(events["events"][0]["payload"]["id"], version["id"]);
    assert_eq!(events["events"][0]["payload"]["by"], "local");
}

#[test]
fn bytes_are_sent_once_and_what_was_not_sent_is_refused() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.csv", WEATHER);
    let first = server.cli(&["data", "add", &path]);
    assert!(text(&first.stderr).contains("sending"), "{}", text(&first.stderr));
    let second = server.cli(&["data", "add", &path, "--name", "b"]);
    assert!(second.status.success() && !text(&second.stderr).contains("sending"));
    let absent = json!({ "files": [{ "name": "x.csv", "sha256": "0".repeat(64), "size": 1 }] });
    let (status, refused) = server.post("/api/v1/datasets/x/versions", absent);
    assert_eq!((status, &refused["code"]), (400, &json!("invalid")));
    assert!(refused["detail"].as_str().unwrap().contains("dataset-files"), "{refused}");
    let path = format!("/api/v1/dataset-files/{}", "0".repeat(64));
    let (status, refused) = server.call("PUT", &path, Some(b"other".to_vec()), &[]);
    assert_eq!((status, &refused["code"]), (400, &json!("invalid")));
    // Projects don't share bytes.
    server.ok("/api/v1/projects", json!({ "name": "other" }));
    let other =
        server.cli(&["data", "add", folder.path().join("a.csv").to_str().unwrap(), "--project", "other"]);
    assert!(text(&other.stderr).contains("sending"), "{}", text(&other.stderr));
    assert_eq!(server.get("/projects/other/api/v1/datasets").1["datasets"].as_array().unwrap().len(), 1);
}

#[test]
fn files_that_are_no_tables_are_refused_by_name() {
    let server = Server::start(On::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("notes.txt", "hello", "known format"),
        ("bad.parquet", "not parquet", "bad.parquet can't be read as Parquet"),
        ("ragged.csv", "a,b\n1,2\n1,2,3\n", "ragged.csv can't be read as CSV"),
    ];
    for (name, content, told) in cases {
        let path = write(folder.path(), name, content);
        let refused = server.cli(&["data", "add", &path, "--name", "x"]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{name}");
        assert!(said.contains(told), "{name}: {said}");
    }
    let nowhere = server.cli(&["data", "add", "no/such/*.csv"]);
    assert!(text(&nowhere.stderr).contains("names no file"), "{}", text(&nowhere.stderr));
    let missing = server.cli(&["data", "show", "nothing"]);
    assert!(text(&missing.stderr).contains("trueline data list"), "{}", text(&missing.stderr));
}

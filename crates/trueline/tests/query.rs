//! SQL over the prediction log through the public door: what is sealed and what is not, labels, each format, and what is
//! refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::{On, Server, sqlite, text, verify, wait_until};
use serde_json::{Value, json};

fn with_endpoints(server: &Server, names: &[&str]) {
    Models::saved().register(server, "binary", "delays");
    for name in names {
        server.ok("/api/v1/endpoints", json!({ "name": name, "log": "required" }));
        let route = json!({ "variants": ["delays/1"], "reason": "the first" });
        server.ok(&format!("/api/v1/endpoints/{name}/routes"), route);
    }
}

/// Asks an endpoint once for each hour; the ids.
fn ask(server: &Server, endpoint: &str, hours: &[u32]) -> Vec<String> {
    let data: Vec<Value> = hours.iter().map(|hour| json!([hour, 300.0, 2.0])).collect();
    let split = json!({ "columns": ["hour", "distance", "day"], "data": data });
    let path = format!("/endpoints/{endpoint}/invocations");
    let answer = server.ok(&path, json!({ "dataframe_split": split }));
    answer["prediction_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn query(server: &Server, body: Value) -> Value {
    server.ok("/api/v1/queries", body)
}

fn rows(server: &Server, sql: &str) -> Value {
    query(server, json!({ "sql": sql }))["rows"].clone()
}

#[test]
fn predictions_and_labels_are_joined_sealed_or_not() {
    let server = Server::start_with(&[("TRUELINE_TEST_SEGMENT_BYTES", "1000")]);
    with_endpoints(&server, &["delays", "others"]);
    let hours: Vec<u32> = (0..24).collect();
    let ids: Vec<String> = hours.iter().flat_map(|hour| ask(&server, "delays", &[*hour])).collect();
    ask(&server, "others", &[7]);
    wait_until("some are sealed", || {
        let (_, events) = server.get("/api/v1/ledger/events?action=predictions.sealed&limit=100");
        events["events"].as_array().unwrap().len() > 1
    });
    for (id, value) in [(&ids[3], 0), (&ids[3], 1), (&ids[4], 0)] {
        server.ok("/endpoints/delays/labels", json!({ "prediction_id": id, "value": value, "source": "a" }));
    }
    let per_endpoint =
        "SELECT endpoint, count(*), sum(inputs ->> 'hour') FROM predictions GROUP BY 1 ORDER BY 1";
    assert_eq!(rows(&server, per_endpoint), json!([["delays", 24, 276], ["others", 1, 7]]));
    let labelled =
        "SELECT p.inputs ->> 'hour', l.value FROM predictions p JOIN labels l USING (prediction_id)
                    WHERE l.holds ORDER BY 1";
    assert_eq!(rows(&server, labelled), json!([[3, 1], [4, 0]]), "the last label holds");
    assert_eq!(rows(&server, "SELECT count(*) FROM labels"), json!([[3]]));

    let other = query(
        &server,
        json!({ "sql": "SELECT (SELECT count(*) FROM predictions), count(*) FROM labels", "endpoint": "others" }),
    );
    assert_eq!(other["rows"], json!([[1, 0]]), "labels of other endpoints' predictions are not there");
    assert_eq!(other["read"]["predictions"], 1);

    let (_, shown) = server.get(&format!("/api/v1/predictions/{}", ids[5]));
    let one =
        format!("SELECT output, version, event_time FROM predictions WHERE prediction_id = '{}'", ids[5]);
    let found = rows(&server, &one)[0].clone();
    assert_eq!((&found[0], &found[1]), (&shown["prediction"]["output"], &json!(1)));
    let times = json!({ "sql": "SELECT count(*) FROM predictions", "since": "2020-01-01T00:00:00Z",
                        "until": "2020-01-02T00:00:00Z" });
    assert_eq!(query(&server, times)["rows"], json!([[0]]));
    let server = server.kill_and_restart();
    assert_eq!(
        rows(&server, per_endpoint),
        json!([["delays", 24, 276], ["others", 1, 7]]),
        "after a crash, too"
    );
}

#[test]
fn a_sample_is_weighed_and_what_was_redacted_stays_so() {
    let server = Server::start(On::Sqlite);
    with_endpoints(&server, &["delays"]);
    let declared = server.cli(&["endpoint", "log", "delays", "--sample", "0.5", "--redact", "distance"]);
    assert!(declared.status.success(), "{}", text(&declared.stderr));
    ask(&server, "delays", &(0..1_000).map(|i| i % 24).collect::<Vec<_>>());
    let sql = "SELECT sum(weight), count(*), count(inputs ->> 'distance'), min(redacted) FROM predictions";
    let found = rows(&server, sql)[0].clone();
    assert_eq!(found[0].as_f64().unwrap(), 2.0 * found[1].as_f64().unwrap());
    assert!((400..600).contains(&found[1].as_u64().unwrap()), "{found}");
    assert_eq!((&found[2], &found[3]), (&json!(0), &json!("[\"distance\"]")));
}

#[test]
fn each_format_has_the_same_rows() {
    let server = Server::start(On::Sqlite);
    with_endpoints(&server, &["delays"]);
    ask(&server, "delays", &[1, 2, 3]);
    let sql = "SELECT inputs ->> 'hour' AS hour, output FROM predictions ORDER BY 1";
    let written = |format: &str| {
        let done = server.cli(&["query", sql, "--endpoint", "delays", "--format", format, "--limit", "2"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("--limit"), "it says that there is more");
        done.stdout
    };
    let csv = text(&written("csv"));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "hour,output"));
    assert!(lines[1].starts_with("1,0.") && lines[2].starts_with("2,0."), "{csv}");
    let objects: Value = serde_json::from_slice(&written("json")).unwrap();
    assert_eq!((&objects[0]["hour"], objects.as_array().unwrap().len()), (&json!(1), 2));
    assert!(text(&written("table")).starts_with("hour  output\n1     0."));
    assert!(written("parquet").starts_with(b"PAR1"));
}

#[test]
fn what_is_no_question_is_refused_and_says_why() {
    let server = Server::start(On::Sqlite);
    with_endpoints(&server, &["delays"]);
    for (body, why) in [
        (json!({ "sql": "DROP TABLE predictions" }), "one SELECT"),
        (json!({ "sql": "ATTACH 'trueline.db' AS t" }), "one SELECT"),
        (json!({ "sql": "SELECT hour FROM predictions" }), "no such column: hour"),
        (json!({ "sql": "SELECT 1", "limit": 0 }), "rows"),
        (json!({ "sql": "SELECT 1", "since": "yesterday" }), "no time"),
        (json!({ "sql": "SELECT 1", "endpoint": "No" }), "endpoint"),
        (json!({ "query": "SELECT 1" }), "query"),
    ] {
        let (status, answer) = server.post("/api/v1/queries", body);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains(why), "`{why}` is missing of {answer}");
    }
    let (status, _) = server.post("/api/v1/queries", json!({ "sql": "SELECT 1", "endpoint": "nowhere" }));
    assert_eq!(status, 404);
    server.ok("/api/v1/projects", json!({ "name": "other" }));
    ask(&server, "delays", &[1]);
    let (status, other) =
        server.post("/projects/other/api/v1/queries", json!({ "sql": "SELECT count(*) FROM predictions" }));
    assert_eq!((status, &other["rows"]), (200, &json!([[0]])), "another project sees nothing of it");
    assert_eq!(rows(&server, "SELECT count(*) FROM predictions"), json!([[1]]), "nothing was changed");
}

/// Objects of the archive, as the ledger tells of them.
fn archived(server: &Server) -> Vec<Value> {
    let (_, events) = server.get("/api/v1/ledger/events?action=predictions.archived&limit=500");
    let events = events["events"].as_array().unwrap();
    events.iter().flat_map(|e| e["payload"]["copy"]["objects"].as_array().unwrap().clone()).collect()
}

fn holds(server: &Server, endpoint: &str) -> u64 {
    server.get(&format!("/api/v1/endpoints/{endpoint}")).1["logged"]["records"].as_u64().unwrap()
}

fn with_archive(place: &str, more: &[(&str, &str)]) -> Server {
    let usual = [("TRUELINE_TEST_SEGMENT_BYTES", "1000"), ("TRUELINE_PREDICTION_ARCHIVE", place)];
    let server = Server::start_with(&[&usual[..], more].concat());
    with_endpoints(&server, &["delays"]);
    server
}

/// Asks, tells labels, waits until the log has deleted it all, and asks the archive.
fn what_the_log_has_deleted_is_read_from(place: &str, more: &[(&str, &str)]) -> Server {
    let server = with_archive(place, &[&[("TRUELINE_PREDICTION_RETENTION", "1s")], more].concat());
    let ids: Vec<String> = (0..24).flat_map(|hour| ask(&server, "delays", &[hour])).collect();
    for (id, value) in [(&ids[3], 0), (&ids[3], 1), (&ids[4], 0)] {
        server.ok("/endpoints/delays/labels", json!({ "prediction_id": id, "value": value, "source": "a" }));
    }
    wait_until("the log has deleted them", || holds(&server, "delays") == 0);
    // Labels may still be about to go.
    let sql = "SELECT p.inputs ->> 'hour', l.value, p.version, p.output > 0 FROM predictions p
               JOIN labels l USING (prediction_id) WHERE l.holds ORDER BY 1";
    wait_until("what was deleted is read from the archive", || {
        let (status, told) = server.post("/api/v1/queries", json!({ "sql": sql }));
        status == 200 && told["rows"] == json!([[3, 1, 1, 1], [4, 0, 1, 1]])
    });
    let all = "SELECT count(*), sum(inputs ->> 'hour'), count(DISTINCT prediction_id), sum(weight) FROM predictions";
    wait_until("no sweep is in between", || server.post("/api/v1/queries", json!({ "sql": all })).0 == 200);
    assert_eq!(rows(&server, all), json!([[24, 276, 24, 24.0]]), "each once");
    let of_labels = |o: &Value| o["path"].as_str().unwrap().starts_with("default/_labels/date=");
    wait_until("the labels are archived", || archived(&server).iter().any(of_labels));
    let objects = archived(&server);
    let of_endpoint = |o: &&Value| o["path"].as_str().unwrap().starts_with("default/delays/date=20");
    let records = objects.iter().filter(of_endpoint).map(|o| o["records"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(records, 24, "each is written once");
    let early = json!({ "sql": "SELECT count(*) FROM predictions", "until": "2020-01-02T00:00:00Z" });
    assert_eq!(query(&server, early)["rows"], json!([[0]]));
    server
}

#[test]
fn what_the_log_has_deleted_is_read_from_an_archive_in_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = trueline_s3server::S3Server::start(folder.path()).unwrap();
    s3.make_bucket("team").unwrap();
    let variables = s3.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let server = what_the_log_has_deleted_is_read_from("s3://team/log", &variables);
    let first = archived(&server)[0]["path"].as_str().unwrap().to_owned();
    assert!(folder.path().join("team/log").join(first).exists());
}

#[test]
fn an_archive_in_a_folder_is_held_against_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("file://{}/log", folder.path().display());
    let server = what_the_log_has_deleted_is_read_from(&place, &[]);
    let object = archived(&server).into_iter().find(|o| o["path"].as_str().unwrap().contains("/delays/"));
    let path = folder.path().join("log").join(object.unwrap()["path"].as_str().unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (status, told) = server.post("/api/v1/queries", json!({ "sql": "SELECT count(*) FROM predictions" }));
    assert_eq!(status, 500);
    assert!(told.to_string().contains("is not what was archived"), "{told}");
    server.settle();
    let key = server.ledger_key();
    let stopped = server.stop();
    let done = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    sqlite(&stopped.data_dir, "UPDATE sealed_segments SET archive_deleted_at_ms = 1 WHERE number = 1");
    let done = verify(&stopped.data_dir, &key, &["--state"]);
    assert!(text(&done.stderr).contains("deleted there"), "{}", text(&done.stderr));
}

#[test]
fn an_archive_that_can_not_be_written_keeps_the_log_and_copies_have_a_time_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("log");
    std::fs::write(&in_the_way, "").unwrap();
    let place = in_the_way.display().to_string();
    let times = [("TRUELINE_PREDICTION_RETENTION", "1s"), ("TRUELINE_PREDICTION_ARCHIVE_RETENTION", "1s")];
    let server = with_archive(&place, &times);
    (0..9).for_each(|hour| drop(ask(&server, "delays", &[hour])));
    let sealed =
        || server.get("/api/v1/ledger/events?action=predictions.sealed&limit=500").1["events"].clone();
    wait_until("all is sealed", || {
        let records = sealed()
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["payload"]["records"].as_u64().unwrap())
            .sum::<u64>();
        records == 9
    });
    assert_eq!(
        (holds(&server, "delays"), archived(&server).len()),
        (9, 0),
        "nothing goes before it is archived"
    );
    std::fs::remove_file(&in_the_way).unwrap();
    let deleted = || {
        server.get("/api/v1/ledger/events?action=predictions.archive_deleted&limit=500").1["events"].clone()
    };
    wait_until("it was archived, and deleted there, too", || {
        holds(&server, "delays") == 0
            && !archived(&server).is_empty()
            && deleted().as_array().unwrap().len() == sealed().as_array().unwrap().len()
    });
    for object in archived(&server) {
        assert!(!in_the_way.join(object["path"].as_str().unwrap()).exists());
    }
    assert_eq!(rows(&server, "SELECT count(*) FROM predictions"), json!([[0]]));
}

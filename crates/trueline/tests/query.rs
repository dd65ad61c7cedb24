//! SQL over the prediction log through the public door: what is sealed and what is not, labels, each format, and what is
//! refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::{On, Server, text, wait_until};
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

//! Rollouts of an endpoint `delays`, as several files of tests have them.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use super::Server;
use super::models::Models;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Registers the models as versions of `delays` in this order; the first answers at an endpoint of that name.
pub fn with_delays(server: Server, saved: &[&str]) -> Server {
    with_delays_as(server, saved, json!({ "name": "delays" }))
}

/// The same with more declared of the endpoint.
pub fn with_delays_as(server: Server, saved: &[&str], endpoint: Value) -> Server {
    let models = Models::saved();
    for name in saved {
        models.register(&server, name, "delays");
    }
    server.ok("/api/v1/endpoints", endpoint);
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["delays/1"] }));
    server
}

/// Whether a condition comes to hold within two minutes.
pub fn comes(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

pub fn rollout(server: &Server, id: &str) -> Value {
    let (status, found) = server.get(&format!("/api/v1/rollouts/{id}"));
    assert_eq!(status, 200, "{found}");
    found
}

/// Asks for a prediction; answers its id and the version that it came from.
pub fn ask(server: &Server, i: u64, key: Option<&str>) -> (String, String) {
    let body = Some(row(i).to_string().into_bytes());
    let headers: Vec<(&str, &str)> = key.iter().map(|key| ("x-trueline-key", *key)).collect();
    let (status, answer, head) =
        server.call_with_headers("POST", "/endpoints/delays/invocations", body, &headers);
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    (answer["prediction_ids"][0].as_str().unwrap().to_owned(), head["x-trueline-variant"].clone())
}

/// Asks until a lot of a trial has drawn what answers, as it does on a server once that knows of the route. That one
/// prediction counts.
pub fn ask_until_drawn(server: &Server) {
    assert!(comes(|| {
        let path = format!("/api/v1/predictions/{}", ask(server, 0, None).0);
        let mut found = Value::Null;
        assert!(comes(|| {
            found = server.get(&path).1;
            found["prediction"].is_object()
        }));
        !found["prediction"]["assignment"].is_null()
    }));
}

/// The values of rows of many kinds, so that predictions vary.
pub fn values(i: u64) -> [f64; 3] {
    [(i % 24) as f64, ((i * 37) % 2_500) as f64, (i % 7) as f64]
}

/// One of these rows as a request.
pub fn row(i: u64) -> Value {
    json!({ "dataframe_split": { "columns": ["hour", "distance", "day"], "data": [values(i)] } })
}

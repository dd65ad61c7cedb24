//! An endpoint `delays` that is asked at moments of January 2026, and what the monitor `delays-inputs` makes of it.

use super::Server;
use serde_json::Value;

pub const DAY_MS: i64 = 86_400_000;
const ASK: &str = "/endpoints/delays/invocations";

pub fn predict(server: &Server, day: u32, hour: u32, rows: &Value) -> Value {
    let at = format!("2026-01-{:02}T{hour:02}:00:00Z", day + 1);
    let body = rows.to_string().into_bytes();
    let (status, answer) = server.call("POST", ASK, Some(body), &[("x-trueline-event-time", &at)]);
    assert_eq!(status, 200, "{answer}");
    answer
}

pub fn get(server: &Server, path: &str) -> Value {
    let (status, answer) = server.get(path);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// The numbers of all versions together in a day's window.
pub fn window(server: &Server, day: u32) -> Option<Value> {
    let windows = get(server, "/api/v1/monitors/delays-inputs/windows");
    let start = format!("2026-01-{:02}T00:00:00Z", day + 1);
    let all = windows["windows"].as_array().unwrap().clone();
    let is_it = |w: &&Value| w["start"].as_str().unwrap().starts_with(&start[..19]);
    all.iter().find(is_it).cloned()
}

pub fn is_closed(server: &Server, day: u32) -> bool {
    window(server, day).is_some_and(|w| w["closed"] == true)
}

pub fn alerts(server: &Server) -> Vec<(String, String)> {
    let all = get(server, "/api/v1/alerts");
    let word = |a: &Value, f: &str| a[f].as_str().unwrap().to_owned();
    all["alerts"].as_array().unwrap().iter().map(|a| (word(a, "subject"), word(a, "state"))).collect()
}

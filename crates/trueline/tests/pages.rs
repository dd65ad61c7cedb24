//! The pages over a real server with real data, without JavaScript: each answers, shows what is there, and lets nobody
//! in who may not come.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text};
use serde_json::{Value, json};

fn html(server: &Server, path: &str) -> (u16, String) {
    let (status, body) = server.call_bytes("GET", path, None, &[]);
    (status, text(&body))
}

/// A server with an experiment, a run with metrics and an artifact, a model with a version and an alias.
fn furnished(on: On) -> (Server, String) {
    let server = Server::start(on);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "delays <1h>" }));
    let made = server.ok(
        "/api/2.0/mlflow/runs/create",
        json!({ "experiment_id": "1", "run_name": "brisk-owl", "start_time": 1_700_000_000_000_i64 }),
    );
    let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let point =
        |step: i64| json!({ "key": "auc", "value": 0.5 + step as f64 / 10.0, "timestamp": 1, "step": step });
    let batch = json!({
        "run_id": run, "metrics": [point(0), point(1), point(2)], "params": [{ "key": "depth", "value": "6" }],
    });
    server.ok("/api/2.0/mlflow/runs/log-batch", batch);
    let mlmodel = b"flavors:\n  python_function:\n    x: y\nmodel_id: m\n".to_vec();
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/model/MLmodel");
    server.call("PUT", &path, Some(mlmodel), &[]);
    server.ok("/api/2.0/mlflow/registered-models/create", json!({ "name": "flight-delay" }));
    let version = json!({
        "name": "flight-delay", "source": format!("mlflow-artifacts:/1/{run}/artifacts/model"), "run_id": run,
    });
    server.ok("/api/2.0/mlflow/model-versions/create", version);
    let alias = json!({ "name": "flight-delay", "alias": "champion", "version": "1" });
    server.ok("/api/2.0/mlflow/registered-models/alias", alias);
    server.settle();
    (server, run)
}

#[test]
fn every_page_answers_and_shows_what_is_there() {
    for on in [On::Sqlite, On::Postgres] {
        let (server, run) = furnished(on);
        let other = server.ok("/api/2.0/mlflow/runs/create", json!({ "experiment_id": "1" }));
        let other = other["run"]["info"]["run_id"].as_str().unwrap();
        let pages = [
            ("/p/default".to_owned(), "pointed alias"),
            ("/p/default/experiments".to_owned(), "delays &#60;1h&#62;"),
            ("/p/default/experiments/1".to_owned(), "brisk-owl"),
            (
                "/p/default/experiments/1?filter=metrics.auc%20%3E%200.6&sort=-metrics.auc".to_owned(),
                "brisk-owl",
            ),
            (format!("/p/default/runs/{run}"), "depth"),
            (format!("/p/default/runs/{run}?tab=charts"), "/metrics/auc"),
            (format!("/p/default/runs/{run}?tab=artifacts&path=model"), "MLmodel"),
            (format!("/p/default/compare?run={run}&run={other}"), "auc"),
            ("/p/default/models".to_owned(), "flight-delay"),
            ("/p/default/models/flight-delay".to_owned(), "champion"),
            ("/p/default/models/flight-delay/versions/1".to_owned(), "python_function"),
            ("/ledger".to_owned(), "registered version"),
            ("/ledger?action=alias.&project=default".to_owned(), "flight-delay@champion"),
            ("/ledger/0".to_owned(), "Inclusion proof"),
            ("/search?q=flight".to_owned(), "flight-delay"),
            ("/settings/projects".to_owned(), "default"),
            ("/settings/users".to_owned(), "trueline user add"),
            ("/docs/errors/busy".to_owned(), "Retry-After"),
            ("/docs/errors/not-released".to_owned(), "trueline approve"),
        ];
        for (path, expected) in pages {
            let (status, body) = html(&server, &path);
            assert_eq!(status, 200, "{on:?} {path}");
            assert!(body.contains(expected), "{on:?} {path} does not show `{expected}`");
        }
    }
}

#[test]
fn what_is_not_there_is_told_with_a_way_on() {
    let (server, _) = furnished(On::Sqlite);
    for path in ["/nope", "/p/default/runs/none", "/p/none", "/p/default/models/none", "/ledger/99999"] {
        let (status, body) = html(&server, path);
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("Check the address"), "{path}");
    }
    let (status, body) = html(&server, "/p/default/experiments/1?filter=metrics.auc%20%3E%3E%201");
    assert_eq!(status, 200);
    assert!(
        body.contains("brisk-owl"),
        "a filter that can't be read is told, and the runs are shown without it"
    );
}

#[test]
fn the_ledger_can_be_verified_from_its_page() {
    let (server, _) = furnished(On::Sqlite);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (status, _) = server.call_bytes("POST", "/ledger/verify", Some(Vec::new()), &form);
    assert!(status == 303 || status == 200, "{status}");
    common::wait_until("the page says that the log is sound", || {
        html(&server, "/ledger").1.contains("Sound")
    });
}

#[test]
fn with_users_a_page_asks_for_a_token_and_takes_it_as_a_cookie() {
    let (server, _) = furnished(On::Sqlite);
    let made = server.cli(&["user", "add", "ada", "--role", "admin", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let token = made["token"].as_str().unwrap();
    let (status, body) = html(&server, "/p/default/models");
    assert_eq!(status, 200);
    assert!(
        body.contains("Sign in") && !body.contains("flight-delay"),
        "a stranger sees the sign-in page alone"
    );
    let cookie = format!("trueline_token={token}");
    let (_, body) = server.call_bytes("GET", "/p/default/models", None, &[("cookie", &cookie)]);
    assert!(text(&body).contains("flight-delay"));
}

#[test]
fn pages_load_nothing_from_elsewhere_and_run_nothing_inline() {
    let (server, _) = furnished(On::Sqlite);
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let answer = agent.get(format!("{}/ledger", server.url)).call().unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    let body = html(&server, "/ledger").1;
    assert!(!body.contains(" style=\"") && !body.contains(" onclick="), "no inline styles or handlers");
}

//! The unmodified MLflow client, in a real Python process, against the real server, on both databases.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, python, text};
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn script(name: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests");
    let done = Command::new(python())
        .arg(folder.join(name))
        .args(arguments)
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .current_dir(&folder)
        .output()
        .expect("Python runs");
    assert!(done.status.success(), "{name} failed:\n{}\n{}", text(&done.stdout), text(&done.stderr));
}

fn two_projects(on: On) {
    let server = Server::start(on);
    for project in ["alpha", "beta"] {
        server.ok("/api/v1/projects", json!({ "name": project }));
    }
    let address = |project: &str| format!("{}/projects/{project}", server.url);
    script("mlflow_two_projects.py", &[&address("alpha"), &address("beta")]);
}

#[test]
fn the_unmodified_client_works_on_sqlite() {
    script("mlflow_client.py", &[&Server::start(On::Sqlite).url]);
}

#[test]
fn the_unmodified_client_works_on_postgres() {
    script("mlflow_client.py", &[&Server::start(On::Postgres).url]);
}

#[test]
fn the_client_loads_what_was_registered_after_the_source_was_spoilt() {
    for on in [On::Sqlite, On::Postgres] {
        script("mlflow_frozen.py", &[&Server::start(on).url]);
    }
}

#[test]
fn what_mlflows_pages_ask_is_answered() {
    for on in [On::Sqlite, On::Postgres] {
        script("mlflow_pages.py", &[&Server::start(on).url]);
    }
}

#[test]
fn two_projects_with_equal_names_inside_stay_apart_on_sqlite() {
    two_projects(On::Sqlite);
}

#[test]
fn two_projects_with_equal_names_inside_stay_apart_on_postgres() {
    two_projects(On::Postgres);
}

#[test]
fn traces_judgements_and_evaluation_datasets_work_on_sqlite() {
    script("mlflow_traces.py", &[&Server::start(On::Sqlite).url]);
}

#[test]
fn traces_judgements_and_evaluation_datasets_work_on_postgres() {
    script("mlflow_traces.py", &[&Server::start(On::Postgres).url]);
}

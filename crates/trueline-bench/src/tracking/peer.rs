//! The real MLflow server, started as its documentation says.

use crate::process::{Process, free_address};
use std::path::Path;
use std::process::Command;

const WORKERS: &str = "2";

/// Starts it, its data in `work`.
pub(super) fn start(program: &Path, work: &Path, postgres: Option<&str>) -> anyhow::Result<Process> {
    let address = free_address()?;
    let store = match postgres {
        Some(server) => fresh_database(server, "mlflow_bench")?.replacen("postgres:", "postgresql:", 1),
        None => format!("sqlite:///{}", work.join("mlflow.db").display()),
    };
    let mut command = Command::new(program);
    command
        .args(["server", "--host", "127.0.0.1", "--workers", WORKERS, "--port"])
        .arg(address.port().to_string())
        .arg("--backend-store-uri")
        .arg(store)
        .arg("--artifacts-destination")
        .arg(work.join("artifacts"))
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        .current_dir(work);
    Process::start(&mut command, address, "/health", &work.join("mlflow.log"))
}

/// An empty database on a PostgreSQL server, in place of one of that name.
pub(super) fn fresh_database(server: &str, name: &str) -> anyhow::Result<String> {
    let server = server.trim_end_matches('/');
    let server = match server.rsplit_once('/') {
        Some((front, _)) if !front.ends_with('/') => front,
        _ => server,
    };
    let mut client = postgres::Client::connect(&format!("{server}/postgres"), postgres::NoTls)?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))?;
    client.batch_execute(&format!("CREATE DATABASE {name}"))?;
    Ok(format!("{server}/{name}"))
}

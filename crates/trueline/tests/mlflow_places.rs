//! Where artifacts lie, and what of MLflow's wire is on, by the flags of `mlflow server`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Server, python, text};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn script(kind: &str, server: &Server, folder: &Path) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests");
    let done = Command::new(python())
        .arg(scripts.join("mlflow_places.py"))
        .args([kind, &server.url])
        .arg(folder)
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .current_dir(&scripts)
        .output()
        .expect("Python runs");
    assert!(done.status.success(), "{kind} failed:\n{}\n{}", text(&done.stdout), text(&done.stderr));
}

#[test]
fn clients_write_to_the_artifact_root_and_the_server_reads_there_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let root = format!("file://{}", folder.display());
    script("shared", &Server::start_with(&[("MLFLOW_DEFAULT_ARTIFACT_ROOT", &root)]), &folder);
}

#[test]
fn a_destination_keeps_what_passes_through_the_server_as_plain_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let destination = folder.display().to_string();
    script("destination", &Server::start_with(&[("MLFLOW_ARTIFACTS_DESTINATION", &destination)]), &folder);
}

#[test]
fn an_upload_that_breaks_off_leaves_no_plain_file() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().display().to_string();
    let server = Server::start_with(&[("MLFLOW_ARTIFACTS_DESTINATION", &destination)]);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let head = format!("PUT {PROXY}/1/a HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\nhalf");
    std::io::Write::write_all(&mut socket, head.as_bytes()).unwrap();
    drop(socket);
    assert_eq!(server.call("PUT", &format!("{PROXY}/1/b"), Some(b"whole".to_vec()), &[]).0, 200);
    common::wait_until("the half is gone", || {
        std::fs::read_dir(folder.path().join(".trueline-uploads")).unwrap().count() == 0
    });
    assert!(!folder.path().join("1/a").exists());
    assert_eq!(std::fs::read(folder.path().join("1/b")).unwrap(), b"whole");
}

#[test]
fn parts_of_the_wire_can_be_left_out() {
    let experiments = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    let only = Server::start_with_flags(&["--artifacts-only"]);
    assert_eq!(only.get(experiments).0, 503);
    assert!(only.get(experiments).1.as_str().unwrap().contains("`--artifacts-only`"));
    assert_eq!(only.get(&format!("{PROXY}?path=")), (200, json!({})));
    let none =
        Server::start_with_flags(&["--no-serve-artifacts", "--default-artifact-root", "s3://bucket/x"]);
    assert_eq!(none.get(experiments).1["experiment"]["artifact_location"], "s3://bucket/x/0");
    assert_eq!(none.get(&format!("{PROXY}?path=")).0, 503);
}

#[test]
fn hosts_and_origins_are_those_that_the_server_was_told() {
    let flags = ["--allowed-hosts", "app.example", "--cors-allowed-origins", "https://ui.example"];
    let server = Server::start_with_flags(&flags);
    let search = |headers: &[(&str, &str)]| {
        let body = json!({ "max_results": 1 }).to_string().into_bytes();
        server.call_with_headers("POST", "/api/2.0/mlflow/experiments/search", Some(body), headers)
    };
    assert_eq!(search(&[]).0, 403);
    assert_eq!(search(&[("host", "app.example")]).0, 200);
    assert_eq!(search(&[("host", "app.example"), ("origin", "https://evil.example")]).0, 403);
    let (status, _, told) = search(&[("host", "app.example"), ("origin", "https://ui.example")]);
    assert_eq!((status, told["access-control-allow-origin"].as_str()), (200, "https://ui.example"));
    let (status, _, told) = server.call_with_headers("GET", "/health", None, &[]);
    assert_eq!(status, 200);
    assert_eq!((&*told["x-content-type-options"], &*told["x-frame-options"]), ("nosniff", "SAMEORIGIN"));
    let asks = [
        ("host", "app.example"),
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "POST"),
    ];
    let asked = server.call_with_headers("OPTIONS", "/api/2.0/mlflow/experiments/search", None, &asks);
    assert_eq!(asked.0, 204);
    assert!(asked.2["access-control-allow-methods"].contains("POST"));
}

#[test]
fn a_slash_too_many_is_shown_the_way_and_never_to_another_host() {
    let server = Server::start_with_flags(&[]);
    assert_eq!(server.get("//api/2.0/mlflow/experiments/get?experiment_id=0").0, 200);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let ask = format!("GET //\\evil.example/x HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut socket, ask.as_bytes()).unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut socket, &mut told).unwrap();
    assert!(told.contains("location: /evil.example/x") || told.starts_with("HTTP/1.1 400"), "{told}");
}

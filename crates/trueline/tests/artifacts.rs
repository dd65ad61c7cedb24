//! Artifacts over HTTP: what is refused, what stays whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, wait_until};
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use trueline_s3server::S3Server;

const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

#[test]
fn the_root_of_all_artifacts_cannot_be_deleted() {
    let server = Server::start(On::Sqlite);
    let kept = format!("{PROXY}/1/r/artifacts/kept.txt");
    assert_eq!(server.call_bytes("PUT", &kept, Some(b"kept".to_vec()), &[]).0, 200);
    for root in ["%2F", "%2F%2F", "."] {
        let (status, _) = server.call("DELETE", &format!("{PROXY}/{root}"), None, &[]);
        assert_eq!(status, 400, "{root}");
    }
    assert_eq!(server.call_bytes("GET", &kept, None, &[]), (200, b"kept".to_vec()));
    assert_eq!(server.call("DELETE", &format!("{PROXY}/1/r"), None, &[]).0, 200);
    assert_eq!(server.call_bytes("GET", &kept, None, &[]).0, 404);
}

#[test]
fn paths_with_control_characters_or_without_end_are_refused() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        let put = |path: &str| server.call("PUT", &format!("{PROXY}/{path}"), Some(b"x".to_vec()), &[]);
        assert_eq!(put("1/a%0Ab").0, 400, "{on:?}");
        assert_eq!(put("1/a%00b").0, 400, "{on:?}");
        let (status, told) = put(&"p".repeat(1025));
        assert_eq!(status, 400, "{on:?}");
        assert!(told["message"].as_str().unwrap().contains("the longest allowed has 1024"), "{told}");
        assert_eq!(put(&"p".repeat(1024)).0, 200, "{on:?}");
    }
}

/// A server that keeps its artifacts in a bucket of a real S3 server, whose objects are files of a folder.
struct WithBucket {
    s3: Option<S3Server>,
    folder: tempfile::TempDir,
    server: Server,
}

impl WithBucket {
    fn start(bucket: &str, secret: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let s3 = S3Server::start(folder.path()).unwrap();
        s3.make_bucket("team").unwrap();
        let mut variables = s3.variables().to_vec();
        variables.push(("MLFLOW_ARTIFACTS_DESTINATION", format!("s3://{bucket}/mlflow")));
        if let Some(secret) = secret {
            variables.push(("AWS_SECRET_ACCESS_KEY", secret.to_owned()));
        }
        let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
        Self { server: Server::start_with(&variables), s3: Some(s3), folder }
    }

    fn objects(&self) -> std::path::PathBuf {
        self.folder.path().join("team/mlflow")
    }

    /// Whether the S3 server keeps parts of uploads that are under way.
    fn holds_parts(&self) -> bool {
        let mut names = std::fs::read_dir(self.folder.path()).unwrap();
        names.any(|name| name.unwrap().file_name().to_string_lossy().contains("upload"))
    }
}

fn put(server: &Server, path: &str, bytes: &[u8]) -> (u16, serde_json::Value) {
    server.call("PUT", &format!("{PROXY}/{path}"), Some(bytes.to_vec()), &[])
}

#[test]
fn the_client_finds_in_a_bucket_what_passed_through_the_server_or_past_it() {
    let with = WithBucket::start("team", None);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests");
    let done = std::process::Command::new(common::python())
        .arg(scripts.join("mlflow_places.py"))
        .args(["bucket", &with.server.url])
        .arg(with.objects())
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .current_dir(&scripts)
        .output()
        .unwrap();
    let (out, err) = (common::text(&done.stdout), common::text(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
}

#[test]
fn objects_are_read_in_ranges_and_replaced_and_deleted() {
    let with = WithBucket::start("team", None);
    let large: Vec<u8> = (0..20_000_003_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    assert_eq!(put(&with.server, "1/r/artifacts/large.bin", b"small at first").0, 200);
    assert_eq!(put(&with.server, "1/r/artifacts/large.bin", &large).0, 200);
    assert_eq!(put(&with.server, "1/r/artifacts/%C3%A4%20%231%25.txt", b"odd").0, 200);
    assert_eq!(std::fs::read(with.objects().join("1/r/artifacts/ä #1%.txt")).unwrap(), b"odd");
    let get = |headers: &[(&str, &str)]| {
        with.server.call_with_headers("GET", &format!("{PROXY}/1/r/artifacts/large.bin"), None, headers)
    };
    let (status, bytes, told) = get(&[]);
    assert_eq!((status, told["content-length"].as_str()), (200, "20000003"));
    assert!(bytes == large);
    let (status, bytes, told) = get(&[("range", "bytes=9000000-9000009")]);
    assert_eq!((status, bytes.as_slice()), (206, &large[9_000_000..9_000_010]));
    assert_eq!(told["content-range"], "bytes 9000000-9000009/20000003");
    assert_eq!(get(&[("range", "bytes=20000003-")]).0, 416);
    let listed = with.server.get(&format!("{PROXY}?path=1/r/artifacts")).1;
    let entry = |path: &str, size: u64| json!({ "path": path, "is_dir": false, "file_size": size });
    assert_eq!(listed["files"], json!([entry("large.bin", 20_000_003), entry("ä #1%.txt", 3)]));
    assert_eq!(with.server.call("DELETE", &format!("{PROXY}/1/r"), None, &[]).0, 200);
    assert_eq!(get(&[]).0, 404);
    assert_eq!(with.server.get(&format!("{PROXY}?path=1/r/artifacts")).1, json!({}));
}

#[test]
fn an_upload_to_a_bucket_that_breaks_off_leaves_nothing() {
    let with = WithBucket::start("team", None);
    let address = with.server.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let head = format!("PUT {PROXY}/1/a HTTP/1.1\r\nhost: {address}\r\ncontent-length: 90000000\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&vec![7; 20_000_000]).unwrap();
    wait_until("parts are under way", || with.holds_parts());
    drop(socket);
    wait_until("they are gone", || !with.holds_parts());
    assert!(!with.objects().join("1/a").exists());
    assert_eq!(with.server.call("GET", &format!("{PROXY}/1/a"), None, &[]).0, 404);
}

#[test]
fn what_is_wrong_with_a_bucket_is_told_and_nothing_is_half_there() {
    let missing = WithBucket::start("nobody", None);
    let (status, told) = put(&missing.server, "1/a", b"x");
    assert_eq!((status, told["error_code"].as_str().unwrap()), (404, "RESOURCE_DOES_NOT_EXIST"));
    assert!(told["message"].as_str().unwrap().contains("no bucket `nobody`"), "{told}");
    let wrong = WithBucket::start("team", Some("wrong"));
    for (status, told) in [put(&wrong.server, "1/a", b"x"), wrong.server.get(&format!("{PROXY}?path=1"))] {
        assert_eq!((status, told["error_code"].as_str().unwrap()), (403, "PERMISSION_DENIED"));
        assert!(told["message"].as_str().unwrap().contains("AWS_SECRET_ACCESS_KEY"), "{told}");
    }
    let mut away = WithBucket::start("team", None);
    away.s3 = None;
    let (status, told) = put(&away.server, "1/a", b"x");
    assert_eq!((status, told["error_code"].as_str().unwrap()), (503, "TEMPORARILY_UNAVAILABLE"));
    assert!(told["message"].as_str().unwrap().contains("`team` can't be reached"), "{told}");
    for with in [&missing, &wrong, &away] {
        assert!(!with.objects().join("1").exists());
    }
}

#[test]
fn parts_and_addresses_are_refused_where_no_bucket_keeps_artifacts() {
    let server = Server::start(On::Sqlite);
    let proxy = "/api/2.0/mlflow-artifacts";
    let body = json!({ "path": "/tmp/a.bin", "num_parts": 1, "upload_id": "u", "parts": [{ "part_number": 1, "etag": "e" }] });
    for call in ["create", "complete", "abort"] {
        let (status, told) = server.post(&format!("{proxy}/mpu/{call}/1/r/artifacts"), body.clone());
        let message = "Multipart upload is not supported for the current artifact repository";
        assert_eq!((status, told["message"].as_str().unwrap()), (501, message), "{call}");
    }
    let (status, told) = server.get(&format!("{proxy}/presigned/1/r/artifacts/a.bin"));
    let message = "Multipart download is not supported for the current artifact repository";
    assert_eq!((status, told["message"].as_str().unwrap()), (501, message));
    let info = server.get("/api/3.0/mlflow/server-info").1;
    assert_eq!(info["multipart_uploads_enabled"], false);
}

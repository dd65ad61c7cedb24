//! Artifacts over HTTP: what is refused, what stays whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server};

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

//! Users, tokens and roles through the public door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::users::{admin_of, as_user, token_of};
use common::{On, Server};
use serde_json::{Value, json};

#[test]
fn the_first_user_must_be_an_admin_and_ends_the_local_caller() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on);
        assert_eq!(server.get("/api/v1/whoami").1["principal"], "local");
        let (status, refused) =
            server.post("/api/v1/users", json!({ "name": "vera", "roles": [{ "role": "viewer" }] }));
        assert_eq!((status, &refused["code"]), (409, &json!("state")), "{on:?}");
        server.ok("/api/v1/users", json!({ "name": "ada", "roles": [{ "role": "admin" }] }));
        let (status, told) = server.get("/api/v1/whoami");
        assert_eq!(status, 401);
        assert!(told["detail"].as_str().unwrap().contains("MLFLOW_TRACKING_TOKEN"), "{told}");
    }
}

#[test]
fn roles_say_what_a_token_may_do() {
    let server = Server::start(On::Sqlite);
    // The admin's token must be made while the local caller still may.
    let admin = admin_of(&server);
    for (name, role) in [("vera", "viewer"), ("carl", "contributor"), ("olga", "auditor")] {
        let body = json!({ "name": name, "roles": [{ "role": role, "project": "default" }] });
        assert_eq!(as_user(&server, &admin, "POST", "/api/v1/users", body).0, 201);
    }
    let create = |name: &str| ("/api/2.0/mlflow/experiments/create", json!({ "name": name }));
    let (vera, carl, olga) = (
        token_of(&server, "vera", Some(&admin)),
        token_of(&server, "carl", Some(&admin)),
        token_of(&server, "olga", Some(&admin)),
    );
    let try_as = |token: &str, name: &str| {
        let (path, body) = create(name);
        as_user(&server, token, "POST", path, body).0
    };
    assert_eq!(try_as(&carl, "by-carl"), 200);
    assert_eq!(try_as(&vera, "by-vera"), 403);
    assert_eq!(try_as(&olga, "by-olga"), 403);
    assert_eq!(as_user(&server, &vera, "GET", "/api/v1/ledger/events", json!({})).0, 403);
    let (status, events) = as_user(&server, &olga, "GET", "/api/v1/ledger/events", json!({}));
    assert_eq!(status, 200);
    let own: Vec<&Value> = events["events"].as_array().unwrap().iter().collect();
    assert!(own.iter().all(|e| e["project"] == "default"), "an auditor of one project sees that one alone");
    assert_eq!(own[0]["actor"], "user:carl", "the author is the authenticated caller");
}

#[test]
fn an_unknown_or_revoked_token_is_nobody() {
    let server = Server::start(On::Sqlite);
    let admin = admin_of(&server);
    assert_eq!(as_user(&server, "tl_made_up", "GET", "/api/v1/whoami", json!({})).0, 401);
    let token = token_of(&server, "ada", Some(&admin));
    assert_eq!(as_user(&server, &token, "GET", "/api/v1/whoami", json!({})).0, 200);
    let (_, tokens) = as_user(&server, &admin, "GET", "/api/v1/tokens", json!({}));
    let id = tokens["tokens"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(as_user(&server, &admin, "DELETE", &format!("/api/v1/tokens/{id}"), json!({})).0, 204);
    assert_eq!(as_user(&server, &token, "GET", "/api/v1/whoami", json!({})).0, 401);
}

#[test]
fn a_project_that_one_may_not_see_is_one_that_does_not_exist() {
    let server = Server::start(On::Sqlite);
    server.ok("/api/v1/projects", json!({ "name": "secret" }));
    let admin = admin_of(&server);
    let body = json!({ "name": "carl", "roles": [{ "role": "contributor", "project": "default" }] });
    as_user(&server, &admin, "POST", "/api/v1/users", body);
    let carl = token_of(&server, "carl", Some(&admin));
    let see = |project: &str| {
        as_user(&server, &carl, "GET", &format!("/projects/{project}/api/v1/whoami"), json!({}))
    };
    let (hidden, missing) = (see("secret"), see("missing"));
    assert_eq!((hidden.0, missing.0), (404, 404));
    let detail =
        |answer: &Value| answer["detail"].as_str().unwrap().replace("secret", "X").replace("missing", "X");
    assert_eq!(detail(&hidden.1), detail(&missing.1));
    let (_, list) = as_user(&server, &carl, "GET", "/api/v1/projects", json!({}));
    let names: Vec<&str> =
        list["projects"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["default"]);
}

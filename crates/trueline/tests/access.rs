//! Users with passwords, permissions on single resources, workspaces: through the public door, by the unmodified client.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use base64::Engine;
use common::users::{as_user, token_of};
use common::{BINARY, On, Server, python, text};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const ADMIN: (&str, &str) = ("root", "the admin's password");
const BASIC_AUTH: &[(&str, &str)] = &[
    ("TRUELINE_APP_NAME", "basic-auth"),
    ("MLFLOW_AUTH_ADMIN_USERNAME", ADMIN.0),
    ("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN.1),
];
const WORKSPACES: &[(&str, &str)] = &[
    ("TRUELINE_APP_NAME", "basic-auth"),
    ("MLFLOW_AUTH_ADMIN_USERNAME", ADMIN.0),
    ("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN.1),
    ("MLFLOW_ENABLE_WORKSPACES", "true"),
];

fn basic((user, password): (&str, &str)) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn call(server: &Server, user: (&str, &str), method: &str, path: &str, body: Value) -> (u16, Value) {
    call_in(server, user, None, method, path, body)
}

fn call_in(
    server: &Server,
    user: (&str, &str),
    workspace: Option<&str>,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let basic = basic(user);
    let mut headers = vec![("authorization", basic.as_str())];
    headers.extend(workspace.map(|w| ("x-mlflow-workspace", w)));
    let body = (method != "GET").then(|| body.to_string().into_bytes());
    server.call(method, path, body, &headers)
}

fn make_user(server: &Server, (name, password): (&str, &str)) {
    let body = json!({ "username": name, "password": password });
    let (status, told) = call(server, ADMIN, "POST", "/api/2.0/mlflow/users/create", body);
    assert_eq!(status, 200, "{told}");
}

fn client_script(on: On) {
    let server = Server::start_on(on, BASIC_AUTH);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests");
    let done = Command::new(python())
        .arg(folder.join("mlflow_access.py"))
        .args([&server.url, ADMIN.0, ADMIN.1])
        .current_dir(&folder)
        .output()
        .expect("Python runs");
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
}

#[test]
fn the_unmodified_client_lives_with_permissions_on_sqlite() {
    client_script(On::Sqlite);
}

#[test]
fn the_unmodified_client_lives_with_permissions_on_postgres() {
    client_script(On::Postgres);
}

#[test]
fn a_server_without_an_admin_who_could_come_in_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let started = Command::new(BINARY)
        .args(["server", "--port", "0", "--app-name", "basic-auth", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert!(!started.status.success());
    let told = text(&started.stderr);
    assert!(told.contains("MLFLOW_AUTH_ADMIN_PASSWORD"), "{told}");
}

#[test]
fn tokens_go_on_working_beside_passwords() {
    let server = Server::start_on(On::Sqlite, BASIC_AUTH);
    let user = json!({ "name": "carl", "roles": [{ "role": "contributor", "project": "default" }] });
    assert_eq!(call(&server, ADMIN, "POST", "/api/v1/users", user).0, 201);
    let (status, made) = call(&server, ADMIN, "POST", "/api/v1/users/carl/tokens", json!({}));
    assert_eq!(status, 201, "{made}");
    let token = made["token"].as_str().unwrap();
    let create = |name: &str| ("/api/2.0/mlflow/experiments/create", json!({ "name": name }));
    let (path, body) = create("with-a-bearer");
    assert_eq!(as_user(&server, token, "POST", path, body).0, 200);
    let (path, body) = create("as-a-password");
    assert_eq!(call(&server, ("carl", token), "POST", path, body).0, 200);
    let (_, found) =
        as_user(&server, token, "POST", "/api/2.0/mlflow/experiments/search", json!({ "max_results": 9 }));
    assert_eq!(found["experiments"].as_array().unwrap().len(), 3, "{found}");
    // Beside its role, a user has what was granted on single resources: a denial goes before the role.
    let id = found["experiments"][0]["experiment_id"].clone();
    let deny =
        json!({ "username": "carl", "resource_type": "experiment", "resource_id": id, "permission": "DENY" });
    let revoke = json!({ "username": "carl", "resource_type": "experiment", "resource_id": id });
    let granted = call(&server, ADMIN, "POST", "/api/3.0/mlflow/users/permissions/revoke", revoke);
    assert_eq!(granted.0, 200, "{granted:?}");
    let granted = call(&server, ADMIN, "POST", "/api/3.0/mlflow/users/permissions/grant", deny);
    assert_eq!(granted.0, 200, "{granted:?}");
    let path = format!("/api/2.0/mlflow/experiments/get?experiment_id={}", id.as_str().unwrap());
    assert_eq!(as_user(&server, token, "GET", &path, json!({})).0, 403);
    assert!(!token_of(&server, "carl", Some(token_admin(&server).as_str())).is_empty());
}

/// A token of the admin's own.
fn token_admin(server: &Server) -> String {
    let path = format!("/api/v1/users/{}/tokens", ADMIN.0);
    let (status, made) = call(server, ADMIN, "POST", &path, json!({}));
    assert_eq!(status, 201, "{made}");
    made["token"].as_str().unwrap().to_owned()
}

#[test]
fn issues_are_seen_and_changed_by_those_who_may_their_experiment() {
    const ISSUES: &str = "/api/3.0/mlflow/issues";
    let server = Server::start_on(On::Sqlite, BASIC_AUTH);
    let user = json!({ "name": "carl", "roles": [{ "role": "contributor", "project": "default" }] });
    assert_eq!(call(&server, ADMIN, "POST", "/api/v1/users", user).0, 201);
    let (_, made) = call(&server, ADMIN, "POST", "/api/v1/users/carl/tokens", json!({}));
    let carl = ("carl", made["token"].as_str().unwrap());
    let new = json!({ "name": "admins" });
    let (_, made) = call(&server, ADMIN, "POST", "/api/2.0/mlflow/experiments/create", new);
    let id = made["experiment_id"].as_str().unwrap();
    let new = json!({ "experiment_id": id, "name": "slow", "description": "very" });
    let (status, made) = call(&server, ADMIN, "POST", ISSUES, new.clone());
    assert_eq!(status, 200, "{made}");
    let one = format!("{ISSUES}/{}", made["issue"]["issue_id"].as_str().unwrap());
    let search = format!("{ISSUES}/search");
    let change = json!({ "status": "resolved" });
    let statuses = || {
        let within = json!({ "experiment_id": id });
        let asked: [(&str, &str, Value); 4] = [
            ("GET", &one, json!({})),
            ("POST", &search, within),
            ("PATCH", &one, change.clone()),
            ("POST", ISSUES, new.clone()),
        ];
        asked.map(|(method, path, body)| call(&server, carl, method, path, body).0)
    };
    assert_eq!(statuses(), [200, 200, 403, 403], "what nothing was granted on is read");
    let of = json!({ "username": "carl", "resource_type": "experiment", "resource_id": id });
    let grant = |permission: &str| {
        let mut body = of.clone();
        body["permission"] = json!(permission);
        let path = "/api/3.0/mlflow/users/permissions/grant";
        assert_eq!(call(&server, ADMIN, "POST", path, body).0, 200);
    };
    grant("EDIT");
    assert_eq!(statuses(), [200; 4]);
    let path = "/api/3.0/mlflow/users/permissions/revoke";
    assert_eq!(call(&server, ADMIN, "POST", path, of.clone()).0, 200);
    grant("DENY");
    assert_eq!(statuses(), [403; 4]);
    // Whoever may not see all of them names an experiment.
    let (status, told) = call(&server, carl, "POST", &search, json!({}));
    assert_eq!((status, told["error_code"].as_str()), (400, Some("INVALID_PARAMETER_VALUE")), "{told}");
    let (status, found) = call(&server, ADMIN, "POST", &search, json!({}));
    assert_eq!((status, found["issues"].as_array().unwrap().len()), (200, 2), "{found}");
}

#[test]
fn a_permission_on_a_resource_opens_no_other_door() {
    let server = Server::start_on(On::Sqlite, BASIC_AUTH);
    let ann = ("ann", "password of ann");
    make_user(&server, ann);
    assert_eq!(
        call(&server, ann, "POST", "/api/2.0/mlflow/experiments/create", json!({ "name": "anns" })).0,
        200
    );
    for path in
        ["/api/v1/users", "/api/v1/ledger/events", "/api/v1/endpoints", "/api/v1/tasks", "/api/v1/monitors"]
    {
        let (status, told) = call(&server, ann, "GET", path, json!({}));
        assert_eq!(status, 403, "{path}: {told}");
    }
    let (status, _) = call(&server, ann, "GET", "/api/2.0/mlflow/webhooks", json!({}));
    assert_eq!(status, 403);
    // There is no local caller, and other projects are not there.
    assert_eq!(server.get("/api/v1/whoami").0, 401);
    assert_eq!(call(&server, ADMIN, "POST", "/api/v1/projects", json!({ "name": "other" })).0, 201);
    let path = "/projects/other/api/2.0/mlflow/experiments/get?experiment_id=0";
    assert_eq!(call(&server, ann, "GET", path, json!({})).0, 404);
}

#[test]
fn passwords_that_mlflow_hashed_let_their_users_in() {
    // python3 -c 'import hashlib; print(hashlib.scrypt(b"password1234", salt=b"salt", n=32768, r=8, p=1, maxmem=1<<26).hex())'
    let scrypt = python_says(
        "import hashlib; print(hashlib.scrypt(b'password1234', salt=b'salt', n=32768, r=8, p=1, maxmem=1<<26).hex())",
    );
    let pbkdf2 = python_says(
        "import hashlib; print(hashlib.pbkdf2_hmac('sha256', b'password1234', b'salt', 600000).hex())",
    );
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start_on(on, BASIC_AUTH);
        for (name, kept) in [
            ("ann", format!("scrypt:32768:8:1$salt${scrypt}")),
            ("bob", format!("pbkdf2:sha256:600000$salt${pbkdf2}")),
        ] {
            make_user(&server, (name, "to be replaced"));
            server.sql(&format!("UPDATE accounts SET password = '{kept}' WHERE user_name = '{name}'"));
            let current = "/api/2.0/mlflow/users/current";
            let (status, told) = call(&server, (name, "password1234"), "GET", current, json!({}));
            assert_eq!((status, &told["user"]["username"]), (200, &json!(name)), "{on:?}");
            assert_eq!(call(&server, (name, "password1235"), "GET", current, json!({})).0, 401);
        }
    }
}

fn python_says(script: &str) -> String {
    let said = Command::new(python()).args(["-c", script]).output().unwrap();
    text(&said.stdout).trim().to_owned()
}

#[test]
fn no_password_is_told_or_kept_as_it_is() {
    let server = Server::start_on(On::Sqlite, BASIC_AUTH);
    make_user(&server, ("ann", "a-password-to-look-for"));
    let (_, events) = call(&server, ADMIN, "GET", "/api/v1/ledger/events", json!({}));
    let events = events.to_string();
    assert!(events.contains("user.created"), "{events}");
    assert!(!events.contains("a-password-to-look-for") && !events.contains("argon2"), "{events}");
    let stopped = server.stop();
    common::sqlite(&stopped.data_dir, "PRAGMA wal_checkpoint(TRUNCATE)");
    let bytes = std::fs::read(stopped.data_dir.join("trueline.db")).unwrap();
    assert!(!bytes.windows(22).any(|w| w == b"a-password-to-look-for"));
}

#[test]
fn a_form_makes_users_only_with_the_secret_that_it_was_given() {
    let server = Server::start_on(On::Sqlite, BASIC_AUTH);
    let admin = basic(ADMIN);
    let (status, page, headers) =
        server.call_with_headers("GET", "/signup", None, &[("authorization", &admin)]);
    assert_eq!(status, 200);
    let cookie = headers["set-cookie"].split(';').next().unwrap().to_owned();
    let secret = cookie.split_once('=').unwrap().1.to_owned();
    assert!(text(&page).contains(&secret));
    let send = |form: String, cookie: &str| {
        let kind = "application/x-www-form-urlencoded";
        let headers = [("authorization", admin.as_str()), ("content-type", kind), ("cookie", cookie)];
        let path = "/api/2.0/mlflow/users/create-ui";
        let (status, bytes) = server.call_bytes("POST", path, Some(form.into_bytes()), &headers);
        (status, text(&bytes))
    };
    let form = |secret: &str| format!("username=ann&password=of+ann&csrf_token={secret}");
    assert_eq!(send("username=ann&password=x".to_owned(), &cookie).1, "The CSRF token is missing.");
    assert_eq!(send(form("made-up"), &cookie).0, 400);
    assert_eq!(send(form(&secret), "").0, 400);
    let (status, told) = send(form(&secret), &cookie);
    assert!(status == 200 && told.contains("Successfully signed up user: ann"), "{told}");
    assert_eq!(call(&server, ("ann", "of ann"), "GET", "/api/2.0/mlflow/users/current", json!({})).0, 200);
}

#[test]
fn without_the_flag_there_are_no_such_calls_and_no_workspaces() {
    let server = Server::start(On::Sqlite);
    assert_eq!(server.get("/api/2.0/mlflow/users/current").0, 404);
    assert_eq!(server.get("/signup").0, 404);
    let (status, told) = server.get("/api/3.0/mlflow/workspaces");
    assert_eq!(status, 503);
    assert!(told.as_str().unwrap().contains("--enable-workspaces"), "{told}");
    assert_eq!(server.get("/api/3.0/mlflow/server-info").1["workspaces_enabled"], false);
    let header = [("x-mlflow-workspace", "other")];
    let (status, told) = server.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", None, &header);
    assert_eq!((status, &told["error_code"]), (500, &json!("FEATURE_DISABLED")));
}

#[test]
fn a_workspace_is_a_project_that_a_header_chooses() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start_on(on, WORKSPACES);
        let info = call(&server, ADMIN, "GET", "/api/3.0/mlflow/server-info", json!({})).1;
        assert_eq!(info["workspaces_enabled"], true);
        let path = "/api/3.0/mlflow/workspaces";
        let made =
            call(&server, ADMIN, "POST", path, json!({ "name": "team-a", "description": "the first" }));
        let expected = json!({ "workspace": { "name": "team-a", "description": "the first" } });
        assert_eq!(made, (201, expected), "{on:?}");
        assert_eq!(call(&server, ADMIN, "POST", path, json!({ "name": "Team" })).0, 400);
        assert_eq!(
            call(&server, ADMIN, "POST", path, json!({ "name": "team-a" })).1["error_code"],
            "RESOURCE_ALREADY_EXISTS"
        );
        let (ann, bob) = (("ann", "of ann"), ("bob", "of bob"));
        make_user(&server, ann);
        make_user(&server, bob);
        let (_, roles) =
            call(&server, ADMIN, "GET", "/api/3.0/mlflow/roles/list?workspace=team-a", json!({}));
        let names: Vec<&str> =
            roles["roles"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["admin", "user"]);
        let assign = json!({ "username": "ann", "role_id": roles["roles"][1]["id"] });
        assert_eq!(call(&server, ADMIN, "POST", "/api/3.0/mlflow/roles/assign", assign).0, 200);
        let create = |user, workspace| {
            let path = "/api/2.0/mlflow/experiments/create";
            call_in(&server, user, Some(workspace), "POST", path, json!({ "name": "mine" })).0
        };
        assert_eq!(create(ann, "team-a"), 200, "a member makes things");
        assert_eq!((create(ann, "default"), create(bob, "team-a")), (403, 403), "others don't");
        assert_eq!(create(ann, "nowhere"), 404);
        let listed = |user| call(&server, user, "GET", path, json!({})).1["workspaces"].clone();
        assert_eq!(listed(ann), json!([{ "name": "team-a", "description": "the first" }]));
        assert_eq!(listed(bob), json!([]));
        // It is the project of that name for every other face.
        let (_, whole) = call(
            &server,
            ADMIN,
            "POST",
            "/projects/team-a/api/2.0/mlflow/experiments/search",
            json!({ "max_results": 9 }),
        );
        assert_eq!(whole["experiments"][0]["name"], "mine");
        let update = json!({ "description": "the best" });
        let (_, told) = call(&server, ADMIN, "PATCH", &format!("{path}/team-a"), update);
        assert_eq!(told["workspace"]["description"], "the best");
        let (_, told) = call(&server, ADMIN, "DELETE", &format!("{path}/team-a"), json!({}));
        assert_eq!(told["error_code"], "FEATURE_DISABLED");
    }
}

#[test]
fn no_version_is_made_of_files_of_an_experiment_that_is_closed_to_its_maker() {
    let server = Server::start_on(On::Sqlite, BASIC_AUTH);
    let (ann, bea) = (("ann", "password of ann"), ("bea", "password of bea"));
    make_user(&server, ann);
    make_user(&server, bea);
    let made = call(&server, ann, "POST", "/api/2.0/mlflow/experiments/create", json!({ "name": "anns" }));
    let id = made.1["experiment_id"].as_str().unwrap().to_owned();
    let put = format!("/api/2.0/mlflow-artifacts/artifacts/{id}/secret/MLmodel");
    assert_eq!(call(&server, ann, "PUT", &put, json!("of ann")).0, 200);
    let model = json!({ "name": "of-bea" });
    assert_eq!(call(&server, bea, "POST", "/api/2.0/mlflow/registered-models/create", model).0, 200);
    let register = |user| {
        let body = json!({ "name": "of-bea", "source": format!("mlflow-artifacts:/{id}/secret") });
        call(&server, user, "POST", "/api/2.0/mlflow/model-versions/create", body).0
    };
    let permission = |word: &str| {
        let body = json!({ "username": "bea", "resource_type": "experiment", "resource_id": id, "permission": word });
        let granted = call(&server, ADMIN, "POST", "/api/3.0/mlflow/users/permissions/grant", body.clone());
        assert_eq!(granted.0, 200, "{}", granted.1);
        body
    };
    let denied = permission("DENY");
    assert_eq!(register(bea), 403);
    assert_eq!(call(&server, ADMIN, "POST", "/api/3.0/mlflow/users/permissions/revoke", denied).0, 200);
    permission("READ");
    assert_eq!(register(bea), 200);
}

//! Users with tokens, through the public door.

use super::{Server, text};
use serde_json::{Value, json};

/// Makes an admin with a token, while nobody else is a user.
pub fn admin_of(server: &Server) -> String {
    let made = server.cli(&["user", "add", "ada", "--role", "admin", "--json"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let first: Value = serde_json::from_slice(&made.stdout).expect("it is there");
    first["token"].as_str().expect("the first user's token").to_owned()
}

pub fn token_of(server: &Server, user: &str, admin: Option<&str>) -> String {
    let header = admin.map(|t| format!("Bearer {t}"));
    let headers: Vec<(&str, &str)> = header.iter().map(|h| ("authorization", h.as_str())).collect();
    let path = format!("/api/v1/users/{user}/tokens");
    let (status, made) = server.call("POST", &path, Some(b"{}".to_vec()), &headers);
    assert_eq!(status, 201, "{made}");
    made["token"].as_str().expect("it is there").to_owned()
}

pub fn as_user(server: &Server, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let body = (method != "GET").then(|| body.to_string().into_bytes());
    server.call(method, path, body, &[("authorization", &bearer)])
}

/// Makes a user with one role in one project, and a token for it.
pub fn user_of(server: &Server, admin: &str, name: &str, role: &str, project: &str) -> String {
    let body = json!({ "name": name, "roles": [{ "role": role, "project": project }] });
    let (status, made) = as_user(server, admin, "POST", "/api/v1/users", body);
    assert_eq!(status, 201, "{made}");
    token_of(server, name, Some(admin))
}

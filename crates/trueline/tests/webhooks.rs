//! Webhooks through the public door: the unmodified client makes them, a receiver outside is told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, python, sqlite, text, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const HERE: &[(&str, &str)] =
    &[("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https"), ("_MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")];

/// Answers every request with 200 and passes on its delivery id and body.
fn receiver(listener: TcpListener) -> Receiver<(String, Value)> {
    let (send, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let (mut id, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap_or_default();
                match name.to_lowercase().as_str() {
                    "x-mlflow-delivery-id" => id = value.trim().to_owned(),
                    "content-length" => length = value.trim().parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            if stream.write_all(answer).is_err()
                || send.send((id, serde_json::from_slice(&body).unwrap())).is_err()
            {
                return;
            }
        }
    });
    told
}

fn hook(server: &Server, url: &str, secret: &str) -> String {
    let events = json!([{ "entity": "REGISTERED_MODEL", "action": "CREATED" }]);
    let body = json!({ "name": "hook", "url": url, "events": events, "secret": secret });
    let made = server.ok("/api/2.0/mlflow/webhooks", body);
    made["webhook"]["webhook_id"].as_str().unwrap().to_owned()
}

fn make_model(server: &Server, name: &str) {
    server.ok("/api/2.0/mlflow/registered-models/create", json!({ "name": name }));
}

fn client_script(on: On) {
    let server = Server::start_on(on, HERE);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests");
    let done = Command::new(python())
        .arg(folder.join("mlflow_webhooks.py"))
        .arg(&server.url)
        .current_dir(&folder)
        .output()
        .expect("Python runs");
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
}

#[test]
fn the_unmodified_client_and_a_receiver_agree_on_sqlite() {
    client_script(On::Sqlite);
}

#[test]
fn the_unmodified_client_and_a_receiver_agree_on_postgres() {
    client_script(On::Postgres);
}

#[test]
fn what_happened_before_a_crash_is_told_after_it_once_and_its_attempts_are_kept() {
    for on in [On::Sqlite, On::Postgres] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody answers there until the server has been killed.
        drop(listener);
        let server = Server::start_on(on, HERE);
        let id = hook(&server, &format!("http://{address}/x"), "s");
        make_model(&server, "told-late");
        let deliveries = format!("/api/v1/webhooks/{id}/deliveries");
        let attempts = |server: &Server| server.get(&deliveries).1["deliveries"][0]["attempts"].clone();
        wait_until("an attempt fails", || attempts(&server)[0]["error"].is_string());
        server.kill();
        let told = receiver(TcpListener::bind(address).unwrap());
        let server = server.kill_and_restart();
        let (delivery, body) = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(body["data"]["name"], "told-late", "{on:?}");
        wait_until("the last attempt is noted", || {
            attempts(&server).as_array().and_then(|a| a.last()).is_some_and(|a| a["status"] == 200)
        });
        assert_eq!(server.get(&deliveries).1["deliveries"][0]["id"], delivery.as_str());
        make_model(&server, "told-next");
        let (_, body) = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(body["data"]["name"], "told-next", "nothing is told twice");
    }
}

#[test]
fn an_event_that_is_shown_again_is_not_told_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let told = receiver(listener);
    let server = Server::start_on(On::Sqlite, HERE);
    let id = hook(&server, &format!("http://{address}/x"), "s");
    make_model(&server, "once");
    told.recv_timeout(Duration::from_secs(30)).unwrap();
    // As if the reactor had died before it noted down how far it was.
    server.sql("DELETE FROM ledger_cursors WHERE name = 'webhooks'");
    make_model(&server, "twice");
    let (_, body) = told.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(body["data"]["name"], "twice");
    let deliveries = server.get(&format!("/api/v1/webhooks/{id}/deliveries")).1;
    assert_eq!(deliveries["deliveries"].as_array().unwrap().len(), 2, "{deliveries}");
}

#[test]
fn a_secret_is_nowhere_to_be_read() {
    let server = Server::start_on(On::Sqlite, HERE);
    let id = hook(&server, "http://127.0.0.1:9/hooks/token-in-the-path", "the-very-secret");
    let (_, told) = server.get(&format!("/api/2.0/mlflow/webhooks/{id}"));
    assert!(told["webhook"]["url"].is_string() && !told.to_string().contains("the-very-secret"), "{told}");
    let (_, events) = server.get("/api/v1/ledger/events");
    let events = events.to_string();
    assert!(events.contains("webhook.created"), "{events}");
    assert!(!events.contains("the-very-secret") && !events.contains("token-in-the-path"), "{events}");
    let stopped = server.stop();
    // Out of the write-ahead log into the file.
    sqlite(&stopped.data_dir, "PRAGMA wal_checkpoint(TRUNCATE)");
    for file in ["trueline.db", "secrets.key"] {
        let bytes = std::fs::read(stopped.data_dir.join(file)).unwrap();
        let found = bytes.windows(15).any(|w| w == b"the-very-secret");
        assert!(!found, "{file} holds the secret");
    }
}

#[test]
fn by_itself_a_server_tells_public_https_addresses_alone() {
    let server = Server::start(On::Sqlite);
    let refused = |url: &str| {
        let events = json!([{ "entity": "REGISTERED_MODEL", "action": "CREATED" }]);
        let body = json!({ "name": "hook", "url": url, "events": events });
        let (status, answer) = server.post("/api/2.0/mlflow/webhooks", body);
        assert_eq!(
            (status, &answer["error_code"]),
            (400, &json!("INVALID_PARAMETER_VALUE")),
            "{url}: {answer}"
        );
        answer["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        refused("http://example.com/x"),
        "Invalid webhook URL scheme: 'http'. Allowed schemes are: https."
    );
    for url in [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://0x7f.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://169.254.169.254/latest/meta-data",
    ] {
        assert!(refused(url).contains("must not resolve to a non-public IP address"), "{url}");
    }
}

#[test]
fn a_webhook_that_was_made_under_looser_rules_is_not_told_under_stricter_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let told = receiver(listener);
    let server = Server::start_on(On::Sqlite, HERE);
    let id = hook(&server, &format!("http://localhost:{}/x", address.port()), "s");
    let server = server.kill_and_restart_with(&[("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")]);
    make_model(&server, "m");
    let deliveries = format!("/api/v1/webhooks/{id}/deliveries");
    let error = || server.get(&deliveries).1["deliveries"][0]["attempts"][0]["error"].clone();
    wait_until("the attempt is refused", || {
        error().as_str().is_some_and(|e| e.contains("no webhook may have"))
    });
    let (_, trial) = server.post(&format!("/api/2.0/mlflow/webhooks/{id}/test"), json!({}));
    assert_eq!(trial["result"]["success"], false, "{trial}");
    assert!(told.try_recv().is_err(), "nothing arrived");
}

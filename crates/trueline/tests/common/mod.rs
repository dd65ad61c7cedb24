//! A real server for a test: the built binary on a free loopback port and a data directory of its own, on SQLite or on
//! a fresh PostgreSQL database.

#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod container;
pub mod models;
pub mod proxy;
pub mod rollouts;
pub mod users;
pub mod watch;

use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_trueline");

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Sqlite,
    Postgres,
}

pub struct Server {
    child: Child,
    pub url: String,
    pub data_dir: PathBuf,
    database: Option<String>,
    variables: Vec<(String, String)>,
    _folder: Option<tempfile::TempDir>,
}

/// A fresh database on the server that `cargo xtask test` has started.
pub fn fresh_database() -> String {
    let base = std::env::var("TRUELINE_TEST_POSTGRES")
        .expect("TRUELINE_TEST_POSTGRES is not set: run the tests with `cargo xtask test`");
    static MADE: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let mut client = postgres::Client::connect(&base, postgres::NoTls).expect("PostgreSQL answers");
    for statement in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        client.batch_execute(&statement).expect("a fresh database");
    }
    let (server, _) = base.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}")
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl Server {
    pub fn start(on: On) -> Self {
        Self::start_on(on, &[])
    }

    /// With variables of the environment, which it keeps over a restart.
    pub fn start_on(on: On, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = (on == On::Postgres).then(fresh_database);
        let mut server = Self::launch(&folder.path().join("data"), database, variables, &[]);
        server._folder = Some(folder);
        server
    }

    /// On the embedded database, with variables of the environment.
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        Self::start_on(On::Sqlite, variables)
    }

    /// On the embedded database, with more flags.
    pub fn start_with_flags(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self::launch(&folder.path().join("data"), None, &[], flags);
        server._folder = Some(folder);
        server
    }

    pub fn start_in(data_dir: &Path, database: Option<String>) -> Self {
        Self::launch(data_dir, database, &[], &[])
    }

    /// On a data directory, with variables of the environment.
    pub fn start_in_with(data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        Self::launch(data_dir, None, variables, &[])
    }

    fn launch(data_dir: &Path, database: Option<String>, variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.envs(variables.iter().copied());
        command.args(["server", "--port", "0", "--log", "json", "--data-dir"]).arg(data_dir).args(flags);
        if let Some(url) = &database {
            command.args(["--database", url]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log"));
        let url = loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("a log line");
            assert!(read > 0, "the server ended before it listened");
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = event["address"].as_str() {
                break format!("http://{address}");
            }
        };
        // Somebody must read the log, or the server stops when the pipe is full.
        std::thread::spawn(move || for _ in lines.lines() {});
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { child, url, data_dir: data_dir.to_owned(), database, variables, _folder: None }
    }

    /// Ends the server without a warning, while others still talk to it.
    pub fn kill(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success());
    }

    /// Ends the server without a warning, unless it has ended, and starts it again on the same data.
    pub fn kill_and_restart(self) -> Self {
        let variables = self.variables.clone();
        self.kill_and_restart_with(&borrowed(&variables))
    }

    /// The same with other variables of the environment.
    pub fn kill_and_restart_with(mut self, variables: &[(&str, &str)]) -> Self {
        drop(self.child.kill());
        self.child.wait().expect("it ended");
        let mut again = Self::launch(&self.data_dir, self.database.clone(), variables, &[]);
        again._folder = self._folder.take();
        again
    }

    /// Another server on the same PostgreSQL database, with the same files of models, the same variables and a log of its own.
    pub fn beside(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        copy_tree(&self.data_dir, &data_dir);
        for own in ["predictions", "pipelines"] {
            drop(std::fs::remove_dir_all(data_dir.join(own)));
        }
        let database = self.database.clone().expect("servers share a database on PostgreSQL");
        let mut server = Self::launch(&data_dir, Some(database), &borrowed(&self.variables), &[]);
        server._folder = Some(folder);
        server
    }

    /// Asks the server to stop and waits until it has; the data directory stays for as long as the answer lives.
    pub fn stop(mut self) -> Stopped {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let status = self.child.wait().expect("it ended");
        assert!(status.success(), "the server stopped with {status}");
        Stopped { data_dir: self.data_dir.clone(), _folder: self._folder.take() }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None, &[])
    }

    pub fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body.to_string().into_bytes()), &[])
    }

    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let (status, bytes) = self.call_bytes(method, path, body, headers);
        let text = String::from_utf8_lossy(&bytes);
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(text.into_owned()));
        (status, value)
    }

    pub fn call_bytes(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> (u16, Vec<u8>) {
        let (status, bytes, _) = self.call_with_headers(method, path, body, headers);
        (status, bytes)
    }

    /// A call to a server that may end before it answers.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.post(format!("{}{path}", self.url)).send_json(body).ok()?;
        let value = answer.body_mut().read_json().ok()?;
        Some((answer.status().as_u16(), value))
    }

    /// Status, body and headers of an answer.
    pub fn call_with_headers(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> (u16, Vec<u8>, HashMap<String, String>) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if body.is_some() && !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.unwrap_or_default()).expect("a request");
        let request = agent.configure_request(request).allow_non_standard_methods(true).build();
        let mut answer = agent.run(request).expect("an answer");
        let status = answer.status().as_u16();
        let told = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.to_string(), text(value.as_bytes()))
        };
        let told = answer.headers().iter().map(told).collect();
        let bytes = answer.body_mut().with_config().limit(1 << 30).read_to_vec().expect("a body");
        (status, bytes, told)
    }

    /// Changes rows behind the server's back.
    pub fn sql(&self, statement: &str) {
        match &self.database {
            Some(url) => {
                let mut client = postgres::Client::connect(url, postgres::NoTls).expect("PostgreSQL answers");
                client.batch_execute(statement).expect("the statement runs");
            }
            None => sqlite(&self.data_dir, statement),
        }
    }

    /// Whether a statement runs on the database.
    pub fn try_sql(&self, statement: &str) -> bool {
        let url = self.database.as_ref().expect("a PostgreSQL database");
        let mut client = postgres::Client::connect(url, postgres::NoTls).expect("PostgreSQL answers");
        client.batch_execute(statement).is_ok()
    }

    /// A call that must succeed.
    pub fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// The command line, pointed at this server.
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(BINARY).args(args).env("TRUELINE_URL", &self.url).output().expect("the command runs")
    }

    pub fn ledger_key(&self) -> String {
        self.get("/api/v1/ledger").1["key"].as_str().expect("a key").to_owned()
    }

    /// Waits until all events are under the checkpoint.
    pub fn settle(&self) {
        wait_until("all events are under the checkpoint", || {
            let (_, events) = self.get("/api/v1/ledger/events?limit=1");
            let (_, head) = self.get("/api/v1/ledger");
            let newest = events["events"][0]["index"].as_i64();
            newest.is_some_and(|index| head["checkpoint"]["size"].as_i64() == Some(index + 1))
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub struct Stopped {
    pub data_dir: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

/// Changes rows of an SQLite database.
pub fn sqlite(data_dir: &Path, statement: &str) {
    let script = format!(
        "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute(\"\"\"{statement}\"\"\")\nc.commit()\nc.close()"
    );
    let done = Command::new(python()).arg("-c").arg(script).arg(data_dir.join("trueline.db")).output();
    let done = done.expect("Python runs");
    assert!(done.status.success(), "{}", text(&done.stderr));
}

/// `trueline ledger verify` of a data directory.
pub fn verify(data_dir: &Path, key: &str, more: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["ledger", "verify", "--key", key, "--data-dir"]).arg(data_dir);
    command.args(more).output().expect("the command runs")
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("a name")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Waits for a condition, not for a time.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The interpreter of the tests' Python environment.
pub fn python() -> String {
    std::env::var("TRUELINE_PYTHON")
        .expect("TRUELINE_PYTHON is not set: run the tests with `cargo xtask test`")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

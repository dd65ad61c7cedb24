//! A whole server in this process, on a free port, with its data in memory where the machine can.

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trueline_bench::http::{Answer, Connection};

/// An answer that takes longer is a finding.
const PATIENCE: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(60);

/// The server, and a connection to it.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    connection: Option<Connection>,
    token: Option<String>,
    /// Goes when the process does.
    _data: TempDir,
}

impl Server {
    pub(crate) fn start() -> Result<Self, String> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let data = tempfile::Builder::new().prefix("trueline-fuzz").tempdir_in(parent).map_err(told)?;
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).map_err(told)?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let arguments = [
            "trueline".into(),
            "server".into(),
            "--port".into(),
            port.to_string().into(),
            "--data-dir".into(),
            data.path().join("data").into_os_string(),
        ];
        let main = move || {
            let _ = trueline::run_with(arguments);
        };
        std::thread::Builder::new().name("server".to_owned()).spawn(main).map_err(told)?;
        let mut server = Self { address, connection: None, token: None, _data: data };
        let until = Instant::now() + START;
        while !matches!(server.send("GET", "/ready", b""), Ok(answer) if answer.status == 200) {
            if Instant::now() > until {
                return Err("it is not ready after a minute".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server.sign_in()?;
        Ok(server)
    }

    /// Users that are made meanwhile must not shut this one out.
    fn sign_in(&mut self) -> Result<(), String> {
        let admin = format!("admin-{}", self.address.port());
        let new = json!({ "name": admin, "roles": [{ "role": "admin" }] });
        let made = self.json("POST", "/api/v1/users", &new)?;
        self.token = Some(made["token"].as_str().ok_or_else(|| format!("no token: {made}"))?.to_owned());
        self.connection = None;
        Ok(())
    }

    /// A request of which is known that it goes well.
    pub(crate) fn json(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self.send(method, path, body.to_string().as_bytes())?;
        let text = String::from_utf8_lossy(&answer.body);
        match answer.status {
            200..300 => serde_json::from_str(&text).map_err(|e| format!("{path}: {e}: {text}")),
            status => Err(format!("{method} {path}: {status} {text}")),
        }
    }

    /// Sends a body and waits for the answer.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer, String> {
        let authorization = match &self.token {
            Some(token) => format!("authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             {authorization}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address, PATIENCE).map_err(told)?,
        };
        let answer = connection.ask(&request).map_err(told)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

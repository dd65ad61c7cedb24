//! Calls to a server's REST API.

use super::Connection;
use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use std::time::Duration;

/// How often a task is asked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The largest answer that is read into memory: a page of events with large payloads.
const LARGEST_ANSWER: u64 = 1 << 30;

/// For how long a connection without a request is kept: less than a server keeps it.
const KEPT_IDLE: Duration = Duration::from_secs(5);
/// How long one of many requests may take.
const LONGEST_OF_MANY: Duration = Duration::from_secs(60);

/// An answer, whatever its status.
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The header that was asked for.
    pub(crate) header: Option<String>,
    pub(crate) body: String,
}

/// A server to talk to.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self::of(connection, ureq::Agent::config_builder().http_status_as_error(false).build())
    }

    /// For many threads at once, each of which finds a connection that is kept.
    pub(crate) fn with_connections(connection: &Connection, count: usize) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(count)
            .max_idle_connections_per_host(count)
            .max_idle_age(KEPT_IDLE)
            .timeout_global(Some(LONGEST_OF_MANY));
        Self::of(connection, config.build())
    }

    fn of(connection: &Connection, config: ureq::config::Config) -> Self {
        let url = connection.url.trim_end_matches('/');
        let base = format!("{url}/projects/{}", connection.project);
        Self { agent: config.into(), base, token: connection.token.clone() }
    }

    /// The address that an MLflow client is pointed at.
    pub(crate) fn tracking_uri(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.get_text(path)?).unwrap_or(Value::Null))
    }

    /// What may be missing.
    pub(crate) fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let answer = self.asked(path);
        if answer.as_ref().is_ok_and(|a| a.status() == ureq::http::StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        read(answer, &self.base).map(Some)
    }

    /// The body of an answer as it came.
    pub(crate) fn get_text(&self, path: &str) -> anyhow::Result<String> {
        text(self.asked(path), &self.base)
    }

    fn asked(&self, path: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")).call(),
            None => request.call(),
        }
    }

    /// The bytes of an answer.
    pub(crate) fn get_bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().map_err(|e| unreachable_server(&self.base, &e))?;
        let status = answer.status();
        let bytes = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let bytes = bytes.context("the answer broke off")?;
        if !status.is_success() {
            bail!("the server answered {status}");
        }
        Ok(bytes)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send_bytes(method, path, "application/json", body.to_string().into_bytes())
    }

    /// Sends JSON; answers status and body as they came, and the header `wanted`.
    pub(crate) fn post(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: String,
        wanted: &str,
    ) -> anyhow::Result<Answered> {
        let mut request =
            self.agent.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut answer = request.send(body)?;
        let header = answer.headers().get(wanted).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let text = answer.body_mut().read_to_string().context("the answer broke off")?;
        Ok(Answered { status: answer.status().as_u16(), header, body: text })
    }

    /// Sends a file without reading it into memory.
    pub(crate) fn send_file(&self, path: &str, file: std::fs::File) -> anyhow::Result<Value> {
        let mut request = self.agent.put(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(request.header("content-type", "application/octet-stream").send(file), &self.base)
    }

    /// Fetches bytes into `to`.
    pub(crate) fn fetch(&self, path: &str, to: &mut impl std::io::Write) -> anyhow::Result<()> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.call();
        if !answer.as_ref().is_ok_and(|a| a.status().is_success()) {
            return read(answer, &self.base).map(drop);
        }
        std::io::copy(&mut answer?.body_mut().as_reader(), to).context("the answer broke off")?;
        Ok(())
    }

    /// Waits for a task that an answer named; answers its result.
    pub(crate) fn follow(&self, accepted: &Value) -> anyhow::Result<Value> {
        let path = accepted["follow"].as_str().context("the server named no task to follow")?;
        loop {
            let task = self.get(path)?;
            match task["state"].as_str() {
                Some("done") => return Ok(task["result"].clone()),
                Some("failed") => bail!("{}", task["result"]["error"].as_str().unwrap_or("the task failed")),
                _ => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    pub(crate) fn send_bytes(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Value> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", kind);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body)?;
        let agent = self.agent.configure_request(request).allow_non_standard_methods(true).build();
        read(self.agent.run(agent), &self.base)
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, base: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&text(answer, base)?).unwrap_or(Value::Null))
}

fn text(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, base: &str) -> anyhow::Result<String> {
    let mut answer = answer.map_err(|e| unreachable_server(base, &e))?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(LARGEST_ANSWER)
        .read_to_string()
        .context("the answer broke off")?;
    if answer.status().is_success() {
        return Ok(text);
    }
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let told = value["detail"].as_str().or_else(|| value["message"].as_str());
    match told {
        Some(told) => bail!("{told}"),
        None => bail!("the server answered {}: {}", answer.status(), text.trim()),
    }
}

fn unreachable_server(base: &str, error: &ureq::Error) -> anyhow::Error {
    anyhow!("no server answers at {base} ({error}): start one with `trueline server`, or set --url")
}

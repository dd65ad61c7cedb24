//! The server's HTTP interface as its clients see it. An answer counts when it has come whole.

use serde_json::{Value as Json, json};
use std::time::Duration;

/// A request that brought no good answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection broke; whether the request was carried out is not known.
    Broken(String),
    /// The server refused.
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Refused { status, said } => write!(f, "answered {status}: {said}"),
        }
    }
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A client with connections of its own.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    agent: ureq::Agent,
    base: String,
}

type Answer = Result<Json, Failure>;

/// Larger than any answer of these tests.
const LARGEST: u64 = 1 << 30;

impl Api {
    pub(crate) fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(60)));
        Self { agent: config.build().new_agent(), base: format!("http://127.0.0.1:{port}") }
    }

    pub(crate) fn is_ready(&self) -> bool {
        let asked = self.agent.get(format!("{}/ready", self.base)).call();
        asked.is_ok_and(|answer| answer.status() == 200)
    }

    /// The ledger's public key and its newest checkpoint, a signed note.
    pub(crate) fn ledger(&self) -> Result<(String, Option<String>), Failure> {
        let head = self.get("/api/v1/ledger", &[])?;
        let note = head["checkpoint"]["note"].as_str().map(ToOwned::to_owned);
        Ok((text(&head["key"]), note))
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.base)).query_pairs(query.iter().copied());
        parsed(&whole(request.call()?)?)
    }

    /// A call of MLflow's.
    pub(crate) fn mlflow(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.get(&format!("/api/2.0/mlflow/{path}"), query)
    }

    pub(crate) fn send(&self, path: &str, body: &Json) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.base));
        parsed(&whole(request.send_json(body)?)?)
    }

    /// A call of MLflow's that changes something.
    pub(crate) fn post(&self, path: &str, body: &Json) -> Answer {
        self.send(&format!("/api/2.0/mlflow/{path}"), body)
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let request = self.agent.put(format!("{}{path}", self.base));
        whole(request.send(bytes)?).map(drop)
    }

    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        whole(self.agent.get(format!("{}{path}", self.base)).call()?)
    }

    pub(crate) fn put_artifact(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.put(&artifact(path), bytes)
    }

    pub(crate) fn artifact_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.bytes(&artifact(path))
    }

    /// All runs of an experiment, with their data.
    pub(crate) fn runs(&self, experiment: &str) -> Result<Vec<Json>, Failure> {
        let mut out = Vec::new();
        let mut ask = json!({ "experiment_ids": [experiment], "max_results": 1000 });
        loop {
            let page = self.post("runs/search", &ask)?;
            out.extend(page["runs"].as_array().cloned().unwrap_or_default());
            match page.get("next_page_token").and_then(Json::as_str) {
                Some(token) => ask["page_token"] = token.into(),
                None => return Ok(out),
            }
        }
    }
}

fn artifact(path: &str) -> String {
    format!("/api/2.0/mlflow-artifacts/artifacts/{path}")
}

fn whole(mut answer: ureq::http::Response<ureq::Body>) -> Result<Vec<u8>, Failure> {
    let status = answer.status().as_u16();
    let bytes = answer.body_mut().with_config().limit(LARGEST).read_to_vec()?;
    if (200..300).contains(&status) {
        return Ok(bytes);
    }
    Err(Failure::Refused { status, said: String::from_utf8_lossy(&bytes).into_owned() })
}

fn parsed(bytes: &[u8]) -> Answer {
    serde_json::from_slice(bytes).map_err(|e| Failure::Refused { status: 200, said: format!("no JSON: {e}") })
}

/// A list of an answer; empty when it is missing.
pub(crate) fn list(value: &Json) -> Vec<Json> {
    value.as_array().cloned().unwrap_or_default()
}

/// A text field of an answer; empty when it is missing, which no comparison takes for the right one.
pub(crate) fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

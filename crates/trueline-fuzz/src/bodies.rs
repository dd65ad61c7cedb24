//! Bodies for a server that has one thing of each kind, so that what is sent can be about something.

use crate::routes::{ROUTES, Route};
use crate::server::Server;
use serde_json::{Value, json};

/// What is sent over the wire as a placeholder, and what it stands for.
type Known = (&'static str, String);

/// A server that bodies are sent to.
#[derive(Debug)]
pub struct Bodies {
    server: Server,
    known: Vec<Known>,
}

/// What must not be: an answer of 5xx, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The method and the path.
    pub to: String,
    /// The body as it was sent.
    pub body: String,
    /// What came.
    pub answer: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n-> {}", self.to, self.body, self.answer)
    }
}

/// The place that an input's first byte chooses.
fn route(byte: u8) -> Route {
    ROUTES[usize::from(byte) % ROUTES.len()]
}

/// An input that sends `body` to a place of [`ROUTES`].
pub(crate) fn input(place: usize, body: &str) -> Vec<u8> {
    let mut out = vec![u8::try_from(place).unwrap_or(0)];
    out.extend_from_slice(body.as_bytes());
    out
}

impl Bodies {
    /// Starts a server and makes one thing of each kind.
    ///
    /// # Errors
    /// What went wrong.
    pub fn start() -> Result<Self, String> {
        let mut server = Server::start()?;
        let known = make(&mut server)?;
        Ok(Self { server, known })
    }

    /// Sends an input: the first byte chooses the place, the rest is the body, in which `{run}` and the like stand for what
    /// the server has.
    ///
    /// # Errors
    /// What must not be.
    pub fn send(&mut self, input: &[u8]) -> Result<(), Finding> {
        let Some((first, body)) = input.split_first() else { return Ok(()) };
        let (method, path) = route(*first);
        let path = self.filled(path);
        let body = match std::str::from_utf8(body) {
            Ok(text) => self.filled(text).into_bytes(),
            Err(_) => body.to_vec(),
        };
        let answered = self.server.send(method, &path, &body);
        let finding = |answer: String| Finding {
            to: format!("{method} {path}"),
            body: String::from_utf8_lossy(&body).into_owned(),
            answer,
        };
        match answered {
            Ok(answer) if answer.status < 500 => Ok(()),
            Ok(answer) => {
                Err(finding(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))))
            }
            Err(error) => Err(finding(error)),
        }
    }

    fn filled(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (name, value) in &self.known {
            if out.contains(name) {
                out = out.replace(name, value);
            }
        }
        out
    }
}

fn text(answer: &Value, pointer: &str) -> Result<String, String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.map(ToOwned::to_owned).ok_or_else(|| format!("no {pointer} in {answer}"))
}

/// One thing of each kind.
fn make(server: &mut Server) -> Result<Vec<Known>, String> {
    let mut post = |path: &str, body: Value| server.json("POST", path, &body);
    let experiment =
        text(&post("/api/2.0/mlflow/experiments/create", json!({ "name": "e" }))?, "/experiment_id")?;
    let new = json!({ "experiment_id": experiment, "start_time": 1 });
    let run = text(&post("/api/2.0/mlflow/runs/create", new)?, "/run/info/run_id")?;
    let batch = json!({
        "run_id": run,
        "metrics": [{ "key": "m", "value": 0.5, "timestamp": 1, "step": 0 }],
        "params": [{ "key": "p", "value": "1" }],
        "tags": [{ "key": "t", "value": "x" }],
    });
    post("/api/2.0/mlflow/runs/log-batch", batch)?;
    let new = json!({ "experiment_id": experiment, "name": "lm", "source_run_id": run });
    let logged_model = text(&post("/api/2.0/mlflow/logged-models", new)?, "/model/info/model_id")?;
    post("/api/2.0/mlflow/registered-models/create", json!({ "name": "model" }))?;
    let version = json!({ "name": "model", "source": format!("runs:/{run}/model"), "run_id": run });
    post("/api/2.0/mlflow/model-versions/create", version)?;
    let new = json!({ "trace": { "trace_info": {
        "trace_id": "tr-1", "state": "OK", "request_time": "2026-01-01T00:00:00Z",
        "trace_location": { "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": experiment } },
    } } });
    let trace = text(&post("/api/3.0/mlflow/traces", new)?, "/trace/trace_info/trace_id")?;
    let new = json!({ "assessment": {
        "assessment_name": "good", "source": { "source_type": "HUMAN", "source_id": "me" },
        "feedback": { "value": true },
    } });
    let made = post(&format!("/api/3.0/mlflow/traces/{trace}/assessments"), new)?;
    let assessment = text(&made, "/assessment/assessment_id")?;
    let new = json!({ "name": "ds", "experiment_ids": [experiment] });
    let dataset = text(&post("/api/3.0/mlflow/datasets/create", new)?, "/dataset/dataset_id")?;
    let new = json!({ "experiment_id": experiment, "name": "slow", "description": "answers take long" });
    let issue = text(&post("/api/3.0/mlflow/issues", new)?, "/issue/issue_id")?;
    post("/api/v1/users", json!({ "name": "somebody" }))?;
    let known = [
        ("{experiment}", experiment),
        ("{run}", run),
        ("{logged_model}", logged_model),
        ("{model}", "model".to_owned()),
        ("{trace}", trace),
        ("{assessment}", assessment),
        ("{evaluation_dataset}", dataset),
        ("{issue}", issue),
        // Making one asks for an address that the world can reach.
        ("{webhook}", "w".to_owned()),
        ("{user}", "somebody".to_owned()),
        ("{endpoint}", "e".to_owned()),
    ];
    Ok(known.into())
}

//! The requests that both servers get.

use super::TIMEOUT;
use crate::http::{Connection, post_json, post_json_with};
use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;
use std::net::SocketAddr;

const KEYS: u64 = 10;
const STEPS: u64 = 10;
const START_MS: u64 = 1_760_000_000_000;

/// Requests to one server, which has the runs that they are about.
pub(super) struct Requests {
    experiment: String,
    searched: String,
    runs: Vec<String>,
}

impl Requests {
    /// Makes runs to log to, and as many to search through.
    pub(super) fn prepare(address: SocketAddr, runs: usize, searched: u64) -> anyhow::Result<Self> {
        let mut connection = Connection::open(address, TIMEOUT)?;
        let experiments = ["logged", "searched"].map(|name| {
            let made = call(&mut connection, "experiments/create", &json!({ "name": name }))?;
            made["experiment_id"].as_str().map(ToOwned::to_owned).context("an experiment without an id")
        });
        let [logged, in_search] = experiments;
        let (logged, in_search) = (logged?, in_search?);
        let ids =
            (0..runs as u64).map(|n| run(&mut connection, &logged, n)).collect::<anyhow::Result<_>>()?;
        for n in 0..searched {
            let id = run(&mut connection, &in_search, n)?;
            call(&mut connection, "runs/log-batch", &content(&id, n))?;
        }
        Ok(Self { experiment: logged, searched: in_search, runs: ids })
    }

    /// A hundred points of one run: ten metrics, ten steps.
    pub(super) fn log_batch(&self, n: u64) -> Vec<u8> {
        let run = &self.runs[usize::try_from(n).unwrap_or(0) % self.runs.len()];
        let mut body = String::with_capacity(9_000);
        // Writing to a string can't fail.
        let _ = write!(body, r#"{{"run_id":"{run}","metrics":["#);
        for step in n * STEPS..(n + 1) * STEPS {
            for key in 0..KEYS {
                let comma = if step == n * STEPS && key == 0 { "" } else { "," };
                let (at, value) = (START_MS + step * 50, fraction(step * KEYS + key));
                let _ = write!(
                    body,
                    r#"{comma}{{"key":"metric_{key}","value":{value},"timestamp":{at},"step":{step}}}"#
                );
            }
        }
        body.push_str(r#"],"params":[],"tags":[]}"#);
        post_json("/api/2.0/mlflow/runs/log-batch", &body)
    }

    pub(super) fn create(&self, n: u64) -> Vec<u8> {
        post_json("/api/2.0/mlflow/runs/create", &new_run(&self.experiment, n).to_string())
    }

    /// Fifty runs by a metric and a param, ordered by another metric.
    pub(super) fn search(&self, _: u64) -> Vec<u8> {
        let ask = json!({
            "experiment_ids": [self.searched],
            "filter": "metrics.metric_0 > 0.5 AND params.param_0 = '1'",
            "order_by": ["metrics.metric_1 DESC"],
            "max_results": 50,
        });
        post_json("/api/2.0/mlflow/runs/search", &ask.to_string())
    }

    /// A trace as OpenTelemetry's exporters send one.
    pub(super) fn trace(&self, n: u64) -> Vec<u8> {
        let spans: Vec<Json> = (0..SPANS).map(|i| span(n, i)).collect();
        let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
        post_json_with("/v1/traces", &[("x-mlflow-experiment-id", &self.experiment)], &body.to_string())
    }
}

const SPANS: u64 = 10;

/// Span `i` of trace `n`: a chain of calls, each with inputs and tokens.
fn span(n: u64, i: u64) -> Json {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let (id, start) = (|i: u64| format!("{:016x}", i + 1), (START_MS + n) * 1_000_000 + i * 1000);
    json!({
        "traceId": format!("{:016x}{:016x}", START_MS, n + 1),
        "spanId": id(i),
        "parentSpanId": i.checked_sub(1).map(id),
        "name": format!("step {i}"),
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 500_000_000).to_string(),
        "status": { "code": 1 },
        "attributes": [
            text("mlflow.spanType", "LLM"),
            text("mlflow.spanInputs", "Why is the sky blue, and not green? Answer in two sentences, please."),
            text("mlflow.chat.tokenUsage", r#"{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}"#),
        ],
    })
}

/// A fraction that looks like chance and is the same for the same number.
pub(super) fn fraction(n: u64) -> f64 {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    #[allow(clippy::cast_precision_loss)]
    let fraction = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

/// What a client sends to begin a run.
pub(super) fn new_run(experiment: &str, n: u64) -> Json {
    json!({
        "experiment_id": experiment,
        "user_id": "bench",
        "start_time": START_MS + n,
        "run_name": format!("run-{n}"),
        "tags": [
            { "key": "mlflow.user", "value": "bench" },
            { "key": "mlflow.source.name", "value": "train.py" },
            { "key": "mlflow.source.type", "value": "LOCAL" },
        ],
    })
}

/// Five metrics and five params of a run.
pub(super) fn content(run: &str, n: u64) -> Json {
    let metric = |i: u64| json!({ "key": format!("metric_{i}"), "value": fraction(n * 5 + i), "timestamp": START_MS + n, "step": 0 });
    let param = |i: u64| json!({ "key": format!("param_{i}"), "value": (n / (i + 1) % 4).to_string() });
    json!({
        "run_id": run,
        "metrics": (0..5).map(metric).collect::<Vec<_>>(),
        "params": (0..5).map(param).collect::<Vec<_>>(),
        "tags": [],
    })
}

/// Makes a run.
pub(super) fn run(connection: &mut Connection, experiment: &str, n: u64) -> anyhow::Result<String> {
    let made = call(connection, "runs/create", &new_run(experiment, n))?;
    made["run"]["info"]["run_id"].as_str().map(ToOwned::to_owned).context("a run without an id")
}

pub(super) fn call(connection: &mut Connection, path: &str, body: &Json) -> anyhow::Result<Json> {
    let answer = connection.ask(&post_json(&format!("/api/2.0/mlflow/{path}"), &body.to_string()))?;
    ensure!(answer.status == 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body)?)
}

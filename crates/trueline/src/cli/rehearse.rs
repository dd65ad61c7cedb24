//! `trueline rollout rehearse`: the logged traffic of an endpoint is put to a version before anybody gets its answers.

use super::client::Client;
use super::monitor::span;
use super::{Connection, table};
use clap::Args;
use serde_json::{Map, Value, json};

#[derive(Args)]
pub(crate) struct RehearseArgs {
    /// Name of the endpoint whose logged predictions are asked again
    endpoint: String,
    /// The version, such as delays/4 or delays@challenger
    version: String,
    /// Only predictions of the last 30m, 24h or 7d, by their event time
    #[arg(long, value_parser = span, conflicts_with_all = ["from", "to"])]
    last: Option<i64>,
    /// Only predictions from then on, such as 2013-07-01T00:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Only predictions before then
    #[arg(long)]
    to: Option<String>,
    /// At most this many, the newest; 10000 at the most [default: 1000]
    #[arg(long)]
    limit: Option<u64>,
    /// How far two numbers may lie apart and still be the same answer [default: 0.05]
    #[arg(long)]
    tolerance: Option<f64>,
    /// The same as a share of what was answered; both are added [default: 0]
    #[arg(long)]
    tolerance_relative: Option<f64>,
    /// Why, for the ledger
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

impl RehearseArgs {
    fn body(&self) -> Value {
        let said = |fields: &[(&str, Value)]| -> Map<String, Value> {
            let there = fields.iter().filter(|(_, value)| !value.is_null());
            there.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let tolerance =
            said(&[("absolute", json!(self.tolerance)), ("relative", json!(self.tolerance_relative))]);
        Value::Object(said(&[
            ("version", json!(self.version)),
            ("last_seconds", json!(self.last.map(|ms| ms / 1_000))),
            ("from", json!(self.from)),
            ("to", json!(self.to)),
            ("limit", json!(self.limit)),
            ("tolerance", Value::Object(tolerance)),
            ("reason", json!(self.reason)),
        ]))
    }
}

pub(super) fn run(args: &RehearseArgs) -> anyhow::Result<()> {
    let path = format!("/api/v1/endpoints/{}/rehearsals", args.endpoint);
    let done = Client::new(&args.connection).send("POST", &path, &args.body())?;
    match args.connection.json {
        true => table::json(&done),
        false => tell(&done),
    }
    Ok(())
}

fn tell(done: &Value) {
    let numbers = &done["numbers"];
    let cell = |field: &str| table::cell(numbers, field);
    table::line(format!(
        "{} was asked {} of {} logged predictions of {}: {} answered otherwise, {} failed, numbers by {} at the most",
        table::cell(done, "version"),
        cell("asked"),
        cell("read"),
        table::cell(done, "endpoint"),
        cell("differing"),
        cell("failed"),
        cell("largest_difference")
    ));
    if numbers["cut_short"] == true {
        table::note("the time was over before all of them were asked: take fewer with --limit");
    }
    let at = |field: &str| {
        let quantile = |i: usize| numbers[field][i].as_f64().map_or("?".to_owned(), |v| format!("{v:.3}"));
        format!("{} / {} / {} ms", quantile(0), quantile(1), quantile(2))
    };
    table::line(format!(
        "p50 / p95 / p99: {} now, {} when they were answered",
        at("latency_ms"),
        at("latency_then_ms")
    ));
    let worst = |row: &Value| {
        let by = row["by"].as_f64().map_or("in kind".to_owned(), |by| format!("by {by}"));
        vec![table::cell(row, "prediction_id"), by]
    };
    let failure = |row: &Value| vec![table::cell(row, "prediction_id"), table::cell(row, "reason")];
    listed(&["DIFFERS MOST", "HOW"], numbers["worst"].as_array(), worst);
    listed(&["FAILED", "WHY"], numbers["failures"].as_array(), failure);
}

fn listed(heads: &[&str], rows: Option<&Vec<Value>>, row: impl Fn(&Value) -> Vec<String>) {
    let rows: Vec<Vec<String>> = rows.into_iter().flatten().map(row).collect();
    if !rows.is_empty() {
        table::line("");
        table::rows(heads, &rows);
    }
}

//! `trueline trace`: the line of a prediction.

use super::client::Client;
use super::{Connection, table};
use clap::Args;
use serde_json::Value;

#[derive(Args)]
pub(crate) struct TraceArgs {
    /// Id of the prediction, as its answer told
    prediction: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: &TraceArgs) -> anyhow::Result<()> {
    let path = format!("/api/v1/predictions/{}/trace", args.prediction);
    let trace = Client::new(&args.connection).get(&path)?;
    if args.connection.json {
        table::json(&trace);
    } else {
        show(&trace);
    }
    Ok(())
}

fn show(trace: &Value) {
    let prediction = &trace["prediction"];
    heading("prediction", &table::cell(prediction, "id"));
    fact("answered", &format!("{} on {}", prediction["output"], table::cell(prediction, "received_at")));
    fact("event time", &table::cell(prediction, "event_time"));
    fact("inputs", &pairs(&prediction["inputs"]));
    if prediction["features"].as_object().is_some_and(|f| !f.is_empty()) {
        fact("features", &pairs(&prediction["features"]));
    }
    let redacted: Vec<&str> =
        prediction["redacted"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !redacted.is_empty() {
        fact("redacted", &redacted.join(", "));
    }
    if prediction["share"].as_f64().is_some_and(|share| share < 1.0) {
        fact("logged", &format!("{} of such predictions", prediction["share"]));
    }
    fact("timings", &pairs(&prediction["timings"]));
    match trace["labels"].as_array().and_then(|l| l.last()) {
        Some(label) => fact("label", &format!("{} on {}", label["value"], table::cell(label, "received_at"))),
        None => fact("label", "not known yet"),
    }
    route(prediction, &trace["route"]);
    version(prediction, &trace["version"]);
    release(&trace["release"]);
    run_of(&trace["run"]);
    table::line("");
    let row = |e: &Value| {
        let on = format!("{} {}", table::cell(&e["resource"], "kind"), table::cell(&e["resource"], "id"));
        ["index", "at", "actor", "action"].iter().map(|f| table::cell(e, f)).chain([on]).collect()
    };
    let rows: Vec<Vec<String>> =
        trace["events"].as_array().map(|all| all.iter().map(row).collect()).unwrap_or_default();
    table::rows(&["LEDGER", "AT", "WHO", "WHAT", "ON"], &rows);
}

fn route(prediction: &Value, route: &Value) {
    heading("endpoint", &table::cell(prediction, "endpoint"));
    if route.is_null() {
        return fact("route", "no longer known");
    }
    let who = format!("{} by {}", table::cell(route, "changed_at"), table::cell(route, "changed_by"));
    fact("generation", &format!("{}, {} {who}", route["generation"], table::cell(route, "change")));
    if route["reason"].as_str().is_some_and(|r| !r.is_empty()) {
        fact("reason", &table::cell(route, "reason"));
    }
}

fn version(prediction: &Value, version: &Value) {
    heading("version", &table::cell(prediction, "version"));
    if version.is_null() {
        return fact("registered", "no longer known");
    }
    let who =
        format!("{} by {}", table::cell(version, "registered_at"), table::cell(version, "registered_by"));
    fact("registered", &who);
    fact("files", &table::cell(version, "manifest_digest"));
}

fn release(release: &Value) {
    for gate in release["gates"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let what = format!(
            "{}: {}: {}",
            table::cell(gate, "name"),
            table::cell(gate, "state"),
            table::cell(gate, "reason")
        );
        fact("gate", &what);
    }
    for approval in release["approvals"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let who = format!("{} by {}", table::cell(approval, "decision"), table::cell(approval, "approver"));
        fact("approval", &format!("{who} on {}", table::cell(approval, "at")));
    }
}

fn run_of(run: &Value) {
    if run.is_null() {
        return heading("run", "not known");
    }
    heading("run", &format!("{} ({})", table::cell(run, "id"), table::cell(run, "name")));
    fact("experiment", &table::cell(run, "experiment"));
    let who = format!("{} by {}", table::cell(run, "started_at"), table::cell(run, "started_by"));
    fact("started", &who);
    let changes = if run["code"]["uncommitted_changes"] == true { ", with uncommitted changes" } else { "" };
    fact("commit", &format!("{}{changes}", table::cell(&run["code"], "commit")));
    fact("metrics", &pairs(&run["metrics"]));
    for dataset in run["datasets"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let told = format!("{} {}", table::cell(dataset, "name"), table::cell(dataset, "digest"));
        let version = &dataset["dataset_version"];
        fact(
            "dataset",
            &if version.is_null() { told } else { format!("{told}, of {}", data_version(version)) },
        );
    }
}

/// `training@2 (6f0c2a14…)`
fn data_version(version: &Value) -> String {
    let id = table::cell(version, "id");
    format!("{}@{} ({}…)", table::cell(version, "name"), version["number"], id.get(..8).unwrap_or(&id))
}

fn heading(kind: &str, name: &str) {
    table::line(format!("{kind} {name}"));
}

fn fact(name: &str, value: &str) {
    table::line(format!("  {name:<12}{value}"));
}

fn pairs(object: &Value) -> String {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

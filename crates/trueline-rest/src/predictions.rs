//! `/endpoints/{name}/predictions`: what was asked and answered; `/predictions/{id}`: how it came about.

use crate::endpoints::{LARGEST_PAGE, PAGE};
use crate::models::state_json;
use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Caller};
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trueline_flows::{PredictionQuery, Trace, TracedDataset, TracedRun};
use trueline_ledger::EventRow;
use trueline_predictions::{Columns, EVERY, Label, Outputs, PredictionId, Record, Scalar, Stage, Status};
use trueline_registry::Version;
use trueline_serving::{EndpointName, Route};

#[derive(Deserialize)]
pub(crate) struct Limit {
    limit: Option<u32>,
}

pub(crate) async fn of_endpoint(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(Limit { limit }): Query<Limit>,
    Query(wanted): Query<PredictionQuery>,
) -> Result<Json<Value>, Problem> {
    let limit = limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize;
    let name = EndpointName::parse(&name)?;
    let found = app.tracer.predictions(&session.leave()?, &name, &wanted, limit).await?;
    Ok(Json(json!({
        "predictions": found.items.iter().map(record_json).collect::<Vec<_>>(),
        "next_cursor": found.next.map(|c| c.to_string()), "looked_at": found.looked_at,
        "looked_back_to": found.back_to_ms.map(rfc3339), "gave_up": found.gave_up,
    })))
}

pub(crate) async fn trace(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let trace = app.tracer.trace(&session.leave()?, prediction_id(&id)?).await?;
    Ok(Json(trace_json(&trace)))
}

pub(crate) async fn show(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (prediction, labels) = app.tracer.prediction(&session.leave()?, prediction_id(&id)?).await?;
    Ok(Json(json!({ "prediction": record_json(&prediction), "labels": labels_json(&labels) })))
}

fn prediction_id(id: &str) -> Result<PredictionId, Problem> {
    PredictionId::parse(id).ok_or_else(|| {
        Problem::invalid(format!("`{id}` is no prediction id: those have 32 hexadecimal digits"))
    })
}

fn labels_json(labels: &[Label]) -> Vec<Value> {
    labels.iter().map(label_json).collect()
}

fn trace_json(trace: &Trace) -> Value {
    json!({
        "prediction": record_json(&trace.prediction),
        "labels": labels_json(&trace.labels),
        "route": trace.route.as_ref().map(|r| route_json(&trace.prediction.endpoint, r)),
        "version": trace.version.as_ref().map(version_json),
        "release": trace.release.as_ref().map(state_json),
        "run": trace.run.as_ref().map(run_json),
        "events": trace.events.iter().map(event_json).collect::<Vec<_>>(),
    })
}

/// JSON has no word for a float that is not finite; its text says it.
fn float(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn scalar(value: &Scalar) -> Value {
    match value {
        Scalar::Null => Value::Null,
        Scalar::Bool(on) => json!(on),
        Scalar::Int(whole) => json!(whole),
        Scalar::Float(value) => float(*value),
        Scalar::Text(text) => json!(text),
    }
}

fn columns(columns: &Columns) -> Value {
    Value::Object(columns.iter().map(|(name, value)| (name.clone(), scalar(value))).collect())
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Parse => "parse_us",
        Stage::Route => "route_us",
        Stage::Features => "features_us",
        Stage::Check => "check_us",
        Stage::Queue => "queue_us",
        Stage::Runtime => "runtime_us",
        Stage::Total => "total_us",
    }
}

fn record_json(record: &Record) -> Value {
    let output = match &record.outputs {
        Outputs::None => Value::Null,
        Outputs::One(value) => scalar(value),
        Outputs::Many(values) => json!(values.iter().copied().map(float).collect::<Vec<_>>()),
    };
    let error = match &record.status {
        Status::Ok => None,
        Status::Error(why) => Some(why),
    };
    let timings: Map<String, Value> =
        record.timings.iter().map(|(s, us)| (stage(*s).to_owned(), json!(us))).collect();
    json!({
        "id": record.prediction_id.to_string(), "endpoint": record.endpoint, "request_id": record.request_id,
        "version": format!("{}/{}", record.variant.model, record.variant.version), "key": record.key,
        "event_time": rfc3339(record.event_time_ms), "received_at": rfc3339(record.received_at_ms),
        "inputs": columns(&record.inputs), "features": columns(&record.features), "output": output, "error": error,
        "timings": timings, "share": f64::from(record.share) / f64::from(EVERY), "redacted": record.redacted,
        "assignment": record.assignment.as_ref().map(|lot| json!({ "trial": lot.trial, "chance": lot.probability() })),
    })
}

fn label_json(label: &Label) -> Value {
    json!({
        "value": scalar(&label.value), "event_time": rfc3339(label.event_time_ms),
        "received_at": rfc3339(label.received_at_ms), "source": label.source,
    })
}

fn route_json(endpoint: &str, route: &Route) -> Value {
    let share = |v: &trueline_serving::Variant| json!({ "version": v.spec.name(), "weight": v.weight });
    json!({
        "endpoint": endpoint, "generation": route.generation, "change": route.change, "reason": route.reason,
        "changed_by": route.changed_by, "changed_at": rfc3339(route.changed_at_ms),
        "variants": route.variants.iter().map(share).collect::<Vec<_>>(),
    })
}

fn version_json(version: &Version) -> Value {
    json!({
        "version": version.key.to_string(), "manifest_digest": version.manifest_digest, "source": version.source,
        "registered_by": version.created_by, "registered_at": rfc3339(version.created_at_ms),
        "aliases": version.aliases, "run_id": version.run_id,
    })
}

fn run_json(run: &TracedRun) -> Value {
    let data = &run.data;
    let pairs = |list: &[trueline_tracking::KeyValue]| -> Map<String, Value> {
        list.iter().map(|p| (p.key.clone(), json!(p.value))).collect()
    };
    let metrics: Map<String, Value> =
        data.metrics.iter().map(|m| (m.key.clone(), float(m.point.value))).collect();
    let version = |v: &TracedDataset| json!({ "name": v.name, "number": v.number, "id": v.id });
    let dataset = |(d, v): (&trueline_tracking::DatasetInput, &Option<TracedDataset>)| {
        json!({
            "name": d.dataset.name, "digest": d.dataset.digest, "tags": pairs(&d.tags),
            "dataset_version": v.as_ref().map(version),
        })
    };
    json!({
        "id": data.run.id, "name": data.run.name, "experiment": run.experiment.as_ref().map(|e| &e.name),
        "started_by": data.run.created_by, "status": data.run.status, "started_at": data.run.start_time.map(rfc3339),
        "params": pairs(&data.params), "metrics": metrics,
        "datasets": data.dataset_inputs.iter().zip(&run.versions).map(dataset).collect::<Vec<_>>(), "code": code_json(run),
    })
}

/// What is known of the code: what `trueline run` captured, else what the client told.
fn code_json(run: &TracedRun) -> Value {
    if let Some(capture) = &run.capture {
        return json!({
            "commit": capture.commit, "uncommitted_changes": capture.diff.is_some(), "remote": capture.remote,
            "command": capture.command, "environment": capture.environment, "captured": true,
        });
    }
    let tag = |key: &str| run.data.tags.iter().find(|t| t.key == key).map(|t| t.value.clone());
    json!({
        "commit": tag("mlflow.source.git.commit"), "source": tag("mlflow.source.name"), "captured": false,
    })
}

fn event_json(event: &EventRow) -> Value {
    json!({
        "id": event.id, "index": event.index, "at": rfc3339(event.at_ms), "actor": event.actor,
        "action": event.action, "resource": event.resource,
    })
}

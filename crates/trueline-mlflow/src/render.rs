//! Domain values in MLflow's JSON: snake_case, int64 as numbers, NaN and the infinities as strings, unset fields and
//! empty lists left out.

use crate::run_wire::{Metric, Number, Pair};
use serde_json::{Value as Json, json};
use trueline_registry::{RegisteredModel, Version};
use trueline_tracking::{Experiment, KeyValue, LoggedModel, MetricPoint};

/// An object without its nulls and empty lists.
pub(crate) fn compact(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let unset = |v: &Json| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
            Json::Object(map.into_iter().filter(|(_, v)| !unset(v)).collect())
        }
        other => other,
    }
}

/// A number as the wire has it.
pub(crate) fn number(value: f64) -> Json {
    json!(Number(value))
}

pub(crate) fn pairs(list: &[KeyValue]) -> Vec<Json> {
    list.iter().map(|pair| json!(Pair(pair))).collect()
}

fn registry_pairs(list: &[trueline_registry::KeyValue]) -> Vec<Json> {
    list.iter().map(|p| json!({ "key": p.key, "value": p.value })).collect()
}

pub(crate) fn experiment(e: &Experiment, workspace: &str) -> Json {
    compact(json!({
        "experiment_id": e.id.to_string(),
        "name": e.name,
        "artifact_location": e.artifact_location,
        "lifecycle_stage": e.lifecycle.as_str(),
        "last_update_time": e.updated_at_ms,
        "creation_time": e.created_at_ms,
        "tags": pairs(&e.tags),
        "workspace": workspace,
    }))
}

pub(crate) fn metric(key: &str, point: &MetricPoint) -> Json {
    json!(Metric(key, point))
}

pub(crate) fn logged_model(m: &LoggedModel) -> Json {
    let metrics: Vec<Json> = m
        .metrics
        .iter()
        .map(|(run, measured)| {
            let mut out = metric(&measured.metric.key, &measured.metric.point);
            out["model_id"] = json!(m.id);
            out["run_id"] = json!(run);
            let dataset = measured.dataset.as_ref();
            out["dataset_name"] = json!(dataset.map(|d| &d.name));
            out["dataset_digest"] = json!(dataset.and_then(|d| d.digest.as_ref()));
            compact(out)
        })
        .collect();
    json!({
        "info": compact(json!({
            "model_id": m.id,
            "experiment_id": m.experiment.to_string(),
            "name": m.name,
            "creation_timestamp_ms": m.created_at_ms,
            "last_updated_timestamp_ms": m.updated_at_ms,
            "artifact_uri": m.artifact_uri,
            "status": m.status.as_str(),
            "model_type": m.model_type.clone().unwrap_or_default(),
            "source_run_id": m.source_run.as_ref().map_or("", |r| r.as_str()),
            "tags": pairs(&m.tags),
        })),
        "data": compact(json!({ "params": pairs(&m.params), "metrics": metrics })),
    })
}

pub(crate) fn version(v: &Version) -> Json {
    compact(json!({
        "name": v.key.model,
        "version": v.key.version.to_string(),
        "creation_timestamp": v.created_at_ms,
        "last_updated_timestamp": v.updated_at_ms,
        "current_stage": v.stage.as_str(),
        "description": v.description,
        "source": v.source,
        "run_id": v.run_id.clone().unwrap_or_default(),
        "status": "READY",
        "tags": registry_pairs(&v.tags),
        "run_link": v.run_link.clone().unwrap_or_default(),
        "aliases": v.aliases,
        "model_id": v.model_id,
    }))
}

pub(crate) fn model(m: &RegisteredModel) -> Json {
    let aliases: Vec<Json> =
        m.aliases.iter().map(|a| json!({ "alias": a.alias, "version": a.version.to_string() })).collect();
    let description = Some(&m.description).filter(|d| !d.is_empty());
    compact(json!({
        "name": m.name,
        "creation_timestamp": m.created_at_ms,
        "last_updated_timestamp": m.updated_at_ms,
        "description": description,
        "latest_versions": m.latest.iter().map(version).collect::<Vec<_>>(),
        "tags": registry_pairs(&m.tags),
        "aliases": aliases,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_fields_and_empty_lists_are_left_out_but_empty_text_stays() {
        let out = compact(json!({ "a": null, "b": [], "c": "", "d": 0 }));
        assert_eq!(out, json!({ "c": "", "d": 0 }));
    }

    #[test]
    fn what_json_has_no_number_for_is_a_string() {
        assert_eq!(number(f64::NAN), json!("NaN"));
        assert_eq!(number(f64::NEG_INFINITY), json!("-Infinity"));
        assert_eq!(number(1.0).to_string(), "1.0");
    }
}

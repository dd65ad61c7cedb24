//! What fuzzing starts from: filters as people write them, and for each place of a body one that does something.

use crate::bodies::input;
use crate::routes::ROUTES;
use serde_json::{Value, json};

/// Filters of all grammars.
#[must_use]
pub fn filter_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "metrics.a > 1.5e-3 AND params.`a b` = 'x' and tags.\"k\" LIKE '%y_'",
        "attributes.start_time >= 1760000000000 AND run_id IN ('a', 'b')",
        "(metrics.a < 1 OR NOT params.p IN ('1', '2')) AND metrics.b BETWEEN 0 AND 1",
        "tags.t IS NOT NULL AND params.p ILIKE 'A%' OR attributes.end_time BETWEEN '2026-11-21' AND '2026-11-21T10:00Z'",
        "name = 'model' AND tags.`mlflow.prompt.is_prompt` != 'true'",
        "trace.status = 'OK' AND span.name LIKE '%x%' AND feedback.good = 'true' AND timestamp_ms > 0",
        "datasets.name = 'd' AND dataset.digest != 'x' AND datasets.context = 'train'",
        "metadata.`mlflow.sourceRun` = 'r' AND request_metadata.k = 'v' AND expectation.e = '1'",
        "creation_timestamp DESC",
        "metrics.`a/b` ASC",
        "attribute.run_name != 'it''s' AND tag.`x` RLIKE '^a.*b$'",
    ];
    seeds.iter().map(|s| s.as_bytes().to_vec()).collect()
}

/// An input for each place, with a body that fits it as far as one is known here, and an empty object besides.
#[must_use]
pub fn body_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..ROUTES.len()).map(|place| input(place, "{}")).collect();
    for (place, (_, path)) in ROUTES.iter().enumerate() {
        // Fields of one message are a start for others, so each place gets those of its group.
        let everything = everything().to_string();
        seeds.push(input(place, &everything));
        for (end, body) in fitting() {
            if path.ends_with(end) {
                seeds.push(input(place, &body.to_string()));
            }
        }
    }
    seeds
}

/// The fields that most messages take.
fn everything() -> Value {
    json!({
        "experiment_id": "{experiment}", "experiment_ids": ["{experiment}"], "run_id": "{run}", "name": "model",
        "version": "1", "key": "k", "value": "v", "tags": [{ "key": "k", "value": "v" }], "step": 1, "timestamp": 2,
        "filter": "tags.k = 'v'", "order_by": ["name DESC"], "max_results": 3, "page_token": "", "alias": "a",
        "model_id": "{logged_model}", "trace_id": "{trace}", "status": "FINISHED", "description": "d",
    })
}

fn fitting() -> Vec<(&'static str, Value)> {
    vec![
        (
            "runs/log-batch",
            json!({
                "run_id": "{run}", "metrics": [{ "key": "m", "value": "NaN", "timestamp": "5", "step": "1",
                    "model_id": "{logged_model}", "dataset_name": "d", "dataset_digest": "x" }],
                "params": [{ "key": "p", "value": "1" }], "tags": [{ "key": "t", "value": "y" }],
            }),
        ),
        (
            "runs/search",
            json!({
                "experiment_ids": ["{experiment}"], "filter": "metrics.m > 0.1 AND params.p LIKE '%1%' AND tags.t != 'z'",
                "order_by": ["metrics.m DESC", "params.p"], "run_view_type": "ALL", "max_results": 2,
            }),
        ),
        (
            "runs/log-inputs",
            json!({
                "run_id": "{run}", "datasets": [{ "dataset": { "name": "d", "digest": "x", "source_type": "local",
                    "source": "{}", "schema": "{}", "profile": "{}" }, "tags": [{ "key": "mlflow.data.context", "value": "train" }] }],
                "models": [{ "model_id": "{logged_model}" }],
            }),
        ),
        (
            "runs/outputs",
            json!({ "run_id": "{run}", "models": [{ "model_id": "{logged_model}", "step": 1 }] }),
        ),
        (
            "runs/log-model",
            json!({ "run_id": "{run}", "model_json": "{\"artifact_path\":\"m\",\"run_id\":\"{run}\",\"flavors\":{},\"utc_time_created\":\"2026\"}" }),
        ),
        (
            "logged-models/search",
            json!({
                "experiment_ids": ["{experiment}"], "filter": "metrics.m > 0 AND params.p = '1'",
                "datasets": [{ "dataset_name": "d", "dataset_digest": "x" }],
                "order_by": [{ "field_name": "metrics.m", "ascending": false, "dataset_name": "d" }], "max_results": 2,
            }),
        ),
        (
            "model-versions/create",
            json!({ "name": "model", "source": "models:/{logged_model}", "run_id": "{run}" }),
        ),
        (
            "traces/search",
            json!({
                "locations": [{ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": "{experiment}" } }],
                "filter": "trace.status = 'OK' AND feedback.good = 'true'", "order_by": ["timestamp_ms DESC"], "max_results": 2,
            }),
        ),
        (
            "/assessments",
            json!({ "assessment": { "assessment_name": "n", "expectation": { "value": [1, { "a": null }] },
            "source": { "source_type": "CODE", "source_id": "s" }, "metadata": { "k": "v" }, "rationale": "r" } }),
        ),
        (
            "traces/metrics",
            json!({
                "experiment_ids": ["{experiment}"], "view_type": "TRACES", "metric_name": "latency",
                "aggregations": [{ "aggregation_type": "PERCENTILE", "percentile_value": 99 }], "dimensions": ["trace_status"],
                "time_interval_seconds": 3600, "start_time_ms": 0, "end_time_ms": 1800000000000u64,
            }),
        ),
        (
            "calculate-filter-correlation",
            json!({
                "experiment_ids": ["{experiment}"], "filter_string1": "trace.status = 'OK'", "filter_string2": "tags.k = 'v'",
            }),
        ),
        ("/records", json!({ "records": "[{\"inputs\":{\"q\":1},\"expectations\":{\"a\":2},\"tags\":{}}]" })),
        (
            "/issues/search",
            json!({
                "experiment_id": "{experiment}", "filter_string": "status = 'pending' AND source_run_id != '{run}'",
                "include_trace_count": true, "max_results": 2,
            }),
        ),
        (
            "/issues",
            json!({
                "experiment_id": "{experiment}", "name": "n", "description": "d", "severity": "high", "status": "pending",
                "root_causes": ["a"], "categories": ["b"], "source_run_id": "{run}", "created_by": "me",
            }),
        ),
        (
            "scorers/register",
            json!({ "experiment_id": "{experiment}", "name": "s", "serialized_scorer": "{\"name\":\"s\"}" }),
        ),
        (
            "/graphql",
            json!({ "query": "query($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) { runs { info { runId } } } }",
            "variables": { "data": { "experimentIds": ["{experiment}"], "filter": "metrics.m > 0" } }, "operationName": null }),
        ),
        ("/policy", json!({ "approvals": 1, "gates": [] })),
        ("/routes", json!({ "routes": [{ "version": 1, "share": 100 }] })),
        (
            "/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0] }] }),
        ),
        ("/invocations", json!({ "dataframe_split": { "columns": ["a"], "data": [[1.5], [null]] } })),
        ("/labels", json!({ "labels": [{ "id": "x", "value": 1 }] })),
    ]
}

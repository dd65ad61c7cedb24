//! `/3.0/mlflow/traces/metrics`.

use crate::error::WireError;
use crate::fields::{Fields, missing};
use crate::{App, Caller, render, reply, traces};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value as Json, json};
use trueline_traces::{Aggregation, MetricPoint, MetricQuery, View};

/// How many points an answer has at the most.
const MOST: i64 = 1000;

fn point(point: &MetricPoint) -> Json {
    let values: Map<String, Json> =
        point.values.iter().map(|(name, value)| (name.clone(), render::number(*value))).collect();
    let dimensions = Some(json!(point.dimensions)).filter(|_| !point.dimensions.is_empty());
    render::compact(json!({ "metric_name": point.metric, "dimensions": dimensions, "values": values }))
}

pub(crate) async fn query(
    State(app): App,
    Caller(session): Caller,
    fields: Fields,
) -> Result<Response, WireError> {
    let ids = traces::required_texts(&fields, "experiment_ids")?;
    let aggregations = fields.messages("aggregations")?;
    if aggregations.is_empty() {
        return Err(missing("aggregations"));
    }
    let aggregation = |message: &Fields| {
        let percentile = message.number("percentile_value")?;
        Ok::<_, WireError>(Aggregation::parse(&message.text_or_empty("aggregation_type")?, percentile)?)
    };
    let limit = fields.integer("max_results")?.unwrap_or(MOST);
    let query = MetricQuery {
        experiments: traces::experiments(&ids)?,
        view: View::parse(&fields.required("view_type")?)?,
        metric: fields.required("metric_name")?,
        aggregations: aggregations.iter().map(aggregation).collect::<Result<_, _>>()?,
        dimensions: fields.texts("dimensions")?,
        filters: fields.texts("filters")?,
        interval_seconds: fields.integer("time_interval_seconds")?,
        from_ms: fields.integer("start_time_ms")?,
        to_ms: fields.integer("end_time_ms")?,
        limit: limit.clamp(0, MOST).unsigned_abs(),
    };
    let found = app.keeper.traces.metrics(&session.leave()?, query).await?;
    let points: Vec<Json> = found.iter().map(point).collect();
    Ok(reply::json(&render::compact(json!({ "data_points": points }))))
}

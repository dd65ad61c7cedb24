//! `/runs/{id}`: what Trueline knows of a run beyond MLflow's wire.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::body::Body as Stream;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_tracking::{Capture, MetricPoint, MetricQuery, RunId};

const PAGE: u64 = 10_000;
/// More points than a chart has pixels.
const MOST_POINTS: usize = 10_000;
/// The largest file of a capture in bytes: a diff of binaries can be long.
const LARGEST_FILE: u64 = 1 << 30;

pub(crate) async fn capture(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = app.tracking.capture(&session.leave()?, &RunId::new(&id)).await?;
    found
        .map(|c| Json(json!(c)))
        .ok_or_else(|| Problem::not_found(format!("run {id} was not captured: start it with `trueline run`")))
}

pub(crate) async fn set_capture(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(capture): Body<Capture>,
) -> Result<StatusCode, Problem> {
    app.tracking.set_capture(&session.leave()?, &RunId::new(id), capture).await?;
    Ok(StatusCode::CREATED)
}

pub(crate) async fn put_capture_file(
    State(app): App,
    Caller(session): Caller,
    body: Stream,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let sha256 =
        app.tracking.put_capture_file(&session.leave()?, body.into_data_stream(), LARGEST_FILE).await?;
    Ok((StatusCode::CREATED, Json(json!({ "sha256": sha256 }))))
}

pub(crate) async fn capture_file(
    State(app): App,
    Caller(session): Caller,
    Path(sha256): Path<String>,
) -> Result<axum::body::Bytes, Problem> {
    Ok(app.tracking.blob(&session.leave()?, &sha256, LARGEST_FILE).await?)
}

#[derive(Deserialize)]
pub(crate) struct SeriesQuery {
    limit: Option<u64>,
    cursor: Option<u64>,
    /// The whole series thinned out to about so many points, instead of a page.
    points: Option<usize>,
}

fn point(p: &MetricPoint) -> Value {
    // JSON has no NaN; a gap in the line is what it means.
    let value = if p.value.is_nan() { Value::Null } else { json!(p.value) };
    json!({ "step": p.step, "at": rfc3339(p.at_ms), "value": value })
}

pub(crate) async fn series(
    State(app): App,
    Caller(session): Caller,
    Path((id, key)): Path<(String, String)>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<Value>, Problem> {
    if let Some(most) = query.points {
        let most = most.clamp(4, MOST_POINTS);
        let points =
            app.tracking.metric_sample(&session.leave()?, &RunId::new(id), key.clone(), most).await?;
        return Ok(Json(json!({ "key": key, "points": points.iter().map(point).collect::<Vec<_>>() })));
    }
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let offset = query.cursor.unwrap_or(0);
    let ask = MetricQuery { offset, limit: Some(limit + 1) };
    let leave = session.leave()?;
    let mut points = app.tracking.metric_history(&leave, &RunId::new(id), key.clone(), ask).await?;
    let next = (points.len() as u64 > limit).then(|| (offset + limit).to_string());
    points.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let points: Vec<Value> = points.iter().map(point).collect();
    Ok(Json(json!({ "metric": key, "points": points, "next_cursor": next })))
}

//! `/runs/{id}/reproductions`: verdicts on whether a run gave the same again. The server compares; a caller only says which
//! run is to be compared, or what was missing.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_tracking::{NewReproduction, Reproduction, RunId, Tolerance};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordBody {
    /// The run that did the same again; none when it could not be done.
    again: Option<String>,
    #[serde(default)]
    rtol: f64,
    #[serde(default)]
    atol: f64,
    /// What was missing to run it again.
    #[serde(default)]
    missing: Vec<String>,
    /// How the environment differed.
    #[serde(default)]
    environment: Vec<String>,
}

fn reproduction_json(r: &Reproduction) -> Value {
    json!({
        "id": r.id, "run": r.run, "again": r.again, "verdict": r.report.verdict, "first": r.report.first,
        "metrics": r.report.metrics, "points": r.report.points, "largest_difference": r.report.largest_difference,
        "missing": r.report.missing, "environment": r.report.environment, "rtol": r.report.tolerance.rtol,
        "atol": r.report.tolerance.atol, "created_by": r.created_by, "created_at": rfc3339(r.created_at_ms),
    })
}

pub(crate) async fn record(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(ask): Body<RecordBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new = NewReproduction {
        again: ask.again.map(RunId::new),
        tolerance: Tolerance { rtol: ask.rtol, atol: ask.atol },
        missing: ask.missing,
        environment: ask.environment,
    };
    let made = app.tracking.record_reproduction(&session.leave()?, &RunId::new(id), new).await?;
    Ok((StatusCode::CREATED, Json(reproduction_json(&made))))
}

pub(crate) async fn list(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let all = app.tracking.reproductions(&session.leave()?, &RunId::new(id)).await?;
    Ok(Json(json!({ "reproductions": all.iter().map(reproduction_json).collect::<Vec<_>>() })))
}

//! `/3.0/mlflow/traces/{trace_id}/assessments/*`.

use crate::error::WireError;
use crate::fields::{Fields, missing};
use crate::trace_wire::{assessment, read_assessment, read_judgement};
use crate::{App, Caller, Mlflow, reply};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use std::sync::Arc;
use trueline_traces::{Assessment, AssessmentChange, Judgement};

type Answer = Result<Response, WireError>;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/{trace_id}/assessments", post(create))
        .route("/{trace_id}/assessments/{assessment_id}", get(by_id).patch(update).delete(delete))
}

fn told(found: &Assessment) -> Response {
    reply::json(&json!({ "assessment": assessment(found) }))
}

fn given(fields: &Fields) -> Result<Fields, WireError> {
    if fields.any("assessment").is_none() {
        return Err(missing("assessment"));
    }
    fields.message("assessment")
}

pub(crate) async fn create(
    State(app): App,
    Caller(session): Caller,
    Path(trace): Path<String>,
    fields: Fields,
) -> Answer {
    let new = read_assessment(&given(&fields)?)?;
    Ok(told(&app.keeper.traces.assess(&session.leave()?, trace, new).await?))
}

async fn by_id(
    State(app): App,
    Caller(session): Caller,
    Path((trace, id)): Path<(String, String)>,
) -> Answer {
    Ok(told(&app.keeper.traces.assessment(&session.leave()?, trace, id).await?))
}

/// The mask names fields in camelCase, as JSON writes them, or in snake_case.
async fn update(
    State(app): App,
    Caller(session): Caller,
    Path((trace, id)): Path<(String, String)>,
    fields: Fields,
) -> Answer {
    let new = given(&fields)?;
    let mut change = AssessmentChange::default();
    for path in fields.required("update_mask")?.split(',') {
        match path.trim() {
            "assessment_name" | "assessmentName" => change.name = new.text("assessment_name")?,
            "rationale" => change.rationale = new.text("rationale")?,
            "metadata" => change.metadata = Some(new.map("metadata")?),
            word @ ("expectation" | "feedback") => {
                let judgement = read_judgement(&new)?;
                if judgement.kind() != word || change.judgement.is_some() {
                    return Err(both_or_neither(&judgement, word));
                }
                change.judgement = Some(judgement);
            }
            _ => {}
        }
    }
    Ok(told(&app.keeper.traces.change_assessment(&session.leave()?, trace, id, change).await?))
}

fn both_or_neither(judgement: &Judgement, word: &str) -> WireError {
    match judgement.kind() == word {
        true => WireError::invalid("Cannot specify both `expectation` and `feedback` parameters."),
        false => WireError::invalid(format!("`{word}` is named in the mask, but the assessment has none.")),
    }
}

async fn delete(
    State(app): App,
    Caller(session): Caller,
    Path((trace, id)): Path<(String, String)>,
) -> Answer {
    app.keeper.traces.delete_assessment(&session.leave()?, trace, id).await?;
    Ok(reply::empty())
}

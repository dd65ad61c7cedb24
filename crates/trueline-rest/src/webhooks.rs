//! `/webhooks/{id}/deliveries`: what a webhook was told, and what came of each attempt. Webhooks themselves are made and
//! changed through MLflow's calls.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Caller};
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use trueline_webhooks::{Attempt, ToldDelivery};

fn attempt(a: &Attempt) -> Value {
    json!({
        "attempt": a.attempt, "at": rfc3339(a.at_ms), "took_ms": a.took_ms, "status": a.status, "error": a.error,
    })
}

fn delivery(d: &ToldDelivery) -> Value {
    json!({
        "id": d.id, "event": d.event, "topic": d.topic, "created_at": rfc3339(d.created_at_ms),
        "attempts": d.attempts.iter().map(attempt).collect::<Vec<_>>(),
    })
}

pub(crate) async fn deliveries(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = app.webhooks.deliveries(&session.leave()?, &id).await?;
    Ok(Json(json!({ "deliveries": found.iter().map(delivery).collect::<Vec<_>>() })))
}

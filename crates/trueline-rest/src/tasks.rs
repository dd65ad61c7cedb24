//! `/tasks`: long work to follow.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Caller};
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use trueline_identity::ReadProject;
use trueline_tasks::{TaskError, TaskRow};

const PAGE: u32 = 100;

pub(crate) fn task(t: &TaskRow) -> Value {
    json!({
        "id": t.id, "kind": t.kind, "state": t.state, "attempts": t.attempts, "payload": t.payload,
        "result": t.result, "created_at": rfc3339(t.created_at_ms),
        "finished_at": t.finished_at_ms.map(rfc3339),
    })
}

pub(crate) async fn list(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let newest = app.tasks.newest(&session.leave::<ReadProject>()?, PAGE).await?;
    Ok(Json(json!({ "tasks": newest.iter().map(task).collect::<Vec<_>>() })))
}

/// A task of the session's project, or of the server for those who may see that.
pub(crate) async fn one(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let here = app.tasks.get(&session.leave::<ReadProject>()?, &id).await;
    let found = match (here, session.server_leave::<ReadProject>()) {
        (Err(TaskError::NotFound(_)), Ok(server)) => app.tasks.get(&server, &id).await,
        (here, _) => here,
    };
    Ok(Json(task(&found?)))
}

//! `/tasks`: long work to follow.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Caller};
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use trueline_identity::ReadProject;
use trueline_ledger::ProjectId;
use trueline_tasks::TaskRow;

const PAGE: u32 = 100;

fn task(t: &TaskRow) -> Value {
    json!({
        "id": t.id, "kind": t.kind, "state": t.state, "attempts": t.attempts, "payload": t.payload,
        "result": t.result, "created_at": rfc3339(t.created_at_ms),
        "finished_at": t.finished_at_ms.map(rfc3339),
    })
}

pub(crate) async fn list(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    session.leave::<ReadProject>()?;
    let newest = app.tasks.newest(&session.project().id, PAGE).await?;
    Ok(Json(json!({ "tasks": newest.iter().map(task).collect::<Vec<_>>() })))
}

pub(crate) async fn one(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    session.leave::<ReadProject>()?;
    let found = app.tasks.get(&id).await?;
    let server = ProjectId::server();
    let own = found.project == session.project().id.as_str() || found.project == server.as_str();
    match own {
        true => Ok(Json(task(&found))),
        false => Err(Problem::not_found(format!("there is no task {id}"))),
    }
}

//! `/collections`: real deletion of what was deleted long ago, and of blobs that nothing refers to.

use crate::problem::Problem;
use crate::tasks::task;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::CollectOrder;

/// What differs from the server's own rules.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only tells what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Purge what was deleted so long ago.
    older_than_ms: Option<i64>,
    /// Leave blobs that were put less long ago.
    grace_ms: Option<i64>,
}

impl Wanted {
    fn order(&self, app: &crate::Rest) -> Result<CollectOrder, Problem> {
        if [self.older_than_ms, self.grace_ms].into_iter().flatten().any(i64::is_negative) {
            return Err(Problem::invalid("`older_than_ms` and `grace_ms` are spans of time: give 0 or more"));
        }
        let rules = app.retention.order(self.dry_run);
        Ok(CollectOrder {
            keep_ms: self.older_than_ms.or(rules.keep_ms),
            grace_ms: self.grace_ms.unwrap_or(rules.grace_ms),
            ..rules
        })
    }
}

pub(crate) async fn collect(
    State(app): App,
    Caller(session): Caller,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let leave = session.server_leave()?;
    let task = trueline_flows::request_collection(&app.ledger, &leave, wanted.order(&app)?).await?;
    app.tasks.ring();
    Ok((StatusCode::ACCEPTED, Json(json!({ "task": task, "follow": format!("/api/v1/tasks/{task}") }))))
}

/// The server's rules, and the newest collection, at work or done, dry or not.
pub(crate) async fn last(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let last = trueline_flows::last_collection(&app.tasks, &session.server_leave()?).await?;
    let rules = app.retention;
    Ok(Json(json!({
        "rules": { "keep_ms": rules.keep_ms, "grace_ms": rules.grace_ms, "every_ms": rules.every_ms },
        "last": last.as_ref().map(task),
    })))
}

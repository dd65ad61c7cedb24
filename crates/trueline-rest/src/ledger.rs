//! `/ledger`: its head, events, proofs, erasure and verification.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::Session;
use trueline_identity::{Authorized, EraseEvent, VerifyLedger};
use trueline_ledger::{EventFilter, EventRow, LedgerFiles, exported_events};

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

fn event_json(e: &EventRow) -> Value {
    json!({
        "id": e.id, "index": e.index, "project": e.project, "at": rfc3339(e.at_ms), "actor": e.actor,
        "action": e.action, "resource": e.resource, "payload": e.payload, "erased": e.payload.is_none(),
    })
}

pub(crate) async fn head(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    session.readable_ledgers()?;
    let head = LedgerFiles::read_head(&app.ledger_folder)?;
    let checkpoint = head.map(|h| json!({ "size": h.size, "root": h.root, "note": h.note }));
    Ok(Json(json!({ "key": app.ledger_key, "checkpoint": checkpoint })))
}

#[derive(Deserialize)]
pub(crate) struct EventQuery {
    limit: Option<u32>,
    cursor: Option<i64>,
    actor: Option<String>,
    action: Option<String>,
    resource_kind: Option<String>,
    resource_id: Option<String>,
}

pub(crate) async fn events(
    State(app): App,
    Caller(session): Caller,
    Query(query): Query<EventQuery>,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let filter = EventFilter {
        projects: session.readable_ledgers()?,
        actor: query.actor,
        action: query.action,
        actions: None,
        resource_kind: query.resource_kind,
        resource_id: query.resource_id,
        before: query.cursor,
    };
    let page = app.ledger.db().read(move |tx| filter.page(tx, limit)).await?;
    let events: Vec<Value> = page.events.iter().map(event_json).collect();
    Ok(Json(json!({ "events": events, "next_cursor": page.next_cursor.map(|c| c.to_string()) })))
}

#[derive(Deserialize)]
pub(crate) struct ExportQuery {
    limit: Option<u32>,
    #[serde(default)]
    cursor: u64,
}

/// Events as an export holds them, a line of JSON each, from the entry `cursor` on. The next page starts behind the last
/// line; an empty one is the end.
pub(crate) async fn export(
    State(app): App,
    Caller(session): Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    session.server_leave::<VerifyLedger>()?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let events = app.ledger.db().read(move |tx| exported_events(tx, query.cursor, limit)).await?;
    let mut lines = Vec::new();
    for event in &events {
        serde_json::to_writer(&mut lines, event).map_err(|e| Problem::internal(e.to_string()))?;
        lines.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/jsonl; charset=utf-8")], lines).into_response())
}

async fn find(app: &crate::Rest, session: &Session, id: String) -> Result<EventRow, Problem> {
    let projects = session.readable_ledgers()?;
    let event = app.ledger.db().read(move |tx| trueline_ledger::event(tx, &id)).await?;
    match projects {
        Some(list) if !list.contains(&event.project) => {
            Err(Problem::not_found(format!("there is no event {}", event.id)))
        }
        _ => Ok(event),
    }
}

pub(crate) async fn event(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(event_json(&find(&app, &session, id).await?)))
}

/// A proof that the event is in the log, in the form of `c2sp.org/tlog-proof@v1`.
pub(crate) async fn proof(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let event = find(&app, &session, id).await?;
    let index = event.index.map(i64::unsigned_abs);
    let proof = match index {
        Some(index) => LedgerFiles::inclusion_proof(&app.ledger_folder, index)?,
        None => None,
    };
    let Some(proof) = proof else {
        return Err(Problem::not_found("the event is not under a checkpoint yet; ask again in a second"));
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], proof).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Erasure {
    reason: String,
}

pub(crate) async fn erase(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(erasure): Body<Erasure>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if erasure.reason.trim().is_empty() {
        return Err(Problem::invalid("an erasure needs a reason, which the ledger keeps"));
    }
    let leave: Authorized<EraseEvent> = session.server_leave()?;
    let by = trueline_flows::erase_event(&app.ledger, &leave, &id, &erasure.reason).await?;
    Ok((StatusCode::CREATED, Json(json!({ "erased": id, "event": by }))))
}

pub(crate) async fn verify(
    State(app): App,
    Caller(session): Caller,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let task = trueline_flows::request_verification(&app.ledger, &session.server_leave()?).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "task": task, "follow": format!("/api/v1/tasks/{task}") }))))
}

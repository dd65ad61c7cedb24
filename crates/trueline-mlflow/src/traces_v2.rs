//! `/2.0/mlflow/traces/*`: traces as clients of MLflow 2 know them.

use crate::error::WireError;
use crate::fields::Fields;
use crate::trace_wire::{self, leave};
use crate::{App, Caller, Mlflow, render, reply, traces};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_traces::{Pairs, TraceState};

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/delete-traces", post(traces::delete))
        .route("/link-to-run", post(traces::link_to_run))
        .route("/link-prompts", post(traces::link_prompts))
        .route("/{request_id}", patch(end))
        .route("/{request_id}/info", get(info))
        .route("/{request_id}/tags", patch(traces::set_tag).delete(traces::delete_tag))
        .layer(bulk)
}

fn pairs(fields: &Fields, name: &str) -> Result<Pairs, WireError> {
    Ok(fields.pairs(name)?.into_iter().map(|pair| (pair.key, pair.value)).collect())
}

pub(crate) async fn begin(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let experiment = fields.text_or_empty("experiment_id")?;
    let started_ms = fields.integer("timestamp_ms")?.unwrap_or(0);
    let (metadata, tags) = (pairs(&fields, "request_metadata")?, pairs(&fields, "tags")?);
    let info = app.keeper.begin_v2(&leave(&session)?, &experiment, started_ms, metadata, tags).await?;
    Ok(reply::json(&json!({ "trace_info": trace_wire::info_v2(&info) })))
}

async fn end(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let ended_ms = fields.integer("timestamp_ms")?.unwrap_or(0);
    let state = TraceState::parse(&fields.text_or_empty("status")?);
    let (metadata, tags) = (pairs(&fields, "request_metadata")?, pairs(&fields, "tags")?);
    let info = app.keeper.traces.end_v2(&session.leave()?, id, ended_ms, state, metadata, tags).await?;
    Ok(reply::json(&json!({ "trace_info": trace_wire::info_v2(&info) })))
}

async fn info(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    let info = app.keeper.traces.info(&session.leave()?, id).await?;
    Ok(reply::json(&json!({ "trace_info": trace_wire::info_v2(&info) })))
}

pub(crate) async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let ids = traces::required_texts(&fields, "experiment_ids")?;
    let (search, page) = traces::asked(&fields, traces::experiments(&ids)?)?;
    let found = app.keeper.traces.search(&session.leave()?, search).await?;
    let infos: Vec<Json> = found.items.iter().map(trace_wire::info_v2).collect();
    let answer = json!({ "traces": infos, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

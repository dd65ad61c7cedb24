//! `/pipelines` and `/pipeline-runs`: declared, started, followed, cancelled.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use trueline_pipelines::{Attempt, Declared, NewRun, Pipeline, PipelineRun, PipelineSpec, Reason, StepRun};

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 200;
const LONGEST_NOTE: usize = 2_000;

fn pipeline_json(p: &Pipeline) -> Value {
    json!({
        "name": p.name, "version": p.version, "directory": p.directory, "declaration": p.spec,
        "created_by": p.created_by, "created_at": rfc3339(p.created_at_ms), "updated_at": rfc3339(p.updated_at_ms),
    })
}

fn attempt_json(a: &Attempt) -> Value {
    json!({
        "id": a.id, "attempt": a.attempt, "state": a.state, "task": a.task, "run": a.run, "worker": a.worker,
        "exit_code": a.exit_code, "error": a.error, "log_sha256": a.log, "log_bytes": a.log_bytes,
        "cpu_ms": a.cpu_ms, "peak_rss_bytes": a.peak_rss_bytes,
        "started_at": a.started_at_ms.map(rfc3339), "finished_at": a.finished_at_ms.map(rfc3339),
    })
}

fn step_json(s: &StepRun) -> Value {
    json!({
        "step": s.step, "state": s.state, "cache_key": s.cache_key, "outputs": s.outputs, "same_as": s.same_as,
        "error": s.error, "started_at": s.started_at_ms.map(rfc3339), "finished_at": s.finished_at_ms.map(rfc3339),
        "attempts": s.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
    })
}

fn run_json(r: &PipelineRun) -> Value {
    json!({
        "id": r.id, "pipeline": r.pipeline, "version": r.version, "state": r.state, "reason": r.reason,
        "params": r.params, "created_by": r.created_by, "created_at": rfc3339(r.created_at_ms),
        "finished_at": r.finished_at_ms.map(rfc3339),
        "steps": r.steps.iter().map(step_json).collect::<Vec<_>>(),
    })
}

pub(crate) async fn list(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let all = app.steps.pipelines().list(&session.leave()?).await?;
    Ok(Json(json!({ "pipelines": all.iter().map(pipeline_json).collect::<Vec<_>>() })))
}

pub(crate) async fn show(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(pipeline_json(&app.steps.pipelines().get(&session.leave()?, &name).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclareBody {
    /// The project's folder on the server's machine.
    directory: String,
    declaration: PipelineSpec,
}

/// Makes a pipeline what it is declared to be; asked again, it changes nothing.
pub(crate) async fn declare(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<DeclareBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let leave = session.leave()?;
    if ask.declaration.name != name {
        return Err(Problem::invalid(format!(
            "the declaration is of pipeline `{}`, the path names `{name}`",
            ask.declaration.name
        )));
    }
    let is_folder = tokio::fs::metadata(&ask.directory).await.is_ok_and(|m| m.is_dir());
    if !ask.directory.starts_with('/') || !is_folder {
        return Err(Problem::invalid(format!(
            "`{}` is no folder on the server's machine: steps run in a copy of the project's folder, so apply it there",
            ask.directory
        )));
    }
    let (done, pipeline) = app.steps.pipelines().declare(&leave, ask.declaration, ask.directory).await?;
    let status = if done == Declared::Created { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = pipeline_json(&pipeline);
    answer["outcome"] = json!(done);
    Ok((status, Json(answer)))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StartBody {
    params: BTreeMap<String, String>,
    reason: String,
}

fn note(text: String) -> Result<String, Problem> {
    if text.len() > LONGEST_NOTE {
        return Err(Problem::invalid(format!("a reason has at most {LONGEST_NOTE} bytes")));
    }
    Ok(text)
}

pub(crate) async fn start(
    State(app): App,
    Caller(session): Caller,
    Path(pipeline): Path<String>,
    Body(ask): Body<StartBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new = NewRun { pipeline, params: ask.params, reason: Reason::Manual { note: note(ask.reason)? } };
    let run = app.steps.pipelines().start(&session.leave()?, new).await?;
    Ok((StatusCode::ACCEPTED, Json(run_json(&run))))
}

#[derive(Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    cursor: Option<i64>,
    pipeline: Option<String>,
}

async fn page(
    app: &crate::Rest,
    session: &trueline_flows::Session,
    pipeline: Option<&str>,
    page: &PageQuery,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let found = app.steps.pipelines().runs(&session.leave()?, pipeline, page.cursor, limit).await?;
    let full = found.len() == limit as usize;
    let next = found.last().filter(|_| full).map(|r| r.created_at_ms.to_string());
    Ok(Json(json!({ "runs": found.iter().map(run_json).collect::<Vec<_>>(), "next_cursor": next })))
}

pub(crate) async fn runs_of(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    app.steps.pipelines().get(&session.leave()?, &name).await?;
    page(&app, &session, Some(&name), &query).await
}

pub(crate) async fn runs(
    State(app): App,
    Caller(session): Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    page(&app, &session, query.pipeline.as_deref(), &query).await
}

pub(crate) async fn run(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(run_json(&app.steps.pipelines().run(&session.leave()?, &id).await?)))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CancelBody {
    reason: String,
}

pub(crate) async fn cancel(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(ask): Body<CancelBody>,
) -> Result<Json<Value>, Problem> {
    let run = app.steps.pipelines().cancel(&session.leave()?, &id, note(ask.reason)?).await?;
    Ok(Json(run_json(&run)))
}

#[derive(Deserialize)]
pub(crate) struct LogQuery {
    attempt: Option<i64>,
    #[serde(default)]
    offset: u64,
}

/// A piece of the log of a step, of its newest attempt when none is named; asked again from `next_offset`, it goes on.
pub(crate) async fn log(
    State(app): App,
    Caller(session): Caller,
    Path((id, step)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Json<Value>, Problem> {
    let run = app.steps.pipelines().run(&session.leave()?, &id).await?;
    let found = run.steps.iter().find(|s| s.step == step);
    let found = found.ok_or_else(|| Problem::not_found(format!("run {id} has no step `{step}`")))?;
    let attempt = match query.attempt {
        None => found.attempts.last(),
        Some(number) => {
            let named = found.attempts.iter().find(|a| a.attempt == number);
            Some(named.ok_or_else(|| Problem::not_found(format!("step `{step}` has no attempt {number}")))?)
        }
    };
    let over = found.state.is_terminal();
    let Some(attempt) = attempt else {
        return Ok(Json(json!({ "text": "", "next_offset": 0, "complete": over, "attempt": null })));
    };
    let piece = app.steps.log(&run.project, attempt, query.offset).await?;
    Ok(Json(json!({
        "text": piece.text, "next_offset": piece.next_offset, "complete": piece.complete,
        "attempt": attempt.attempt, "state": attempt.state, "step_over": over,
    })))
}

//! `/endpoints/{name}/rollouts` and `/rollouts`: started, seen, ended by a person.

use crate::endpoints::{LARGEST_PAGE, PAGE, leave, reason, variant_json};
use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller, Rest};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::{Session, WantedVariant, cancel_rollout, promote_rollout, start_rollout};
use trueline_serving::EndpointName;
use trueline_serving::rollout::{Plan, Rollout, RolloutDecision};

fn rollout_json(rollout: &Rollout) -> Value {
    json!({
        "id": rollout.id, "endpoint": rollout.endpoint, "state": rollout.state,
        "candidate": { "version": rollout.candidate.name(), "model": rollout.candidate.model,
                       "manifest_digest": rollout.candidate.manifest_digest },
        "baseline": rollout.baseline.iter().map(variant_json).collect::<Vec<_>>(),
        "shadowing": rollout.shadowing, "step": rollout.step, "step_since": rfc3339(rollout.step_since_ms),
        "share_percent": rollout.share_percent(), "plan": rollout.plan, "reason": rollout.reason,
        "started_by": rollout.started_by, "started_at": rfc3339(rollout.started_at_ms),
        "deadline": rfc3339(rollout.plan.deadline(rollout.started_at_ms)),
        "ended_at": rollout.ended_at_ms.map(rfc3339),
    })
}

fn decision_json(decision: &RolloutDecision) -> Value {
    json!({
        "number": decision.number, "decision": decision.decision, "share_percent": decision.share_percent,
        "reason": decision.reason, "numbers": decision.numbers, "decided_by": decision.decided_by,
        "decided_at": rfc3339(decision.decided_at_ms),
    })
}

/// With its decisions and the newest numbers: those of the last look while it is under way, of the end afterwards.
async fn whole_json(app: &Rest, session: &Session, rollout: &Rollout) -> Result<Value, Problem> {
    let rollouts = &app.deployments.rollouts;
    let decisions = rollouts.decisions(&session.leave()?, &rollout.id).await?;
    let live = match rollout.state.is_open() {
        true => rollouts.numbers(rollout).await?,
        false => None,
    };
    let last = || decisions.iter().rev().find_map(|d| Some((d.numbers.clone()?, d.decided_at_ms)));
    let numbers = live.or_else(last);
    let mut shown = rollout_json(rollout);
    shown["decisions"] = decisions.iter().map(decision_json).collect();
    shown["numbers_at"] = json!(numbers.as_ref().map(|(_, at)| rfc3339(*at)));
    shown["numbers"] = json!(numbers.map(|(numbers, _)| numbers));
    Ok(shown)
}

/// The newest rollout of an endpoint, whether it is under way or has ended; null when there never was one.
pub(crate) async fn newest_json(
    app: &Rest,
    session: &Session,
    endpoint: &EndpointName,
) -> Result<Value, Problem> {
    match app.deployments.rollouts.newest(&session.leave()?, endpoint).await? {
        Some(rollout) => whole_json(app, session, &rollout).await,
        None => Ok(Value::Null),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartBody {
    /// As `model/3` or `model@alias`.
    version: String,
    #[serde(default)]
    plan: Plan,
    reason: Option<String>,
}

pub(crate) async fn start(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<StartBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = WantedVariant::parse(&ask.version).map_err(Problem::invalid)?;
    let (name, why) = (EndpointName::parse(&name)?, reason(ask.reason)?);
    let moved = start_rollout(&app.deployments, &leave(&session)?, &name, &wanted, ask.plan, why).await?;
    Ok((StatusCode::CREATED, Json(whole_json(&app, &session, &moved.rollout).await?)))
}

#[derive(Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(crate) async fn of_endpoint(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let name = EndpointName::parse(&name)?;
    app.deployments.endpoints.get(&session.leave()?, &name).await?;
    page_json(&app, &session, Some(&name), page).await
}

pub(crate) async fn list(
    State(app): App,
    Caller(session): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    page_json(&app, &session, None, page).await
}

async fn page_json(
    app: &Rest,
    session: &Session,
    endpoint: Option<&EndpointName>,
    page: PageQuery,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let behind = page.cursor.as_deref().map(cursor).transpose()?;
    let found = app.deployments.rollouts.list(&session.leave()?, endpoint, behind, limit).await?;
    let full = found.len() == limit as usize;
    let next = found.last().filter(|_| full).map(|r| format!("{}.{}", r.started_at_ms, r.id));
    let all: Vec<Value> = found.iter().map(rollout_json).collect();
    Ok(Json(json!({ "rollouts": all, "next_cursor": next })))
}

fn cursor(text: &str) -> Result<(i64, String), Problem> {
    let parts = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    parts.ok_or_else(|| Problem::invalid("this is no cursor that a list has answered"))
}

pub(crate) async fn show(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = app.deployments.rollouts.get(&session.leave()?, &id).await?;
    Ok(Json(whole_json(&app, &session, &found).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndBody {
    reason: Option<String>,
}

pub(crate) async fn cancel(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(ask): Body<EndBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let moved = cancel_rollout(&app.deployments, &leave(&session)?, &id, reason(ask.reason)?).await?;
    Ok((StatusCode::CREATED, Json(whole_json(&app, &session, &moved.rollout).await?)))
}

pub(crate) async fn promote(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(ask): Body<EndBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let moved = promote_rollout(&app.deployments, &leave(&session)?, &id, reason(ask.reason)?).await?;
    Ok((StatusCode::CREATED, Json(whole_json(&app, &session, &moved.rollout).await?)))
}

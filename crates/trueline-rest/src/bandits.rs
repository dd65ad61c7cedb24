//! `/endpoints/{name}/bandits`: started, seen, ended by a person.

use crate::endpoints::{LARGEST_PAGE, PAGE, leave, reason};
use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller, Rest};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::{Session, WantedVariant, start_bandit, stop_bandit};
use trueline_serving::EndpointName;
use trueline_serving::bandit::{Bandit, BanditDecision, BanditPlan};

fn bandit_json(bandit: &Bandit) -> Value {
    let arm = |(arm, share): (&trueline_serving::ModelSpec, &u32)| {
        json!({
            "version": arm.name(), "model": arm.model, "manifest_digest": arm.manifest_digest,
            "share_percent": f64::from(*share) / 100.0,
        })
    };
    json!({
        "id": bandit.id, "endpoint": bandit.endpoint, "state": bandit.state,
        "arms": bandit.arms.iter().zip(&bandit.shares).map(arm).collect::<Vec<_>>(), "plan": bandit.plan,
        "generation": bandit.generation, "allotted_at": rfc3339(bandit.allotted_at_ms), "reason": bandit.reason,
        "started_by": bandit.started_by, "started_at": rfc3339(bandit.started_at_ms),
        "deadline": rfc3339(bandit.plan.deadline(bandit.started_at_ms)),
        "ended_at": bandit.ended_at_ms.map(rfc3339),
    })
}

fn decision_json(decision: &BanditDecision) -> Value {
    json!({
        "number": decision.number, "decision": decision.decision, "generation": decision.generation,
        "share_percents": decision.shares.iter().map(|s| f64::from(*s) / 100.0).collect::<Vec<_>>(),
        "reason": decision.reason, "numbers": decision.numbers, "decided_by": decision.decided_by,
        "decided_at": rfc3339(decision.decided_at_ms),
    })
}

/// With its newest numbers and its decisions, newest first.
async fn whole_json(app: &Rest, session: &Session, bandit: &Bandit) -> Result<Value, Problem> {
    let bandits = &app.deployments.bandits;
    let decisions = bandits.decisions(&session.leave()?, &bandit.id).await?;
    let numbers = bandits.numbers(bandit).await?;
    let mut shown = bandit_json(bandit);
    shown["decisions"] = decisions.iter().map(decision_json).collect();
    shown["read_to"] = json!(numbers.as_ref().and_then(|n| n.read_to_ms).map(rfc3339));
    shown["numbers"] = json!(numbers);
    Ok(shown)
}

/// The newest bandit of an endpoint, whether it is under way or has ended; null when there never was one.
pub(crate) async fn newest_json(
    app: &Rest,
    session: &Session,
    endpoint: &EndpointName,
) -> Result<Value, Problem> {
    match app.deployments.bandits.newest(&session.leave()?, endpoint).await? {
        Some(bandit) => whole_json(app, session, &bandit).await,
        None => Ok(Value::Null),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartBody {
    /// Each as `model/3` or `model@alias`.
    versions: Vec<String>,
    #[serde(default)]
    plan: BanditPlan,
    reason: Option<String>,
}

pub(crate) async fn start(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<StartBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = ask.versions.iter().map(|v| WantedVariant::parse(v)).collect::<Result<Vec<_>, _>>();
    let wanted = wanted.map_err(Problem::invalid)?;
    let (name, why) = (EndpointName::parse(&name)?, reason(ask.reason)?);
    let leave = leave(&session)?;
    let moved = start_bandit(&app.deployments, &leave, &name, &wanted, (ask.plan, why)).await?;
    Ok((StatusCode::CREATED, Json(whole_json(&app, &session, &moved.bandit).await?)))
}

#[derive(Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
}

pub(crate) async fn list(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let (read, name) = (session.leave()?, EndpointName::parse(&name)?);
    app.deployments.endpoints.get(&read, &name).await?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let found = app.deployments.bandits.list(&read, &name, limit).await?;
    Ok(Json(json!({ "bandits": found.iter().map(bandit_json).collect::<Vec<_>>() })))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndBody {
    /// The arm that is to answer alone; the shares stay as they are when it is not said.
    to: Option<String>,
    reason: Option<String>,
}

pub(crate) async fn end(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<EndBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = EndpointName::parse(&name)?;
    let moved = stop_bandit(&app.deployments, &leave(&session)?, &name, ask.to, reason(ask.reason)?).await?;
    Ok((StatusCode::CREATED, Json(whole_json(&app, &session, &moved.bandit).await?)))
}

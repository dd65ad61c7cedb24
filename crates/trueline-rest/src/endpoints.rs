//! `/endpoints`: made, deployed to, rolled back, seen.

use crate::bandits;
use crate::problem::Problem;
use crate::rollouts;
use crate::time::rfc3339;
use crate::{App, Body, Caller, Rest};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use trueline_flows::{
    DeployLeave, NotFollowed, Session, WantedVariant, declare_log as declare, deploy as deploy_versions,
    roll_back as return_to_previous,
};
use trueline_predictions::StreamStats;
use trueline_serving::{
    Endpoint, EndpointName, KeepLog, LogMode, LogRules, LogShare, NewEndpoint, Redaction, Route, SampleBy,
    Variant,
};

pub(crate) const PAGE: u32 = 50;
pub(crate) const LARGEST_PAGE: u32 = 500;
const LONGEST_REASON: usize = 2_000;

pub(crate) fn variant_json(variant: &Variant) -> Value {
    json!({
        "version": variant.spec.name(), "model": variant.spec.model, "weight": variant.weight,
        "manifest_digest": variant.spec.manifest_digest, "follows": variant.follows,
    })
}

/// What keeps an endpoint from answering by what its alias points at.
fn not_followed_json(undone: &NotFollowed) -> Value {
    let NotFollowed { moved, why } = undone;
    json!({
        "alias": moved.alias, "version": moved.to, "event": moved.event, "moved_by": moved.moved_by, "why": why,
    })
}

fn route_json(route: &Route) -> Value {
    json!({
        "generation": route.generation, "change": route.change, "reason": route.reason,
        "changed_by": route.changed_by, "changed_at": rfc3339(route.changed_at_ms),
        "variants": route.variants.iter().map(variant_json).collect::<Vec<_>>(),
        "shadow": route.shadow.as_ref().map(|s| json!({ "version": s.spec.name(), "share_percent": s.share.percent() })),
    })
}

/// What is logged, as it is declared.
fn rules_json(rules: &LogRules) -> Value {
    json!({
        "revision": rules.revision, "since": (rules.revision > 0).then(|| rfc3339(rules.since_ms)),
        "sample": rules.sample, "sample_by": rules.sample_by, "sample_failures": rules.sample_failures,
        "redact": rules.redact, "keep_days": rules.keep,
    })
}

/// What the log has of an endpoint, and what it has lost since the server started.
fn logged_json(rest: &Rest, session: &Session, endpoint: &Endpoint) -> Value {
    let stats = rest.tracer.log.stats_of(session.project().id.as_str(), endpoint.name.as_str());
    let number = |of: fn(&StreamStats) -> u64| stats.as_ref().map_or(0, of);
    let time = |of: fn(&StreamStats) -> Option<i64>| stats.as_ref().and_then(of).map(rfc3339);
    json!({
        "records": number(|s| s.records), "bytes": number(|s| s.bytes), "segments": number(|s| s.segments),
        "oldest": time(|s| s.oldest_ms), "deleted_until": time(|s| s.deleted_until_ms),
        "kept_ms": endpoint.log_rules.keep.millis(rest.retention.predictions_ms),
        "dropped": number(|s| s.dropped), "failed_appends": number(|s| s.failed),
    })
}

fn endpoint_json(rest: &Rest, session: &Session, endpoint: &Endpoint) -> Value {
    let parts = &rest.deployments;
    let (project, name) = (&session.project().id, endpoint.name.as_str());
    json!({
        "name": endpoint.name, "log": endpoint.log, "log_rules": rules_json(&endpoint.log_rules),
        "logged": logged_json(rest, session, endpoint), "sticky_header": endpoint.sticky_header,
        "created_by": endpoint.created_by, "created_at": rfc3339(endpoint.created_at_ms),
        "invocations_path": format!("/projects/{}/endpoints/{}/invocations", session.project().name, endpoint.name),
        "route": endpoint.route.as_ref().map(route_json),
        "live": parts.plane.status(project, name),
        "left_out": parts.plane.why_left_out(&session.project().name, name),
        "not_followed": parts.undone.of(project, name).as_ref().map(not_followed_json),
    })
}

pub(crate) fn leave(session: &Session) -> Result<DeployLeave, Problem> {
    Ok(DeployLeave { project: session.project().clone(), read: session.leave()?, deploy: session.leave()? })
}

pub(crate) fn reason(given: Option<String>) -> Result<String, Problem> {
    let reason = given.unwrap_or_default();
    if reason.len() > LONGEST_REASON {
        return Err(Problem::invalid(format!("a reason has at most {LONGEST_REASON} bytes")));
    }
    Ok(reason)
}

pub(crate) async fn list(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let all = app.deployments.endpoints.list(&session.leave()?).await?;
    let all: Vec<Value> = all.iter().map(|e| endpoint_json(&app, &session, e)).collect();
    Ok(Json(json!({ "endpoints": all })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateEndpoint {
    name: String,
    #[serde(default)]
    log: LogMode,
    sticky_header: Option<String>,
}

pub(crate) async fn create(
    State(app): App,
    Caller(session): Caller,
    Body(ask): Body<CreateEndpoint>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new = NewEndpoint::new(EndpointName::parse(&ask.name)?, ask.log, ask.sticky_header)?;
    let made = app.deployments.endpoints.create(&session.leave()?, new).await?;
    Ok((StatusCode::CREATED, Json(endpoint_json(&app, &session, &made))))
}

pub(crate) async fn show(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = app.deployments.endpoints.get(&session.leave()?, &EndpointName::parse(&name)?).await?;
    let mut shown = endpoint_json(&app, &session, &found);
    shown["rollout"] = rollouts::newest_json(&app, &session, &found.name).await?;
    shown["bandit"] = bandits::newest_json(&app, &session, &found.name).await?;
    Ok(Json(shown))
}

#[derive(Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    cursor: Option<i64>,
}

pub(crate) async fn routes(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let name = EndpointName::parse(&name)?;
    let found = app.deployments.endpoints.history(&session.leave()?, &name, page.cursor, limit).await?;
    let full = found.len() == limit as usize;
    let next = found.last().filter(|r| full && r.generation > 1).map(|r| r.generation.to_string());
    Ok(Json(json!({ "routes": found.iter().map(route_json).collect::<Vec<_>>(), "next_cursor": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployBody {
    /// Each as `model/3` or `model@alias`, with `:weight` behind it or not.
    variants: Vec<String>,
    reason: Option<String>,
    /// Whether those that are named by an alias go on to the version that it points at when it moves.
    #[serde(default)]
    follow: bool,
}

pub(crate) async fn deploy(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<DeployBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = ask.variants.iter().map(|v| WantedVariant::parse(v)).collect::<Result<Vec<_>, _>>();
    let wanted = match (wanted, ask.follow) {
        (Ok(wanted), true) => WantedVariant::following(wanted),
        (wanted, _) => wanted,
    };
    let wanted = wanted.map_err(Problem::invalid)?;
    let name = EndpointName::parse(&name)?;
    let done =
        deploy_versions(&app.deployments, &leave(&session)?, &name, &wanted, reason(ask.reason)?).await?;
    Ok((StatusCode::CREATED, Json(endpoint_json(&app, &session, &done))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogBody {
    /// The revision of what this was made from; that which is in force, when it is not said.
    revision: Option<i64>,
    #[serde(default)]
    sample: LogShare,
    #[serde(default)]
    sample_by: SampleBy,
    #[serde(default)]
    sample_failures: bool,
    #[serde(default)]
    redact: BTreeMap<String, Redaction>,
    #[serde(default, rename = "keep_days")]
    keep: KeepLog,
    reason: Option<String>,
}

pub(crate) async fn declare_log(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<LogBody>,
) -> Result<Json<Value>, Problem> {
    let (name, leave, reason) = (EndpointName::parse(&name)?, leave(&session)?, reason(ask.reason)?);
    let revision = match ask.revision {
        Some(revision) => revision,
        None => app.deployments.endpoints.get(&leave.read, &name).await?.log_rules.revision,
    };
    let LogBody { sample, sample_by, sample_failures, redact, keep, .. } = ask;
    let wanted =
        LogRules { revision, sample, sample_by, sample_failures, redact, keep, ..LogRules::default() };
    let done = declare(&app.deployments, &leave, &name, wanted, reason).await?;
    Ok(Json(endpoint_json(&app, &session, &done)))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBackBody {
    reason: Option<String>,
}

pub(crate) async fn roll_back(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<RollBackBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = EndpointName::parse(&name)?;
    let done = return_to_previous(&app.deployments, &leave(&session)?, &name, reason(ask.reason)?).await?;
    Ok((StatusCode::CREATED, Json(endpoint_json(&app, &session, &done))))
}

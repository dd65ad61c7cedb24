//! `/models`: release policies, gates and approvals. Models and versions themselves are made over MLflow's wire.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_registry::{
    Approval, CountedApproval, Decision, DeclaredPolicy, GateRun, RegistryError, ReleasePolicy, ReleaseState,
    VersionKey,
};

/// A value with its times in the form of this API.
fn timed(value: impl serde::Serialize, times: &[(&str, i64)]) -> Value {
    let mut value = json!(value);
    for (name, at) in times {
        value[*name] = json!(rfc3339(*at));
    }
    value
}

fn policy_json(p: &DeclaredPolicy) -> Value {
    let mut value = timed(p, &[("declared_at", p.declared_at_ms)]);
    let asks = p.policy.gates.iter().map(|g| (g.name.clone(), json!(g.rule.asks())));
    value["asks"] = Value::Object(asks.collect());
    value
}

fn run_json(run: &GateRun) -> Value {
    let mut value = timed(run, &[("judged_at", run.judged_at_ms)]);
    value["passed"] = json!(run.passed());
    value
}

fn approval_json(a: &Approval) -> Value {
    timed(a, &[("decided_at", a.decided_at_ms)])
}

fn counted_json(a: &CountedApproval) -> Value {
    timed(a, &[("decided_at", a.approval.decided_at_ms), ("expires_at", a.expires_at_ms)])
}

pub(crate) fn state_json(state: &ReleaseState) -> Value {
    let mut value = json!(state);
    value["policy"] = json!(state.policy.as_ref().map(policy_json));
    value["last_run"] = json!(state.last_run.as_ref().map(run_json));
    value["approvals"] = json!(state.approvals.iter().map(counted_json).collect::<Vec<_>>());
    value
}

pub(crate) async fn model(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave()?;
    let model = app.registry.model(&leave, &name).await?;
    let policy = app.registry.policy(&leave, &name).await?;
    let newest = model.latest.iter().map(|v| v.key.version).max();
    Ok(Json(json!({
        "name": model.name,
        "description": model.description,
        "created_by": model.created_by,
        "created_at": rfc3339(model.created_at_ms),
        "updated_at": rfc3339(model.updated_at_ms),
        "newest_version": newest,
        "aliases": model.aliases,
        "policy": policy.as_ref().map(policy_json),
    })))
}

/// Makes a model without versions; one that is there stays as it is.
pub(crate) async fn declare(state: App, caller: Caller, path: Path<String>) -> Result<Json<Value>, Problem> {
    let made =
        state.registry.create_model(&caller.0.leave()?, path.0.clone(), String::new(), Vec::new()).await;
    match made {
        Ok(_) | Err(RegistryError::Exists(_)) => model(state, caller, path).await,
        Err(other) => Err(other.into()),
    }
}

pub(crate) async fn policy(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = app.registry.policy(&session.leave()?, &name).await?;
    let found = found.ok_or_else(|| {
        Problem::not_found(format!(
            "no release policy is declared for `{name}`: declare one with `trueline model policy set {name} <file>`"
        ))
    })?;
    Ok(Json(policy_json(&found)))
}

pub(crate) async fn declare_policy(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(policy): Body<ReleasePolicy>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave()?;
    Ok(Json(policy_json(&app.registry.declare_policy(&leave, &name, policy).await?)))
}

type VersionPath = Path<(String, String)>;

fn key(Path((model, number)): VersionPath) -> Result<VersionKey, Problem> {
    Ok(VersionKey::parse(&model, &number)?)
}

pub(crate) async fn release(
    State(app): App,
    Caller(session): Caller,
    path: VersionPath,
) -> Result<Json<Value>, Problem> {
    Ok(Json(state_json(&app.registry.release_state(&session.leave()?, &key(path)?).await?)))
}

pub(crate) async fn gate_runs(
    State(app): App,
    Caller(session): Caller,
    path: VersionPath,
) -> Result<Json<Value>, Problem> {
    let runs = app.registry.gate_runs(&session.leave()?, &key(path)?).await?;
    Ok(Json(json!({ "gate_runs": runs.iter().map(run_json).collect::<Vec<_>>() })))
}

pub(crate) async fn run_gates(
    State(app): App,
    Caller(session): Caller,
    path: VersionPath,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (read, judge) = (session.leave()?, session.leave()?);
    let run = app.releases.judge(&read, &judge, &key(path)?).await?;
    Ok((StatusCode::CREATED, Json(run_json(&run))))
}

pub(crate) async fn approvals(
    State(app): App,
    Caller(session): Caller,
    path: VersionPath,
) -> Result<Json<Value>, Problem> {
    let state = app.registry.release_state(&session.leave()?, &key(path)?).await?;
    let approvals: Vec<Value> = state.approvals.iter().map(counted_json).collect();
    Ok(Json(json!({ "approved": state.approved, "required": state.required, "approvals": approvals })))
}

/// Whoever decides is the caller; a body has no field for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionBody {
    decision: Decision,
    #[serde(default)]
    comment: String,
}

pub(crate) async fn decide(
    State(app): App,
    Caller(session): Caller,
    path: VersionPath,
    Body(body): Body<DecisionBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (read, approve) = (session.leave()?, session.leave()?);
    let made = app.releases.decide(&read, &approve, &key(path)?, body.decision, body.comment).await?;
    Ok((StatusCode::CREATED, Json(approval_json(&made))))
}

pub(crate) async fn withdraw(
    State(app): App,
    Caller(session): Caller,
    path: VersionPath,
) -> Result<StatusCode, Problem> {
    app.registry.withdraw(&session.leave()?, &key(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

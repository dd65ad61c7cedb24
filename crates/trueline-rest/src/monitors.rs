//! `/monitors`, `/alerts`, `/incidents`: what is watched, what is wrong, what is done about it.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller, Rest};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::Session;
use trueline_monitoring::{
    Alert, AlertState, Finding, Incident, IncidentEntry, Level, Monitor, MonitorSpec, MonitorWindow,
    NewMonitor, Reference, ReferenceSource, ReferenceState, TrainedVersion, TrainingData, Verdict,
};
use trueline_serving::EndpointName;

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

#[derive(Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    endpoint: Option<String>,
    state: Option<String>,
}

impl PageQuery {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE)
    }

    /// `<time>-<id>`: behind which item the page begins.
    fn before(&self) -> Result<Option<(i64, String)>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let parts = cursor.rsplit_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
        parts.map(Some).ok_or_else(|| Problem::invalid("the cursor is not one that this call gave"))
    }
}

fn next<T>(items: &[T], limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    items.last().filter(|_| items.len() == limit as usize).map(cursor)
}

fn reference_json(monitor: &Monitor) -> Value {
    let known =
        |r: &Reference| json!({ "source": r.source, "features": r.columns.keys().collect::<Vec<_>>() });
    let mut shown = match monitor.reference_state() {
        ReferenceState::Learning => json!({ "state": "learning" }),
        ReferenceState::Known(source) => json!({ "state": "known", "source": source }),
        ReferenceState::Unknown(reason) => json!({ "state": "unknown", "reason": reason }),
    };
    if let Some(reference) = &monitor.reference {
        shown["features"] = known(reference)["features"].take();
    }
    let version = |t: &TrainedVersion| {
        let mut told = match &t.data {
            TrainingData::Known(reference) => known(reference),
            TrainingData::Unknown(reason) => json!({ "unknown": reason }),
        };
        told["version"] = json!(t.variant);
        told
    };
    if monitor.spec.reference == ReferenceSource::Training {
        shown["versions"] = monitor.training.iter().map(version).collect();
    }
    shown
}

fn monitor_json(monitor: &Monitor) -> Value {
    json!({
        "id": monitor.id, "name": monitor.name, "endpoint": monitor.endpoint, "spec": monitor.shown_spec(),
        "reference": reference_json(monitor), "digest": monitor.digest(),
        "created_by": monitor.created_by, "created_at": rfc3339(monitor.created_at_ms),
    })
}

fn finding_json(finding: &Finding) -> Value {
    let mut shown = json!({
        "subject": finding.subject, "value": finding.value, "enter": finding.enter, "exit": finding.exit,
        "level": finding.level,
    });
    if let Some(reason) = &finding.reason {
        shown["reason"] = json!(reason);
    }
    shown
}

/// A number that labels tell, or the word that they do not tell it yet.
fn known(value: Option<f64>) -> Value {
    value.map_or_else(|| json!("unknown"), |v| json!(v))
}

fn verdict_json(verdict: &Verdict) -> Value {
    let quality = &verdict.quality;
    json!({
        "version": verdict.variant, "predictions": verdict.predictions, "answered": verdict.answered.unwrap_or(verdict.predictions),
        "errors": verdict.errors,
        "quality": {
            "labelled": quality.labelled, "coverage": quality.coverage, "auc": known(quality.auc),
            "log_loss": known(quality.log_loss), "brier": known(quality.brier),
        },
        "findings": verdict.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn window_json(window: &MonitorWindow) -> Value {
    let worst =
        |level: Level| window.verdicts.iter().flat_map(|v| &v.findings).filter(|f| f.level == level).count();
    json!({
        "start": rfc3339(window.start_ms), "end": rfc3339(window.end_ms), "closed": window.closed,
        "breaches": worst(Level::Breach),
        "verdicts": window.verdicts.iter().map(verdict_json).collect::<Vec<_>>(),
    })
}

fn alert_json(alert: &Alert) -> Value {
    json!({
        "id": alert.id, "monitor": alert.monitor, "endpoint": alert.endpoint, "subject": alert.subject,
        "state": alert.state, "value": alert.value, "enter": alert.enter, "exit": alert.exit,
        "first_window": rfc3339(alert.first_window_ms), "last_window": rfc3339(alert.last_window_ms),
        "opened_at": rfc3339(alert.opened_at_ms), "fired_at": alert.fired_at_ms.map(rfc3339),
        "resolved_at": alert.resolved_at_ms.map(rfc3339), "incident": alert.incident,
        "compared_with": alert.compared_with,
    })
}

fn incident_json(incident: &Incident) -> Value {
    json!({
        "id": incident.id, "endpoint": incident.endpoint, "state": incident.state, "firing": incident.firing,
        "opened_at": rfc3339(incident.opened_at_ms), "resolved_at": incident.resolved_at_ms.map(rfc3339),
        "resolved_by": incident.resolved_by,
    })
}

fn entry_json(entry: &IncidentEntry) -> Value {
    json!({
        "id": entry.id, "at": rfc3339(entry.at_ms), "kind": entry.kind, "actor": entry.actor, "body": entry.body,
    })
}

pub(crate) async fn list(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let all = app.monitoring.list(&session.leave()?).await?;
    Ok(Json(json!({ "monitors": all.iter().map(monitor_json).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateMonitor {
    name: String,
    endpoint: String,
    spec: MonitorSpec,
}

/// A monitor whose endpoint is there and whose webhooks can be reached.
async fn wanted(app: &Rest, session: &Session, new: NewMonitor) -> Result<NewMonitor, Problem> {
    new.spec.webhooks.iter().try_for_each(|webhook| app.reach.check(webhook))?;
    app.deployments.endpoints.get(&session.leave()?, &EndpointName::parse(&new.endpoint)?).await?;
    Ok(new)
}

pub(crate) async fn create(
    State(app): App,
    Caller(session): Caller,
    Body(ask): Body<CreateMonitor>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new = NewMonitor { name: ask.name, endpoint: ask.endpoint, spec: ask.spec };
    let new = wanted(&app, &session, new).await?;
    let made = app.monitoring.create(&session.leave()?, new).await?;
    Ok((StatusCode::CREATED, Json(monitor_json(&made))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclareMonitor {
    endpoint: String,
    spec: MonitorSpec,
}

pub(crate) async fn declare(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<DeclareMonitor>,
) -> Result<Json<Value>, Problem> {
    let new = wanted(&app, &session, NewMonitor { name, endpoint: ask.endpoint, spec: ask.spec }).await?;
    Ok(Json(monitor_json(&app.monitoring.declare(&session.leave()?, new).await?)))
}

pub(crate) async fn show(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave()?;
    let found = app.monitoring.get(&leave, &name).await?;
    let progress = app.monitoring.progress(&leave, &found.id).await?;
    let mut shown = monitor_json(&found);
    shown["watermark"] = json!(progress.watermark.map(rfc3339));
    shown["too_late"] = json!(progress.too_late);
    Ok(Json(shown))
}

pub(crate) async fn windows(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave()?;
    let found = app.monitoring.get(&leave, &name).await?;
    let before = page.cursor.as_ref().map(|c| c.parse()).transpose();
    let before = before.map_err(|_| Problem::invalid("the cursor is not one that this call gave"))?;
    let all = app.monitoring.windows(&leave, &found.id, before, page.limit()).await?;
    let next = next(&all, page.limit(), |w| w.start_ms.to_string());
    Ok(Json(json!({ "windows": all.iter().map(window_json).collect::<Vec<_>>(), "next_cursor": next })))
}

pub(crate) async fn alerts(
    State(app): App,
    Caller(session): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let word = |w: &String| {
        AlertState::parse(w).ok_or_else(|| Problem::invalid("state: pending, firing or resolved"))
    };
    let state = page.state.as_ref().map(word).transpose()?;
    let (limit, before) = (page.limit(), page.before()?);
    let all = app.monitoring.alerts(&session.leave()?, page.endpoint, state, before, limit).await?;
    let next = next(&all, limit, |a| format!("{}-{}", a.opened_at_ms, a.id));
    Ok(Json(json!({ "alerts": all.iter().map(alert_json).collect::<Vec<_>>(), "next_cursor": next })))
}

pub(crate) async fn incidents(
    State(app): App,
    Caller(session): Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let (limit, before) = (page.limit(), page.before()?);
    let all = app.monitoring.incidents(&session.leave()?, before, limit).await?;
    let next = next(&all, limit, |i| format!("{}-{}", i.opened_at_ms, i.id));
    Ok(Json(json!({ "incidents": all.iter().map(incident_json).collect::<Vec<_>>(), "next_cursor": next })))
}

pub(crate) async fn incident(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (incident, entries) = app.monitoring.incident(&session.leave()?, &id).await?;
    let mut shown = incident_json(&incident);
    shown["timeline"] = entries.iter().map(entry_json).collect();
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    text: String,
}

pub(crate) async fn note(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(note): Body<Note>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let incident = app.monitoring.note(&session.leave()?, &id, note.text).await?;
    Ok((StatusCode::CREATED, Json(incident_json(&incident))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    #[serde(default)]
    reason: String,
}

pub(crate) async fn resolve(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    Body(ask): Body<Resolution>,
) -> Result<Json<Value>, Problem> {
    let incident = app.monitoring.resolve(&session.leave()?, &id, ask.reason).await?;
    Ok(Json(incident_json(&incident)))
}

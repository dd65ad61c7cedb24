//! `/feature-views` and what belongs to them: declared, joined into training sets, loaded, pushed, looked up.

use crate::datasets::accepted;
use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use trueline_features::{Declaration, FeatureView, Found, Keys, Materialisation, OnlineView, ViewRef};
use trueline_flows::{
    Materialise, TrainingSet, declare_features, request_materialisation, request_training_set,
};
use trueline_identity::{ReadProject, WriteData};

/// Rows of a push, and keys of a lookup.
const MOST_ROWS: usize = 10_000;
/// For how long a lookup may wait for the disk.
const LOOKUP_DEADLINE: Duration = Duration::from_millis(250);

fn moment(us: i64) -> Option<String> {
    Timestamp::from_microsecond(us).ok().map(|t| t.to_string())
}

fn view_json(v: &FeatureView) -> Value {
    let mut view = json!(v);
    view["reference"] = json!(v.reference().to_string());
    view["created_at"] = json!(rfc3339(v.created_at_ms));
    if let Some(object) = view.as_object_mut() {
        object.remove("created_at_ms");
    }
    view
}

fn materialisation(m: &Materialisation) -> Value {
    json!({
        "version": m.version, "dataset": m.dataset, "dataset_number": m.dataset_number,
        "start": m.start_us.and_then(moment), "end": m.end_us.and_then(moment),
        "rows_read": m.rows_read, "rows_written": m.rows_written, "at": rfc3339(m.at_ms),
    })
}

pub(crate) async fn declare(
    State(app): App,
    Caller(session): Caller,
    Body(declaration): Body<Declaration>,
) -> Result<Json<Value>, Problem> {
    let applied = declare_features(&app.data, &app.features, &session.leave()?, declaration).await?;
    Ok(Json(json!(applied)))
}

pub(crate) async fn entities(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let found = app.features.entities(&session.leave()?).await?;
    Ok(Json(json!({ "entities": found })))
}

pub(crate) async fn views(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let found = app.features.views(&session.leave()?).await?;
    Ok(Json(json!({ "views": found.iter().map(view_json).collect::<Vec<_>>() })))
}

pub(crate) async fn view(
    State(app): App,
    Caller(session): Caller,
    Path(view): Path<String>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave()?;
    let found = app.features.view(&leave, &ViewRef::parse(&view)?).await?;
    let loads = app.features.materialisations(&leave, &found.spec.name).await?;
    let mut answer = view_json(&found);
    answer["materialisations"] = loads.iter().map(materialisation).collect();
    Ok(Json(answer))
}

pub(crate) async fn training_set(
    State(app): App,
    Caller(session): Caller,
    Body(ask): Body<TrainingSet>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let task = request_training_set(&app.ledger, &app.data, &app.features, &session.leave()?, ask).await?;
    Ok(accepted(&task))
}

pub(crate) async fn materialise(
    State(app): App,
    Caller(session): Caller,
    Path(view): Path<String>,
    Body(ask): Body<Materialise>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let ask = Materialise { view, ..ask };
    let task = request_materialisation(&app.ledger, &app.features, &session.leave()?, ask).await?;
    Ok(accepted(&task))
}

/// The online view that a path names.
fn online(
    app: &crate::Rest,
    session: &trueline_flows::Session,
    view: &str,
) -> Result<std::sync::Arc<OnlineView>, Problem> {
    let wanted = ViewRef::parse(view)?;
    let found = app.features.online().view(&session.project().id, &wanted);
    found.ok_or_else(|| Problem::not_found(format!("there is no feature view {wanted}")))
}

fn at_most(what: &str, count: usize) -> Result<(), Problem> {
    match count <= MOST_ROWS {
        true => Ok(()),
        false => Err(Problem::invalid(format!("send at most {MOST_ROWS} {what} at once; these are {count}"))),
    }
}

#[derive(Deserialize)]
pub(crate) struct Push {
    rows: Vec<Map<String, Value>>,
}

pub(crate) async fn push(
    State(app): App,
    Caller(session): Caller,
    Path(view): Path<String>,
    Body(Push { rows }): Body<Push>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave::<WriteData>()?;
    at_most("rows", rows.len())?;
    let view = online(&app, &session, &view)?;
    let now_us = app.ledger.sources().now().saturating_mul(1000);
    let rows = rows.iter().map(|r| view.row_from_json(r, now_us)).collect::<Result<Vec<_>, _>>()?;
    let pushed = app.features.online().push(leave.project(), &view.reference(), rows).await?;
    Ok(Json(json!(pushed)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookup {
    keys: Vec<Map<String, Value>>,
    /// The time at which rows must still be true.
    at: Option<Timestamp>,
}

pub(crate) async fn lookup(
    State(app): App,
    Caller(session): Caller,
    Path(view): Path<String>,
    Body(Lookup { keys, at }): Body<Lookup>,
) -> Result<Json<Value>, Problem> {
    let leave = session.leave::<ReadProject>()?;
    at_most("keys", keys.len())?;
    let view = online(&app, &session, &view)?;
    let keys = keys.iter().map(Keys::from_json).collect::<Result<Vec<_>, _>>()?;
    let store = app.features.online();
    let at = at.map(Timestamp::as_microsecond);
    let found = store.lookup(leave.project(), &view.reference(), &keys, at, LOOKUP_DEADLINE).await?;
    let results: Vec<Value> = keys.iter().zip(&found).map(|(k, f)| result(&view, k, f)).collect();
    Ok(Json(json!({ "view": view.reference().to_string(), "results": results })))
}

fn result(view: &OnlineView, keys: &Keys, found: &Found) -> Value {
    let values = found.row.as_ref().map(|row| {
        let pairs = view.features.iter().zip(&row.values);
        pairs.map(|(name, cell)| (name.clone(), json!(cell))).collect::<Map<_, _>>()
    });
    let event_time = found.row.as_ref().and_then(|row| moment(row.event_us));
    json!({ "keys": keys, "status": found.status, "event_time": event_time, "values": values })
}

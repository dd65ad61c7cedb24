//! `/experiments/*`.

use crate::access::narrowed;
use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::Session;
use trueline_search::mlflow::Kind;
use trueline_tracking::{ExperimentId, ExperimentSearch, KeyValue, ViewType};

type Answer = Result<Response, WireError>;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create))
        .route("/get", get(by_id))
        .route("/get-by-name", get(by_name))
        .route("/search", post(search).get(search))
        .route("/update", post(update))
        .route("/delete", post(delete))
        .route("/restore", post(restore))
        .route("/set-experiment-tag", post(set_tag))
        .route("/delete-experiment-tag", post(delete_tag))
}

pub(crate) fn experiment_id(fields: &Fields) -> Result<ExperimentId, WireError> {
    Ok(ExperimentId::parse(&fields.required("experiment_id")?)?)
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let name = fields.required("name")?;
    let location = fields.given("artifact_location")?;
    let tags = fields.pairs("tags")?;
    let id = app.tracking.create_experiment(&session.leave()?, name, location, tags).await?;
    Ok(reply::json(&json!({ "experiment_id": id.to_string() })))
}

async fn by_id(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(reply::json(&found(&app, &session, &fields).await?))
}

pub(crate) async fn found(app: &Mlflow, session: &Session, fields: &Fields) -> Result<Json, WireError> {
    let found = app.tracking.experiment(&session.leave()?, experiment_id(fields)?).await?;
    Ok(json!({ "experiment": render::experiment(&found, &session.project().name) }))
}

async fn by_name(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let name = fields.required("experiment_name")?;
    let found = app.tracking.experiment_by_name(&session.leave()?, name).await?;
    let workspace = &session.project().name;
    Ok(reply::json(&json!({ "experiment": render::experiment(&found, workspace) })))
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let page = crate::paging::Paging::read(&fields, 0, 50_000)?;
    let search = ExperimentSearch {
        filter: narrowed(&session, crate::paging::filter(Kind::Experiments, &fields)?, "experiment_id"),
        order_by: crate::paging::order_by(Kind::Experiments, &fields)?,
        view: view_type(&fields, "view_type")?,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.tracking.search_experiments(&session.leave()?, search).await?;
    let workspace = &session.project().name;
    let list: Vec<_> = found.items.iter().map(|e| render::experiment(e, workspace)).collect();
    let answer = json!({ "experiments": list, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

/// An unknown word is the default, as protobuf has it.
pub(crate) fn view_type(fields: &Fields, name: &str) -> Result<ViewType, WireError> {
    let word = fields.text(name)?;
    Ok(word.and_then(|w| ViewType::parse(&w)).unwrap_or(ViewType::ActiveOnly))
}

async fn update(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let id = experiment_id(&fields)?;
    if let Some(name) = fields.given("new_name")? {
        app.tracking.rename_experiment(&session.leave()?, id, name).await?;
    }
    Ok(reply::empty())
}

async fn delete(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.tracking.delete_experiment(&session.leave()?, experiment_id(&fields)?).await?;
    Ok(reply::empty())
}

async fn restore(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.tracking.restore_experiment(&session.leave()?, experiment_id(&fields)?).await?;
    Ok(reply::empty())
}

async fn set_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let tag = KeyValue::new(fields.required("key")?, fields.text_or_empty("value")?);
    app.tracking.set_experiment_tag(&session.leave()?, experiment_id(&fields)?, tag).await?;
    Ok(reply::empty())
}

async fn delete_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let key = fields.required("key")?;
    app.tracking.delete_experiment_tag(&session.leave()?, experiment_id(&fields)?, key).await?;
    Ok(reply::empty())
}

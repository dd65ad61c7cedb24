//! `/3.0/mlflow/scorers/*`: records of scorers.

use crate::error::WireError;
use crate::fields::{Fields, missing};
use crate::trace_wire::leave;
use crate::{App, Caller, Mlflow, render, reply, traces};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{delete as removing, get, post, put};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_traces::{Sampling, ScorerVersion};

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/register", post(register))
        .route("/list", get(list))
        .route("/versions", get(versions))
        .route("/get", get(by_name))
        .route("/delete", removing(delete))
        .route("/online-config", put(sample))
        .route("/online-configs", get(sampling))
        .layer(bulk)
}

fn scorer(s: &ScorerVersion) -> Json {
    json!({
        "experiment_id": s.experiment,
        "scorer_name": s.name,
        "scorer_version": s.version,
        "serialized_scorer": s.body,
        "creation_time": s.created_at_ms,
        "scorer_id": s.id,
    })
}

fn listed(found: &[ScorerVersion]) -> Response {
    let scorers: Vec<Json> = found.iter().map(scorer).collect();
    reply::json(&render::compact(json!({ "scorers": scorers })))
}

async fn register(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let experiment = fields.required("experiment_id")?;
    let (name, body) = (fields.required("name")?, fields.required("serialized_scorer")?);
    let made = app.keeper.register_scorer(&leave(&session)?, &experiment, name, body).await?;
    Ok(reply::json(&json!({
        "version": made.version,
        "scorer_id": made.id,
        "experiment_id": made.experiment.to_string(),
        "name": made.name,
        "serialized_scorer": made.body,
        "creation_time": made.created_at_ms,
    })))
}

async fn list(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let one = fields.given("experiment_id")?;
    let several = fields.any("experiment_ids").map(|_| fields.texts("experiment_ids")).transpose()?;
    if one.is_some() && several.is_some() {
        return Err(WireError::invalid(
            "Cannot specify both 'experiment_id' and 'experiment_ids'. Use 'experiment_ids' to scope the query to multiple \
             experiments, or 'experiment_id' to scope it to a single experiment.",
        ));
    }
    let found = app.keeper.scorers(&session.leave()?, one.as_deref(), several.as_deref()).await?;
    Ok(listed(&found))
}

async fn versions(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (experiment, name) = (fields.required("experiment_id")?, fields.required("name")?);
    let read = session.leave()?;
    let experiment = app.keeper.experiment(&read, &experiment).await?;
    Ok(listed(&app.keeper.traces.scorer_versions(&read, experiment, name).await?))
}

async fn by_name(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (experiment, name) = (fields.required("experiment_id")?, fields.required("name")?);
    let (read, version) = (session.leave()?, fields.integer("version")?);
    let experiment = app.keeper.experiment(&read, &experiment).await?;
    let found = app.keeper.traces.scorer(&read, experiment, name, version).await?;
    Ok(reply::json(&json!({ "scorer": scorer(&found) })))
}

async fn delete(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (experiment, name) = (fields.required("experiment_id")?, fields.required("name")?);
    let leave = leave(&session)?;
    let experiment = app.keeper.experiment(&leave.read, &experiment).await?;
    app.keeper.traces.delete_scorer(&leave.write, experiment, name, fields.integer("version")?).await?;
    Ok(reply::empty())
}

fn config(s: &Sampling) -> Json {
    render::compact(json!({
        "online_scoring_config_id": s.id,
        "scorer_id": s.scorer,
        "sample_rate": s.sample_rate,
        "experiment_id": s.experiment.to_string(),
        "filter_string": s.filter,
    }))
}

async fn sample(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (experiment, name) = (fields.required("experiment_id")?, fields.required("name")?);
    let rate = fields.number("sample_rate")?.ok_or_else(|| missing("sample_rate"))?;
    let filter = fields.text("filter_string")?;
    let leave = leave(&session)?;
    let experiment = app.keeper.experiment(&leave.read, &experiment).await?;
    let done = app.keeper.traces.sample(&leave.write, experiment, name, rate, filter).await?;
    Ok(reply::json(&json!({ "config": config(&done) })))
}

async fn sampling(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let scorers = traces::required_texts(&fields, "scorer_ids")?;
    let found = app.keeper.traces.sampling(&session.leave()?, scorers).await?;
    let configs: Vec<Json> = found.iter().map(config).collect();
    Ok(reply::json(&json!({ "configs": configs })))
}

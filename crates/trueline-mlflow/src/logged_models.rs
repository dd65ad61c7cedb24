//! `/logged-models/*`.

use crate::error::WireError;
use crate::experiments::experiment_id;
use crate::fields::Fields;
use crate::paging::{self, Paging};
use crate::runs::measured_on;
use crate::{App, Caller, Mlflow, artifacts, download, render, reply};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_search::mlflow::Kind;
use trueline_tracking::{ExperimentId, LoggedModelSearch, LoggedModelStatus, NewLoggedModel, RunId};

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/search", post(search))
        .route("/{id}", get(by_id).patch(finalize).delete(delete))
        .route("/{id}/params", post(log_params).layer(bulk))
        .route("/{id}/tags", patch(set_tags).layer(bulk))
        .route("/{id}/tags/{key}", axum::routing::delete(delete_tag))
        .route("/{id}/artifacts/directories", get(list_artifacts))
        .route("/{id}/artifacts/files", get(download::of_logged_model))
}

fn one(model: &trueline_tracking::LoggedModel) -> Response {
    reply::json(&json!({ "model": render::logged_model(model) }))
}

pub(crate) async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let new = NewLoggedModel {
        experiment: experiment_id(&fields)?,
        name: fields.text("name")?,
        model_type: fields.given("model_type")?,
        source_run: fields.given("source_run_id")?.map(RunId::new),
        params: fields.pairs("params")?,
        tags: fields.pairs("tags")?,
    };
    Ok(one(&app.tracking.create_logged_model(&session.leave()?, new).await?))
}

async fn by_id(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    Ok(one(&app.tracking.logged_model(&session.leave()?, &id).await?))
}

async fn finalize(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    let word = fields.required("status")?;
    let status = LoggedModelStatus::parse(&word).unwrap_or(LoggedModelStatus::Unspecified);
    Ok(one(&app.tracking.finalize_logged_model(&session.leave()?, &id, status).await?))
}

async fn delete(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    app.tracking.delete_logged_model(&session.leave()?, &id).await?;
    Ok(reply::empty())
}

async fn log_params(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    app.tracking.log_logged_model_params(&session.leave()?, &id, fields.pairs("params")?).await?;
    Ok(reply::empty())
}

async fn set_tags(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    app.tracking.set_logged_model_tags(&session.leave()?, &id, fields.pairs("tags")?).await?;
    Ok(reply::empty())
}

async fn delete_tag(
    State(app): App,
    Caller(session): Caller,
    Path((id, key)): Path<(String, String)>,
) -> Answer {
    app.tracking.delete_logged_model_tag(&session.leave()?, &id, key).await?;
    Ok(reply::empty())
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let page = Paging::read(&fields, 50, 50_000)?;
    let experiments = fields.texts("experiment_ids")?;
    let asked = fields.messages("order_by")?;
    let names = asked.iter().map(|o| o.required("field_name")).collect::<Result<Vec<_>, _>>()?;
    let mut order_by = paging::parsed_order(Kind::LoggedModels, &names)?;
    for (order, asked) in order_by.iter_mut().zip(&asked) {
        order.ascending = asked.switch_or("ascending", true)?;
    }
    let mut datasets = Vec::new();
    for asked in fields.messages("datasets")? {
        datasets.extend(measured_on(&asked, "dataset_name", "dataset_digest")?);
    }
    let search = LoggedModelSearch {
        experiments: experiments.iter().map(|id| ExperimentId::parse(id)).collect::<Result<_, _>>()?,
        filter: paging::filter(Kind::LoggedModels, &fields)?,
        datasets,
        order_by,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.tracking.search_logged_models(&session.leave()?, search).await?;
    let models: Vec<Json> = found.items.iter().map(render::logged_model).collect();
    let answer = json!({ "models": models, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

async fn list_artifacts(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    let model = app.tracking.logged_model(&session.leave()?, &id).await?;
    let below = fields.text_or_empty("artifact_directory_path")?;
    Ok(reply::json(&artifacts::listing(&app, &session, &model.artifact_uri, &below).await?))
}

//! `/registered-models/*`.

use crate::access::narrowed;
use crate::error::WireError;
use crate::fields::Fields;
use crate::paging::{self, Paging};
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_registry::{KeyValue, ModelSearch, RegisteredModel, VersionKey};
use trueline_search::mlflow::Kind;

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create).layer(bulk))
        .route("/get", get(by_name))
        .route("/search", get(search))
        .route("/rename", post(rename))
        .route("/update", patch(update))
        .route("/delete", delete(remove))
        .route("/get-latest-versions", post(latest).get(latest))
        .route("/set-tag", post(set_tag))
        .route("/delete-tag", delete(delete_tag))
        .route("/alias", post(set_alias).get(by_alias).delete(delete_alias))
}

fn one(model: &RegisteredModel) -> Response {
    reply::json(&json!({ "registered_model": render::model(model) }))
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let name = fields.required("name")?;
    let (description, tags) = (fields.text_or_empty("description")?, fields.registry_pairs("tags")?);
    Ok(one(&app.registry.create_model(&session.leave()?, name, description, tags).await?))
}

async fn by_name(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(one(&app.registry.model(&session.leave()?, &fields.required("name")?).await?))
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let page = Paging::read(&fields, 100, 1000)?;
    let search = ModelSearch {
        filter: narrowed(&session, paging::filter(Kind::RegisteredModels, &fields)?, "name"),
        order_by: paging::order_by(Kind::RegisteredModels, &fields)?,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.registry.search_models(&session.leave()?, search).await?;
    let models: Vec<Json> = found.items.iter().map(render::model).collect();
    let answer = json!({ "registered_models": models, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

async fn rename(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, new_name) = (fields.required("name")?, fields.required("new_name")?);
    Ok(one(&app.registry.rename_model(&session.leave()?, &name, new_name).await?))
}

async fn update(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, description) = (fields.required("name")?, fields.text_or_empty("description")?);
    Ok(one(&app.registry.describe_model(&session.leave()?, &name, description).await?))
}

async fn remove(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.registry.delete_model(&session.leave()?, &fields.required("name")?).await?;
    Ok(reply::empty())
}

async fn latest(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, stages) = (fields.required("name")?, fields.texts("stages")?);
    let found = app.registry.latest_versions(&session.leave()?, &name, &stages).await?;
    let versions: Vec<Json> = found.iter().map(render::version).collect();
    Ok(reply::json(&render::compact(json!({ "model_versions": versions }))))
}

async fn set_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let tag = KeyValue { key: fields.required("key")?, value: fields.text_or_empty("value")? };
    app.registry.set_model_tag(&session.leave()?, &fields.required("name")?, tag).await?;
    Ok(reply::empty())
}

async fn delete_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, key) = (fields.required("name")?, fields.required("key")?);
    app.registry.delete_model_tag(&session.leave()?, &name, key).await?;
    Ok(reply::empty())
}

async fn set_alias(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, alias) = (fields.required("name")?, fields.required("alias")?);
    let key = VersionKey::parse(&name, &fields.required("version")?)?;
    app.registry.set_alias(&session.leave()?, &key, alias).await?;
    Ok(reply::empty())
}

async fn by_alias(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, alias) = (fields.required("name")?, fields.required("alias")?);
    let found = app.registry.version_by_alias(&session.leave()?, &name, &alias).await?;
    Ok(reply::json(&json!({ "model_version": render::version(&found) })))
}

async fn delete_alias(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, alias) = (fields.required("name")?, fields.required("alias")?);
    app.registry.delete_alias(&session.leave()?, &name, alias).await?;
    Ok(reply::empty())
}

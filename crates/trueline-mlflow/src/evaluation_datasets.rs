//! `/3.0/mlflow/datasets/*`: evaluation datasets. Tags and records come and go as JSON in a text.

use crate::error::WireError;
use crate::fields::Fields;
use crate::trace_wire::leave;
use crate::{App, Caller, Mlflow, paging, render, reply};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{delete as removing, get, patch, post};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use trueline_search::mlflow::Kind;
use trueline_traces::{DatasetRecord, DatasetSearch, EvaluationDataset, NewRecord, Pairs};

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create))
        .route("/search", post(search).get(search))
        .route("/{dataset_id}", get(by_id).delete(delete))
        .route("/{dataset_id}/tags", patch(set_tags))
        .route("/{dataset_id}/tags/{key}", removing(delete_tag))
        .route("/{dataset_id}/records", get(records).post(upsert).delete(delete_records))
        .route("/{dataset_id}/experiment-ids", get(experiment_ids))
        .route("/{dataset_id}/add-experiments", post(add))
        .route("/{dataset_id}/remove-experiments", post(remove))
        .layer(bulk)
}

fn dataset(d: &EvaluationDataset, experiments: Option<&[String]>) -> Json {
    render::compact(json!({
        "dataset_id": d.id,
        "name": d.name,
        "tags": json!(d.tags).to_string(),
        "schema": d.schema,
        "profile": d.profile,
        "digest": d.digest,
        "created_time": d.created_at_ms,
        "last_update_time": d.updated_at_ms,
        "created_by": d.created_by,
        "last_updated_by": d.updated_by,
        "experiment_ids": experiments,
    }))
}

fn told(found: &EvaluationDataset) -> Response {
    reply::json(&json!({ "dataset": dataset(found, None) }))
}

/// Tags as JSON in a text; a tag that is `null` is none.
fn tags(fields: &Fields) -> Result<Pairs, WireError> {
    let text = fields.text_or_empty("tags")?;
    if text.is_empty() {
        return Ok(Pairs::new());
    }
    let members: Map<String, Json> =
        serde_json::from_str(&text).map_err(|e| WireError::invalid(format!("Invalid tags: {e}")))?;
    let words = |value: Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    Ok(members.into_iter().filter_map(|(key, value)| Some((key, words(value)?))).collect())
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (name, experiments) = (fields.required("name")?, fields.texts("experiment_ids")?);
    let tags = tags(&fields)?;
    let made = app.keeper.traces.create_dataset(&session.leave()?, name, tags, experiments.clone()).await?;
    Ok(reply::json(&json!({ "dataset": dataset(&made, Some(&experiments)) })))
}

async fn by_id(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    Ok(told(&app.keeper.traces.dataset(&session.leave()?, id).await?))
}

async fn delete(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    app.keeper.traces.delete_dataset(&session.leave()?, id).await?;
    Ok(reply::empty())
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let page = paging::Paging::read(&fields, 1000, 50_000)?;
    let search = DatasetSearch {
        experiments: fields.texts("experiment_ids")?,
        filter: paging::parsed_filter(Kind::EvaluationDatasets, &fields.text_or_empty("filter_string")?)?,
        order_by: paging::order_by(Kind::EvaluationDatasets, &fields)?,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.keeper.traces.search_datasets(&session.leave()?, search).await?;
    let datasets: Vec<Json> = found.items.iter().map(|d| dataset(d, None)).collect();
    let answer = json!({ "datasets": datasets, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

async fn set_tags(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    fields.required("tags")?;
    app.keeper.traces.tag_dataset(&session.leave()?, id, tags(&fields)?).await?;
    Ok(reply::empty())
}

async fn delete_tag(
    State(app): App,
    Caller(session): Caller,
    Path((id, key)): Path<(String, String)>,
) -> Answer {
    app.keeper.traces.untag_dataset(&session.leave()?, id, key).await?;
    Ok(reply::empty())
}

fn new_record(value: &Json) -> Result<NewRecord, WireError> {
    let members = |name: &str| match value.get(name) {
        None | Some(Json::Null) => Ok(Map::new()),
        Some(Json::Object(members)) => Ok(members.clone()),
        Some(_) => Err(WireError::invalid(format!("The field '{name}' of a record must be an object."))),
    };
    Ok(NewRecord {
        inputs: members("inputs")?,
        outputs: value.get("outputs").cloned(),
        expectations: members("expectations")?,
        tags: members("tags")?,
        source: value.get("source").filter(|source| source.is_object()).cloned(),
    })
}

async fn upsert(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let list: Vec<Json> = serde_json::from_str(&fields.required("records")?)
        .map_err(|e| WireError::invalid(format!("Invalid records: {e}")))?;
    let records = list.iter().map(new_record).collect::<Result<_, _>>()?;
    let done = app.keeper.traces.upsert_records(&session.leave()?, id, records).await?;
    Ok(reply::json(&json!({ "inserted_count": done.inserted, "updated_count": done.updated })))
}

fn record(dataset: &str, r: &DatasetRecord) -> Json {
    // Empty lists are values here.
    let told = json!({
        "dataset_record_id": r.id,
        "dataset_id": dataset,
        "inputs": r.inputs,
        "outputs": r.outputs,
        "expectations": r.expectations,
        "tags": r.tags,
        "source": r.source,
        "source_id": r.source_id,
        "source_type": r.source_type,
        "created_time": r.created_at_ms,
        "last_update_time": r.updated_at_ms,
        "created_by": r.created_by,
        "last_updated_by": r.updated_by,
    });
    match told {
        Json::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

async fn records(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let limit = fields.integer("max_results")?.filter(|limit| *limit > 0).unwrap_or(1000);
    let token = fields.given("page_token")?;
    let page = app.keeper.traces.records(&session.leave()?, id.clone(), limit.unsigned_abs(), token).await?;
    let records: Json = page.items.iter().map(|r| record(&id, r)).collect();
    let answer = json!({ "records": records.to_string(), "next_page_token": page.next });
    Ok(reply::json(&render::compact(answer)))
}

async fn delete_records(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    let ids = fields.texts("dataset_record_ids")?;
    let deleted = app.keeper.traces.delete_records(&session.leave()?, id, ids).await?;
    Ok(reply::json(&json!({ "deleted_count": deleted })))
}

async fn experiment_ids(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    let found = app.keeper.traces.dataset_experiments(&session.leave()?, id).await?;
    Ok(reply::json(&render::compact(json!({ "experiment_ids": found }))))
}

async fn add(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let experiments = fields.texts("experiment_ids")?;
    Ok(told(&app.keeper.add_dataset(&leave(&session)?, id, experiments).await?))
}

async fn remove(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let experiments = fields.texts("experiment_ids")?;
    let left = app.keeper.traces.associate_dataset(&session.leave()?, id, experiments, false).await?;
    Ok(told(&left))
}

//! `/runs/*` and `/metrics/*`.

use crate::error::WireError;
use crate::experiments::{experiment_id, view_type};
use crate::fields::{Fields, missing};
use crate::paging::{self, Paging};
use crate::run_wire::{InfoWire, RunWire, RunsWire};
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::Session;
use trueline_search::mlflow::Kind;
use trueline_tracking::{
    Batch, DatasetInput, ExperimentId, KeyValue, Lifecycle, LoggedDataset, LoggedMetric, MeasuredOn,
    MetricPoint, MetricQuery, ModelMetric, NewRun, RunId, RunSearch, RunStatus, RunUpdate,
};

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create).layer(bulk))
        .route("/get", get(by_id))
        .route("/update", post(update))
        .route("/delete", post(delete))
        .route("/restore", post(restore))
        .route("/search", post(search))
        .route("/log-metric", post(log_metric))
        .route("/log-parameter", post(log_parameter))
        .route("/log-batch", post(log_batch).layer(bulk))
        .route("/set-tag", post(set_tag))
        .route("/delete-tag", post(delete_tag))
        .route("/log-model", post(log_model).layer(bulk))
        .route("/log-inputs", post(log_inputs).layer(bulk))
        .route("/outputs", post(log_outputs))
}

pub(crate) fn metric_routes() -> Router<Arc<Mlflow>> {
    Router::new().route("/get-history", get(history))
}

fn run_id(fields: &Fields) -> Result<RunId, WireError> {
    Ok(RunId::new(fields.required_either("run_id", "run_uuid")?))
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let new = NewRun {
        experiment: experiment_id(&fields)?,
        name: fields.text("run_name")?,
        claimed_user: fields.text_or_empty("user_id")?,
        start_time: fields.integer("start_time")?,
        tags: fields.pairs("tags")?,
    };
    let run = app.tracking.create_run(&session.leave()?, new).await?;
    Ok(reply::json(&json!({ "run": RunWire(&run) })))
}

async fn by_id(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = app.tracking.run(&session.leave()?, &run_id(&fields)?).await?;
    Ok(reply::json(&json!({ "run": RunWire(&run) })))
}

pub(crate) async fn found(app: &Mlflow, session: &Session, fields: &Fields) -> Result<Json, WireError> {
    let run = app.tracking.run(&session.leave()?, &run_id(fields)?).await?;
    Ok(json!({ "run": RunWire(&run) }))
}

async fn update(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let update = RunUpdate {
        // An unknown word is ignored, as protobuf has it.
        status: fields.text("status")?.and_then(|s| RunStatus::parse(&s)),
        end_time: fields.integer("end_time")?,
        name: fields.text("run_name")?,
    };
    let run = app.tracking.update_run(&session.leave()?, &run_id(&fields)?, update).await?;
    Ok(reply::json(&json!({ "run_info": InfoWire(&run) })))
}

async fn delete(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.tracking.set_run_lifecycle(&session.leave()?, &run_id(&fields)?, Lifecycle::Deleted).await?;
    Ok(reply::empty())
}

async fn restore(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.tracking.set_run_lifecycle(&session.leave()?, &run_id(&fields)?, Lifecycle::Active).await?;
    Ok(reply::empty())
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(reply::json(&found_many(&app, &session, &fields).await?))
}

/// The page of runs that is asked for.
pub(crate) async fn found_many(
    app: &Mlflow,
    session: &Session,
    fields: &Fields,
) -> Result<RunsWire, WireError> {
    let page = Paging::read(fields, 1000, 50_000)?;
    let experiments = fields.texts("experiment_ids")?;
    let search = RunSearch {
        experiments: experiments.iter().map(|id| ExperimentId::parse(id)).collect::<Result<_, _>>()?,
        filter: paging::filter(Kind::Runs, fields)?,
        order_by: paging::order_by(Kind::Runs, fields)?,
        view: view_type(fields, "run_view_type")?,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.tracking.search_runs(&session.leave()?, search).await?;
    Ok(RunsWire { runs: found.items, next_page_token: page.next_token(found.more) })
}

/// A point, at its place in the list that it came in.
fn metric(fields: &Fields, place: Option<usize>) -> Result<LoggedMetric, WireError> {
    let need = |name: &str| match place {
        Some(i) => missing(&format!("metrics[{i}].{name}")),
        None => missing(name),
    };
    let key = fields.given("key")?.ok_or_else(|| need("key"))?;
    let point = MetricPoint {
        step: fields.integer("step")?.unwrap_or(0),
        at_ms: fields.integer("timestamp")?.ok_or_else(|| need("timestamp"))?,
        value: fields.number("value")?.ok_or_else(|| need("value"))?,
    };
    Ok(LoggedMetric { key, point })
}

/// Points that were measured for a logged model are kept with the model as well.
fn for_models(list: &[Fields], metrics: &[LoggedMetric]) -> Result<Vec<(String, ModelMetric)>, WireError> {
    let mut out = Vec::new();
    for (fields, metric) in list.iter().zip(metrics) {
        if let Some(model) = fields.given("model_id")? {
            let dataset = measured_on(fields, "dataset_name", "dataset_digest")?;
            out.push((model, ModelMetric { metric: metric.clone(), dataset }));
        }
    }
    Ok(out)
}

/// The dataset that two fields name, if they do.
pub(crate) fn measured_on(
    fields: &Fields,
    name: &str,
    digest: &str,
) -> Result<Option<MeasuredOn>, WireError> {
    let digest = fields.given(digest)?;
    Ok(fields.given(name)?.map(|name| MeasuredOn { name, digest }))
}

async fn log_metric(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = run_id(&fields)?;
    let metrics = vec![metric(&fields, None)?];
    let of_models = for_models(std::slice::from_ref(&fields), &metrics)?;
    let batch = Batch { metrics, of_models, single: true, ..Batch::default() };
    app.tracking.log_batch(&session.leave()?, &run, batch).await?;
    Ok(reply::empty())
}

async fn log_parameter(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = run_id(&fields)?;
    let params = vec![KeyValue::new(fields.required("key")?, fields.text_or_empty("value")?)];
    let batch = Batch { params, single: true, ..Batch::default() };
    app.tracking.log_batch(&session.leave()?, &run, batch).await?;
    Ok(reply::empty())
}

/// What a request brings, which is gone before the database is waited for: as JSON it takes many times as much memory.
fn batch(mut fields: Fields) -> Result<(RunId, Batch), WireError> {
    let run = RunId::new(fields.required("run_id")?);
    let points = fields.take_messages("metrics")?;
    let placed = points.iter().enumerate().map(|(i, fields)| metric(fields, Some(i)));
    let metrics: Vec<LoggedMetric> = placed.collect::<Result<_, _>>()?;
    let of_models = for_models(&points, &metrics)?;
    let (params, tags) = (fields.pairs("params")?, fields.pairs("tags")?);
    Ok((run, Batch { metrics, of_models, params, tags, single: false }))
}

async fn log_batch(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (run, batch) = batch(fields)?;
    app.tracking.log_batch(&session.leave()?, &run, batch).await?;
    Ok(reply::empty())
}

async fn set_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = run_id(&fields)?;
    let tags = vec![KeyValue::new(fields.required("key")?, fields.text_or_empty("value")?)];
    let batch = Batch { tags, single: true, ..Batch::default() };
    app.tracking.log_batch(&session.leave()?, &run, batch).await?;
    Ok(reply::empty())
}

async fn delete_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.tracking.delete_tag(&session.leave()?, &run_id(&fields)?, fields.required("key")?).await?;
    Ok(reply::empty())
}

async fn log_model(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = run_id(&fields)?;
    let text = fields.required("model_json")?;
    let model: Json = serde_json::from_str(&text).map_err(|e| {
        WireError::invalid(format!("Malformed model info. \n {text} \n is not valid JSON: {e}"))
    })?;
    let required = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let absent: Vec<&str> = required.into_iter().filter(|field| model.get(field).is_none()).collect();
    if !absent.is_empty() {
        return Err(WireError::invalid(format!("Model json is missing mandatory fields: {absent:?}")));
    }
    app.tracking.append_model_history(&session.leave()?, &run, model).await?;
    Ok(reply::empty())
}

fn dataset_input(fields: &Fields) -> Result<DatasetInput, WireError> {
    let dataset = fields.message("dataset")?;
    Ok(DatasetInput {
        dataset: LoggedDataset {
            name: dataset.text_or_empty("name")?,
            digest: dataset.text_or_empty("digest")?,
            source_type: dataset.text_or_empty("source_type")?,
            source: dataset.text_or_empty("source")?,
            schema: dataset.text("schema")?,
            profile: dataset.text("profile")?,
        },
        tags: fields.pairs("tags")?,
    })
}

async fn log_inputs(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = RunId::new(fields.required("run_id")?);
    let datasets = fields.messages("datasets")?.iter().map(dataset_input).collect::<Result<_, _>>()?;
    let models = fields.messages("models")?;
    let models = models.iter().map(|m| m.required("model_id")).collect::<Result<_, _>>()?;
    app.tracking.log_inputs(&session.leave()?, &run, datasets, models).await?;
    Ok(reply::empty())
}

async fn log_outputs(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = RunId::new(fields.required("run_id")?);
    let model = |m: &Fields| Ok::<_, WireError>((m.required("model_id")?, m.integer("step")?.unwrap_or(0)));
    let models = fields.messages("models")?.iter().map(model).collect::<Result<_, _>>()?;
    app.tracking.log_outputs(&session.leave()?, &run, models).await?;
    Ok(reply::empty())
}

async fn history(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = run_id(&fields)?;
    let key = fields.required("metric_key")?;
    // Who asks for no page gets the first one, and a token for the rest.
    let page = Paging::read(&fields, 50_000, 50_000)?;
    let query = MetricQuery { offset: page.offset, limit: Some(page.limit + 1) };
    let mut points = app.tracking.metric_history(&session.leave()?, &run, key.clone(), query).await?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let next = page.next_token(points.len() > limit);
    points.truncate(limit);
    let metrics: Vec<Json> = points.iter().map(|p| render::metric(&key, p)).collect();
    Ok(reply::json(&render::compact(json!({ "metrics": metrics, "next_page_token": next }))))
}

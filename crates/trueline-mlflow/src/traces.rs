//! `/3.0/mlflow/traces/*`: traces as clients of MLflow 3 know them. Spans come through `/v1/traces`.

use crate::error::WireError;
use crate::fields::{Fields, missing};
use crate::trace_wire::{self, leave};
use crate::{App, Caller, Mlflow, assessments, paging, render, reply, trace_metrics};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_search::mlflow::Kind;
use trueline_traces::{TraceSearch, WhichTraces};

type Answer = Result<Response, WireError>;

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/search", post(search))
        .route("/get", get(by_id))
        .route("/batchGet", get(batch))
        .route("/batchGetInfos", post(batch_infos))
        .route("/delete-traces", post(delete))
        .route("/calculate-filter-correlation", post(correlation))
        .route("/metrics", post(trace_metrics::query))
        .route("/{trace_id}", get(info))
        .route("/{trace_id}/tags", patch(set_tag).delete(delete_tag))
        .merge(assessments::routes())
        .layer(bulk)
}

pub(crate) async fn start(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    if fields.any("trace").is_none() {
        return Err(missing("trace"));
    }
    let (experiment, new) = trace_wire::read_info(&fields.message("trace")?.message("trace_info")?)?;
    let info = app.keeper.start(&leave(&session)?, &experiment, new).await?;
    Ok(reply::json(&json!({ "trace": { "trace_info": trace_wire::info(&info) } })))
}

async fn info(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    let info = app.keeper.traces.info(&session.leave()?, id).await?;
    Ok(reply::json(&json!({ "trace": { "trace_info": trace_wire::info(&info) } })))
}

async fn by_id(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (id, part_will_do) = (fields.required("trace_id")?, fields.switch("allow_partial")?);
    let trace = app.keeper.traces.trace(&session.leave()?, id, part_will_do).await?;
    Ok(reply::json(&json!({ "trace": trace_wire::trace(&trace) })))
}

/// A list that must be there and not be empty.
pub(crate) fn required_texts(fields: &Fields, name: &str) -> Result<Vec<String>, WireError> {
    let texts = fields.texts(name)?;
    if texts.is_empty() { Err(missing(name)) } else { Ok(texts) }
}

/// Numbers of experiments; those that are no numbers are none.
pub(crate) fn experiments(ids: &[String]) -> Result<Vec<i64>, WireError> {
    let parse = |id: &String| Ok(trueline_tracking::ExperimentId::parse(id)?.0);
    ids.iter().map(parse).collect()
}

/// The experiments that a batch is held to, if it is.
fn scope(fields: &Fields) -> Result<Option<Vec<i64>>, WireError> {
    fields.any("experiment_ids").map(|_| experiments(&fields.texts("experiment_ids")?)).transpose()
}

async fn batch(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let ids = required_texts(&fields, "trace_ids")?;
    let found = app.keeper.traces.whole(&session.leave()?, ids, scope(&fields)?).await?;
    let traces: Vec<Json> = found.iter().map(trace_wire::trace).collect();
    Ok(reply::json(&render::compact(json!({ "traces": traces }))))
}

async fn batch_infos(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let ids = required_texts(&fields, "trace_ids")?;
    let found = app.keeper.traces.infos(&session.leave()?, ids, scope(&fields)?).await?;
    let infos: Vec<Json> = found.iter().map(trace_wire::info).collect();
    Ok(reply::json(&render::compact(json!({ "trace_infos": infos }))))
}

/// What a search of either version asks for.
pub(crate) fn asked(
    fields: &Fields,
    experiments: Vec<i64>,
) -> Result<(TraceSearch, paging::Paging), WireError> {
    let page = paging::Paging::read(fields, 100, 500)?;
    // MLflow looks at the order first, and so do the errors.
    let order_by = paging::order_by(Kind::Traces, fields)?;
    let search = TraceSearch {
        experiments,
        filter: paging::filter(Kind::Traces, fields)?,
        order_by,
        offset: page.offset,
        limit: page.limit,
    };
    Ok((search, page))
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let locations = fields.messages("locations")?;
    if locations.is_empty() {
        return Err(missing("locations"));
    }
    let mut ids = Vec::new();
    for location in locations {
        if location.any("mlflow_experiment").is_some() {
            ids.push(location.message("mlflow_experiment")?.text_or_empty("experiment_id")?);
        }
    }
    let (search, page) = asked(&fields, experiments(&ids)?)?;
    let found = app.keeper.traces.search(&session.leave()?, search).await?;
    let traces: Vec<Json> = found.items.iter().map(trace_wire::info).collect();
    let answer = json!({ "traces": traces, "next_page_token": page.next_token(found.more) });
    Ok(reply::json(&render::compact(answer)))
}

pub(crate) async fn delete(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let experiment = crate::experiments::experiment_id(&fields)?.0;
    let (at_ms, most) = (fields.integer("max_timestamp_millis")?, fields.integer("max_traces")?);
    let which = WhichTraces::parse(at_ms, most, fields.texts("request_ids")?)?;
    let deleted = app.keeper.traces.delete(&session.leave()?, experiment, which).await?;
    Ok(reply::json(&json!({ "traces_deleted": deleted })))
}

async fn correlation(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let ids = required_texts(&fields, "experiment_ids")?;
    let filter = |text: &str| paging::parsed_filter(Kind::Traces, text);
    let first = filter(&fields.required("filter_string1")?)?;
    let second = filter(&fields.required("filter_string2")?)?;
    let base = filter(&fields.text_or_empty("base_filter")?)?;
    let found =
        app.keeper.traces.correlation(&session.leave()?, experiments(&ids)?, [first, second, base]).await?;
    Ok(reply::json(&json!({
        "npmi": render::number(found.npmi),
        "npmi_smoothed": render::number(found.smoothed),
        "filter1_count": found.counts.first,
        "filter2_count": found.counts.second,
        "joint_count": found.counts.both,
        "total_count": found.counts.total,
    })))
}

pub(crate) async fn set_tag(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    let (key, value) = (fields.required("key")?, fields.text_or_empty("value")?);
    app.keeper.traces.set_tag(&session.leave()?, id, key, value).await?;
    Ok(reply::empty())
}

pub(crate) async fn delete_tag(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    app.keeper.traces.delete_tag(&session.leave()?, id, fields.required("key")?).await?;
    Ok(reply::empty())
}

pub(crate) async fn link_to_run(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let traces = required_texts(&fields, "trace_ids")?;
    app.keeper.traces.link_to_run(&session.leave()?, traces, fields.required("run_id")?).await?;
    Ok(reply::empty())
}

pub(crate) async fn link_prompts(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let trace = fields.required("trace_id")?;
    let prompts = fields.messages("prompt_versions")?;
    if prompts.is_empty() {
        return Err(missing("prompt_versions"));
    }
    let mut linked = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let (name, version) = (prompt.required("name")?, prompt.required("version")?);
        let number: Result<i64, _> = version.parse();
        let number =
            number.map_err(|_| WireError::invalid(format!("Invalid prompt version '{version}'.")))?;
        linked.push(format!("{name}/{number}"));
    }
    app.keeper.traces.link_prompts(&session.leave()?, trace, linked).await?;
    Ok(reply::empty())
}

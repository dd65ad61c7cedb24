//! `/3.0/mlflow/issues`: what is wrong with an application, as its traces show. The detection of issues by a model is a job
//! of MLflow's, and jobs are off here.

use crate::error::WireError;
use crate::fields::Fields;
use crate::trace_wire::leave;
use crate::{App, Caller, Mlflow, paging, render, reply};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_traces::{Issue, IssueSearch, IssueSeverity, IssueStatus, IssueUpdate, NewIssue};
use trueline_tracking::ExperimentId;

type Answer = Result<Response, WireError>;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/issues", post(create))
        .route("/issues/search", post(search))
        .route("/issues/{id}", get(by_id).patch(update))
}

fn issue(issue: &Issue) -> Json {
    let told = &issue.told;
    render::compact(json!({
        "issue_id": issue.id,
        "experiment_id": issue.experiment.to_string(),
        "name": told.name,
        "description": told.description,
        "status": told.status.as_str(),
        "severity": told.severity.map(IssueSeverity::as_str),
        "root_causes": told.root_causes,
        "categories": told.categories,
        "source_run_id": told.source_run,
        "created_by": told.created_by,
        "created_timestamp": issue.created_at_ms,
        "last_updated_timestamp": issue.updated_at_ms,
        "trace_count": issue.traces,
    }))
}

fn one(found: &Issue) -> Response {
    reply::json(&json!({ "issue": issue(found) }))
}

fn status(fields: &Fields) -> Result<Option<IssueStatus>, WireError> {
    Ok(fields.text("status")?.map(|word| IssueStatus::parse(&word)).transpose()?)
}

fn severity(fields: &Fields) -> Result<Option<IssueSeverity>, WireError> {
    Ok(fields.text("severity")?.map(|word| IssueSeverity::parse(&word)).transpose()?)
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let told = NewIssue {
        name: fields.required("name")?,
        description: fields.required("description")?,
        status: status(&fields)?.unwrap_or_default(),
        severity: severity(&fields)?,
        root_causes: fields.texts("root_causes")?,
        categories: fields.texts("categories")?,
        source_run: fields.given("source_run_id")?,
        created_by: fields.given("created_by")?,
    };
    let experiment = fields.required("experiment_id")?;
    Ok(one(&app.keeper.create_issue(&leave(&session)?, &experiment, told).await?))
}

async fn by_id(State(app): App, Caller(session): Caller, Path(id): Path<String>) -> Answer {
    Ok(one(&app.keeper.traces.issue(&session.leave()?, id).await?))
}

async fn update(State(app): App, Caller(session): Caller, Path(id): Path<String>, fields: Fields) -> Answer {
    let update = IssueUpdate {
        name: fields.given("name")?,
        description: fields.given("description")?,
        status: status(&fields)?,
        severity: severity(&fields)?,
    };
    Ok(one(&app.keeper.traces.update_issue(&session.leave()?, id, update).await?))
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let page = paging::Paging::read(&fields, 100, 50_000)?;
    let experiment = fields.given("experiment_id")?.map(|id| ExperimentId::parse(&id)).transpose()?;
    let asked = IssueSearch {
        experiment: experiment.map(|id| id.0),
        filter: paging::issue_filter(&fields.text_or_empty("filter_string")?)?,
        counts_traces: fields.switch("include_trace_count")?,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.keeper.traces.search_issues(&session.leave()?, asked).await?;
    let issues: Vec<Json> = found.items.iter().map(issue).collect();
    // The last page has an empty token, not none.
    let next = page.next_token(found.more).unwrap_or_default();
    Ok(reply::json(&render::compact(json!({ "issues": issues, "next_page_token": next }))))
}

//! `/graphql`, which MLflow's page of a run asks. Each field is answered by what answers it on the REST wire.

mod query;
mod schema;

use crate::access::part;
use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, artifacts, datasets, experiments, history, reply, runs, versions};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use query::{Field, Query};
use schema::SCHEMA;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use trueline_flows::Session;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new().route("/graphql", get(ask).post(ask))
}

async fn ask(State(app): App, Caller(session): Caller, fields: Fields) -> Result<Response, WireError> {
    let text = fields.required("query")?;
    let operation = fields.given("operationName")?;
    let variables = match fields.get("variables") {
        Some(Json::Object(map)) => map.clone(),
        Some(Json::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        _ => Map::new(),
    };
    let read = Query::read(&text, operation.as_deref(), &variables);
    let checked = read.and_then(|query| SCHEMA.check(root(&query), &query.fields).map(|()| query));
    let (data, errors) = match checked {
        Ok(query) => answer(&app, &session, &query).await,
        Err(refusal) => (Json::Null, vec![refusal]),
    };
    let errors = Some(errors).filter(|list| !list.is_empty());
    Ok(reply::json(&json!({ "data": data, "errors": errors })))
}

fn root(query: &Query) -> &'static str {
    if query.is_mutation { "Mutation" } else { "Query" }
}

/// The answer, and what went wrong with some of its fields, which are null then.
async fn answer(app: &Mlflow, session: &Session, query: &Query) -> (Json, Vec<String>) {
    let (mut data, mut errors) = (Map::new(), Vec::new());
    for field in &query.fields {
        let value = match field.name.as_str() {
            "__typename" => json!(root(query)),
            _ => match resolve(app, session, field).await {
                // What may not be seen is null, and no error tells that it is there.
                Ok(Json::Null) => Json::Null,
                Ok(wire) => SCHEMA.answer(root(query), field, &wire),
                Err(error) => {
                    errors.push(error.message().to_owned());
                    Json::Null
                }
            },
        };
        data.insert(field.key.clone(), value);
    }
    (Json::Object(data), errors)
}

/// What the REST wire answers.
async fn resolve(app: &Mlflow, session: &Session, field: &Field) -> Result<Json, WireError> {
    let input = match field.arguments.get("input") {
        Some(Json::Object(map)) => Fields::from_map(map.clone())?,
        _ => Fields::default(),
    };
    let Some((session, input)) = part(app, session, judged_as(&field.name), input).await? else {
        return Ok(Json::Null);
    };
    let session = &session;
    match field.name.as_str() {
        "mlflowGetExperiment" => experiments::found(app, session, &input).await,
        "mlflowGetMetricHistoryBulkInterval" => history::sample(app, session, &input).await,
        "mlflowListArtifacts" => artifacts::of_run(app, session, &input).await,
        "mlflowSearchModelVersions" => versions::found(app, session, &input).await,
        "mlflowSearchDatasets" => datasets::found(app, session, &input).await,
        "mlflowGetRun" => {
            let mut found = runs::found(app, session, &input).await?;
            extend(app, session, field, std::slice::from_mut(&mut found["run"])).await?;
            Ok(found)
        }
        "mlflowSearchRuns" => {
            let mut found = json!(runs::found_many(app, session, &input).await?);
            if let Some(runs) = found["runs"].as_array_mut() {
                extend(app, session, field, runs).await?;
            }
            Ok(found)
        }
        // `test` and `testMutation`, by which a client learns whether anybody answers.
        _ => Ok(json!({ "output": field.arguments.get("inputString") })),
    }
}

/// The call of the REST wire by which it is judged who may ask for a field.
fn judged_as(field: &str) -> &'static str {
    match field {
        "mlflowGetExperiment" => "/2.0/mlflow/experiments/get",
        "mlflowGetMetricHistoryBulkInterval" => "/2.0/mlflow/metrics/get-history-bulk-interval",
        "mlflowListArtifacts" => "/2.0/mlflow/artifacts/list",
        "mlflowSearchModelVersions" => "/2.0/mlflow/model-versions/search",
        "mlflowSearchDatasets" => "/2.0/mlflow/experiments/search-datasets",
        "mlflowGetRun" => "/2.0/mlflow/runs/get",
        "mlflowSearchRuns" => "/2.0/mlflow/runs/search",
        // Those that tell nothing.
        _ => "/graphql",
    }
}

/// Adds what only GraphQL gives with a run, when it is asked for: its experiment, and the versions made from it.
async fn extend(app: &Mlflow, session: &Session, field: &Field, runs: &mut [Json]) -> Result<(), WireError> {
    let mut experiments_seen: BTreeMap<String, Json> = BTreeMap::new();
    for run in runs {
        if field.asks_for("experiment") {
            let id = run["info"]["experiment_id"].as_str().unwrap_or_default().to_owned();
            if !experiments_seen.contains_key(&id) {
                let asked = Map::from_iter([("experiment_id".to_owned(), json!(id))]);
                let found = experiments::found(app, session, &Fields::from_map(asked)?).await?;
                experiments_seen.insert(id.clone(), found["experiment"].clone());
            }
            run["experiment"] = experiments_seen.get(&id).cloned().unwrap_or_default();
        }
        if field.asks_for("modelVersions") {
            let id = run["info"]["run_id"].as_str().unwrap_or_default();
            let asked = Map::from_iter([("filter".to_owned(), json!(format!("run_id='{id}'")))]);
            let asked = Fields::from_map(asked)?;
            let judged = part(app, session, judged_as("mlflowSearchModelVersions"), asked).await?;
            if let Some((session, asked)) = judged {
                let found = versions::found(app, &session, &asked).await?;
                run["model_versions"] = found["model_versions"].clone();
            }
        }
    }
    Ok(())
}

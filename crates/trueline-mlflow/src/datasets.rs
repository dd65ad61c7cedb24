//! `experiments/search-datasets`: the datasets that runs of some experiments read, for the columns of MLflow's pages.

use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, render, reply};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value as Json, json};
use trueline_flows::Session;
use trueline_tracking::{DatasetSummary, ExperimentId};

const MOST_EXPERIMENTS: usize = 20;

pub(crate) async fn search(
    State(app): App,
    Caller(session): Caller,
    fields: Fields,
) -> Result<Response, WireError> {
    Ok(reply::json(&found(&app, &session, &fields).await?))
}

pub(crate) async fn found(app: &Mlflow, session: &Session, fields: &Fields) -> Result<Json, WireError> {
    let experiments = fields.texts("experiment_ids")?;
    if experiments.is_empty() {
        return Err(WireError::invalid("SearchDatasets request must specify at least one experiment_id."));
    }
    if experiments.len() > MOST_EXPERIMENTS {
        return Err(WireError::invalid(format!(
            "SearchDatasets request cannot specify more than {MOST_EXPERIMENTS} experiment_ids. Received {} experiment_ids.",
            experiments.len()
        )));
    }
    let ids: Vec<ExperimentId> =
        experiments.iter().map(|id| ExperimentId::parse(id)).collect::<Result<_, _>>()?;
    let found = app.tracking.dataset_summaries(&session.leave()?, &ids).await?;
    let summary = |s: &DatasetSummary| {
        render::compact(json!({
            "experiment_id": s.experiment.to_string(), "name": s.name, "digest": s.digest, "context": s.context,
        }))
    };
    Ok(render::compact(json!({ "dataset_summaries": found.iter().map(summary).collect::<Vec<_>>() })))
}

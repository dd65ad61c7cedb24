//! `runs/create-promptlab-run`.

use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, MLFLOW_VERSION, reply};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value as Json, json};
use trueline_flows::{PromptlabRun, create_promptlab_run};
use trueline_tracking::{ExperimentId, KeyValue};

fn given(fields: &Fields, name: &str) -> Result<String, WireError> {
    let text = fields.given(name)?;
    text.ok_or_else(|| WireError::invalid(format!("CreatePromptlabRun request must specify {name}.")))
}

/// Parameters, whose values may be numbers.
fn parameters(fields: &Fields, name: &str) -> Result<Vec<KeyValue>, WireError> {
    let text = |value: Option<&Json>| match value {
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "None".to_owned(),
    };
    let pair = |m: &Fields| Ok(KeyValue::new(m.text_or_empty("key")?, text(m.get("value"))));
    fields.messages(name)?.iter().map(pair).collect()
}

pub(crate) async fn create(
    State(app): App,
    Caller(session): Caller,
    fields: Fields,
) -> Result<Response, WireError> {
    let experiment = given(&fields, "experiment_id")?;
    let template = given(&fields, "prompt_template")?;
    let prompt_parameters = parameters(&fields, "prompt_parameters")?;
    if prompt_parameters.is_empty() {
        return Err(WireError::invalid("CreatePromptlabRun request must specify prompt_parameters."));
    }
    let model_route = given(&fields, "model_route")?;
    let input = given(&fields, "model_input")?;
    given(&fields, "mlflow_version")?;
    let tried = PromptlabRun {
        experiment: ExperimentId::parse(&experiment)?,
        name: fields.text("run_name")?,
        claimed_user: fields.text("user_id")?.unwrap_or_else(|| "unknown".to_owned()),
        start_time: fields.integer("start_time")?,
        tags: fields.pairs("tags")?,
        template,
        prompt_parameters,
        model_route,
        model_parameters: parameters(&fields, "model_parameters")?,
        input,
        output: fields.text("model_output")?,
        output_parameters: parameters(&fields, "model_output_parameters")?,
        client_version: MLFLOW_VERSION.to_owned(),
    };
    let run = create_promptlab_run(&app.tracking, &session.leave()?, &session.leave()?, tried).await?;
    Ok(reply::json(&json!({ "run": crate::run_wire::RunWire(&run) })))
}

//! A run that a person makes on MLflow's page for trying prompts: one answer of a model, with the prompt as a model that
//! the client can load.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::sync::Arc;
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::Millis;
use trueline_tracking::{
    Batch, ExperimentId, KeyValue, KnownRun, NewRun, RunId, RunStatus, RunUpdate, Tracking, TrackingError,
};

/// Where the table of the answer lies in the run's artifacts.
const TABLE: &str = "eval_results_table.json";

/// What was tried.
#[derive(Clone, Debug)]
pub struct PromptlabRun {
    /// In this experiment.
    pub experiment: ExperimentId,
    /// The run's name; one is made up when there is none.
    pub name: Option<String>,
    /// The user that the client claims.
    pub claimed_user: String,
    /// When it was tried; now, when it is not said.
    pub start_time: Option<Millis>,
    /// Tags of the run.
    pub tags: Vec<KeyValue>,
    /// The prompt with places for its parameters.
    pub template: String,
    /// What was put in these places.
    pub prompt_parameters: Vec<KeyValue>,
    /// The endpoint of the model that was asked.
    pub model_route: String,
    /// What else the model was asked with.
    pub model_parameters: Vec<KeyValue>,
    /// The prompt as it was asked.
    pub input: String,
    /// The answer.
    pub output: Option<String>,
    /// What the model told of its answer.
    pub output_parameters: Vec<KeyValue>,
    /// The release of the client that can load the model.
    pub client_version: String,
}

/// Keeps what was tried as a run that has ended: well, or badly when not all of it could be kept.
///
/// # Errors
/// What tracking says when the run can't be made.
pub async fn create_promptlab_run(
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    write: &Authorized<WriteTracking>,
    tried: PromptlabRun,
) -> Result<Arc<KnownRun>, TrackingError> {
    let new = NewRun {
        experiment: tried.experiment,
        name: tried.name.clone(),
        claimed_user: tried.claimed_user.clone(),
        start_time: Some(tried.start_time.unwrap_or_else(|| tracking.now())),
        tags: tried.tags.clone(),
    };
    let run = tracking.create_run(write, new).await?.run;
    let kept = keep(tracking, read, write, &run.id, &run.artifact_uri, &tried).await;
    if let Err(error) = &kept {
        tracing::warn!(run = %run.id, %error, "a run of the prompt lab could not be kept whole");
    }
    let status = if kept.is_ok() { RunStatus::Finished } else { RunStatus::Failed };
    let update = RunUpdate { status: Some(status), end_time: Some(tracking.now()), name: None };
    tracking.update_run(write, &run.id, update).await?;
    tracking.run(read, &run.id).await
}

async fn keep(
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    write: &Authorized<WriteTracking>,
    run: &RunId,
    artifact_uri: &str,
    tried: &PromptlabRun,
) -> Result<(), TrackingError> {
    let mut params = tried.model_parameters.clone();
    params.push(KeyValue::new("model_route", &tried.model_route));
    params.push(KeyValue::new("prompt_template", &tried.template));
    let artifacts = format!("[{{\"path\": \"{TABLE}\", \"type\": \"table\"}}]");
    let tags = vec![
        KeyValue::new("mlflow.loggedArtifacts", artifacts),
        KeyValue::new("mlflow.runSourceType", "PROMPT_ENGINEERING"),
    ];
    tracking.log_batch(write, run, Batch { params, tags, ..Batch::default() }).await?;
    let model = tried.model(run, tracking.now());
    tracking.append_model_history(write, run, model.clone()).await?;
    let Some(root) = tracking.artifact_path(read, artifact_uri) else {
        return Err(TrackingError::Invalid(format!(
            "artifacts can't be written to '{artifact_uri}' from here"
        )));
    };
    for (path, text) in tried.files(&model) {
        let bytes = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(text))]);
        tracking.put_artifact(write, root.join(path)?, bytes, u64::MAX).await?;
    }
    Ok(())
}

fn by_key(list: &[KeyValue]) -> Json {
    list.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect::<serde_json::Map<_, _>>().into()
}

impl PromptlabRun {
    /// The `MLmodel` file.
    fn model(&self, run: &RunId, now: Millis) -> Json {
        let column = |name: &str| json!({ "type": "string", "name": name, "required": true });
        let inputs: Vec<Json> = self.prompt_parameters.iter().map(|p| column(&p.key)).collect();
        let created = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
        json!({
            "artifact_path": "model",
            "flavors": { "python_function": {
                "loader_module": "mlflow.prompt.promptlab_model",
                "parameters_path": "parameters.yaml",
                "env": { "virtualenv": "python_env.yaml" },
            } },
            "mlflow_version": self.client_version,
            "run_id": run,
            "signature": { "inputs": json!(inputs).to_string(), "outputs": json!([column("output")]).to_string() },
            "utc_time_created": created.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        })
    }

    /// The files of the run. JSON is YAML, too.
    fn files(&self, model: &Json) -> [(&'static str, String); 5] {
        let parameters = json!({
            "prompt_template": self.template,
            "prompt_parameters": by_key(&self.prompt_parameters),
            "model_parameters": by_key(&self.model_parameters),
            "model_route": self.model_route,
        });
        let environment = json!({ "dependencies": ["-r requirements.txt"] });
        [
            ("model/MLmodel", format!("{model:#}\n")),
            ("model/parameters.yaml", format!("{parameters:#}\n")),
            ("model/python_env.yaml", format!("{environment:#}\n")),
            ("model/requirements.txt", format!("mlflow[gateway]=={}\n", self.client_version)),
            (TABLE, self.table().to_string()),
        ]
    }

    /// The answer as a table of one row.
    fn table(&self) -> Json {
        let mut columns: Vec<&str> = self.prompt_parameters.iter().map(|p| p.key.as_str()).collect();
        let mut row: Vec<Json> = self.prompt_parameters.iter().map(|p| json!(p.value)).collect();
        columns.extend(["prompt", "output"]);
        row.extend([json!(self.input), json!(self.output)]);
        columns.extend(self.output_parameters.iter().map(|p| p.key.as_str()));
        row.extend(self.output_parameters.iter().map(|p| json!(p.value)));
        json!({ "columns": columns, "data": [row] })
    }
}

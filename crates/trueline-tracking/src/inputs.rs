//! What a run read and made: datasets as the client describes them, logged models in and out.

use crate::model::{KeyValue, RunId};
use crate::{Tracking, TrackingError, known_runs, logged_models, many, runs, validate};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use trueline_db::Tx;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};

const LONGEST_NAME: usize = 500;
const LONGEST_DIGEST: usize = 36;

/// A dataset as the client describes it; Trueline's own dataset versions are the data domain's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedDataset {
    /// Its name.
    pub name: String,
    /// What the client computed over its contents.
    pub digest: String,
    /// The kind of its source.
    pub source_type: String,
    /// Where it came from, JSON as the client made it.
    pub source: String,
    /// Its columns, JSON as the client made it.
    pub schema: Option<String>,
    /// Its statistics, JSON as the client made it.
    pub profile: Option<String>,
}

/// A dataset that a run read, with what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetInput {
    /// The dataset.
    pub dataset: LoggedDataset,
    /// Tags of the use, `mlflow.data.context` among them.
    pub tags: Vec<KeyValue>,
}

fn check(dataset: &LoggedDataset) -> Result<(), TrackingError> {
    let required = [("name", &dataset.name, LONGEST_NAME), ("digest", &dataset.digest, LONGEST_DIGEST)];
    for (field, value, longest) in required {
        if value.is_empty() {
            return Err(TrackingError::Invalid(format!(
                "Missing value for required parameter 'datasets.dataset.{field}'."
            )));
        }
        if value.chars().count() > longest {
            return Err(TrackingError::Invalid(format!(
                "Dataset {field} exceeds the maximum length of {longest} characters"
            )));
        }
    }
    Ok(())
}

/// A dataset's id: its own hash within project and experiment, so that the same one is one row.
fn dataset_id(project: &ProjectId, experiment: i64, dataset: &LoggedDataset) -> String {
    let key = json!([project.as_str(), experiment, dataset.name, dataset.digest]).to_string();
    hex::encode(&Sha256::digest(key.as_bytes())[..16])
}

/// The datasets that runs read, by run.
pub(crate) fn datasets_of(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    runs: &[&RunId],
) -> Result<HashMap<RunId, Vec<DatasetInput>>, TrackingError> {
    let mut found: HashMap<RunId, Vec<DatasetInput>> = HashMap::new();
    for mut some in many::batches(runs) {
        let project = some.push(project);
        let sql = some.sql(
            "SELECT d.name, d.digest, d.source_type, d.source, d.schema, d.profile, i.tags, i.run
             FROM run_inputs i JOIN datasets d ON d.id = i.dataset
             WHERE i.run IN ({list}) AND d.project = {project} ORDER BY i.run, i.position, d.name, d.digest",
        );
        tx.each(&sql.replace("{project}", &project), some.params(), |row| {
            let dataset = LoggedDataset {
                name: row.take(0)?,
                digest: row.take(1)?,
                source_type: row.take(2)?,
                source: row.take(3)?,
                schema: row.take(4)?,
                profile: row.take(5)?,
            };
            let tags: BTreeMap<String, String> =
                serde_json::from_str(&row.take::<String>(6)?).unwrap_or_default();
            let tags = tags.into_iter().map(|(key, value)| KeyValue { key, value }).collect();
            let run = RunId::new(row.take::<String>(7)?);
            found.entry(run).or_default().push(DatasetInput { dataset, tags });
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

/// The logged models of a run.
#[derive(Debug, Default)]
pub(crate) struct RunModels {
    /// Those that it read.
    pub(crate) read: Vec<String>,
    /// Those that it made, with the step.
    pub(crate) made: Vec<(String, i64)>,
}

/// The logged models that runs read and made, by run.
pub(crate) fn models_of(
    tx: &mut Tx<'_>,
    runs: &[&RunId],
) -> Result<HashMap<RunId, RunModels>, TrackingError> {
    let mut found: HashMap<RunId, RunModels> = HashMap::new();
    for some in many::batches(runs) {
        let sql = some.sql(
            "SELECT run, direction, model, step FROM run_models WHERE run IN ({list})
             ORDER BY run, direction, step, model",
        );
        tx.each(&sql, some.params(), |row| {
            let of_run = found.entry(RunId::new(row.take::<String>(0)?)).or_default();
            let direction: String = row.take(1)?;
            match direction == "in" {
                true => of_run.read.push(row.take(2)?),
                false => of_run.made.push((row.take(2)?, row.take(3)?)),
            }
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

impl Tracking {
    /// Records which datasets and logged models a run read; repeating it changes nothing.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a bad dataset or a deleted run, [`TrackingError::NotFound`].
    pub async fn log_inputs(
        &self,
        leave: &Authorized<WriteTracking>,
        run: &RunId,
        datasets: Vec<DatasetInput>,
        models: Vec<String>,
    ) -> Result<(), TrackingError> {
        datasets.iter().try_for_each(|d| check(&d.dataset))?;
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let place = runs::require_active(tx, &project, &run)?;
                let mut edges = Vec::new();
                for input in &datasets {
                    let id = insert_dataset(tx, &project, place.experiment.0, &run, input)?;
                    edges.push(("read", Node::new("logged_dataset", id)));
                }
                for model in &models {
                    insert_model(tx, &run, "in", model, 0)?;
                    edges.extend(found(tx, &project, model)?.map(|node| ("read", node)));
                }
                known_runs::changed(tx, place.n)?;
                let payload = json!({ "datasets": datasets, "models": models });
                record(tx, &project, &run, "run.inputs_logged", payload, &edges)
            })
            .await
    }

    /// Records which logged models a run made.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], [`TrackingError::Invalid`] for a deleted run.
    pub async fn log_outputs(
        &self,
        leave: &Authorized<WriteTracking>,
        run: &RunId,
        models: Vec<(String, i64)>,
    ) -> Result<(), TrackingError> {
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let place = runs::require_active(tx, &project, &run)?;
                let mut edges = Vec::new();
                for (model, step) in &models {
                    insert_model(tx, &run, "out", model, *step)?;
                    edges.extend(found(tx, &project, model)?.map(|node| ("made", node)));
                }
                known_runs::changed(tx, place.n)?;
                record(tx, &project, &run, "run.outputs_logged", json!({ "models": models }), &edges)
            })
            .await
    }
}

/// A logged model as an end of an edge, when this project has it: a client may name any.
fn found(tx: &mut Tx<'_>, project: &ProjectId, model: &str) -> Result<Option<Node>, TrackingError> {
    match logged_models::require(tx, project, model) {
        Ok(()) => Ok(Some(Node::new("logged_model", model))),
        Err(TrackingError::NotFound(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

pub(crate) fn insert_dataset(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    experiment: i64,
    run: &RunId,
    input: &DatasetInput,
) -> Result<String, TrackingError> {
    let DatasetInput { dataset, tags } = input;
    let id = dataset_id(project, experiment, dataset);
    tx.execute(
        "INSERT INTO datasets (id, project, experiment, name, digest, source_type, source, schema, profile)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        &[
            (&id).into(),
            project.into(),
            experiment.into(),
            (&dataset.name).into(),
            (&dataset.digest).into(),
            (&dataset.source_type).into(),
            (&dataset.source).into(),
            dataset.schema.clone().into(),
            dataset.profile.clone().into(),
        ],
    )?;
    let tags: BTreeMap<&str, &str> = tags.iter().map(|t| (t.key.as_str(), t.value.as_str())).collect();
    let context = tags.get("mlflow.data.context").copied();
    tx.execute(
        "INSERT INTO run_inputs (run, dataset, context, tags, position)
         VALUES (?1, ?2, ?3, ?4, (SELECT COALESCE(MAX(position), 0) + 1 FROM run_inputs WHERE run = ?1))
         ON CONFLICT DO NOTHING",
        &[run.into(), (&id).into(), context.into(), json!(tags).to_string().into()],
    )?;
    Ok(id)
}

pub(crate) fn insert_model(
    tx: &mut Tx<'_>,
    run: &RunId,
    direction: &str,
    model: &str,
    step: i64,
) -> Result<(), TrackingError> {
    validate::model_id(model)?;
    tx.execute(
        "INSERT INTO run_models (run, direction, model, step) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        &[run.into(), direction.into(), model.into(), step.into()],
    )?;
    Ok(())
}

fn record(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    run: &RunId,
    action: &'static str,
    payload: serde_json::Value,
    edges: &[(&str, Node)],
) -> Result<(), TrackingError> {
    if tx.changed() == 0 {
        return Ok(());
    }
    let event = tx.emit(NewEvent::new(project, action, "run", run.as_str()).with(payload))?;
    for (relation, node) in edges {
        let own = Node::new("run", run.as_str());
        let edge = match *relation {
            "made" => Edge::new(project, node.clone(), "made_by", own),
            other => Edge::new(project, own, other, node.clone()),
        };
        tx.link(&event, &edge)?;
    }
    Ok(())
}

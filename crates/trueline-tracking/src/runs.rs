//! Runs: made, changed, tagged, given params and batches, deleted and restored.

use crate::experiments::{self, lifecycle};
use crate::inputs;
use crate::model::{
    ExperimentId, KeyValue, Lifecycle, LoggedMetric, NewRun, Run, RunData, RunId, RunStatus, RunUpdate,
};
use crate::schema::POINTS;
use crate::{Tracking, TrackingError, logged_models, metrics, validate};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Edge, LedgerTx, Millis, NewEvent, Node, ProjectId};

/// The tag that mirrors a run's name.
const NAME_TAG: &str = "mlflow.runName";

pub(crate) const COLUMNS: &str =
    "r.id, r.experiment, r.name, r.claimed_user, r.created_by, r.status, r.start_time,
     r.end_time, r.artifact_uri, r.lifecycle FROM runs r";

/// What one `log-batch` brings.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Points.
    pub metrics: Vec<LoggedMetric>,
    /// Those of them that were measured for a logged model, with its id; they are kept with the model as well.
    pub of_models: Vec<(String, LoggedMetric)>,
    /// Params.
    pub params: Vec<KeyValue>,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// It came as a call for one item, which MLflow words its refusals differently for.
    pub single: bool,
}

pub(crate) fn from_row(row: &mut Row) -> Result<Run, TrackingError> {
    Ok(Run {
        id: RunId::new(row.take::<String>(0)?),
        experiment: ExperimentId(row.take(1)?),
        name: row.take(2)?,
        claimed_user: row.take(3)?,
        created_by: row.take(4)?,
        status: RunStatus::parse(&row.take::<String>(5)?).unwrap_or(RunStatus::Running),
        start_time: row.take(6)?,
        end_time: row.take(7)?,
        artifact_uri: row.take(8)?,
        lifecycle: lifecycle(&row.take::<String>(9)?),
    })
}

pub(crate) fn pairs(rows: Vec<Row>) -> Result<Vec<KeyValue>, TrackingError> {
    rows.into_iter().map(|mut row| Ok(KeyValue { key: row.take(0)?, value: row.take(1)? })).collect()
}

/// A run, deleted or not.
pub(crate) fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &RunId) -> Result<Run, TrackingError> {
    let sql = format!("SELECT {COLUMNS} WHERE r.id = ?1 AND r.project = ?2");
    let mut row = tx
        .query_opt(&sql, &[id.into(), project.into()])?
        .ok_or_else(|| TrackingError::no_run(id.as_str()))?;
    from_row(&mut row)
}

/// Whether this project has a run with this id.
pub(crate) fn exists(tx: &mut Tx<'_>, project: &ProjectId, id: &RunId) -> Result<bool, TrackingError> {
    let sql = "SELECT id FROM runs WHERE id = ?1 AND project = ?2";
    Ok(tx.query_opt(sql, &[id.into(), project.into()])?.is_some())
}

/// A run that may be written to.
pub(crate) fn require_active(tx: &mut Tx<'_>, project: &ProjectId, id: &RunId) -> Result<Run, TrackingError> {
    let run = get(tx, project, id)?;
    if run.lifecycle == Lifecycle::Active {
        return Ok(run);
    }
    Err(TrackingError::Invalid(format!(
        "The run {id} must be in the 'active' state. Current state is {}.",
        run.lifecycle.as_str()
    )))
}

/// Fills in what belongs to a run.
pub(crate) fn data(tx: &mut Tx<'_>, project: &ProjectId, run: Run) -> Result<RunData, TrackingError> {
    let id = run.id.clone();
    let params = tx.query("SELECT key, value FROM params WHERE run = ?1 ORDER BY key", &[(&id).into()])?;
    let tags = tx.query("SELECT key, value FROM tags WHERE run = ?1 ORDER BY key", &[(&id).into()])?;
    let (model_inputs, model_outputs) = inputs::models_of(tx, &id)?;
    Ok(RunData {
        metrics: metrics::latest(tx, &id)?,
        params: pairs(params)?,
        tags: pairs(tags)?,
        dataset_inputs: inputs::datasets_of(tx, project, &id)?,
        model_inputs,
        model_outputs: model_outputs.into_iter().collect(),
        run,
    })
}

pub(crate) fn set_tag(tx: &mut Tx<'_>, run: &RunId, key: &str, value: &str) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO tags (run, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (run, key) DO UPDATE SET value = excluded.value",
        &[run.into(), key.into(), value.into()],
    )?;
    Ok(())
}

fn upsert_tag(tx: &mut Tx<'_>, run: &RunId, tag: &KeyValue) -> Result<(), TrackingError> {
    set_tag(tx, run, &tag.key, &validate::truncated(&tag.value, validate::LONGEST_RUN_TAG))?;
    if tag.key == NAME_TAG {
        tx.execute("UPDATE runs SET name = ?2 WHERE id = ?1", &[run.into(), (&tag.value).into()])?;
    }
    Ok(())
}

/// Writes params; answers those that are new. MLflow tells a changed param differently when it came in a batch.
fn insert_params(
    tx: &mut Tx<'_>,
    run: &RunId,
    params: &[KeyValue],
    alone: bool,
) -> Result<Vec<KeyValue>, TrackingError> {
    let mut new = Vec::new();
    let mut changed = Vec::new();
    for param in params {
        let value = validate::truncated(&param.value, validate::LONGEST_PARAM);
        let made = tx.execute(
            "INSERT INTO params (run, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            &[run.into(), (&param.key).into(), (&value).into()],
        )?;
        if made > 0 {
            new.push(KeyValue::new(&param.key, value));
            continue;
        }
        let old: Option<String> = tx.scalar(
            "SELECT value FROM params WHERE run = ?1 AND key = ?2",
            &[run.into(), (&param.key).into()],
        )?;
        if old.as_ref() != Some(&value) {
            changed.push((&param.key, old.unwrap_or_default(), value));
        }
    }
    match changed.as_slice() {
        [] => Ok(new),
        [(key, old, value)] if alone => Err(TrackingError::Invalid(format!(
            "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for run \
             ID='{run}'. Attempted logging new value '{value}'."
        ))),
        many => {
            let told = |(key, old, value): &(&String, String, String)| {
                format!("{{'key': '{key}', 'old_value': '{old}', 'new_value': '{value}'}}")
            };
            let told: Vec<String> = many.iter().map(told).collect();
            Err(TrackingError::Invalid(format!(
                "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{run}'.",
                told.join(", ")
            )))
        }
    }
}

fn insert_points(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    run: &RunId,
    batch: &Batch,
) -> Result<(), TrackingError> {
    metrics::insert(tx, run, &batch.metrics)?;
    logged_models::insert_metrics(tx, project, run, &batch.of_models)
}

fn check_params(params: &[KeyValue]) -> Result<(), TrackingError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut twice = Vec::new();
    for param in params {
        validate::key("param", &param.key)?;
        if !seen.insert(&param.key) && !twice.contains(&param.key) {
            twice.push(param.key.clone());
        }
    }
    if twice.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = twice.iter().map(|k| format!("'{k}'")).collect();
    Err(TrackingError::Invalid(format!(
        "Duplicate parameter keys have been submitted: [{}]. Please ensure the request contains only one param value per \
         param key.",
        keys.join(", ")
    )))
}

fn check_tags(tags: &[KeyValue]) -> Result<(), TrackingError> {
    tags.iter().try_for_each(|t| validate::key("tag", &t.key))
}

impl Tracking {
    /// Makes a run.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the experiment, [`TrackingError::Invalid`] when it is deleted or the name
    /// is given twice and differently.
    pub async fn create_run(
        &self,
        leave: &Authorized<WriteTracking>,
        new: NewRun,
    ) -> Result<RunData, TrackingError> {
        check_tags(&new.tags)?;
        let new = NewRun { tags: validate::cut(new.tags, validate::LONGEST_RUN_TAG), ..new };
        let name = run_name(&new, || random_name(self.ledger.sources().bytes()))?;
        let id = RunId::new(self.ledger.sources().id());
        let project = leave.project().clone();
        if new.experiment == ExperimentId(0) {
            self.ensure_default_experiment(leave).await?;
        }
        self.ledger.write(leave.actor(), move |tx| insert(tx, &project, &id, &name, &new)).await
    }

    /// One run with its data, deleted or not.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn run(&self, leave: &Authorized<ReadProject>, id: &RunId) -> Result<RunData, TrackingError> {
        let (project, id) = (leave.project().clone(), id.clone());
        self.ledger
            .db()
            .read(move |tx| {
                let run = get(tx, &project, &id)?;
                data(tx, &project, run)
            })
            .await
    }

    /// Changes a run's status, end or name. The metric points of a run that has ended are sealed soon after.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], [`TrackingError::Invalid`] when it is deleted.
    pub async fn update_run(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &RunId,
        update: RunUpdate,
    ) -> Result<Run, TrackingError> {
        let (project, id) = (leave.project().clone(), id.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = require_active(tx, &project, &id)?;
                apply_update(tx, &project, &before, &update)?;
                get(tx, &project, &id)
            })
            .await
    }

    /// Writes params, points and tags of one run, all or none.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a bad key, a changed param or a deleted run, [`TrackingError::NotFound`].
    pub async fn log_batch(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &RunId,
        batch: Batch,
    ) -> Result<(), TrackingError> {
        validate::batch(batch.metrics.len(), batch.params.len(), batch.tags.len())?;
        let batch = Batch { tags: validate::cut(batch.tags, validate::LONGEST_RUN_TAG), ..batch };
        check_params(&batch.params)?;
        batch.metrics.iter().try_for_each(metrics::check)?;
        check_tags(&batch.tags)?;
        let (project, id) = (leave.project().clone(), id.clone());
        if batch.params.is_empty() && batch.tags.is_empty() {
            return self
                .ledger
                .write_summarised(POINTS, move |tx| {
                    require_active(tx, &project, &id)?;
                    insert_points(tx, &project, &id, &batch)
                })
                .await;
        }
        self.ledger
            .write(leave.actor(), move |tx| {
                require_active(tx, &project, &id)?;
                let params = insert_params(tx, &id, &batch.params, batch.single)?;
                insert_points(tx, &project, &id, &batch)?;
                for tag in &batch.tags {
                    upsert_tag(tx, &id, tag)?;
                }
                if !params.is_empty() || tx.changed() > 0 {
                    let points = batch.metrics.len();
                    let event = NewEvent::new(&project, "run.logged", "run", id.as_str());
                    tx.emit(event.with(json!({ "params": params, "tags": batch.tags, "points": points })))?;
                }
                Ok(())
            })
            .await
    }

    /// Takes a tag from a run.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is none, [`TrackingError::Invalid`] for a deleted run.
    pub async fn delete_tag(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &RunId,
        key: String,
    ) -> Result<(), TrackingError> {
        let (project, id) = (leave.project().clone(), id.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                require_active(tx, &project, &id)?;
                let gone = tx.execute(
                    "DELETE FROM tags WHERE run = ?1 AND key = ?2",
                    &[(&id).into(), (&key).into()],
                )?;
                if gone == 0 {
                    return Err(TrackingError::NotFound(format!(
                        "No tag with name: {key} in run with id {id}"
                    )));
                }
                let event = NewEvent::new(&project, "run.untagged", "run", id.as_str());
                tx.emit(event.with(json!({ "key": key })))?;
                Ok(())
            })
            .await
    }

    /// Deletes a run, or restores it.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn set_run_lifecycle(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &RunId,
        to: Lifecycle,
    ) -> Result<(), TrackingError> {
        let (project, id) = (leave.project().clone(), id.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let run = get(tx, &project, &id)?;
                if run.lifecycle == to {
                    return Ok(());
                }
                let deleted_at = (to == Lifecycle::Deleted).then_some(tx.now());
                tx.execute(
                    "UPDATE runs SET lifecycle = ?2, deleted_at_ms = ?3 WHERE id = ?1",
                    &[(&id).into(), to.as_str().into(), deleted_at.into()],
                )?;
                let action = if to == Lifecycle::Deleted { "run.deleted" } else { "run.restored" };
                tx.emit(NewEvent::new(&project, action, "run", id.as_str()))?;
                Ok(())
            })
            .await
    }
}

/// The name that a new run gets: from the field, from the tag, or made up.
fn run_name(new: &NewRun, made_up: impl Fn() -> String) -> Result<String, TrackingError> {
    let field = new.name.as_deref().filter(|n| !n.is_empty());
    let tag = new.tags.iter().find(|t| t.key == NAME_TAG).map(|t| t.value.as_str());
    match (field, tag) {
        (Some(field), Some(tag)) if field != tag => Err(TrackingError::Invalid(format!(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='{field}', \
             mlflow.runName='{tag}')."
        ))),
        (Some(name), _) | (None, Some(name)) => Ok(name.to_owned()),
        (None, None) => Ok(made_up()),
    }
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    id: &RunId,
    name: &str,
    new: &NewRun,
) -> Result<RunData, TrackingError> {
    let experiment = experiments::get_active(tx, project, new.experiment)?;
    let artifact_uri = format!("{}/{id}/artifacts", experiment.artifact_location.trim_end_matches('/'));
    let created_by = tx.actor().principal.clone();
    tx.execute(
        "INSERT INTO runs (id, project, experiment, name, claimed_user, created_by, status, start_time, artifact_uri,
                           lifecycle)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'RUNNING', ?7, ?8, 'active')",
        &[
            id.into(),
            project.into(),
            new.experiment.into(),
            name.into(),
            (&new.claimed_user).into(),
            (&created_by).into(),
            new.start_time.into(),
            (&artifact_uri).into(),
        ],
    )?;
    for tag in &new.tags {
        upsert_tag(tx, id, tag)?;
    }
    upsert_tag(tx, id, &KeyValue::new(NAME_TAG, name))?;
    let event = NewEvent::new(project, "run.created", "run", id.as_str());
    let event = tx.emit(event.with(json!({
        "experiment": new.experiment, "name": name, "start_time": new.start_time, "tags": new.tags,
    })))?;
    let parent = Node::new("experiment", new.experiment.to_string());
    tx.link(&event, &Edge::new(project, Node::new("run", id.as_str()), "belongs_to", parent))?;
    let mut tags = new.tags.clone();
    if !tags.iter().any(|t| t.key == NAME_TAG) {
        tags.push(KeyValue::new(NAME_TAG, name));
    }
    let run = get(tx, project, id)?;
    Ok(RunData {
        run,
        metrics: Vec::new(),
        params: Vec::new(),
        tags,
        dataset_inputs: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
    })
}

fn apply_update(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    before: &Run,
    update: &RunUpdate,
) -> Result<(), TrackingError> {
    let status = update.status.unwrap_or(before.status);
    let end_time: Option<Millis> = update.end_time.or(before.end_time);
    let name = update.name.as_deref().filter(|n| !n.is_empty()).unwrap_or(&before.name);
    if status == before.status && end_time == before.end_time && name == before.name {
        return Ok(());
    }
    tx.execute(
        "UPDATE runs SET status = ?2, end_time = ?3 WHERE id = ?1",
        &[(&before.id).into(), status.as_str().into(), end_time.into()],
    )?;
    if name != before.name {
        upsert_tag(tx, &before.id, &KeyValue::new(NAME_TAG, name))?;
    }
    let payload = json!({
        "status": { "before": before.status, "after": status },
        "end_time": end_time,
        "name": { "before": before.name, "after": name },
    });
    tx.emit(NewEvent::new(project, "run.updated", "run", before.id.as_str()).with(payload))?;
    Ok(())
}

/// A name that people can tell from others at a glance, like MLflow's: adjective, animal, number.
fn random_name(bytes: [u8; 4]) -> String {
    const HOW: [&str; 16] = [
        "able", "bold", "calm", "deft", "eager", "fair", "glad", "keen", "lucid", "merry", "nimble", "proud",
        "quick", "sound", "trusty", "wise",
    ];
    const WHO: [&str; 16] = [
        "ant", "bee", "crane", "dove", "elk", "finch", "gull", "hare", "ibis", "jay", "kite", "lark", "mole",
        "newt", "owl", "wren",
    ];
    let number = u16::from_be_bytes([bytes[2], bytes[3]]) % 1000;
    format!("{}-{}-{number}", HOW[usize::from(bytes[0] % 16)], WHO[usize::from(bytes[1] % 16)])
}

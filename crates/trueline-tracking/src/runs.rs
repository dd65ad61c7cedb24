//! Runs: made, changed, tagged, given params and batches, deleted and restored.

use crate::experiments::{self, lifecycle};
use crate::inputs;
use crate::logged::{self, Table};
use crate::model::{
    ExperimentId, KeyValue, Lifecycle, LoggedMetric, ModelMetric, NewRun, Run, RunData, RunId, RunStatus,
    RunUpdate,
};
use crate::purge::{Kind, explained};
use crate::schema::POINTS;
use crate::validate::Named;
use crate::{
    KnownRun, Tracking, TrackingError, known_runs, logged_models, many, metrics, places, points, validate,
};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Edge, LedgerTx, Millis, NewEvent, Node, ProjectId};

/// The tag that mirrors a run's name.
const NAME_TAG: &str = "mlflow.runName";

pub(crate) const COLUMNS: &str =
    "r.id, r.experiment, r.name, r.claimed_user, r.created_by, r.status, r.start_time,
     r.end_time, r.artifact_uri, r.lifecycle";

/// How many columns these are.
pub(crate) const COLUMN_COUNT: usize = 10;

/// What one `log-batch` brings.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Points.
    pub metrics: Vec<LoggedMetric>,
    /// Those of them that were measured for a logged model, with its id; they are kept with the model as well.
    pub of_models: Vec<(String, ModelMetric)>,
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
    let sql = format!("SELECT {COLUMNS} FROM runs r WHERE r.id = ?1 AND r.project = ?2");
    let mut row = tx
        .query_opt(&sql, &[id.into(), project.into()])?
        .ok_or_else(|| TrackingError::no_run(id.as_str()))?;
    from_row(&mut row)
}

/// Where a run stands in the tables that hold what was logged to it: its number and its experiment's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) n: i64,
    pub(crate) experiment: ExperimentId,
    pub(crate) experiment_n: i64,
}

fn placed(tx: &mut Tx<'_>, project: &ProjectId, id: &RunId) -> Result<(Place, Lifecycle), TrackingError> {
    let mut row = tx
        .query_opt(
            "SELECT n, experiment, experiment_n, lifecycle FROM runs WHERE id = ?1 AND project = ?2",
            &[id.into(), project.into()],
        )?
        .ok_or_else(|| TrackingError::no_run(id.as_str()))?;
    let place = Place { n: row.take(0)?, experiment: ExperimentId(row.take(1)?), experiment_n: row.take(2)? };
    Ok((place, lifecycle(&row.take::<String>(3)?)))
}

/// The place of a run, deleted or not.
pub(crate) fn place(tx: &mut Tx<'_>, project: &ProjectId, id: &RunId) -> Result<Place, TrackingError> {
    Ok(placed(tx, project, id)?.0)
}

/// The place of a run that may be written to.
pub(crate) fn require_active(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: &RunId,
) -> Result<Place, TrackingError> {
    let (place, lifecycle) = placed(tx, project, id)?;
    if lifecycle == Lifecycle::Active {
        return Ok(place);
    }
    Err(TrackingError::Invalid(format!(
        "The run {id} must be in the 'active' state. Current state is {}.",
        lifecycle.as_str()
    )))
}

/// Whether this project has a run with this id.
pub(crate) fn exists(tx: &mut Tx<'_>, project: &ProjectId, id: &RunId) -> Result<bool, TrackingError> {
    let sql = "SELECT id FROM runs WHERE id = ?1 AND project = ?2";
    Ok(tx.query_opt(sql, &[id.into(), project.into()])?.is_some())
}

/// Fills in what belongs to runs, a few statements for all of them. They are given with their numbers and come back in
/// their order.
pub(crate) fn data(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    runs: Vec<(i64, Run)>,
) -> Result<Vec<RunData>, TrackingError> {
    let numbers: Vec<i64> = runs.iter().map(|(n, _)| *n).collect();
    let ids: Vec<&RunId> = runs.iter().map(|(_, run)| &run.id).collect();
    let mut metrics = points::latest_of(tx, &numbers)?;
    let mut params = logged::of_runs(tx, Table::Params, &numbers)?;
    let mut tags = logged::of_runs(tx, Table::Tags, &numbers)?;
    let mut datasets = inputs::datasets_of(tx, project, &ids)?;
    let mut models = inputs::models_of(tx, &ids)?;
    let data = runs.into_iter().map(|(n, run)| {
        let models = models.remove(&run.id).unwrap_or_default();
        RunData {
            metrics: metrics.remove(&n).unwrap_or_default(),
            params: params.remove(&n).unwrap_or_default(),
            tags: tags.remove(&n).unwrap_or_default(),
            dataset_inputs: datasets.remove(&run.id).unwrap_or_default(),
            model_inputs: models.read,
            model_outputs: models.made,
            run,
        }
    });
    Ok(data.collect())
}

/// Runs by their numbers.
pub(crate) fn rows(tx: &mut Tx<'_>, numbers: &[i64]) -> Result<HashMap<i64, Run>, TrackingError> {
    let mut found = HashMap::with_capacity(numbers.len());
    for some in many::batches(numbers) {
        let sql = some.sql(&format!("SELECT {COLUMNS}, r.n FROM runs r WHERE r.n IN ({{list}})"));
        tx.each(&sql, some.params(), |row| {
            let run = from_row(row)?;
            found.insert(row.take(COLUMN_COUNT)?, run);
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

/// Runs with all that belongs to them, by their numbers.
pub(crate) fn whole(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    numbers: &[i64],
) -> Result<Vec<(i64, RunData)>, TrackingError> {
    let mut rows = rows(tx, numbers)?;
    let bare: Vec<(i64, Run)> = numbers.iter().filter_map(|n| Some((*n, rows.remove(n)?))).collect();
    let numbers: Vec<i64> = bare.iter().map(|(n, _)| *n).collect();
    Ok(numbers.into_iter().zip(data(tx, project, bare)?).collect())
}

fn set_tags<'a>(
    tx: &mut Tx<'_>,
    run: Place,
    tags: impl Iterator<Item = &'a KeyValue>,
) -> Result<(), TrackingError> {
    let cut = tags.map(|tag| (tag.key.as_str(), validate::truncated(&tag.value, validate::LONGEST_RUN_TAG)));
    let cut: Vec<_> = cut.collect();
    logged::set_tags(tx, run, cut.iter().map(|(key, value)| (*key, value.as_ref())))
}

/// Writes tags, and the run's name when one of them tells it.
fn upsert_tags(tx: &mut Tx<'_>, run: Place, tags: &[KeyValue]) -> Result<(), TrackingError> {
    set_tags(tx, run, tags.iter())?;
    if let Some(name) = tags.iter().rev().find(|tag| tag.key == NAME_TAG) {
        tx.execute("UPDATE runs SET name = ?2 WHERE n = ?1", &[run.n.into(), (&name.value).into()])?;
    }
    Ok(())
}

/// Writes params; answers those that are new. MLflow tells a changed param differently when it came in a batch.
fn insert_params(
    tx: &mut Tx<'_>,
    (run, place): (&RunId, Place),
    params: &[KeyValue],
    alone: bool,
) -> Result<Vec<KeyValue>, TrackingError> {
    let mut new = Vec::new();
    let mut changed = Vec::new();
    for param in params {
        let value = validate::truncated(&param.value, validate::LONGEST_PARAM);
        if logged::add_param(tx, place, &param.key, &value)? {
            new.push(KeyValue::new(&param.key, value));
            continue;
        }
        let old = logged::value(tx, Table::Params, place.n, &param.key)?;
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

/// What the items of a request are called: by their place in it, unless it brought one alone.
fn named(of: Named, alone: bool) -> impl Fn(usize) -> Named {
    move |at| if alone { of } else { of.at(at) }
}

fn check_params(params: &[KeyValue], alone: bool) -> Result<(), TrackingError> {
    let of = named(Named::PARAM, alone);
    let mut seen = std::collections::BTreeSet::new();
    let mut twice = Vec::new();
    for (at, param) in params.iter().enumerate() {
        validate::key(of(at), &param.key)?;
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

fn check_tags(tags: &[KeyValue], alone: bool) -> Result<(), TrackingError> {
    let of = named(Named::TAG, alone);
    tags.iter().enumerate().try_for_each(|(at, tag)| validate::key(of(at), &tag.key))
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
        check_tags(&new.tags, false)?;
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
    pub async fn run(
        &self,
        leave: &Authorized<ReadProject>,
        id: &RunId,
    ) -> Result<Arc<KnownRun>, TrackingError> {
        let none = || TrackingError::no_run(id.as_str());
        self.runs(leave, vec![id.clone()]).await?.pop().ok_or_else(none)
    }

    /// Some runs with their data, deleted or not, in the order that they were asked for.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] for the first that there is not.
    pub async fn runs(
        &self,
        leave: &Authorized<ReadProject>,
        ids: Vec<RunId>,
    ) -> Result<Vec<Arc<KnownRun>>, TrackingError> {
        let (project, known) = (leave.project().clone(), self.known_runs.clone());
        let read = move |tx: &mut Tx<'_>| {
            let numbers = ids.iter().map(|id| Ok(place(tx, &project, id)?.n));
            let numbers = numbers.collect::<Result<Vec<i64>, TrackingError>>()?;
            known.read(tx, &project, &numbers)
        };
        self.ledger.db().read(read).await
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
                let place = require_active(tx, &project, &id)?;
                let before = get(tx, &project, &id)?;
                apply_update(tx, &project, (place, &before), &update)?;
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
        let metric = named(Named::METRIC, batch.single);
        batch.metrics.iter().enumerate().try_for_each(|(at, m)| metrics::check(metric(at), m))?;
        check_params(&batch.params, batch.single)?;
        check_tags(&batch.tags, batch.single)?;
        let (project, id) = (leave.project().clone(), id.clone());
        let Batch { metrics, of_models, params, tags, single } = batch;
        let (points, count) = (points::batch(&metrics), metrics.len());
        // The job may wait for its turn.
        drop(metrics);
        if params.is_empty() && tags.is_empty() {
            return self
                .ledger
                .write_summarised(POINTS, move |tx| {
                    let place = require_active(tx, &project, &id)?;
                    points::put(tx, place.n, &points)?;
                    logged_models::insert_metrics(tx, &project, &id, &of_models)
                })
                .await;
        }
        self.ledger
            .write(leave.actor(), move |tx| {
                let place = require_active(tx, &project, &id)?;
                let params = insert_params(tx, (&id, place), &params, single)?;
                points::put(tx, place.n, &points)?;
                logged_models::insert_metrics(tx, &project, &id, &of_models)?;
                upsert_tags(tx, place, &tags)?;
                if !params.is_empty() || !tags.is_empty() {
                    known_runs::changed(tx, place.n)?;
                }
                if !params.is_empty() || tx.changed() > 0 {
                    let event = NewEvent::new(&project, "run.logged", "run", id.as_str());
                    tx.emit(event.with(json!({ "params": params, "tags": tags, "points": count })))?;
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
                let place = require_active(tx, &project, &id)?;
                let gone = tx.execute(
                    "DELETE FROM tags WHERE run = ?1 AND key = ?2",
                    &[place.n.into(), (&key).into()],
                )?;
                if gone == 0 {
                    return Err(TrackingError::NotFound(format!(
                        "No tag with name: {key} in run with id {id}"
                    )));
                }
                known_runs::changed(tx, place.n)?;
                let event = NewEvent::new(&project, "run.untagged", "run", id.as_str());
                tx.emit(event.with(json!({ "key": key })))?;
                Ok(())
            })
            .await
    }

    /// Deletes a run, or restores it.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], also when it was purged.
    pub async fn set_run_lifecycle(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &RunId,
        to: Lifecycle,
    ) -> Result<(), TrackingError> {
        let (project, id) = (leave.project().clone(), id.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let (place, before) = match placed(tx, &project, &id) {
                    Ok(placed) => placed,
                    Err(error) => return Err(explained(tx, &project, (Kind::Run, id.as_str()), error)?),
                };
                if before == to {
                    return Ok(());
                }
                let deleted_at = (to == Lifecycle::Deleted).then_some(tx.now());
                tx.execute(
                    "UPDATE runs SET lifecycle = ?2, deleted_at_ms = ?3 WHERE n = ?1",
                    &[place.n.into(), to.as_str().into(), deleted_at.into()],
                )?;
                known_runs::changed(tx, place.n)?;
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
    let (experiment_n, location) = experiments::place(tx, project, new.experiment)?;
    let artifact_uri = places::below(&location, &format!("{id}/artifacts"));
    let created_by = tx.actor().principal.clone();
    let made = tx.query(
        "INSERT INTO runs (id, project, experiment, experiment_n, name, claimed_user, created_by, status, start_time,
                           artifact_uri, lifecycle)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'RUNNING', ?8, ?9, 'active') RETURNING n",
        &[
            id.into(),
            project.into(),
            new.experiment.into(),
            experiment_n.into(),
            name.into(),
            (&new.claimed_user).into(),
            (&created_by).into(),
            new.start_time.into(),
            (&artifact_uri).into(),
        ],
    )?;
    let n = made.into_iter().next().ok_or_else(|| TrackingError::no_run(id.as_str()))?.take(0)?;
    let place = Place { n, experiment: new.experiment, experiment_n };
    let name_tag = KeyValue::new(NAME_TAG, name);
    let tags = || new.tags.iter().filter(|t| t.key != NAME_TAG).chain([&name_tag]);
    set_tags(tx, place, tags())?;
    let event = NewEvent::new(project, "run.created", "run", id.as_str());
    let event = tx.emit(event.with(json!({
        "experiment": new.experiment, "name": name, "start_time": new.start_time, "tags": new.tags,
    })))?;
    let parent = Node::new("experiment", new.experiment.to_string());
    tx.link(&event, &Edge::new(project, Node::new("run", id.as_str()), "belongs_to", parent))?;
    let run = Run {
        id: id.clone(),
        experiment: new.experiment,
        name: name.to_owned(),
        claimed_user: new.claimed_user.clone(),
        created_by,
        status: RunStatus::Running,
        start_time: new.start_time,
        end_time: None,
        artifact_uri,
        lifecycle: Lifecycle::Active,
    };
    Ok(RunData {
        run,
        metrics: Vec::new(),
        params: Vec::new(),
        tags: tags().cloned().collect(),
        dataset_inputs: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
    })
}

fn apply_update(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    (place, before): (Place, &Run),
    update: &RunUpdate,
) -> Result<(), TrackingError> {
    let status = update.status.unwrap_or(before.status);
    let end_time: Option<Millis> = update.end_time.or(before.end_time);
    let name = update.name.as_deref().filter(|n| !n.is_empty()).unwrap_or(&before.name);
    if status == before.status && end_time == before.end_time && name == before.name {
        return Ok(());
    }
    tx.execute(
        "UPDATE runs SET status = ?2, end_time = ?3 WHERE n = ?1",
        &[place.n.into(), status.as_str().into(), end_time.into()],
    )?;
    if name != before.name {
        upsert_tags(tx, place, &[KeyValue::new(NAME_TAG, name)])?;
    }
    known_runs::changed(tx, place.n)?;
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

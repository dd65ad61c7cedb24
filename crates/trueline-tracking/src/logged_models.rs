//! Logged models: what `log_model` makes of a trained model before anybody registers it.

use crate::experiments::{self, lifecycle};
use crate::model::{ExperimentId, KeyValue, Lifecycle, MeasuredOn, ModelMetric, RunId, words};
use crate::seal::{self, Owner};
use crate::{Tracking, TrackingError, metrics, places, runs, validate};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Edge, LedgerTx, Millis, NewEvent, Node, ProjectId};

words! {
    /// Where the upload of a logged model stands.
    LoggedModelStatus {
        /// Nothing is known.
        Unspecified = "LOGGED_MODEL_STATUS_UNSPECIFIED",
        /// Its files are on their way.
        Pending = "LOGGED_MODEL_PENDING",
        /// Its files are there.
        Ready = "LOGGED_MODEL_READY",
        /// Its files did not come.
        UploadFailed = "LOGGED_MODEL_UPLOAD_FAILED",
    }
}

/// A logged model to be made.
#[derive(Clone, Debug)]
pub struct NewLoggedModel {
    /// In this experiment.
    pub experiment: ExperimentId,
    /// Its name; one is made up when there is none.
    pub name: Option<String>,
    /// What kind of thing it is, in the client's words.
    pub model_type: Option<String>,
    /// The run that makes it.
    pub source_run: Option<RunId>,
    /// Its first params.
    pub params: Vec<KeyValue>,
    /// Its first tags.
    pub tags: Vec<KeyValue>,
}

/// A logged model with its data.
#[derive(Clone, Debug, Serialize)]
pub struct LoggedModel {
    /// `m-` and 32 hexadecimal digits.
    pub id: String,
    /// The experiment that it belongs to.
    pub experiment: ExperimentId,
    /// Its name.
    pub name: String,
    /// What kind of thing it is.
    pub model_type: Option<String>,
    /// The run that made it.
    pub source_run: Option<RunId>,
    /// Where its files are.
    pub artifact_uri: String,
    /// Where its upload stands.
    pub status: LoggedModelStatus,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Its params, by key.
    pub params: Vec<KeyValue>,
    /// Its tags, by key.
    pub tags: Vec<KeyValue>,
    /// Points that were logged for it, with the run that logged each.
    pub metrics: Vec<(RunId, ModelMetric)>,
}

pub(crate) const COLUMNS: &str =
    "m.id, m.experiment, m.name, m.model_type, m.source_run, m.artifact_uri, m.status,
     m.lifecycle, m.created_by, m.created_at_ms, m.updated_at_ms FROM logged_models m";

pub(crate) fn from_row(row: &mut Row) -> Result<(LoggedModel, Lifecycle), TrackingError> {
    let lifecycle = lifecycle(&row.take::<String>(7)?);
    let model = LoggedModel {
        id: row.take(0)?,
        experiment: ExperimentId(row.take(1)?),
        name: row.take(2)?,
        model_type: row.take(3)?,
        source_run: row.take::<Option<String>>(4)?.map(RunId::new),
        artifact_uri: row.take(5)?,
        status: LoggedModelStatus::parse(&row.take::<String>(6)?).unwrap_or(LoggedModelStatus::Unspecified),
        created_by: row.take(8)?,
        created_at_ms: row.take(9)?,
        updated_at_ms: row.take(10)?,
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
    };
    Ok((model, lifecycle))
}

fn not_found(id: &str) -> TrackingError {
    TrackingError::NotFound(format!("Logged model with ID '{id}' not found."))
}

pub(crate) fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<LoggedModel, TrackingError> {
    let sql = format!("SELECT {COLUMNS} WHERE m.id = ?1 AND m.project = ?2");
    let mut row = tx.query_opt(&sql, &[id.into(), project.into()])?.ok_or_else(|| not_found(id))?;
    match from_row(&mut row)? {
        (model, Lifecycle::Active) => fill(tx, model),
        (_, Lifecycle::Deleted) => Err(not_found(id)),
    }
}

/// That a logged model of this project is there.
pub(crate) fn require(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<(), TrackingError> {
    let sql = "SELECT id FROM logged_models WHERE id = ?1 AND project = ?2 AND lifecycle = 'active'";
    tx.query_opt(sql, &[id.into(), project.into()])?.map(drop).ok_or_else(|| not_found(id))
}

pub(crate) fn fill(tx: &mut Tx<'_>, mut model: LoggedModel) -> Result<LoggedModel, TrackingError> {
    let id = &model.id;
    let params =
        tx.query("SELECT key, value FROM logged_model_params WHERE model = ?1 ORDER BY key", &[id.into()])?;
    let tags =
        tx.query("SELECT key, value FROM logged_model_tags WHERE model = ?1 ORDER BY key", &[id.into()])?;
    let points = tx.query(
        "SELECT key, step, at_ms, value, is_nan, run, dataset_name, dataset_digest FROM logged_model_metrics WHERE model = ?1
         ORDER BY key, step, at_ms, value",
        &[id.into()],
    )?;
    model.params = runs::pairs(params)?;
    model.tags = runs::pairs(tags)?;
    for mut row in points {
        let run = RunId::new(row.take::<String>(5)?);
        let (name, digest) = (row.take::<Option<String>>(6)?, row.take(7)?);
        let dataset = name.map(|name| MeasuredOn { name, digest });
        model.metrics.push((run, ModelMetric { metric: metrics::metric_from(&mut row)?, dataset }));
    }
    Ok(model)
}

impl Tracking {
    /// Makes a logged model whose files are yet to come.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the experiment, [`TrackingError::Invalid`] when it is deleted.
    pub async fn create_logged_model(
        &self,
        leave: &Authorized<WriteTracking>,
        new: NewLoggedModel,
    ) -> Result<LoggedModel, TrackingError> {
        let id = format!("m-{}", self.ledger.sources().id());
        let name =
            new.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| format!("model-{}", &id[2..10]));
        check_name(&name)?;
        let new = NewLoggedModel {
            params: validate::cut(new.params, validate::LONGEST_PARAM),
            tags: validate::cut(new.tags, validate::LONGEST_RUN_TAG),
            ..new
        };
        let project = leave.project().clone();
        if new.experiment == ExperimentId(0) {
            self.ensure_default_experiment(leave).await?;
        }
        self.ledger.write(leave.actor(), move |tx| insert(tx, &project, &id, &name, &new)).await
    }

    /// One logged model.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], for a deleted one too.
    pub async fn logged_model(
        &self,
        leave: &Authorized<ReadProject>,
        id: &str,
    ) -> Result<LoggedModel, TrackingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger.db().read(move |tx| get(tx, &project, &id)).await
    }

    /// Says how the upload of a logged model ended.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn finalize_logged_model(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
        status: LoggedModelStatus,
    ) -> Result<LoggedModel, TrackingError> {
        self.change_logged_model(leave, id, "logged_model.finalized", move |tx, model| {
            tx.execute(
                "UPDATE logged_models SET status = ?2 WHERE id = ?1",
                &[(&model.id).into(), status.as_str().into()],
            )?;
            Ok(json!({ "status": { "before": model.status, "after": status } }))
        })
        .await
    }

    /// Adds params to a logged model; those that it has stay as they are.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], [`TrackingError::Invalid`].
    pub async fn log_logged_model_params(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
        params: Vec<KeyValue>,
    ) -> Result<LoggedModel, TrackingError> {
        let params = validate::cut(params, validate::LONGEST_PARAM);
        self.change_logged_model(leave, id, "logged_model.params_logged", move |tx, model| {
            insert_params(tx, &model.id, &params)?;
            Ok(json!(params))
        })
        .await
    }

    /// Sets tags of a logged model.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], [`TrackingError::Invalid`].
    pub async fn set_logged_model_tags(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
        tags: Vec<KeyValue>,
    ) -> Result<LoggedModel, TrackingError> {
        let tags = validate::cut(tags, validate::LONGEST_RUN_TAG);
        self.change_logged_model(leave, id, "logged_model.tagged", move |tx, model| {
            upsert_tags(tx, &model.id, &tags)?;
            Ok(json!(tags))
        })
        .await
    }

    /// Takes a tag from a logged model.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is none.
    pub async fn delete_logged_model_tag(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
        key: String,
    ) -> Result<LoggedModel, TrackingError> {
        self.change_logged_model(leave, id, "logged_model.untagged", move |tx, model| {
            let gone = tx.execute(
                "DELETE FROM logged_model_tags WHERE model = ?1 AND key = ?2",
                &[(&model.id).into(), (&key).into()],
            )?;
            if gone == 0 {
                return Err(TrackingError::NotFound(format!(
                    "No tag with key '{key}' found for model with ID '{}'.",
                    model.id
                )));
            }
            Ok(json!({ "key": key }))
        })
        .await
    }

    /// Deletes a logged model.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn delete_logged_model(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
    ) -> Result<(), TrackingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                get(tx, &project, &id)?;
                let now = tx.now();
                tx.execute(
                    "UPDATE logged_models SET lifecycle = 'deleted', deleted_at_ms = ?2 WHERE id = ?1",
                    &[(&id).into(), now.into()],
                )?;
                tx.emit(NewEvent::new(&project, "logged_model.deleted", "logged_model", &id))?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn change_logged_model<F>(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
        action: &'static str,
        change: F,
    ) -> Result<LoggedModel, TrackingError>
    where
        F: Fn(&mut LedgerTx<'_, '_>, &LoggedModel) -> Result<serde_json::Value, TrackingError>
            + Send
            + 'static,
    {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &id)?;
                let payload = change(tx, &before)?;
                let now = tx.now();
                tx.execute(
                    "UPDATE logged_models SET updated_at_ms = ?2 WHERE id = ?1",
                    &[(&id).into(), now.into()],
                )?;
                tx.emit(NewEvent::new(&project, action, "logged_model", &id).with(payload))?;
                get(tx, &project, &id)
            })
            .await
    }
}

fn check_name(name: &str) -> Result<(), TrackingError> {
    if name.contains(['/', ':', '.', '%', '"', '\'']) {
        return Err(TrackingError::Invalid(format!(
            "Invalid model name ({name}) provided. Model name must be a non-empty string and cannot contain the following \
             characters: ('/', ':', '.', '%', '\"', \"'\")"
        )));
    }
    Ok(())
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    id: &str,
    name: &str,
    new: &NewLoggedModel,
) -> Result<LoggedModel, TrackingError> {
    let experiment = experiments::get_active(tx, project, new.experiment)?;
    let artifact_uri = places::below(&experiment.artifact_location, &format!("models/{id}/artifacts"));
    let (now, by) = (tx.now(), tx.actor().principal.clone());
    tx.execute(
        "INSERT INTO logged_models (id, project, experiment, name, model_type, source_run, artifact_uri, status, lifecycle,
                                    created_by, created_at_ms, updated_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'active', ?9, ?10, ?10)",
        &[
            id.into(),
            project.into(),
            new.experiment.into(),
            name.into(),
            new.model_type.clone().into(),
            new.source_run.as_ref().map(RunId::as_str).into(),
            (&artifact_uri).into(),
            LoggedModelStatus::Pending.as_str().into(),
            by.into(),
            now.into(),
        ],
    )?;
    insert_params(tx, id, &new.params)?;
    upsert_tags(tx, id, &new.tags)?;
    let event = NewEvent::new(project, "logged_model.created", "logged_model", id);
    let event = tx.emit(event.with(json!({
        "name": name, "experiment": new.experiment, "model_type": new.model_type, "params": new.params, "tags": new.tags,
    })))?;
    if let Some(run) = &new.source_run
        && runs::exists(tx, project, run)?
    {
        let edge =
            Edge::new(project, Node::new("logged_model", id), "made_by", Node::new("run", run.as_str()));
        tx.link(&event, &edge)?;
    }
    get(tx, project, id)
}

pub(crate) fn insert_params(tx: &mut Tx<'_>, model: &str, params: &[KeyValue]) -> Result<(), TrackingError> {
    for param in params {
        validate::key(validate::Named::PARAM, &param.key)?;
        tx.execute(
            "INSERT INTO logged_model_params (model, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            &[model.into(), (&param.key).into(), (&param.value).into()],
        )?;
    }
    Ok(())
}

pub(crate) fn upsert_tags(tx: &mut Tx<'_>, model: &str, tags: &[KeyValue]) -> Result<(), TrackingError> {
    for tag in tags {
        validate::key(validate::Named::TAG, &tag.key)?;
        tx.execute(
            "INSERT INTO logged_model_tags (model, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (model, key) DO UPDATE SET value = excluded.value",
            &[model.into(), (&tag.key).into(), (&tag.value).into()],
        )?;
    }
    Ok(())
}

/// Keeps points that a run measured for logged models of its project with those models too.
pub(crate) fn insert_metrics(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    run: &RunId,
    points: &[(String, ModelMetric)],
) -> Result<(), TrackingError> {
    let models: BTreeSet<&str> = points.iter().map(|(model, _)| model.as_str()).collect();
    models.into_iter().try_for_each(|model| require(tx, project, model))?;
    points.iter().try_for_each(|(model, metric)| insert_metric(tx, model, run, metric))
}

fn insert_metric(
    tx: &mut Tx<'_>,
    model: &str,
    run: &RunId,
    measured: &ModelMetric,
) -> Result<(), TrackingError> {
    let ModelMetric { metric, dataset } = measured;
    let point = metric.point;
    let name = dataset.as_ref().map(|d| d.name.clone());
    let digest = dataset.as_ref().and_then(|d| d.digest.clone());
    let (value, is_nan) = point.stored();
    let chunk = seal::open_chunk(tx, Owner::LoggedModel, model)?;
    let new = tx.execute(
        "INSERT INTO logged_model_metrics (model, key, step, at_ms, value, is_nan, run, chunk, dataset_name, dataset_digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        &[
            model.into(),
            (&metric.key).into(),
            point.step.into(),
            point.at_ms.into(),
            value.into(),
            is_nan.into(),
            run.into(),
            chunk.into(),
            name.into(),
            digest.into(),
        ],
    )?;
    seal::added(tx, Owner::LoggedModel, [(model, new)])
}

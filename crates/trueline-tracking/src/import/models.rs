//! Logged models of another store.

use super::{Standing, digest, standing};
use crate::logged_models;
use crate::model::{Lifecycle, LoggedMetric, RunId};
use crate::seal::{self, FirstSeal, Owner};
use crate::{LoggedModel, Tracking, TrackingError};
use serde::Serialize;
use serde_json::json;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};

/// A point that was measured for a logged model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelPoint {
    /// The run that logged it.
    pub run: RunId,
    /// The point with its key.
    pub metric: LoggedMetric,
    /// Name and digest of the dataset that it was measured on.
    pub dataset: Option<(String, String)>,
}

/// A logged model as another store had it.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedModel {
    /// The model with its params and tags; its points and who made it are not taken from here. An empty artifact URI gets
    /// one of this server.
    pub model: LoggedModel,
    /// Whether it was deleted.
    pub lifecycle: Lifecycle,
    /// Its points.
    pub points: Vec<ModelPoint>,
}

impl ImportedModel {
    /// Sorts the points as the ledger's check reads them, and drops what is there twice.
    fn tidy(&mut self) {
        for point in &mut self.points {
            point.metric.point = point.metric.point.normal();
        }
        let order = |a: &ModelPoint, b: &ModelPoint| {
            a.metric
                .key
                .cmp(&b.metric.key)
                .then_with(|| crate::points::order(&a.metric.point, &b.metric.point))
                .then_with(|| a.run.cmp(&b.run))
        };
        self.points.sort_by(order);
        self.points.dedup_by(|a, b| order(a, b).is_eq());
    }

    fn seal(&self) -> Option<FirstSeal> {
        let points = self.points.iter().map(|p| (p.metric.key.as_str(), p.run.as_str(), p.metric.point));
        (!self.points.is_empty()).then(|| FirstSeal::of(Owner::LoggedModel, &self.model.id, points))
    }
}

impl Tracking {
    /// Takes in logged models that are not here; answers those that can't be, because another project has one of their id,
    /// and how many came in.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn import_logged_models(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        mut batch: Vec<ImportedModel>,
    ) -> Result<(Vec<String>, u64), TrackingError> {
        batch.iter_mut().for_each(ImportedModel::tidy);
        let (project, source) = (leave.project().clone(), source.to_owned());
        let sha256 = digest(&batch);
        self.ledger
            .write(leave.actor(), move |tx| {
                let (mut new, mut elsewhere) = (Vec::new(), Vec::new());
                for one in &batch {
                    match standing(tx, "logged_models", &project, &one.model.id)? {
                        Standing::Here | Standing::Half => {}
                        Standing::Elsewhere => elsewhere.push(one.model.id.clone()),
                        Standing::Unknown => new.push(one),
                    }
                }
                if !new.is_empty() {
                    write(tx, &project, (&source, &sha256), &new)?;
                }
                Ok((elsewhere, new.len() as u64))
            })
            .await
    }
}

fn write(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    (source, sha256): (&str, &str),
    new: &[&ImportedModel],
) -> Result<(), TrackingError> {
    let seals: Vec<FirstSeal> = new.iter().filter_map(|one| one.seal()).collect();
    let event = NewEvent::new(project, seal::IMPORTED[1], "import", source).with(json!({
        "logged_models": new.len(),
        "points": seals.iter().map(FirstSeal::points).sum::<u64>(),
        "sha256": sha256,
        "sealed": seals,
    }));
    let event = tx.emit(event)?;
    for one in new {
        insert(tx, project, one)?;
        if let Some(run) = &one.model.source_run {
            let own = Node::new("logged_model", &one.model.id);
            tx.link(&event, &Edge::new(project, own, "made_by", Node::new("run", run.as_str())))?;
        }
    }
    Ok(())
}

fn insert(tx: &mut LedgerTx<'_, '_>, project: &ProjectId, one: &ImportedModel) -> Result<(), TrackingError> {
    let model = &one.model;
    let by = tx.actor().principal.clone();
    let uri = match model.artifact_uri.as_str() {
        "" => format!("mlflow-artifacts:/{}/models/{}/artifacts", model.experiment, model.id),
        other => other.to_owned(),
    };
    tx.execute(
        "INSERT INTO logged_models (id, project, experiment, name, model_type, source_run, artifact_uri, status, lifecycle,
                                    created_by, created_at_ms, updated_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &[
            (&model.id).into(),
            project.into(),
            model.experiment.into(),
            (&model.name).into(),
            model.model_type.clone().into(),
            model.source_run.as_ref().map(RunId::as_str).into(),
            uri.into(),
            model.status.as_str().into(),
            one.lifecycle.as_str().into(),
            by.into(),
            model.created_at_ms.into(),
            model.updated_at_ms.into(),
        ],
    )?;
    logged_models::insert_params(tx, &model.id, &model.params)?;
    logged_models::upsert_tags(tx, &model.id, &model.tags)?;
    for ModelPoint { run, metric, dataset } in &one.points {
        let (value, is_nan) = metric.point.stored();
        let (name, digest) = dataset.clone().unzip();
        tx.execute(
            "INSERT INTO logged_model_metrics (model, key, step, at_ms, value, is_nan, run, dataset_name, dataset_digest,
                                               chunk)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)",
            &[
                (&model.id).into(),
                (&metric.key).into(),
                metric.point.step.into(),
                metric.point.at_ms.into(),
                value.into(),
                is_nan.into(),
                run.into(),
                name.into(),
                digest.into(),
            ],
        )?;
    }
    if !one.points.is_empty() {
        seal::first_is_sealed(tx, Owner::LoggedModel, &model.id)?;
    }
    Ok(())
}

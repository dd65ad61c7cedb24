//! Experiments of another store find their place among those that are here.

use super::digest;
use crate::model::{Experiment, ExperimentId};
use crate::{Tracking, TrackingError, experiments};
use serde::Serialize;
use serde_json::json;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};

/// How an experiment found its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// It is new and keeps its id.
    New,
    /// It is new, and its id was taken.
    Renumbered,
    /// It is here already: one of its id that was made at the same moment, or one of its name.
    Known,
}

/// Where an experiment is now.
#[derive(Clone, Debug, Serialize)]
pub struct PlacedExperiment {
    /// Its id in the other store.
    pub was: ExperimentId,
    /// Its id here.
    pub id: ExperimentId,
    /// How it came to that.
    pub placing: Placing,
}

impl Tracking {
    /// Takes in experiments with their tags. One whose artifact location is empty gets one of this server.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn import_experiments(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        batch: Vec<Experiment>,
    ) -> Result<Vec<PlacedExperiment>, TrackingError> {
        let (project, source) = (leave.project().clone(), source.to_owned());
        self.ensure_default_experiment(leave).await?;
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut placed = Vec::new();
                for experiment in &batch {
                    placed.push(place(tx, &project, experiment)?);
                }
                if tx.changed() == 0 {
                    return Ok(placed);
                }
                let event = NewEvent::new(&project, "experiments.imported", "import", &source);
                let new: Vec<&PlacedExperiment> =
                    placed.iter().filter(|p| p.placing != Placing::Known).collect();
                let event = tx.emit(event.with(json!({ "experiments": new, "sha256": digest(&batch) })))?;
                for one in &new {
                    let own = Node::new("experiment", one.id.to_string());
                    let to = Node::new("project", project.as_str());
                    tx.link(&event, &Edge::new(&project, own, "belongs_to", to))?;
                }
                Ok(placed)
            })
            .await
    }
}

fn place(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    experiment: &Experiment,
) -> Result<PlacedExperiment, TrackingError> {
    let was = experiment.id;
    let twin: Option<i64> = tx.scalar(
        "SELECT created_at_ms FROM experiments WHERE project = ?1 AND id = ?2",
        &[project.into(), was.into()],
    )?;
    if twin == Some(experiment.created_at_ms) && twin != Some(0) {
        return Ok(PlacedExperiment { was, id: was, placing: Placing::Known });
    }
    let namesake: Option<i64> = tx.scalar(
        "SELECT id FROM experiments WHERE project = ?1 AND name = ?2",
        &[project.into(), (&experiment.name).into()],
    )?;
    if let Some(id) = namesake {
        return Ok(PlacedExperiment { was, id: ExperimentId(id), placing: Placing::Known });
    }
    let (id, placing) = if twin.is_none() {
        (was, Placing::New)
    } else {
        (experiments::next_id(tx, project)?, Placing::Renumbered)
    };
    let location = match experiment.artifact_location.as_str() {
        "" => format!("mlflow-artifacts:/{id}"),
        other => other.to_owned(),
    };
    let n = experiments::next_n(tx)?;
    tx.execute(
        "INSERT INTO experiments (project, id, name, artifact_location, lifecycle, created_at_ms, updated_at_ms, n)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            project.into(),
            id.into(),
            (&experiment.name).into(),
            location.into(),
            experiment.lifecycle.as_str().into(),
            experiment.created_at_ms.into(),
            experiment.updated_at_ms.into(),
            n.into(),
        ],
    )?;
    for tag in &experiment.tags {
        tx.execute(
            "INSERT INTO experiment_tags (project, experiment, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            &[project.into(), id.into(), (&tag.key).into(), (&tag.value).into()],
        )?;
    }
    Ok(PlacedExperiment { was, id, placing })
}

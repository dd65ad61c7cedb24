//! Experiments: made, found, renamed, tagged, deleted with their runs and restored.

use crate::model::{Experiment, ExperimentId, ExperimentPlace, KeyValue, Lifecycle};
use crate::places::{self, ArtifactPlaces};
use crate::purge::{Kind, explained};
use crate::{Tracking, TrackingError, known_runs, many, validate};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Actor, Edge, LedgerTx, NewEvent, Node, ProjectId};

/// The experiment that every project starts with.
const DEFAULT_NAME: &str = "Default";

pub(crate) const COLUMNS: &str =
    "e.id, e.name, e.artifact_location, e.lifecycle, e.created_at_ms, e.updated_at_ms FROM experiments e";

pub(crate) fn from_row(row: &mut Row) -> Result<Experiment, TrackingError> {
    Ok(Experiment {
        id: ExperimentId(row.take(0)?),
        name: row.take(1)?,
        artifact_location: row.take(2)?,
        lifecycle: lifecycle(&row.take::<String>(3)?),
        created_at_ms: row.take(4)?,
        updated_at_ms: row.take(5)?,
        tags: Vec::new(),
    })
}

pub(crate) fn lifecycle(word: &str) -> Lifecycle {
    Lifecycle::parse(word).unwrap_or(Lifecycle::Deleted)
}

/// One experiment, deleted or not.
pub(crate) fn get(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: ExperimentId,
) -> Result<Experiment, TrackingError> {
    let sql = format!("SELECT {COLUMNS} WHERE e.project = ?1 AND e.id = ?2");
    let mut row =
        tx.query_opt(&sql, &[project.into(), id.into()])?.ok_or_else(|| TrackingError::no_experiment(id))?;
    let mut found = from_row(&mut row)?;
    found.tags = tags(tx, project, id)?;
    Ok(found)
}

pub(crate) fn tags(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: ExperimentId,
) -> Result<Vec<KeyValue>, TrackingError> {
    let rows = tx.query(
        "SELECT key, value FROM experiment_tags WHERE project = ?1 AND experiment = ?2 ORDER BY key",
        &[project.into(), id.into()],
    )?;
    crate::runs::pairs(rows)
}

/// The number by which an experiment that is not deleted stands in the tables of runs, which unlike its id is unique over all
/// projects, and where its artifacts lie.
pub(crate) fn place(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: ExperimentId,
) -> Result<(i64, String), TrackingError> {
    let sql = "SELECT n, artifact_location, lifecycle FROM experiments WHERE project = ?1 AND id = ?2";
    let mut row =
        tx.query_opt(sql, &[project.into(), id.into()])?.ok_or_else(|| TrackingError::no_experiment(id))?;
    let place = (row.take(0)?, row.take(1)?);
    match lifecycle(&row.take::<String>(2)?) {
        Lifecycle::Active => Ok(place),
        other => Err(not_active(id, other)),
    }
}

fn not_active(id: ExperimentId, is: Lifecycle) -> TrackingError {
    TrackingError::Invalid(format!(
        "The experiment {id} must be in the 'active' state. Current state is {}.",
        is.as_str()
    ))
}

/// One experiment that is not deleted.
pub(crate) fn get_active(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: ExperimentId,
) -> Result<Experiment, TrackingError> {
    let found = get(tx, project, id)?;
    if found.lifecycle == Lifecycle::Active {
        return Ok(found);
    }
    Err(not_active(id, found.lifecycle))
}

/// Whether a project has experiments.
fn begun(tx: &mut Tx<'_>, project: &ProjectId) -> Result<bool, TrackingError> {
    let any = tx.query_opt("SELECT id FROM experiments WHERE project = ?1 LIMIT 1", &[project.into()])?;
    Ok(any.is_some())
}

/// Makes the default experiment of a project if it has none yet.
fn ensure_default(
    tx: &mut LedgerTx<'_, '_>,
    places: &ArtifactPlaces,
    project: &ProjectId,
) -> Result<(), TrackingError> {
    if begun(tx, project)? {
        return Ok(());
    }
    let location = places.of_experiment(project, ExperimentId(0));
    insert(tx, project, ExperimentId(0), DEFAULT_NAME, &location, &[]).map(drop)
}

/// A number over all projects that no experiment had.
pub(crate) fn next_n(tx: &mut Tx<'_>) -> Result<i64, TrackingError> {
    let mut last = 0;
    for sql in ["SELECT MAX(n) FROM experiments", "SELECT MAX(n) FROM purged WHERE kind = 'experiment'"] {
        last = last.max(tx.scalar::<Option<i64>>(sql, &[])?.flatten().unwrap_or(0));
    }
    Ok(last + 1)
}

/// A number in a project that no experiment had.
pub(crate) fn next_id(tx: &mut Tx<'_>, project: &ProjectId) -> Result<ExperimentId, TrackingError> {
    let mut last = 0;
    for sql in [
        "SELECT MAX(id) FROM experiments WHERE project = ?1",
        "SELECT MAX(number) FROM purged WHERE project = ?1 AND kind = 'experiment'",
    ] {
        last = last.max(tx.scalar::<Option<i64>>(sql, &[project.into()])?.flatten().unwrap_or(0));
    }
    Ok(ExperimentId(last + 1))
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    id: ExperimentId,
    name: &str,
    location: &str,
    tags: &[KeyValue],
) -> Result<ExperimentId, TrackingError> {
    // The first one is there before any other, also when it is made in the same moment.
    let now = tx.now() - i64::from(id == ExperimentId(0));
    let n = next_n(tx)?;
    tx.execute(
        "INSERT INTO experiments (project, id, name, artifact_location, lifecycle, created_at_ms, updated_at_ms, n)
         VALUES (?1, ?2, ?3, ?4, 'active', ?5, ?5, ?6)",
        &[project.into(), id.into(), name.into(), location.into(), now.into(), n.into()],
    )?;
    for tag in tags {
        upsert_tag(tx, project, id, tag)?;
    }
    let event = NewEvent::new(project, "experiment.created", "experiment", id.to_string());
    let event = tx.emit(event.with(json!({ "name": name, "artifact_location": location, "tags": tags })))?;
    let own = Node::new("experiment", id.to_string());
    tx.link(&event, &Edge::new(project, own, "belongs_to", Node::new("project", project.as_str())))?;
    Ok(id)
}

fn upsert_tag(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: ExperimentId,
    tag: &KeyValue,
) -> Result<(), TrackingError> {
    validate::key(validate::Named::TAG, &tag.key)?;
    if tag.value.chars().count() > validate::LONGEST_EXPERIMENT_TAG {
        return Err(TrackingError::Invalid(format!(
            "'value' exceeds the maximum length of {} characters",
            validate::LONGEST_EXPERIMENT_TAG
        )));
    }
    tx.execute(
        "INSERT INTO experiment_tags (project, experiment, key, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project, experiment, key) DO UPDATE SET value = excluded.value",
        &[project.into(), id.into(), (&tag.key).into(), (&tag.value).into()],
    )?;
    Ok(())
}

/// The numbers of experiments.
pub(crate) fn numbers(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    experiments: &[ExperimentId],
) -> Result<Vec<i64>, TrackingError> {
    let ids: Vec<i64> = experiments.iter().map(|id| id.0).collect();
    let mut found = Vec::new();
    for mut some in many::batches(&ids) {
        let project = some.push(project);
        let sql = some.sql("SELECT n FROM experiments WHERE id IN ({list}) AND project = ");
        tx.each(&format!("{sql}{project}"), some.params(), |row| {
            found.push(row.take(0)?);
            Ok::<_, TrackingError>(())
        })?;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

impl Tracking {
    /// Makes the default experiment of a project if it has none yet.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn ensure_default_experiment(
        &self,
        leave: &Authorized<WriteTracking>,
    ) -> Result<(), TrackingError> {
        let (project, places) = (leave.project().clone(), self.places.clone());
        self.ledger.write(leave.actor(), move |tx| ensure_default(tx, &places, &project)).await
    }

    /// Makes an experiment.
    ///
    /// # Errors
    /// [`TrackingError::Exists`] (deleted ones keep their names), [`TrackingError::Invalid`].
    pub async fn create_experiment(
        &self,
        leave: &Authorized<WriteTracking>,
        name: String,
        location: Option<String>,
        tags: Vec<KeyValue>,
    ) -> Result<ExperimentId, TrackingError> {
        validate::experiment_name(&name)?;
        let location = location.map(places::resolved).transpose()?;
        let (project, places) = (leave.project().clone(), self.places.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                ensure_default(tx, &places, &project)?;
                let taken = tx.query_opt(
                    "SELECT id FROM experiments WHERE project = ?1 AND name = ?2",
                    &[(&project).into(), (&name).into()],
                )?;
                if taken.is_some() {
                    return Err(TrackingError::Exists(format!("Experiment(name={name}) already exists.")));
                }
                let id = next_id(tx, &project)?;
                let location = location.clone().unwrap_or_else(|| places.of_experiment(&project, id));
                insert(tx, &project, id, &name, &location, &tags)
            })
            .await
    }

    /// One experiment, deleted or not.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn experiment(
        &self,
        leave: &Authorized<ReadProject>,
        id: ExperimentId,
    ) -> Result<Experiment, TrackingError> {
        let project = leave.project().clone();
        let found = self.ledger.db().read({
            let project = project.clone();
            move |tx| get(tx, &project, id)
        });
        match found.await {
            // The default experiment is there before anybody has written to the project.
            Err(TrackingError::NotFound(_)) if id == ExperimentId(0) => {
                Ok(self.default_experiment(leave.project()))
            }
            other => other,
        }
    }

    /// Where an experiment keeps things, deleted or not; asked for with each trace.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn experiment_place(
        &self,
        leave: &Authorized<ReadProject>,
        id: ExperimentId,
    ) -> Result<ExperimentPlace, TrackingError> {
        let project = leave.project();
        let sql = "SELECT artifact_location, lifecycle FROM experiments WHERE project = ?1 AND id = ?2";
        match self.ledger.db().ask(sql, vec![project.into(), id.into()]).await?.pop() {
            Some(mut row) => Ok(ExperimentPlace {
                id,
                artifact_location: row.take(0)?,
                lifecycle: lifecycle(&row.take::<String>(1)?),
            }),
            None if id == ExperimentId(0) => {
                let Experiment { artifact_location, lifecycle, .. } = self.default_experiment(project);
                Ok(ExperimentPlace { id, artifact_location, lifecycle })
            }
            None => Err(TrackingError::no_experiment(id)),
        }
    }

    /// One experiment by name, deleted or not.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn experiment_by_name(
        &self,
        leave: &Authorized<ReadProject>,
        name: String,
    ) -> Result<Experiment, TrackingError> {
        let project = leave.project().clone();
        let found = {
            let name = name.clone();
            self.ledger.db().read(move |tx| {
                let id: Option<i64> = tx.scalar(
                    "SELECT id FROM experiments WHERE project = ?1 AND name = ?2",
                    &[(&project).into(), (&name).into()],
                )?;
                id.map(|id| get(tx, &project, ExperimentId(id))).transpose()
            })
        };
        match found.await? {
            Some(found) => Ok(found),
            None if name == DEFAULT_NAME => Ok(self.default_experiment(leave.project())),
            None => Err(TrackingError::NotFound(format!("Could not find experiment with name '{name}'"))),
        }
    }

    /// Renames an experiment.
    ///
    /// # Errors
    /// [`TrackingError::State`] when it is deleted, [`TrackingError::Exists`], [`TrackingError::NotFound`].
    pub async fn rename_experiment(
        &self,
        leave: &Authorized<WriteTracking>,
        id: ExperimentId,
        name: String,
    ) -> Result<(), TrackingError> {
        validate::experiment_name(&name)?;
        self.change_experiment(leave, id, "experiment.renamed", move |tx, project, before| {
            if before.lifecycle == Lifecycle::Deleted {
                return Err(TrackingError::State("Cannot rename a non-active experiment.".to_owned()));
            }
            let taken = tx.query_opt(
                "SELECT id FROM experiments WHERE project = ?1 AND name = ?2 AND id <> ?3",
                &[project.into(), (&name).into(), id.into()],
            )?;
            if taken.is_some() {
                return Err(TrackingError::Exists(format!("Experiment(name={name}) already exists.")));
            }
            tx.execute(
                "UPDATE experiments SET name = ?3 WHERE project = ?1 AND id = ?2",
                &[project.into(), id.into(), (&name).into()],
            )?;
            Ok(json!({ "before": before.name, "after": name }))
        })
        .await
    }

    /// Sets a tag of an experiment.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a deleted experiment or a bad tag, [`TrackingError::NotFound`].
    pub async fn set_experiment_tag(
        &self,
        leave: &Authorized<WriteTracking>,
        id: ExperimentId,
        tag: KeyValue,
    ) -> Result<(), TrackingError> {
        self.change_experiment(leave, id, "experiment.tagged", move |tx, project, _| {
            get_active(tx, project, id)?;
            upsert_tag(tx, project, id, &tag)?;
            Ok(json!(tag))
        })
        .await
    }

    /// Takes a tag from an experiment.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is none.
    pub async fn delete_experiment_tag(
        &self,
        leave: &Authorized<WriteTracking>,
        id: ExperimentId,
        key: String,
    ) -> Result<(), TrackingError> {
        self.change_experiment(leave, id, "experiment.untagged", move |tx, project, _| {
            get_active(tx, project, id)?;
            let gone = tx.execute(
                "DELETE FROM experiment_tags WHERE project = ?1 AND experiment = ?2 AND key = ?3",
                &[project.into(), id.into(), (&key).into()],
            )?;
            if gone == 0 {
                return Err(TrackingError::NotFound(format!(
                    "No tag with name: {key} in experiment with id {id}"
                )));
            }
            Ok(json!({ "key": key }))
        })
        .await
    }

    /// Deletes an experiment and its runs; they can be restored together.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], [`TrackingError::Invalid`] when it is deleted already.
    pub async fn delete_experiment(
        &self,
        leave: &Authorized<WriteTracking>,
        id: ExperimentId,
    ) -> Result<(), TrackingError> {
        self.change_experiment(leave, id, "experiment.deleted", move |tx, project, _| {
            get_active(tx, project, id)?;
            set_lifecycle(tx, project, id, Lifecycle::Deleted)
        })
        .await
    }

    /// Restores an experiment and its runs.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when it is not deleted.
    pub async fn restore_experiment(
        &self,
        leave: &Authorized<WriteTracking>,
        id: ExperimentId,
    ) -> Result<(), TrackingError> {
        self.change_experiment(leave, id, "experiment.restored", move |tx, project, before| {
            if before.lifecycle == Lifecycle::Active {
                return Err(TrackingError::no_experiment(id));
            }
            set_lifecycle(tx, project, id, Lifecycle::Active)
        })
        .await
    }

    async fn change_experiment<F>(
        &self,
        leave: &Authorized<WriteTracking>,
        id: ExperimentId,
        action: &'static str,
        change: F,
    ) -> Result<(), TrackingError>
    where
        F: Fn(&mut LedgerTx<'_, '_>, &ProjectId, &Experiment) -> Result<serde_json::Value, TrackingError>
            + Send
            + 'static,
    {
        let (project, places) = (leave.project().clone(), self.places.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                ensure_default(tx, &places, &project)?;
                let before = match get(tx, &project, id) {
                    Ok(before) => before,
                    Err(error) => {
                        let own = id.to_string();
                        return Err(explained(tx, &project, (Kind::Experiment, &own), error)?);
                    }
                };
                let payload = change(tx, &project, &before)?;
                // As in MLflow, a tag does not make an experiment newer.
                if !action.ends_with("tagged") {
                    let now = tx.now();
                    tx.execute(
                        "UPDATE experiments SET updated_at_ms = ?3 WHERE project = ?1 AND id = ?2",
                        &[(&project).into(), id.into(), now.into()],
                    )?;
                }
                tx.emit(NewEvent::new(&project, action, "experiment", id.to_string()).with(payload))?;
                Ok(())
            })
            .await
    }
}

fn set_lifecycle(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    id: ExperimentId,
    to: Lifecycle,
) -> Result<serde_json::Value, TrackingError> {
    let now = tx.now();
    tx.execute(
        "UPDATE experiments SET lifecycle = ?3 WHERE project = ?1 AND id = ?2",
        &[project.into(), id.into(), to.as_str().into()],
    )?;
    let deleted_at = (to == Lifecycle::Deleted).then_some(now);
    known_runs::turning(tx, project, id, to)?;
    let runs = tx.execute(
        "UPDATE runs SET lifecycle = ?3, deleted_at_ms = ?4
         WHERE project = ?1 AND experiment = ?2 AND lifecycle <> ?3",
        &[project.into(), id.into(), to.as_str().into(), deleted_at.into()],
    )?;
    Ok(json!({ "runs": runs }))
}

impl Tracking {
    /// Makes the default experiment of a project that nobody has written to, so that a search finds it. That is the
    /// server's own doing, whoever looks.
    pub(crate) async fn begin_experiments(&self, project: &ProjectId) -> Result<(), TrackingError> {
        let (project, places) = (project.clone(), self.places.clone());
        let begun = self.ledger.db().read({
            let project = project.clone();
            move |tx| begun(tx, &project)
        });
        if begun.await? {
            return Ok(());
        }
        let server = Actor::system("tracking");
        self.ledger.write(&server, move |tx| ensure_default(tx, &places, &project)).await
    }

    /// The experiment that every project starts with, as it will be made.
    pub(crate) fn default_experiment(&self, project: &ProjectId) -> Experiment {
        Experiment {
            id: ExperimentId(0),
            name: DEFAULT_NAME.to_owned(),
            artifact_location: self.places.of_experiment(project, ExperimentId(0)),
            lifecycle: Lifecycle::Active,
            created_at_ms: 0,
            updated_at_ms: 0,
            tags: Vec::new(),
        }
    }
}

//! Runs of another store, with all that was logged to them. A run whose points are too many for one transaction comes in
//! parts: until the last one it can't be seen in searches nor written to, and an import that was killed begins it anew.

use super::{Standing, digest, standing};
use crate::logged;
use crate::model::{Lifecycle, Run, RunData, RunId};
use crate::points::{self, ByKey, Packed};
use crate::runs::Place;
use crate::schema::POINTS;
use crate::seal::{self, Owner};
use crate::{Tracking, TrackingError, inputs, known_runs};
use serde_json::json;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Edge, EventId, LedgerTx, Millis, NewEvent, Node, ProjectId};

/// The lifecycle of a run that is on its way in; readers take it for a deleted one.
pub(super) const ARRIVING: &str = "arriving";

/// A run as another store had it.
#[derive(Clone, Debug)]
pub struct ImportedRun {
    /// The run and what belongs to it. Latest values and who made it are not taken from here; an empty artifact URI gets
    /// one of this server.
    pub data: RunData,
    /// When it was deleted.
    pub deleted_at_ms: Option<Millis>,
    /// Its points, or the first of them.
    pub points: ImportedPoints,
    /// Whether more points follow, with [`Tracking::import_points`], until [`Tracking::finish_imported_run`].
    pub more: bool,
}

impl ImportedRun {
    /// A run to which nothing was logged.
    #[must_use]
    pub fn bare(run: Run) -> Self {
        let data = RunData {
            run,
            metrics: Vec::new(),
            params: Vec::new(),
            tags: Vec::new(),
            dataset_inputs: Vec::new(),
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
        };
        Self { data, deleted_at_ms: None, points: ImportedPoints::new(), more: false }
    }
}

/// Points by the key of their metric, in any order.
pub type ImportedPoints = ByKey;

/// A run with its points as they go into the tables.
struct Ready {
    run: ImportedRun,
    packed: Option<Packed>,
}

impl Tracking {
    /// Takes in runs that are not here; answers those that can't be, because another project has a run of their id.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without an experiment of theirs, or what the ledger says.
    pub async fn import_runs(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        batch: Vec<ImportedRun>,
    ) -> Result<Vec<RunId>, TrackingError> {
        let (project, source) = (leave.project().clone(), source.to_owned());
        let packing = tokio::task::spawn_blocking(move || {
            let sha256 = digest(&batch.iter().map(|run| &run.data).collect::<Vec<_>>());
            let pack = |mut run: ImportedRun| {
                let points = std::mem::take(&mut run.points);
                let packed =
                    (!run.more && !points.is_empty()).then(|| Packed::new(run.data.run.id.as_str(), points));
                Ready { run, packed }
            };
            (sha256, batch.into_iter().map(pack).collect::<Vec<_>>())
        });
        let (sha256, ready) =
            packing.await.map_err(|e| TrackingError::State(format!("a batch could not be packed: {e}")))?;
        self.ledger
            .write(leave.actor(), move |tx| {
                let (mut new, mut elsewhere) = (Vec::new(), Vec::new());
                for one in &ready {
                    let id = &one.run.data.run.id;
                    match standing(tx, "runs", &project, id.as_str())? {
                        Standing::Here => continue,
                        Standing::Elsewhere => elsewhere.push(id.clone()),
                        Standing::Half => {
                            forget(tx, id)?;
                            new.push(one);
                        }
                        Standing::Unknown => new.push(one),
                    }
                }
                if !new.is_empty() {
                    write(tx, &project, (&source, &sha256), &new)?;
                }
                Ok(elsewhere)
            })
            .await
    }

    /// Adds points to a run of which more were to follow.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the run, or what the database says.
    pub async fn import_points(
        &self,
        leave: &Authorized<WriteTracking>,
        run: &RunId,
        points: ImportedPoints,
    ) -> Result<(), TrackingError> {
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .write_summarised(POINTS, move |tx| {
                let place = crate::runs::place(tx, &project, &run)?;
                points::keep_more(tx, place, points.clone())
            })
            .await
    }

    /// Shows a run whose points are all here now. They are sealed as those of any run.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the run, or what the ledger says.
    pub async fn finish_imported_run(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        run: &RunId,
        lifecycle: Lifecycle,
        points: u64,
    ) -> Result<(), TrackingError> {
        let (project, run, source) = (leave.project().clone(), run.clone(), source.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let place = crate::runs::place(tx, &project, &run)?;
                tx.execute(
                    "UPDATE runs SET lifecycle = ?2 WHERE n = ?1",
                    &[place.n.into(), lifecycle.as_str().into()],
                )?;
                known_runs::changed(tx, place.n)?;
                seal::added(tx, Owner::Run, [(run.as_str(), points)])?;
                let event = NewEvent::new(&project, "run.points_imported", "run", run.as_str());
                tx.emit(event.with(json!({ "source": source, "points": points })))?;
                Ok(())
            })
            .await
    }
}

/// Takes out what came of a run before its import was killed.
fn forget(tx: &mut LedgerTx<'_, '_>, id: &RunId) -> Result<(), TrackingError> {
    let n: Option<i64> = tx.scalar("SELECT n FROM runs WHERE id = ?1", &[id.into()])?;
    let Some(n) = n else { return Ok(()) };
    points::forget(tx, n)?;
    for table in ["params", "tags", "run_editions"] {
        tx.execute(&format!("DELETE FROM {table} WHERE run = ?1"), &[n.into()])?;
    }
    for table in ["run_inputs", "run_models"] {
        tx.execute(&format!("DELETE FROM {table} WHERE run = ?1"), &[id.into()])?;
    }
    tx.execute("DELETE FROM runs WHERE n = ?1", &[n.into()])?;
    Ok(())
}

fn write(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    (source, sha256): (&str, &str),
    new: &[&Ready],
) -> Result<(), TrackingError> {
    let count = |of: fn(&RunData) -> usize| new.iter().map(|ready| of(&ready.run.data) as u64).sum::<u64>();
    let seals: Vec<_> = new.iter().filter_map(|ready| ready.packed.as_ref()).map(|p| &p.seal).collect();
    let event = NewEvent::new(project, seal::IMPORTED[0], "import", source).with(json!({
        "runs": new.len(),
        "params": count(|run| run.params.len()),
        "tags": count(|run| run.tags.len()),
        "inputs": count(|run| run.dataset_inputs.len() + run.model_inputs.len() + run.model_outputs.len()),
        "points": seals.iter().map(|s| s.points()).sum::<u64>(),
        "sha256": sha256,
        "sealed": seals,
    }));
    let event = tx.emit(event)?;
    for ready in new {
        let place = insert(tx, project, &ready.run)?;
        let data = &ready.run.data;
        for param in &data.params {
            logged::add_param(tx, place, &param.key, &param.value)?;
        }
        logged::set_tags(tx, place, data.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())))?;
        link(tx, project, &event, data)?;
        if let Some(packed) = &ready.packed {
            points::keep_packed(tx, place, packed)?;
            seal::first_is_sealed(tx, Owner::Run, data.run.id.as_str())?;
        }
    }
    Ok(())
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    imported: &ImportedRun,
) -> Result<Place, TrackingError> {
    let run = &imported.data.run;
    let sql = "SELECT n FROM experiments WHERE project = ?1 AND id = ?2";
    let experiment_n: Option<i64> = tx.scalar(sql, &[project.into(), run.experiment.into()])?;
    let experiment_n = experiment_n.ok_or_else(|| TrackingError::no_experiment(run.experiment))?;
    let created_by = tx.actor().principal.clone();
    let uri = match run.artifact_uri.as_str() {
        "" => format!("mlflow-artifacts:/{}/{}/artifacts", run.experiment, run.id),
        other => other.to_owned(),
    };
    let lifecycle = if imported.more { ARRIVING } else { run.lifecycle.as_str() };
    let made = tx.query(
        "INSERT INTO runs (id, project, experiment, experiment_n, name, claimed_user, created_by, status, start_time,
                           end_time, artifact_uri, lifecycle, deleted_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) RETURNING n",
        &[
            (&run.id).into(),
            project.into(),
            run.experiment.into(),
            experiment_n.into(),
            (&run.name).into(),
            (&run.claimed_user).into(),
            created_by.into(),
            run.status.as_str().into(),
            run.start_time.into(),
            run.end_time.into(),
            uri.into(),
            lifecycle.into(),
            imported.deleted_at_ms.into(),
        ],
    )?;
    let n = made.into_iter().next().ok_or_else(|| TrackingError::no_run(run.id.as_str()))?.take(0)?;
    Ok(Place { n, experiment: run.experiment, experiment_n })
}

/// Writes what a run read and made, and the lineage of it.
fn link(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    event: &EventId,
    data: &RunData,
) -> Result<(), TrackingError> {
    let run = &data.run;
    let own = || Node::new("run", run.id.as_str());
    let parent = Node::new("experiment", run.experiment.to_string());
    tx.link(event, &Edge::new(project, own(), "belongs_to", parent))?;
    for input in &data.dataset_inputs {
        let id = inputs::insert_dataset(tx, project, run.experiment.0, &run.id, input)?;
        tx.link(event, &Edge::new(project, own(), "read", Node::new("logged_dataset", id)))?;
    }
    for model in &data.model_inputs {
        inputs::insert_model(tx, &run.id, "in", model, 0)?;
        tx.link(event, &Edge::new(project, own(), "read", Node::new("logged_model", model)))?;
    }
    for (model, step) in &data.model_outputs {
        inputs::insert_model(tx, &run.id, "out", model, *step)?;
        tx.link(event, &Edge::new(project, Node::new("logged_model", model), "made_by", own()))?;
    }
    Ok(())
}

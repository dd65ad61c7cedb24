//! Purging experiments: when their runs and logged models are purged, and whoever keeps something else by experiment has let
//! go of it.

use super::logged_models::Which;
use super::{Gone, Kind, PurgeOrder, Purged, note, own_folder};
use crate::artifact_path::ArtifactPath;
use crate::model::ExperimentId;
use crate::places::ArtifactPlaces;
use crate::{Tracking, TrackingError};
use serde_json::json;
use trueline_db::Tx;
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};

/// Deleted until then, with no run left. The first experiment of a project stays, since every project has it.
const EMPTY: &str = "e.project = ?1 AND e.id <> 0 AND e.lifecycle = 'deleted' AND e.updated_at_ms <= ?2
     AND NOT EXISTS (SELECT r.n FROM runs r WHERE r.experiment_n = e.n)";

/// Whether another experiment has its artifacts below a folder, or above it.
fn shared(
    tx: &mut Tx<'_>,
    places: &ArtifactPlaces,
    (project, id): (&ProjectId, ExperimentId),
    folder: &ArtifactPath,
) -> Result<bool, TrackingError> {
    let sql = "SELECT artifact_location FROM experiments WHERE project = ?1 AND id <> ?2";
    for mut row in tx.query(sql, &[project.into(), id.into()])? {
        let location: String = row.take(0)?;
        let other = places.path_of(project, &location);
        if other.is_some_and(|other| other.below(folder).is_some() || folder.below(&other).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folder of an experiment's artifacts, when it is called by the experiment's number and no other experiment uses it.
fn own(
    tx: &mut Tx<'_>,
    places: &ArtifactPlaces,
    (project, id): (&ProjectId, ExperimentId),
    location: &str,
) -> Result<Option<ArtifactPath>, TrackingError> {
    let number = id.to_string();
    let Some(folder) = own_folder(places, project, location, &number) else { return Ok(None) };
    let named = folder.as_str().rsplit('/').next() == Some(number.as_str());
    Ok((named && !shared(tx, places, (project, id), &folder)?).then_some(folder))
}

/// A deleted experiment whose time is over.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) id: i64,
    /// Runs that it still has.
    pub(super) runs: i64,
    pub(super) folder: Option<ArtifactPath>,
}

/// The deleted experiments whose time is over, whatever they still have.
pub(super) fn over(
    tx: &mut Tx<'_>,
    order: &PurgeOrder,
    places: &ArtifactPlaces,
) -> Result<Vec<Over>, TrackingError> {
    let rows = tx.query(
        "SELECT e.id, e.artifact_location, (SELECT COUNT(*) FROM runs r WHERE r.experiment_n = e.n) FROM experiments e
         WHERE e.project = ?1 AND e.id <> 0 AND e.lifecycle = 'deleted' AND e.updated_at_ms <= ?2 ORDER BY e.id",
        &[(&order.project).into(), order.deleted_until_ms.into()],
    )?;
    let mut found = Vec::new();
    for mut row in rows {
        let (id, location): (i64, String) = (row.take(0)?, row.take(1)?);
        let folder = own(tx, places, (&order.project, ExperimentId(id)), &location)?;
        found.push(Over { id, runs: row.take(2)?, folder });
    }
    Ok(found)
}

fn take_out(
    tx: &mut LedgerTx<'_, '_>,
    order: &PurgeOrder,
    places: &ArtifactPlaces,
    id: ExperimentId,
) -> Result<bool, TrackingError> {
    let project = &order.project;
    let row = tx.query_opt(
        &format!(
            "SELECT e.n, e.name, e.artifact_location, e.updated_at_ms FROM experiments e WHERE {EMPTY} AND e.id = ?3
             AND NOT EXISTS (SELECT m.id FROM logged_models m WHERE m.project = e.project AND m.experiment = e.id)"
        ),
        &[project.into(), order.deleted_until_ms.into(), id.into()],
    )?;
    let Some(mut row) = row else { return Ok(false) };
    let (n, name, location): (i64, String, String) = (row.take(0)?, row.take(1)?, row.take(2)?);
    let deleted_at: Millis = row.take(3)?;
    let folder = own(tx, places, (project, id), &location)?;
    let artifacts = super::count::artifacts(tx, project, folder.as_ref())?;
    for sql in [
        "DELETE FROM experiments WHERE project = ?1 AND id = ?2",
        "DELETE FROM experiment_tags WHERE project = ?1 AND experiment = ?2",
        "DELETE FROM datasets WHERE project = ?1 AND experiment = ?2",
    ] {
        tx.execute(sql, &[project.into(), id.into()])?;
    }
    let payload = json!({
        "name": name, "deleted_at_ms": deleted_at, "had": { "artifacts": artifacts },
        "artifacts_left": folder.is_none().then_some(location),
    });
    let own = id.to_string();
    note(tx, project, &Gone { kind: Kind::Experiment, id: &own, n, number: id.0, folder })?;
    tx.emit(NewEvent::new(project, "experiment.purged", "experiment", &own).with(payload))?;
    Ok(true)
}

impl Tracking {
    /// The experiments whose time is over and which have no run left.
    ///
    /// # Errors
    /// What the database says.
    pub async fn purgeable_experiments(&self, order: &PurgeOrder) -> Result<Vec<i64>, TrackingError> {
        let (project, until) = (order.project.clone(), order.deleted_until_ms);
        let sql = format!("SELECT e.id FROM experiments e WHERE {EMPTY} ORDER BY e.id");
        self.ledger
            .db()
            .read(move |tx| {
                let rows = tx.query(&sql, &[(&project).into(), until.into()])?;
                rows.into_iter().map(|mut row| Ok(row.take(0)?)).collect()
            })
            .await
    }

    /// Purges one of them with its logged models, once nothing else is kept by it. It stays when a logged model of it is
    /// kept back.
    ///
    /// # Errors
    /// What the ledger or the disk says.
    pub async fn purge_experiment(&self, order: &PurgeOrder, id: i64) -> Result<Purged, TrackingError> {
        let mut purged = self.purge_models(order, Which::OfExperiment(id)).await?;
        let (of, places) = (order.clone(), self.places.clone());
        let gone = self.ledger.write(&order.actor, move |tx| take_out(tx, &of, &places, ExperimentId(id)));
        purged.experiments = u64::from(gone.await?);
        self.finish_purges().await?;
        Ok(purged)
    }
}

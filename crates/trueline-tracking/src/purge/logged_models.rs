//! Purging logged models.

use super::{AT_ONCE, Gone, Kind, PurgeOrder, Purged, note, own_folder};
use crate::places::ArtifactPlaces;
use crate::{Tracking, TrackingError};
use serde_json::json;
use trueline_db::{Tx, Value};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};

/// Which logged models are purged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// Those that were deleted until then.
    DeletedUntil(Millis),
    /// All of an experiment that is purged.
    OfExperiment(i64),
}

impl Which {
    fn condition(self) -> (&'static str, Value) {
        match self {
            Self::DeletedUntil(at) => ("lifecycle = 'deleted' AND deleted_at_ms <= ?2", at.into()),
            Self::OfExperiment(id) => ("experiment = ?2", id.into()),
        }
    }
}

/// The next of them by id, each with its experiment and where its artifacts lie.
pub(super) fn candidates(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    which: Which,
    after: &str,
    most: i64,
) -> Result<Vec<(String, i64, String)>, TrackingError> {
    let (condition, value) = which.condition();
    let mut found = Vec::new();
    tx.each(
        &format!(
            "SELECT id, experiment, artifact_uri FROM logged_models WHERE project = ?1 AND {condition} AND id > ?3
             ORDER BY id LIMIT ?4"
        ),
        &[project.into(), value, after.into(), most.into()],
        |row| {
            found.push((row.take(0)?, row.take(1)?, row.take(2)?));
            Ok::<_, TrackingError>(())
        },
    )?;
    Ok(found)
}

fn take_out(
    tx: &mut LedgerTx<'_, '_>,
    (order, which): (&PurgeOrder, Which),
    places: &ArtifactPlaces,
    id: &str,
) -> Result<bool, TrackingError> {
    let project = &order.project;
    let (condition, value) = which.condition();
    let row = tx.query_opt(
        &format!(
            "SELECT experiment, name, artifact_uri, source_run FROM logged_models
             WHERE project = ?1 AND {condition} AND id = ?3"
        ),
        &[project.into(), value, id.into()],
    )?;
    let Some(mut row) = row else { return Ok(false) };
    let (experiment, name, uri): (i64, String, String) = (row.take(0)?, row.take(1)?, row.take(2)?);
    let source_run: Option<String> = row.take(3)?;
    let folder = own_folder(places, project, &uri, id);
    let points: Option<i64> =
        tx.scalar("SELECT COUNT(*) FROM logged_model_metrics WHERE model = ?1", &[id.into()])?;
    let artifacts = super::count::artifacts(tx, project, folder.as_ref())?;
    for sql in [
        "DELETE FROM logged_models WHERE id = ?1",
        "DELETE FROM logged_model_params WHERE model = ?1",
        "DELETE FROM logged_model_tags WHERE model = ?1",
        "DELETE FROM metric_chunks WHERE kind = 'logged_model' AND owner = ?1",
    ] {
        tx.execute(sql, &[id.into()])?;
    }
    let payload = json!({
        "experiment": experiment, "name": name, "source_run": source_run,
        "had": { "points": points, "artifacts": artifacts },
        "artifacts_left": folder.is_none().then_some(uri),
    });
    note(tx, project, &Gone { kind: Kind::LoggedModel, id, n: 0, number: 0, folder })?;
    tx.emit(NewEvent::new(project, "logged_model.purged", "logged_model", id).with(payload))?;
    Ok(true)
}

impl Tracking {
    pub(super) async fn purge_logged_models(&self, order: &PurgeOrder) -> Result<Purged, TrackingError> {
        self.purge_models(order, Which::DeletedUntil(order.deleted_until_ms)).await
    }

    pub(super) async fn purge_models(
        &self,
        order: &PurgeOrder,
        which: Which,
    ) -> Result<Purged, TrackingError> {
        let mut purged = Purged::default();
        let mut after = String::new();
        loop {
            let project = order.project.clone();
            let page =
                self.ledger.db().read(move |tx| candidates(tx, &project, which, &after, AT_ONCE)).await?;
            let ids: Vec<String> = page.into_iter().map(|(id, ..)| id).collect();
            let Some(last) = ids.last() else { return Ok(purged) };
            after = last.clone();
            let (of, places) = (order.clone(), self.places.clone());
            let (gone, kept) = self
                .ledger
                .write(&order.actor, move |tx| {
                    let kept = of.referrers.logged_models(tx, &of.project, &ids)?;
                    let mut gone = 0;
                    for id in ids.iter().filter(|id| !kept.contains(*id)) {
                        gone += u64::from(take_out(tx, (&of, which), &places, id)?);
                    }
                    Ok::<_, TrackingError>((gone, kept.len() as u64))
                })
                .await?;
            purged.logged_models += gone;
            purged.kept_back += kept;
        }
    }
}

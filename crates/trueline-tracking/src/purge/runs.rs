//! Purging runs.

use super::{AT_ONCE, Gone, Kind, PurgeOrder, Purged, note, own_folder};
use crate::artifact_path::ArtifactPath;
use crate::places::ArtifactPlaces;
use crate::{Tracking, TrackingError};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use trueline_db::Tx;
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};

/// A deleted run whose time is over.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) experiment: i64,
    pub(super) artifact_uri: String,
    /// Where the next page begins.
    pub(super) after: (Millis, i64),
}

/// The next runs that were deleted until then.
pub(super) fn candidates(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    until: Millis,
    after: (Millis, i64),
    most: i64,
) -> Result<Vec<Candidate>, TrackingError> {
    let mut found = Vec::new();
    tx.each(
        "SELECT id, experiment, artifact_uri, deleted_at_ms, n FROM runs
         WHERE project = ?1 AND deleted_at_ms <= ?2 AND (deleted_at_ms, n) > (?3, ?4) AND lifecycle = 'deleted'
         ORDER BY deleted_at_ms, n LIMIT ?5",
        &[project.into(), until.into(), after.0.into(), after.1.into(), most.into()],
        |row| {
            found.push(Candidate {
                id: row.take(0)?,
                experiment: row.take(1)?,
                artifact_uri: row.take(2)?,
                after: (row.take(3)?, row.take(4)?),
            });
            Ok::<_, TrackingError>(())
        },
    )?;
    Ok(found)
}

/// Which of these runs are kept back: by what the order says, or because they show that a run which is still there gave the
/// same again.
pub(super) fn kept_back(
    tx: &mut Tx<'_>,
    order: &PurgeOrder,
    ids: &[String],
) -> Result<BTreeSet<String>, TrackingError> {
    let mut kept = order.referrers.runs(tx, &order.project, ids)?;
    for id in ids {
        let proof = tx.query_opt(
            "SELECT r.id FROM run_reproductions p JOIN runs r ON r.id = p.run
             WHERE p.project = ?1 AND p.again = ?2 AND r.id <> ?2 LIMIT 1",
            &[(&order.project).into(), id.into()],
        )?;
        if proof.is_some() {
            kept.insert(id.clone());
        }
    }
    Ok(kept)
}

/// What a run had, for the event that says that it is gone.
fn had(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    n: i64,
    folder: Option<&ArtifactPath>,
) -> Result<Json, TrackingError> {
    let mut count = |sql: &str| -> Result<i64, TrackingError> {
        Ok(tx.scalar::<Option<i64>>(sql, &[n.into()])?.flatten().unwrap_or(0))
    };
    let told = json!({
        "params": count("SELECT COUNT(*) FROM params WHERE run = ?1")?,
        "tags": count("SELECT COUNT(*) FROM tags WHERE run = ?1")?,
        "metrics": count("SELECT COUNT(*) FROM latest_metrics WHERE run = ?1")?,
        "points": count("SELECT CAST(SUM(points) AS BIGINT) FROM metric_blocks WHERE run = ?1")?,
        "artifacts": super::count::artifacts(tx, project, folder)?,
    });
    Ok(told)
}

/// Takes one run out, if it is still what was found; answers whether it did.
fn take_out(
    tx: &mut LedgerTx<'_, '_>,
    order: &PurgeOrder,
    places: &ArtifactPlaces,
    id: &str,
) -> Result<bool, TrackingError> {
    let project = &order.project;
    let row = tx.query_opt(
        "SELECT n, experiment, name, artifact_uri, deleted_at_ms FROM runs
         WHERE id = ?1 AND project = ?2 AND lifecycle = 'deleted' AND deleted_at_ms <= ?3",
        &[id.into(), project.into(), order.deleted_until_ms.into()],
    )?;
    let Some(mut row) = row else { return Ok(false) };
    let (n, experiment, name): (i64, i64, String) = (row.take(0)?, row.take(1)?, row.take(2)?);
    let (uri, deleted_at): (String, Millis) = (row.take(3)?, row.take(4)?);
    let folder = own_folder(places, project, &uri, id);
    let had = had(tx, project, n, folder.as_ref())?;
    let datasets = tx.query("SELECT dataset FROM run_inputs WHERE run = ?1", &[id.into()])?;
    for sql in [
        "DELETE FROM runs WHERE id = ?1",
        "DELETE FROM run_captures WHERE run = ?1",
        "DELETE FROM run_inputs WHERE run = ?1",
        "DELETE FROM run_models WHERE run = ?1",
        "DELETE FROM metric_chunks WHERE kind = 'run' AND owner = ?1",
    ] {
        tx.execute(sql, &[id.into()])?;
    }
    tx.execute("DELETE FROM run_editions WHERE run = ?1", &[n.into()])?;
    tx.execute(
        "DELETE FROM run_reproductions WHERE project = ?1 AND run = ?2",
        &[project.into(), id.into()],
    )?;
    for mut row in datasets {
        let dataset: String = row.take(0)?;
        tx.execute(
            "DELETE FROM datasets WHERE id = ?1 AND NOT EXISTS (SELECT run FROM run_inputs WHERE dataset = ?1)",
            &[dataset.into()],
        )?;
    }
    let payload = json!({
        "experiment": experiment, "name": name, "deleted_at_ms": deleted_at, "had": had,
        "artifacts_left": folder.is_none().then_some(uri),
    });
    note(tx, project, &Gone { kind: Kind::Run, id, n, number: n, folder })?;
    tx.emit(NewEvent::new(project, "run.purged", "run", id).with(payload))?;
    Ok(true)
}

impl Tracking {
    pub(super) async fn purge_runs(&self, order: &PurgeOrder) -> Result<Purged, TrackingError> {
        let mut purged = Purged::default();
        let mut after = (Millis::MIN, 0);
        loop {
            let (project, until) = (order.project.clone(), order.deleted_until_ms);
            let page =
                self.ledger.db().read(move |tx| candidates(tx, &project, until, after, AT_ONCE)).await?;
            let Some(last) = page.last() else { return Ok(purged) };
            after = last.after;
            let ids: Vec<String> = page.into_iter().map(|c| c.id).collect();
            let (of, places) = (order.clone(), self.places.clone());
            let (gone, kept) = self
                .ledger
                .write(&order.actor, move |tx| {
                    let kept = kept_back(tx, &of, &ids)?;
                    let mut gone = 0;
                    for id in ids.iter().filter(|id| !kept.contains(*id)) {
                        gone += u64::from(take_out(tx, &of, &places, id)?);
                    }
                    Ok::<_, TrackingError>((gone, kept.len() as u64))
                })
                .await?;
            purged.runs += gone;
            purged.kept_back += kept;
        }
    }
}

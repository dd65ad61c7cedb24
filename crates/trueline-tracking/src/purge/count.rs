//! What a purge would take, and what a purged thing had.

use super::logged_models::Which;
use super::{PurgeOrder, Purged, experiments, logged_models, own_folder, runs};
use crate::artifact_path::ArtifactPath;
use crate::{Tracking, TrackingError};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use trueline_db::Tx;
use trueline_ledger::{Millis, ProjectId};

/// Candidates looked at in one read.
const PAGE: i64 = 500;

/// What a purge would take.
#[derive(Clone, Debug, Default)]
pub struct Purgeable {
    /// The experiments.
    pub experiments: Vec<i64>,
    /// The runs.
    pub runs: BTreeSet<String>,
    /// The logged models.
    pub logged_models: BTreeSet<String>,
    /// Runs and logged models whose time is over, but which something refers to.
    kept_back: BTreeSet<String>,
    /// The folders whose artifacts would go, as paths of the proxy.
    folders: BTreeSet<String>,
}

impl Purgeable {
    /// The same in numbers.
    #[must_use]
    pub fn counts(&self) -> Purged {
        Purged {
            experiments: self.experiments.len() as u64,
            runs: self.runs.len() as u64,
            logged_models: self.logged_models.len() as u64,
            kept_back: self.kept_back.len() as u64,
        }
    }

    /// Whether the artifact at a path of the proxy would go.
    #[must_use]
    pub fn takes_artifact(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at);
        ends.map(|at| &path[..at]).any(|folder| self.folders.contains(folder))
    }

    fn folder(&mut self, folder: Option<ArtifactPath>) {
        self.folders.extend(folder.filter(super::in_rows).map(|f| f.as_str().to_owned()));
    }
}

/// How many artifacts lie below a folder, and their bytes; none when it is not theirs to be purged.
pub(super) fn artifacts(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    folder: Option<&ArtifactPath>,
) -> Result<Json, TrackingError> {
    let Some(folder) = folder.filter(|f| super::in_rows(f)).map(ArtifactPath::as_str) else {
        return Ok(Json::Null);
    };
    let row = tx.query_opt(
        "SELECT COUNT(*), CAST(SUM(size) AS BIGINT) FROM artifacts WHERE project = ?1 AND path > ?2 AND path < ?3",
        &[project.into(), format!("{folder}/").into(), format!("{folder}0").into()],
    )?;
    let Some(mut row) = row else { return Ok(Json::Null) };
    Ok(json!({ "files": row.take::<i64>(0)?, "bytes": row.take::<Option<i64>>(1)?.unwrap_or(0) }))
}

impl Tracking {
    /// What [`Tracking::purge_deleted`] and the purge of experiments would take; changes nothing.
    ///
    /// # Errors
    /// What the database says.
    pub async fn purgeable(&self, order: &PurgeOrder) -> Result<Purgeable, TrackingError> {
        let mut found = Purgeable::default();
        let mut by_experiment: BTreeMap<i64, i64> = BTreeMap::new();
        let mut after = (Millis::MIN, 0);
        loop {
            let of = order.clone();
            let page = self.ledger.db().read(move |tx| {
                let page = runs::candidates(tx, &of.project, of.deleted_until_ms, after, PAGE)?;
                let ids: Vec<String> = page.iter().map(|c| c.id.clone()).collect();
                let kept = runs::kept_back(tx, &of, &ids)?;
                Ok::<_, TrackingError>((page, kept))
            });
            let (page, kept) = page.await?;
            let Some(last) = page.last() else { break };
            after = last.after;
            for run in page.into_iter().filter(|run| !kept.contains(&run.id)) {
                found.folder(own_folder(&self.places, &order.project, &run.artifact_uri, &run.id));
                *by_experiment.entry(run.experiment).or_default() += 1;
                found.runs.insert(run.id);
            }
            found.kept_back.extend(kept);
        }
        self.purgeable_models(order, Which::DeletedUntil(order.deleted_until_ms), &mut found).await?;
        let (of, places) = (order.clone(), self.places.clone());
        for over in self.ledger.db().read(move |tx| experiments::over(tx, &of, &places)).await? {
            if over.runs > by_experiment.get(&over.id).copied().unwrap_or(0) {
                continue;
            }
            if self.purgeable_models(order, Which::OfExperiment(over.id), &mut found).await? {
                found.experiments.push(over.id);
                found.folder(over.folder);
            }
        }
        Ok(found)
    }

    /// Finds the logged models that would go; answers whether all would.
    async fn purgeable_models(
        &self,
        order: &PurgeOrder,
        which: Which,
        found: &mut Purgeable,
    ) -> Result<bool, TrackingError> {
        let (mut after, mut all) = (String::new(), true);
        loop {
            let (of, from) = (order.clone(), after);
            let page = self.ledger.db().read(move |tx| {
                let page = logged_models::candidates(tx, &of.project, which, &from, PAGE)?;
                let ids: Vec<String> = page.iter().map(|(id, ..)| id.clone()).collect();
                let kept = of.referrers.logged_models(tx, &of.project, &ids)?;
                Ok::<_, TrackingError>((page, kept))
            });
            let (page, kept) = page.await?;
            let Some((last, ..)) = page.last() else { return Ok(all) };
            after = last.clone();
            all &= kept.is_empty();
            for (id, _, uri) in page.into_iter().filter(|(id, ..)| !kept.contains(id)) {
                found.folder(own_folder(&self.places, &order.project, &uri, &id));
                found.logged_models.insert(id);
            }
            found.kept_back.extend(kept);
        }
    }
}

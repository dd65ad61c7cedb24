//! Real deletion. What was deleted longer ago than its project keeps deleted things is purged: in one short transaction the
//! thing itself goes, with an event that says what it had, and a row of `purged` stays. Params, tags, points and artifacts
//! of it may be many, so they are cleared afterwards, some at a time; whoever comes after a crash finds in `purged` what is
//! still to be cleared.
//!
//! What something else still refers to is kept back. What that may be is for a flow to say.

mod clear;
mod count;
mod experiments;
mod logged_models;
mod runs;
#[cfg(test)]
mod tests;

pub use count::Purgeable;

use crate::artifact_path::ArtifactPath;
use crate::places::{ArtifactPlaces, Tree};
use crate::{Tracking, TrackingError};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use trueline_db::{DbError, Tx};
use trueline_ledger::{Actor, LedgerTx, Millis, NewEvent, ProjectId};

/// Things purged in one transaction.
const AT_ONCE: i64 = 16;

/// What of a project a version of a model still stands on.
pub trait Referrers: Debug + Send + Sync {
    /// Those of these runs that something refers to.
    ///
    /// # Errors
    /// What the database says.
    fn runs(&self, tx: &mut Tx<'_>, project: &ProjectId, ids: &[String])
    -> Result<BTreeSet<String>, DbError>;

    /// Those of these logged models that something refers to.
    ///
    /// # Errors
    /// What the database says.
    fn logged_models(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, DbError>;
}

/// What is to be purged.
#[derive(Clone, Debug)]
pub struct PurgeOrder {
    /// In this project.
    pub project: ProjectId,
    /// What was deleted then or before.
    pub deleted_until_ms: Millis,
    /// By whom.
    pub actor: Actor,
    /// What keeps a thing back.
    pub referrers: Arc<dyn Referrers>,
}

/// What was purged, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Purged {
    /// Experiments.
    pub experiments: u64,
    /// Runs.
    pub runs: u64,
    /// Logged models.
    pub logged_models: u64,
    /// Runs and logged models whose time is over, but which something refers to.
    pub kept_back: u64,
}

/// What a thing was, in the table of what was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Experiment,
    Run,
    LoggedModel,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::LoggedModel => "logged_model",
        }
    }
}

/// A thing that is gone, and where what is left of it lies.
struct Gone<'a> {
    kind: Kind,
    id: &'a str,
    /// Its number over all projects.
    n: i64,
    /// An experiment's number in its project.
    number: i64,
    /// The folder of its artifacts, when they are its own and within reach.
    folder: Option<ArtifactPath>,
}

fn note(tx: &mut LedgerTx<'_, '_>, project: &ProjectId, gone: &Gone<'_>) -> Result<(), TrackingError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO purged (project, kind, id, n, number, folder, at_ms, cleared) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)
         ON CONFLICT (project, kind, id) DO UPDATE SET n = excluded.n, number = excluded.number, folder = excluded.folder,
             at_ms = excluded.at_ms, cleared = 0",
        &[
            project.into(),
            gone.kind.word().into(),
            gone.id.into(),
            gone.n.into(),
            gone.number.into(),
            gone.folder.as_ref().map(ArtifactPath::stored).into(),
            now.into(),
        ],
    )?;
    Ok(())
}

/// When a thing was purged, if it was.
pub(crate) fn purged_at(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    kind: Kind,
    id: &str,
) -> Result<Option<Millis>, TrackingError> {
    let sql = "SELECT at_ms FROM purged WHERE project = ?1 AND kind = ?2 AND id = ?3";
    Ok(tx.scalar(sql, &[project.into(), kind.word().into(), id.into()])?)
}

/// A refusal that tells of a purge, where one was the reason that a thing is not found.
pub(crate) fn explained(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    (kind, id): (Kind, &str),
    error: TrackingError,
) -> Result<TrackingError, TrackingError> {
    let TrackingError::NotFound(said) = error else { return Ok(error) };
    Ok(TrackingError::NotFound(match purged_at(tx, project, kind, id)? {
        Some(_) => format!(
            "{said}: the time for which it was kept after its deletion is over, and it was deleted for good. The ledger \
             keeps what happened to it."
        ),
        None => said,
    }))
}

/// The folder of a thing's artifacts, when its name says that it is this thing's own.
fn own_folder(places: &ArtifactPlaces, project: &ProjectId, uri: &str, id: &str) -> Option<ArtifactPath> {
    let path = places.path_of(project, uri)?;
    path.as_str().split('/').any(|part| part == id).then_some(path)
}

/// Whether artifacts at a path may be among the rows of the table of artifacts.
fn in_rows(path: &ArtifactPath) -> bool {
    path.tree() == Tree::Proxied
}

impl Tracking {
    /// Purges deleted runs and logged models, and clears what an earlier purge left.
    ///
    /// # Errors
    /// What the ledger or the disk says; what was purged by then stays so.
    pub async fn purge_deleted(&self, order: &PurgeOrder) -> Result<Purged, TrackingError> {
        self.finish_purges().await?;
        self.date_deleted(order).await?;
        let mut purged = self.purge_runs(order).await?;
        let models = self.purge_logged_models(order).await?;
        purged.logged_models += models.logged_models;
        purged.kept_back += models.kept_back;
        self.finish_purges().await?;
        Ok(purged)
    }

    /// What was deleted by a client or a server that did not note when counts from now on.
    async fn date_deleted(&self, order: &PurgeOrder) -> Result<(), TrackingError> {
        const UNDATED: &str = "WHERE project = ?1 AND lifecycle = 'deleted' AND deleted_at_ms IS NULL";
        let project = order.project.clone();
        let any = self.ledger.db().read({
            let project = project.clone();
            move |tx| {
                let sql = format!("SELECT (SELECT COUNT(*) FROM runs {UNDATED}) + (SELECT COUNT(*) FROM logged_models {UNDATED})");
                let count: Option<i64> = tx.scalar(&sql, &[(&project).into()])?;
                Ok::<_, TrackingError>(count.unwrap_or(0))
            }
        });
        if any.await? == 0 {
            return Ok(());
        }
        self.ledger
            .write(&order.actor, move |tx| {
                let now = tx.now();
                let mut date = |table: &str| {
                    let sql = format!("UPDATE {table} SET deleted_at_ms = ?2 {UNDATED}");
                    tx.execute(&sql, &[(&project).into(), now.into()])
                };
                let (runs, models) = (date("runs")?, date("logged_models")?);
                let event = NewEvent::new(&project, "retention.begun", "project", project.as_str());
                tx.emit(event.with(json!({ "runs": runs, "logged_models": models })))?;
                Ok(())
            })
            .await
    }
}

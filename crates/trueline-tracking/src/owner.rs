//! Whose artifacts a path lies in: those of a run or of a logged model.

use crate::artifact_path::ArtifactPath;
use crate::model::RunId;
use crate::places::ArtifactPlaces;
use crate::{Tracking, TrackingError};
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::ProjectId;

/// Ids stand near the root of a path (`<experiment>/<run>/artifacts/…`); deeper parts are files.
const DEPTH: usize = 8;

/// Whose artifacts a path lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactOwner {
    /// A run's.
    Run(RunId),
    /// A logged model's.
    LoggedModel {
        /// Its id.
        id: String,
        /// The run that made it.
        source_run: Option<RunId>,
    },
}

fn holds(places: &ArtifactPlaces, project: &ProjectId, uri: &str, path: &ArtifactPath) -> bool {
    let root = places.path_of(project, uri);
    root.is_some_and(|root| !root.is_root() && path.below(&root).is_some())
}

fn find(
    tx: &mut Tx<'_>,
    places: &ArtifactPlaces,
    project: &ProjectId,
    path: &ArtifactPath,
) -> Result<Option<ArtifactOwner>, TrackingError> {
    for id in path.as_str().split('/').take(DEPTH) {
        let params = [id.into(), project.into()];
        let run = tx.query_opt("SELECT artifact_uri FROM runs WHERE id = ?1 AND project = ?2", &params)?;
        if run
            .map(|mut row| row.take::<String>(0))
            .transpose()?
            .is_some_and(|uri| holds(places, project, &uri, path))
        {
            return Ok(Some(ArtifactOwner::Run(RunId::new(id))));
        }
        let sql = "SELECT artifact_uri, source_run FROM logged_models WHERE id = ?1 AND project = ?2";
        let Some(mut model): Option<Row> = tx.query_opt(sql, &params)? else { continue };
        if holds(places, project, &model.take::<String>(0)?, path) {
            let source_run = model.take::<Option<String>>(1)?.map(RunId::new);
            return Ok(Some(ArtifactOwner::LoggedModel { id: id.to_owned(), source_run }));
        }
    }
    Ok(None)
}

impl Tracking {
    /// Whose artifacts a path lies in, when it is a run's or logged model's of this project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn owner_of(
        &self,
        leave: &Authorized<ReadProject>,
        path: &ArtifactPath,
    ) -> Result<Option<ArtifactOwner>, TrackingError> {
        let (project, path, places) = (leave.project().clone(), path.clone(), self.places.clone());
        self.ledger.db().read(move |tx| find(tx, &places, &project, &path)).await
    }
}

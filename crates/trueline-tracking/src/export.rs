//! What goes out to another store: everything of a project, page by page, in the form in which an import takes it. It is
//! read in one snapshot, which the caller holds; how the other store keeps it is the faces' matter.

use crate::import::ImportedRun;
use crate::model::{Experiment, KeyValue, Lifecycle, RunId};
use crate::{
    ArtifactFile, LoggedDataset, LoggedModel, MetricPoint, TrackingError, artifacts, experiments,
    logged_models, points, runs,
};
use std::collections::HashMap;
use trueline_db::{DbError, Row, Tx};
use trueline_identity::{Authorized, ReadProject};

/// All experiments, deleted ones too, by id.
///
/// # Errors
/// What the database says.
pub fn experiments(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
) -> Result<Vec<Experiment>, TrackingError> {
    let project = leave.project();
    let sql = format!("SELECT {} WHERE e.project = ?1 ORDER BY e.id", experiments::COLUMNS);
    let rows = tx.query(&sql, &[project.into()])?;
    let mut found =
        rows.into_iter().map(|mut row| experiments::from_row(&mut row)).collect::<Result<Vec<_>, _>>()?;
    let mut tags: HashMap<i64, Vec<KeyValue>> = HashMap::new();
    let sql =
        "SELECT experiment, key, value FROM experiment_tags WHERE project = ?1 ORDER BY experiment, key";
    tx.each(sql, &[project.into()], |row| {
        tags.entry(row.take(0)?).or_default().push(KeyValue { key: row.take(1)?, value: row.take(2)? });
        Ok::<_, TrackingError>(())
    })?;
    for one in &mut found {
        one.tags = tags.remove(&one.id.0).unwrap_or_default();
    }
    Ok(found)
}

/// How many runs there are; those that are on their way in are not counted.
///
/// # Errors
/// What the database says.
pub fn count_runs(tx: &mut Tx<'_>, leave: &Authorized<ReadProject>) -> Result<u64, TrackingError> {
    let sql = "SELECT COUNT(*) FROM runs WHERE project = ?1 AND lifecycle <> 'arriving'";
    let count: Option<i64> = tx.scalar(sql, &[leave.project().into()])?;
    Ok(count.unwrap_or(0).unsigned_abs())
}

/// The next runs after the one of number `after`, with their numbers, in the order in which they were made; their points
/// are read by [`points`].
///
/// # Errors
/// What the database says.
pub fn runs(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    after: i64,
    most: u32,
) -> Result<Vec<(i64, ImportedRun)>, TrackingError> {
    let sql = format!(
        "SELECT {}, r.n, r.deleted_at_ms FROM runs r
         WHERE r.project = ?1 AND r.n > ?2 AND r.lifecycle <> 'arriving' ORDER BY r.n LIMIT {most}",
        runs::COLUMNS
    );
    let (mut bare, mut deleted) = (Vec::new(), Vec::new());
    for mut row in tx.query(&sql, &[leave.project().into(), after.into()])? {
        let n: i64 = row.take(runs::COLUMN_COUNT)?;
        deleted.push((n, row.take::<Option<i64>>(runs::COLUMN_COUNT + 1)?));
        bare.push((n, runs::from_row(&mut row)?));
    }
    let data = runs::data(tx, leave.project(), bare)?;
    let whole = |((n, deleted_at_ms), data)| {
        (n, ImportedRun { data, deleted_at_ms, points: points::ByKey::new(), more: false })
    };
    Ok(deleted.into_iter().zip(data).map(whole).collect())
}

/// Whether there is such a run.
///
/// # Errors
/// What the database says.
pub fn has_run(tx: &mut Tx<'_>, leave: &Authorized<ReadProject>, id: &RunId) -> Result<bool, TrackingError> {
    runs::exists(tx, leave.project(), id)
}

/// Shows the datasets that runs read, each with its experiment.
///
/// # Errors
/// What the database says, and what `see` says.
pub fn datasets<E: From<DbError>>(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    mut see: impl FnMut(i64, LoggedDataset) -> Result<(), E>,
) -> Result<(), E> {
    let sql = "SELECT experiment, name, digest, source_type, source, schema, profile FROM datasets WHERE project = ?1
               ORDER BY experiment, name, digest";
    tx.each(sql, &[leave.project().into()], |row| {
        let dataset = LoggedDataset {
            name: row.take(1)?,
            digest: row.take(2)?,
            source_type: row.take(3)?,
            source: row.take(4)?,
            schema: row.take(5)?,
            profile: row.take(6)?,
        };
        see(row.take(0)?, dataset)
    })
}

/// Shows the points of a run, one series after another, each in the order of its steps and without repetitions.
///
/// # Errors
/// What the database says, and what `see` says.
pub fn points<E: From<TrackingError>>(
    tx: &mut Tx<'_>,
    run: i64,
    see: impl FnMut(&str, &[MetricPoint]) -> Result<(), E>,
) -> Result<(), E> {
    points::each_series(tx, run, see)
}

/// The next logged models after the one with the id `after`, by id, deleted ones too.
///
/// # Errors
/// What the database says.
pub fn logged_models(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    after: &str,
    most: u32,
) -> Result<Vec<(LoggedModel, Lifecycle)>, TrackingError> {
    let sql = format!(
        "SELECT {} WHERE m.project = ?1 AND m.id > ?2 ORDER BY m.id LIMIT {most}",
        logged_models::COLUMNS
    );
    let mut found = Vec::new();
    for mut row in tx.query(&sql, &[leave.project().into(), after.into()])? {
        let (model, lifecycle) = logged_models::from_row(&mut row)?;
        found.push((logged_models::fill(tx, model)?, lifecycle));
    }
    Ok(found)
}

/// Where the files of a logged model lie, when there is one of this id, deleted or not.
///
/// # Errors
/// What the database says.
pub fn logged_model_uri(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    id: &str,
) -> Result<Option<String>, TrackingError> {
    let sql = "SELECT artifact_uri FROM logged_models WHERE project = ?1 AND id = ?2";
    Ok(tx.scalar(sql, &[leave.project().into(), id.into()])?)
}

/// Where the files of a run lie, when there is one of this id, deleted or not.
///
/// # Errors
/// What the database says.
pub fn run_uri(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    id: &str,
) -> Result<Option<String>, TrackingError> {
    let sql = "SELECT artifact_uri FROM runs WHERE project = ?1 AND id = ?2";
    Ok(tx.scalar(sql, &[leave.project().into(), id.into()])?)
}

/// The file that is kept as a blob at a path of the proxy's tree.
///
/// # Errors
/// What the database says.
pub fn artifact(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    path: &str,
) -> Result<Option<ArtifactFile>, TrackingError> {
    artifacts::find(tx, leave.project(), path)
}

/// The next files of the proxy's tree that are kept as blobs, after the one at `after`, by path.
///
/// # Errors
/// What the database says.
pub fn artifacts(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    after: &str,
    most: u32,
) -> Result<Vec<ArtifactFile>, TrackingError> {
    let sql = format!(
        "SELECT path, sha256, size FROM artifacts WHERE project = ?1 AND path > ?2 ORDER BY path LIMIT {most}"
    );
    let rows = tx.query(&sql, &[leave.project().into(), after.into()])?;
    let file = |mut row: Row| {
        Ok(ArtifactFile { path: row.take(0)?, sha256: row.take(1)?, size: artifacts::size(&mut row, 2)? })
    };
    rows.into_iter().map(file).collect()
}

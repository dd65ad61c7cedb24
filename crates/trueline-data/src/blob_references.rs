//! The blobs that datasets refer to: files and states of profiles of versions, and files of versions that are being made.

use crate::versions::{ADD_TASK, Order, parse};
use crate::{DataError, Manifest};
use trueline_blobs::{Reference, References};
use trueline_db::Tx;
use trueline_ledger::ProjectId;

/// Versions of one page, each of which may have many files.
const PAGE: usize = 50;

/// The blobs of dataset versions; a cursor is `<number>/<name>`, empty for the first page.
///
/// # Errors
/// What the database says.
pub fn version_blobs(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, DataError> {
    let (number, name) = after.split_once('/').unwrap_or_default();
    let number: i64 = number.parse().unwrap_or(0);
    let sql = format!(
        "SELECT name, number, manifest, states FROM dataset_versions
         WHERE project = ?1 AND (name, number) > (?2, ?3) ORDER BY name, number LIMIT {PAGE}"
    );
    let mut rows = Vec::with_capacity(PAGE);
    for mut row in tx.query(&sql, &[project.into(), name.into(), number.into()])? {
        let (name, number): (String, i64) = (row.take(0)?, row.take(1)?);
        let manifest: Manifest = parse(&row.take::<String>(2)?)?;
        let states: String = row.take(3)?;
        let by = || format!("dataset version {name}@{number}");
        let mut references: Vec<Reference> =
            manifest.files.iter().map(|f| Reference::sized(&f.sha256, f.size, by())).collect();
        references.push(Reference::of_any_size(&states, by()));
        rows.push((format!("{number}/{name}"), references));
    }
    Ok(References::of(rows, PAGE))
}

/// The blobs of versions that are being made; there is one page.
///
/// # Errors
/// What the database says.
pub fn awaited_blobs(tx: &mut Tx<'_>, project: &ProjectId, _after: &str) -> Result<References, DataError> {
    let mut found = Vec::new();
    for payload in trueline_tasks::unfinished(tx, project, ADD_TASK)? {
        // A payload that can't be read fails its task, and refers to nothing.
        let Ok(order) = serde_json::from_value::<Order>(payload) else { continue };
        let by = format!("dataset {} in the making", order.name);
        found.extend(order.files.iter().map(|f| Reference::sized(&f.sha256, f.size, by.clone())));
    }
    Ok(References { found, next: None })
}

//! The blobs that endpoints refer to: the files of every version that one of them was ever routed to, so that a return to it
//! finds them and what answered a prediction can be looked at.

use crate::rollout::Shadow;
use crate::{ModelFile, ModelSpec, ServingError, Variant};
use trueline_blobs::{Reference, References};
use trueline_db::Tx;
use trueline_ledger::ProjectId;

/// Routes of one page.
const PAGE: usize = 50;

/// The blobs of routed versions; a cursor is `<generation>/<endpoint>`, empty for the first page.
///
/// # Errors
/// What the database says.
pub fn routed_blobs(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, ServingError> {
    let (generation, endpoint) = after.split_once('/').unwrap_or_default();
    let generation: i64 = generation.parse().unwrap_or(i64::MIN);
    let sql = format!(
        "SELECT endpoint, generation, variants, shadow FROM endpoint_routes
         WHERE project = ?1 AND (endpoint, generation) > (?2, ?3) ORDER BY endpoint, generation LIMIT {PAGE}"
    );
    let mut rows = Vec::with_capacity(PAGE);
    for mut row in tx.query(&sql, &[project.into(), endpoint.into(), generation.into()])? {
        let (endpoint, generation): (String, i64) = (row.take(0)?, row.take(1)?);
        let variants: String = row.take(2)?;
        let shadow: Option<String> = row.take(3)?;
        let unread = |e: serde_json::Error| {
            ServingError::Invalid(format!("the route {generation} of {endpoint} can't be read: {e}"))
        };
        let variants: Vec<Variant> = serde_json::from_str(&variants).map_err(unread)?;
        let shadow: Option<Shadow> =
            shadow.map(|text| serde_json::from_str(&text)).transpose().map_err(unread)?;
        let specs = variants.iter().map(|v| &v.spec).chain(shadow.as_ref().map(|s| &s.spec));
        let files = specs.flat_map(|spec| spec.files.iter().map(move |f| (spec, f)));
        let refer = |(spec, file): (&ModelSpec, &ModelFile)| {
            let by = format!("{} of {}, which endpoint {endpoint} was routed to", file.path, spec.name());
            Reference::of_any_size(&file.sha256, by)
        };
        let references = files.map(refer).collect();
        rows.push((format!("{generation}/{endpoint}"), references));
    }
    Ok(References::of(rows, PAGE))
}

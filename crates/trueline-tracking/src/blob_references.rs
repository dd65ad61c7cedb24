//! The blobs that tracking refers to: artifacts, and the files of captures.

use crate::artifacts::size;
use crate::{Capture, TrackingError};
use trueline_blobs::{Reference, References};
use trueline_db::Tx;
use trueline_ledger::ProjectId;

/// Rows of one page.
const PAGE: usize = 2_000;
/// Captures of one page, each of which may name many files.
const CAPTURES: usize = 100;

/// The blobs of artifacts; a cursor is a path, empty for the first page.
///
/// # Errors
/// What the database says.
pub fn artifact_blobs(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    after: &str,
) -> Result<References, TrackingError> {
    let mut rows = Vec::with_capacity(PAGE);
    let sql = format!(
        "SELECT path, sha256, size FROM artifacts WHERE project = ?1 AND path > ?2 ORDER BY path LIMIT {PAGE}"
    );
    tx.each(&sql, &[project.into(), after.into()], |row| {
        let (path, sha256): (String, String) = (row.take(0)?, row.take(1)?);
        let reference = Reference::sized(&sha256, size(row, 2)?, format!("artifact {path}"));
        rows.push((path, vec![reference]));
        Ok::<_, TrackingError>(())
    })?;
    Ok(References::of(rows, PAGE))
}

impl Capture {
    /// The blobs that it names. What it calls inputs were read where they were, and need not be blobs; one that is, stays.
    fn blobs(&self) -> impl Iterator<Item = &String> {
        let files = self.diff.iter().chain(&self.environment);
        files.chain(self.untracked.values()).chain(self.inputs.values())
    }
}

/// The blobs of captures; a cursor is a run's id, empty for the first page. The run is the last word of what refers.
///
/// # Errors
/// What the database says.
pub fn capture_blobs(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, TrackingError> {
    let mut rows = Vec::with_capacity(CAPTURES);
    let sql = format!(
        "SELECT c.run, c.body FROM run_captures c JOIN runs r ON r.id = c.run
         WHERE r.project = ?1 AND c.run > ?2 ORDER BY c.run LIMIT {CAPTURES}"
    );
    tx.each(&sql, &[project.into(), after.into()], |row| {
        let (run, body): (String, String) = (row.take(0)?, row.take(1)?);
        let capture: Capture = serde_json::from_str(&body)
            .map_err(|e| TrackingError::Damaged(format!("the capture of run {run} can't be read: {e}")))?;
        let reference = |sha256: &String| Reference::of_any_size(sha256, format!("capture of run {run}"));
        let references = capture.blobs().map(reference).collect();
        rows.push((run.clone(), references));
        Ok::<_, TrackingError>(())
    })?;
    Ok(References::of(rows, CAPTURES))
}

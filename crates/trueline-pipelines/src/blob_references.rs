//! The blobs that pipelines refer to: outputs of steps, as remembered and as made, and logs of attempts.

use crate::{Outputs, PipelineError};
use trueline_blobs::{Reference, References};
use trueline_db::{Row, Tx, Value};
use trueline_ledger::ProjectId;

/// Rows of one page.
const PAGE: usize = 200;

/// Reads a page whose rows have a cursor and outputs, in the order of the cursor.
fn outputs(tx: &mut Tx<'_>, sql: &str, params: &[Value], what: &str) -> Result<References, PipelineError> {
    let read = |mut row: Row| {
        let (cursor, outputs): (String, String) = (row.take(0)?, row.take(1)?);
        // What can't be read is not put back either; see `Pipelines::cached`.
        let outputs: Outputs = serde_json::from_str(&outputs).unwrap_or_default();
        let refer = |(path, file): (&String, &crate::OutputFile)| {
            Reference::sized(&file.sha256, file.size, format!("{path}, made by {what} {cursor}"))
        };
        let references = outputs.iter().map(refer).collect();
        Ok((cursor, references))
    };
    let rows: Result<Vec<_>, PipelineError> = tx.query(sql, params)?.into_iter().map(read).collect();
    Ok(References::of(rows?, PAGE))
}

/// The blobs of outputs that are remembered under a key; a cursor is the key, empty for the first page.
///
/// # Errors
/// What the database says.
pub fn cached_blobs(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, PipelineError> {
    let sql = format!(
        "SELECT cache_key, outputs FROM step_cache WHERE project = ?1 AND cache_key > ?2 ORDER BY cache_key LIMIT {PAGE}"
    );
    outputs(tx, &sql, &[project.into(), after.into()], "the step of key")
}

/// The blobs of outputs of runs of pipelines; a cursor is `<run> <step>`, empty for the first page.
///
/// # Errors
/// What the database says.
pub fn output_blobs(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, PipelineError> {
    let (run, step) = after.split_once(' ').unwrap_or_default();
    let sql = format!(
        "SELECT s.pipeline_run || ' ' || s.step, s.outputs FROM step_runs s JOIN pipeline_runs p ON p.id = s.pipeline_run
         WHERE p.project = ?1 AND s.outputs IS NOT NULL AND (s.pipeline_run, s.step) > (?2, ?3)
         ORDER BY s.pipeline_run, s.step LIMIT {PAGE}"
    );
    outputs(tx, &sql, &[project.into(), run.into(), step.into()], "the step of the run")
}

/// The blobs of logs; a cursor is an attempt, empty for the first page.
///
/// # Errors
/// What the database says.
pub fn log_blobs(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, PipelineError> {
    let sql = format!(
        "SELECT a.id, a.log FROM step_attempts a JOIN pipeline_runs p ON p.id = a.pipeline_run
         WHERE p.project = ?1 AND a.log IS NOT NULL AND a.id > ?2 ORDER BY a.id LIMIT {PAGE}"
    );
    let read = |mut row: Row| {
        let (attempt, log): (String, String) = (row.take(0)?, row.take(1)?);
        let reference = Reference::of_any_size(&log, format!("log of attempt {attempt}"));
        Ok((attempt, vec![reference]))
    };
    let rows = tx.query(&sql, &[project.into(), after.into()])?;
    let rows: Result<Vec<_>, PipelineError> = rows.into_iter().map(read).collect();
    Ok(References::of(rows?, PAGE))
}

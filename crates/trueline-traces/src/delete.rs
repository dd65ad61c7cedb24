//! Traces are deleted for good: rows of the trace, its spans, pairs, links and assessments.

use crate::rows::{CHUNK, placeholders, with_project};
use crate::{TraceError, Traces};
use serde_json::json;
use trueline_db::{Tx, Value};
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Millis, NewEvent, ProjectId};

/// Which traces of an experiment are meant.
#[derive(Clone, Debug)]
pub enum WhichTraces {
    /// These.
    Ids(Vec<String>),
    /// The oldest that began then or before.
    UpTo {
        /// When.
        at_ms: Millis,
        /// At most so many.
        most: Option<i64>,
    },
}

impl WhichTraces {
    /// Reads it from what a client says, with MLflow's words for what can't be.
    ///
    /// # Errors
    /// [`TraceError::Invalid`].
    pub fn parse(at_ms: Option<Millis>, most: Option<i64>, ids: Vec<String>) -> Result<Self, TraceError> {
        match (at_ms, ids.is_empty()) {
            (None, true) => {
                TraceError::invalid("Either `max_timestamp_millis` or `trace_ids` must be specified.")
            }
            (Some(_), false) => {
                TraceError::invalid("Only one of `max_timestamp_millis` and `trace_ids` can be specified.")
            }
            (None, false) if most.is_some() => {
                TraceError::invalid("`max_traces` can't be specified if `trace_ids` is specified.")
            }
            (Some(_), true) if most.is_some_and(|most| most <= 0) => TraceError::invalid(format!(
                "`max_traces` must be a positive integer, received {}.",
                most.unwrap_or_default()
            )),
            (None, false) => Ok(Self::Ids(ids)),
            (Some(at_ms), true) => Ok(Self::UpTo { at_ms, most }),
        }
    }

    fn find(&self, tx: &mut Tx<'_>, project: &ProjectId, experiment: i64) -> Result<Vec<String>, TraceError> {
        let mut found = Vec::new();
        let mut read = |sql: &str, params: &[Value]| -> Result<(), TraceError> {
            for mut row in tx.query(sql, params)? {
                found.push(row.take(0)?);
            }
            Ok(())
        };
        match self {
            Self::Ids(ids) => {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                for chunk in ids.chunks(CHUNK) {
                    let mut params = with_project(project, chunk);
                    params.push(experiment.into());
                    let (list, last) = (placeholders(2, chunk.len()), params.len());
                    read(
                        &format!(
                            "SELECT id FROM traces WHERE project = ?1 AND id IN ({list}) AND experiment = ?{last}
                             ORDER BY started_ms, id"
                        ),
                        &params,
                    )?;
                }
            }
            Self::UpTo { at_ms, most } => read(
                "SELECT id FROM traces WHERE project = ?1 AND experiment = ?2 AND started_ms <= ?3
                 ORDER BY started_ms, id LIMIT ?4",
                &[project.into(), experiment.into(), (*at_ms).into(), most.unwrap_or(i64::MAX).into()],
            )?,
        }
        Ok(found)
    }
}

const DELETES: [&str; 5] = [
    "DELETE FROM spans WHERE project = ?1 AND trace IN",
    "DELETE FROM trace_pairs WHERE project = ?1 AND trace IN",
    "DELETE FROM trace_links WHERE project = ?1 AND trace IN",
    "DELETE FROM assessments WHERE project = ?1 AND trace IN",
    "DELETE FROM traces WHERE project = ?1 AND id IN",
];

impl Traces {
    /// Deletes traces of an experiment; answers how many.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn delete(
        &self,
        leave: &Authorized<WriteTracking>,
        experiment: i64,
        which: WhichTraces,
    ) -> Result<usize, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let found = which.find(tx, &project, experiment)?;
                if found.is_empty() {
                    return Ok(0);
                }
                let ids: Vec<&str> = found.iter().map(String::as_str).collect();
                for chunk in ids.chunks(CHUNK) {
                    let (list, params) = (placeholders(2, chunk.len()), with_project(&project, chunk));
                    for delete in DELETES {
                        tx.execute(&format!("{delete} ({list})"), &params)?;
                    }
                }
                let event = NewEvent::new(&project, "trace.deleted", "experiment", experiment.to_string());
                tx.emit(event.with(json!({ "traces": found })))?;
                Ok(found.len())
            })
            .await
    }
}

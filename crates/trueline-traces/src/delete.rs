//! Traces are deleted for good: rows of the trace, its spans, pairs, links and assessments.

use crate::rows::{CHUNK, placeholders, with_project};
use crate::{TraceError, Traces, issues};
use serde_json::json;
use trueline_db::{Tx, Value};
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Actor, LedgerTx, Millis, NewEvent, ProjectId};

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
        self.ledger.write(leave.actor(), move |tx| delete(tx, &project, experiment, &which)).await
    }
}

fn delete(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    experiment: i64,
    which: &WhichTraces,
) -> Result<usize, TraceError> {
    let found = which.find(tx, project, experiment)?;
    if found.is_empty() {
        return Ok(0);
    }
    let ids: Vec<&str> = found.iter().map(String::as_str).collect();
    for chunk in ids.chunks(CHUNK) {
        let (list, params) = (placeholders(2, chunk.len()), with_project(project, chunk));
        for delete in DELETES {
            tx.execute(&format!("{delete} ({list})"), &params)?;
        }
    }
    let event = NewEvent::new(project, "trace.deleted", "experiment", experiment.to_string());
    tx.emit(event.with(json!({ "traces": found })))?;
    Ok(found.len())
}

/// Traces of a purged experiment that go in one transaction, with all their spans.
const PURGED_AT_ONCE: i64 = 20;

impl Traces {
    /// Deletes what is kept by an experiment that is about to be purged: traces with all that belongs to them, some at a
    /// time, then scorers and issues, and its place in evaluation datasets, which stay. Answers how many traces.
    ///
    /// # Errors
    /// What the ledger says; what was deleted by then stays so.
    pub async fn purge_experiment(
        &self,
        project: &ProjectId,
        experiment: i64,
        actor: &Actor,
    ) -> Result<u64, TraceError> {
        let mut purged = 0;
        loop {
            let project = project.clone();
            let some = self.ledger.write(actor, move |tx| {
                let oldest = WhichTraces::UpTo { at_ms: Millis::MAX, most: Some(PURGED_AT_ONCE) };
                delete(tx, &project, experiment, &oldest)
            });
            match some.await? {
                0 => break,
                some => purged += some as u64,
            }
        }
        let project = project.clone();
        self.ledger
            .write(actor, move |tx| {
                let of = "(SELECT id FROM scorers WHERE project = ?1 AND experiment = ?2)";
                let by_number = [(&project).into(), experiment.into()];
                let mut gone = 0;
                for sql in [
                    format!("DELETE FROM scorer_sampling WHERE project = ?1 AND scorer IN {of}"),
                    format!("DELETE FROM scorer_versions WHERE project = ?1 AND scorer IN {of}"),
                    "DELETE FROM scorers WHERE project = ?1 AND experiment = ?2".to_owned(),
                ] {
                    gone = tx.execute(&sql, &by_number)?;
                }
                let datasets = tx.execute(
                    "DELETE FROM evaluation_dataset_experiments WHERE project = ?1 AND experiment = ?2",
                    &[(&project).into(), experiment.to_string().into()],
                )?;
                let event = |action| NewEvent::new(&project, action, "experiment", experiment.to_string());
                if gone + datasets > 0 {
                    let told = json!({ "scorers": gone, "evaluation_datasets": datasets });
                    tx.emit(event("scorers.purged").with(told))?;
                }
                let issues = issues::purge(tx, &project, experiment)?;
                if issues > 0 {
                    tx.emit(event("issues.purged").with(json!({ "issues": issues })))?;
                }
                Ok(purged)
            })
            .await
    }
}

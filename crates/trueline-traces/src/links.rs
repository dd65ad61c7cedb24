//! Links of traces: to runs that they were evaluated in, and to prompts that they used.

use crate::rows::TraceRow;
use crate::{TraceError, Traces, rules};
use serde_json::json;
use std::collections::BTreeSet;
use trueline_db::Tx;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{Edge, EventId, LedgerTx, NewEvent, Node, ProjectId};

/// The kind of a link to a run.
pub(crate) const RUN: &str = "run";
/// The kind of a link to a version of a prompt.
pub(crate) const PROMPT: &str = "prompt";
/// How many traces one request links.
const MOST: usize = 100;

pub(crate) fn insert(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    trace: &str,
    kind: &str,
    target: &str,
) -> Result<bool, TraceError> {
    let made = tx.execute(
        "INSERT INTO trace_links (project, trace, kind, target) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        &[project.into(), trace.into(), kind.into(), target.into()],
    )?;
    Ok(made > 0)
}

/// Links a trace to a run, under an event that says so.
pub(crate) fn to_run(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    event: &EventId,
    trace: &str,
    run: &str,
) -> Result<(), TraceError> {
    if insert(tx, project, trace, RUN, run)? {
        let edge = Edge::new(project, Node::new("trace", trace), "linked_to", Node::new("run", run));
        tx.link(event, &edge)?;
    }
    Ok(())
}

impl Traces {
    /// Links traces to a run. Clients link traces before they have sent them, so whether there is such a trace is not asked.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for too many at once.
    pub async fn link_to_run(
        &self,
        leave: &Authorized<WriteTracking>,
        traces: Vec<String>,
        run: String,
    ) -> Result<(), TraceError> {
        if traces.len() > MOST {
            return TraceError::invalid(format!(
                "Cannot link more than {MOST} traces to a run in a single request. Provided {} traces.",
                traces.len()
            ));
        }
        let traces: BTreeSet<String> = traces.into_iter().collect();
        if traces.is_empty() {
            return Ok(());
        }
        traces.iter().try_for_each(|trace| rules::id("trace_id", trace))?;
        rules::id("run_id", &run)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let event = NewEvent::new(&project, "trace.linked", "run", run.clone());
                let event = tx.emit(event.with(json!({ "traces": traces })))?;
                traces.iter().try_for_each(|trace| to_run(tx, &project, &event, trace, &run))
            })
            .await
    }

    /// Links a trace to versions of prompts, each `name/version`.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn link_prompts(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        prompts: Vec<String>,
    ) -> Result<(), TraceError> {
        if prompts.is_empty() {
            return Ok(());
        }
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                TraceRow::get(tx, &project, &trace)?;
                let event = NewEvent::new(&project, "trace.prompts_linked", "trace", trace.clone());
                let event = tx.emit(event.with(json!({ "prompts": prompts })))?;
                for prompt in &prompts {
                    if insert(tx, &project, &trace, PROMPT, prompt)? {
                        let to = Node::new("prompt", prompt.as_str());
                        tx.link(&event, &Edge::new(&project, Node::new("trace", &trace), "used", to))?;
                    }
                }
                Ok(())
            })
            .await
    }
}

//! Whole traces with the ids and times that they had elsewhere, for imports: written as they are, nothing is worked out again.
//! A trace that is there already is written over, so that an import can be repeated.

use crate::assessment::Assessment;
use crate::model::{Home, IN_STORE, NewTrace};
use crate::rows::{CHUNK, TraceRow, placeholders, with_project};
use crate::span_row::SpanRow;
use crate::start::Told;
use crate::{TraceError, Traces, assessments, links, rules};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{LedgerTx, NewEvent, ProjectId};

/// A trace as another server has kept it.
#[derive(Clone, Debug)]
pub struct WholeTrace {
    /// The experiment that it is to belong to.
    pub home: Home,
    /// What is told of it; its assessments stand in `assessments`.
    pub told: NewTrace,
    /// Where its files lie; none for the place that its experiment gives it.
    pub artifact_location: Option<String>,
    /// Whether the client had said what there is to say of it.
    pub finalized: bool,
    /// Its assessments, each under the id that it has.
    pub assessments: Vec<Assessment>,
    /// Its spans, each the JSON that MLflow keeps of it.
    pub spans: Vec<String>,
    /// The runs that it is linked to.
    pub runs: Vec<String>,
    /// The versions of prompts that it used, each `name/version`.
    pub prompts: Vec<String>,
}

impl WholeTrace {
    /// One of which no more is known yet.
    #[must_use]
    pub fn new(home: Home, told: NewTrace) -> Self {
        Self {
            home,
            told,
            artifact_location: None,
            finalized: false,
            assessments: Vec::new(),
            spans: Vec::new(),
            runs: Vec::new(),
            prompts: Vec::new(),
        }
    }
}

/// What was taken of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Traces.
    pub traces: usize,
    /// Spans.
    pub spans: usize,
    /// Assessments.
    pub assessments: usize,
    /// Spans whose JSON was of no known form.
    pub unread: usize,
    /// Traces that can't be kept, and why.
    pub refused: Vec<(String, String)>,
}

/// A trace checked and read, ready to be written.
struct Ready {
    whole: WholeTrace,
    told: Told,
    spans: Vec<SpanRow>,
}

impl Ready {
    fn new(whole: WholeTrace) -> Result<Self, TraceError> {
        rules::id("trace_id", &whole.told.id)?;
        rules::moment("request_time", whole.told.started_ms)?;
        rules::duration("execution_duration", whole.told.took_ms.unwrap_or(0))?;
        let told = Told::new(whole.told.tags.clone(), whole.told.metadata.clone())?;
        told.clone().into_row(&mut TraceRow::new(&whole.told.id, 0, String::new(), 0))?;
        let spans = whole.spans.iter().filter_map(|json| SpanRow::of_content(json)).collect();
        Ok(Self { whole, told, spans })
    }

    fn write(&self, tx: &mut LedgerTx<'_, '_>, project: &ProjectId) -> Result<(), TraceError> {
        let WholeTrace { home, told: new, .. } = &self.whole;
        let before = TraceRow::find(tx, project, &new.id)?;
        let place = self.whole.artifact_location.clone().unwrap_or_else(|| home.artifacts_of(&new.id));
        let mut row = TraceRow::new(&new.id, home.experiment, place, new.started_ms);
        row.took_ms = new.took_ms;
        row.state = new.state;
        row.client_request_id.clone_from(&new.client_request_id);
        row.request_preview.clone_from(&new.request_preview);
        row.response_preview.clone_from(&new.response_preview);
        row.finalized = self.whole.finalized;
        let told = self.told.clone().into_row(&mut row)?;
        if !self.spans.is_empty() {
            row.spans_location = Some(IN_STORE.to_owned());
        }
        row.save(tx, project)?;
        if let Some(before) = &before {
            row.follow(tx, project, before)?;
        }
        told.write(tx, project, &row)?;
        SpanRow::save(tx, project, (&row.id, row.experiment), &self.spans)?;
        for assessment in &self.whole.assessments {
            let assessment = Assessment { trace: row.id.clone(), ..assessment.clone() };
            assessments::save(tx, project, &row, &assessment)?;
        }
        for (kind, targets) in [(links::RUN, &self.whole.runs), (links::PROMPT, &self.whole.prompts)] {
            for target in targets {
                links::insert(tx, project, &row.id, kind, target)?;
            }
        }
        Ok(())
    }
}

impl Traces {
    /// Which of these traces are here.
    ///
    /// # Errors
    /// What the database says.
    pub async fn known_traces(
        &self,
        leave: &Authorized<ReadProject>,
        ids: Vec<String>,
    ) -> Result<BTreeSet<String>, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut known = BTreeSet::new();
                for chunk in ids.chunks(CHUNK) {
                    let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
                    let list = placeholders(2, chunk.len());
                    let sql = format!("SELECT id FROM traces WHERE project = ?1 AND id IN ({list})");
                    for mut row in tx.query(&sql, &with_project(&project, &chunk))? {
                        known.insert(row.take(0)?);
                    }
                }
                Ok(known)
            })
            .await
    }

    /// Writes a batch of whole traces under one event; those with ids, times or texts that can't be are left out. `source`
    /// says where they come from.
    ///
    /// # Errors
    /// What the ledger says; then nothing of the batch is written.
    pub async fn import(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        batch: Vec<WholeTrace>,
    ) -> Result<Imported, TraceError> {
        let (mut ready, mut done) = (Vec::with_capacity(batch.len()), Imported::default());
        for whole in batch {
            let (id, spans) = (whole.told.id.clone(), whole.spans.len());
            match Ready::new(whole) {
                Ok(one) => {
                    done.traces += 1;
                    done.spans += one.spans.len();
                    done.assessments += one.whole.assessments.len();
                    done.unread += spans - one.spans.len();
                    ready.push(one);
                }
                Err(why) => done.refused.push((id, why.to_string())),
            }
        }
        if ready.is_empty() {
            return Ok(done);
        }
        let mut digest = Sha256::new();
        for trace in &ready {
            digest.update(trace.whole.told.id.as_bytes());
            trace.spans.iter().for_each(|span| digest.update(span.content.as_bytes()));
        }
        let project = leave.project().clone();
        let told = json!({
            "source": source, "traces": done.traces, "spans": done.spans, "sha256": hex::encode(digest.finalize()),
        });
        let event = NewEvent::new(&project, "trace.imported", "project", project.as_str()).with(told);
        self.ledger
            .write(leave.actor(), move |tx| {
                ready.iter().try_for_each(|trace| trace.write(tx, &project))?;
                tx.emit(event.clone())?;
                Ok(done.clone())
            })
            .await
    }
}

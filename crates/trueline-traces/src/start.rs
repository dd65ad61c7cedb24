//! What a client says of a trace as a whole: at once (MLflow 3), or when it begins and when it ends (MLflow 2).

use crate::model::{Home, IN_STORE, NewTrace, Pairs, TraceInfo, TraceState, keys};
use crate::rows::{self, PairKind, TraceRow, set_pairs};
use crate::{TraceError, Traces, assessments, rules};
use serde_json::json;
use trueline_db::Tx;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};

/// Tags and metadata without those that are columns.
#[derive(Clone)]
pub(crate) struct Told {
    tags: Pairs,
    metadata: Pairs,
}

impl Told {
    pub(crate) fn new(tags: Pairs, metadata: Pairs) -> Result<Self, TraceError> {
        Ok(Self { tags: rules::pairs(tags)?, metadata: rules::pairs(metadata)? })
    }

    /// Takes what are columns into the row and leaves the rest.
    pub(crate) fn into_row(mut self, row: &mut TraceRow) -> Result<Self, TraceError> {
        if let Some(name) = self.tags.remove(keys::NAME) {
            rules::name(&name)?;
            row.name = Some(name);
        }
        if let Some(place) = self.tags.remove(keys::SPANS_LOCATION) {
            row.spans_location = Some(place);
        }
        self.tags.remove(keys::ARTIFACT_LOCATION);
        row.take_columns(&mut self.metadata)?;
        Ok(self)
    }

    pub(crate) fn write(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        row: &TraceRow,
    ) -> Result<(), TraceError> {
        let tags = self.tags.iter().map(|(key, value)| (PairKind::Tag, key, value));
        let metadata = self.metadata.iter().map(|(key, value)| (PairKind::Metadata, key, value));
        set_pairs(tx, project, row, tags.chain(metadata))
    }
}

fn clean(text: Option<String>) -> Option<String> {
    text.map(|text| text.replace('\0', ""))
}

/// Writes what a client says of a trace; spans may have come before.
fn put(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    home: &Home,
    new: &NewTrace,
    told: &Told,
) -> Result<TraceRow, TraceError> {
    let before = TraceRow::find(tx, project, &new.id)?;
    let mut row = match &before {
        Some(row) if row.spans_location.as_deref().is_some_and(|place| place != IN_STORE) => {
            return Err(TraceError::State(format!(
                "Cannot update traces that are no longer DB-backed: '{}'.",
                new.id
            )));
        }
        Some(row) => row.clone(),
        None => TraceRow::new(&new.id, home.experiment, home.artifacts_of(&new.id), new.started_ms),
    };
    row.experiment = home.experiment;
    row.started_ms = new.started_ms;
    row.took_ms = new.took_ms;
    row.state = new.state;
    row.client_request_id = clean(new.client_request_id.clone());
    row.request_preview = clean(new.request_preview.clone()).or(row.request_preview);
    row.response_preview = clean(new.response_preview.clone()).or(row.response_preview);
    row.finalized = true;
    let told = told.clone().into_row(&mut row)?;
    if before.as_ref().is_some_and(|before| before.spans_location.is_some()) {
        row.spans_location = before.as_ref().and_then(|before| before.spans_location.clone());
    }
    row.save(tx, project)?;
    if let Some(before) = &before {
        row.follow(tx, project, before)?;
    }
    told.write(tx, project, &row)?;
    for (n, assessment) in new.assessments.iter().enumerate() {
        assessments::put(tx, project, &row, assessment, n)?;
    }
    Ok(row)
}

/// What the ledger keeps of it: who and when, not what was asked and answered.
fn started(project: &ProjectId, home: &Home, new: &NewTrace) -> NewEvent {
    NewEvent::new(project, "trace.started", "trace", new.id.clone()).with(json!({
        "experiment": home.experiment.to_string(), "started_ms": new.started_ms, "took_ms": new.took_ms,
        "state": new.state.as_str(), "tags": new.tags, "assessments": new.assessments.len(),
        "source_run": new.metadata.get(keys::SOURCE_RUN),
    }))
}

impl Traces {
    /// Keeps what a client says of a trace. Spans that come later don't change it; what spans that came earlier had told
    /// stays where the client says nothing.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for texts that are too long and times that can't be, [`TraceError::State`] when its spans are kept elsewhere.
    pub async fn start(
        &self,
        leave: &Authorized<WriteTracking>,
        home: Home,
        new: NewTrace,
    ) -> Result<TraceInfo, TraceError> {
        rules::id("trace_id", &new.id)?;
        rules::moment("request_time", new.started_ms)?;
        rules::duration("execution_duration", new.took_ms.unwrap_or(0))?;
        let told = Told::new(new.tags.clone(), new.metadata.clone())?;
        let project = leave.project().clone();
        let event = started(&project, &home, &new);
        self.ledger
            .write(leave.actor(), move |tx| {
                let row = put(tx, &project, &home, &new, &told)?;
                tx.emit(event.clone())?;
                rows::info(tx, &project, row)
            })
            .await
    }

    /// Begins a trace as clients of MLflow 2 do; the id is made here.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for texts that are too long.
    pub async fn begin_v2(
        &self,
        leave: &Authorized<WriteTracking>,
        home: Home,
        started_ms: Millis,
        metadata: Pairs,
        tags: Pairs,
    ) -> Result<TraceInfo, TraceError> {
        rules::moment("timestamp_ms", started_ms)?;
        let told = Told::new(tags, metadata)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let id = format!("tr-{}", tx.derived_id("trace"));
                let mut row = TraceRow::new(&id, home.experiment, home.artifacts_of(&id), started_ms);
                let told = told.clone().into_row(&mut row)?;
                row.save(tx, &project)?;
                told.write(tx, &project, &row)?;
                let event = NewEvent::new(&project, "trace.started", "trace", id);
                tx.emit(event.with(json!({
                    "experiment": home.experiment.to_string(), "started_ms": started_ms,
                    "state": TraceState::InProgress.as_str(), "tags": told.tags,
                })))?;
                rows::info(tx, &project, row)
            })
            .await
    }

    /// Ends a trace as clients of MLflow 2 do.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`] for texts that are too long.
    pub async fn end_v2(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        ended_ms: Millis,
        state: TraceState,
        metadata: Pairs,
        tags: Pairs,
    ) -> Result<TraceInfo, TraceError> {
        rules::moment("timestamp_ms", ended_ms)?;
        let told = Told::new(tags, metadata)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut row = TraceRow::get(tx, &project, &trace)?;
                row.took_ms = Some(ended_ms - row.started_ms);
                row.state = state;
                let told = told.clone().into_row(&mut row)?;
                row.save(tx, &project)?;
                told.write(tx, &project, &row)?;
                let event = NewEvent::new(&project, "trace.ended", "trace", trace.clone());
                tx.emit(event.with(json!({
                    "took_ms": row.took_ms, "state": state.as_str(), "tags": told.tags,
                })))?;
                rows::info(tx, &project, row)
            })
            .await
    }
}

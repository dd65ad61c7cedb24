//! Traces with tags, metadata, spans and assessments, and what they are linked to.

use super::Export;
use super::runs::derived;
use super::sheet::Table;
use crate::ImportError;
use trueline_db::{Tx, Value};
use trueline_traces::IN_STORE;
use trueline_traces::export::{self, KeptAssessment, KeptSpan, KeptTrace};

const TRACES: Table = Table {
    name: "trace_info",
    columns: &[
        "request_id",
        "experiment_id",
        "timestamp_ms",
        "execution_time_ms",
        "status",
        "client_request_id",
        "request_preview",
        "response_preview",
        "db_payload_generation",
        "trace_name",
        "session_id",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation_input_tokens_above_1hr",
        "input_cost",
        "output_cost",
        "total_cost",
    ],
};
const TAGS: Table = Table { name: "trace_tags", columns: &["request_id", "key", "value"] };
const METADATA: Table = Table { name: "trace_request_metadata", columns: &["request_id", "key", "value"] };
const SPANS: Table = Table {
    name: "spans",
    columns: &[
        "trace_id",
        "experiment_id",
        "span_id",
        "parent_span_id",
        "name",
        "type",
        "status",
        "start_time_unix_nano",
        "end_time_unix_nano",
        "content",
        "input_cost",
        "output_cost",
        "total_cost",
        "model_name",
        "model_provider",
    ],
};
const ASSESSMENTS: Table = Table {
    name: "assessments",
    columns: &[
        "assessment_id",
        "trace_id",
        "name",
        "assessment_type",
        "value",
        "error",
        "created_timestamp",
        "last_updated_timestamp",
        "source_type",
        "source_id",
        "run_id",
        "span_id",
        "rationale",
        "overrides",
        "valid",
        "assessment_metadata",
        "experiment_id",
        "trace_timestamp_ms",
        "aggregate_value",
        "is_numeric_value",
    ],
};
pub(super) const ASSOCIATIONS: Table = Table {
    name: "entity_associations",
    columns: &[
        "association_id",
        "source_type",
        "source_id",
        "destination_type",
        "destination_id",
        "created_time",
    ],
};

/// Keys under which MLflow keeps what has a place of its own here.
const ARTIFACT_LOCATION: &str = "mlflow.artifactLocation";
const SPANS_LOCATION: &str = "mlflow.trace.spansLocation";
const FINALIZED: &str = "mlflow.trace.infoFinalized";
/// Metadata of an assessment that names the run which made it; MLflow has a column for it.
const ASSESSED_IN: &str = "mlflow.assessment.sourceRunId";

/// Tells of all traces.
pub(super) fn write(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    let mut after = String::new();
    loop {
        let page = export::traces(tx, to.read, &after)?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        page.into_iter().try_for_each(|trace| write_trace(tx, to, trace))?;
        to.tell();
    }
    export::links(tx, to.read, |link| {
        let kind = if link.to_prompt { "prompt_version" } else { "run" };
        let id = derived(&["association", &link.trace, kind, &link.target]);
        let row =
            vec![id.into(), "trace".into(), link.trace.into(), kind.into(), link.target.into(), Value::Null];
        to.sheet.put(&ASSOCIATIONS, row)
    })
}

fn write_trace(tx: &mut Tx<'_>, to: &mut Export<'_>, mut trace: KeptTrace) -> Result<(), ImportError> {
    let id = trace.id.as_str();
    let own = format!("{}/traces/{id}/artifacts", trace.experiment);
    let place = to.artifacts.adopt(&trace.artifact_location, &own, &mut to.report)?;
    trace.tags.insert(ARTIFACT_LOCATION.to_owned(), place);
    let in_store = trace.spans_location.as_deref() == Some(IN_STORE);
    if let Some(spans) = trace.spans_location.take() {
        trace.tags.insert(SPANS_LOCATION.to_owned(), spans);
    }
    if trace.finalized {
        trace.metadata.insert(FINALIZED.to_owned(), "true".to_owned());
    }
    let mut row: Vec<Value> = vec![
        id.into(),
        trace.experiment.into(),
        trace.started_ms.into(),
        trace.took_ms.into(),
        trace.state.as_str().into(),
        trace.client_request_id.take().into(),
        trace.request_preview.take().into(),
        trace.response_preview.take().into(),
        // Counts how often spans were written, so that an archiving server notices; once is how often.
        i64::from(in_store).into(),
        trace.name.take().into(),
        trace.session.take().into(),
    ];
    row.extend(trace.tokens.into_iter().map(Value::from));
    row.extend(trace.cost.into_iter().map(Value::from));
    to.sheet.put(&TRACES, row)?;
    for (table, pairs) in [(&TAGS, trace.tags), (&METADATA, trace.metadata)] {
        for (key, value) in pairs {
            to.sheet.put(table, vec![id.into(), key.into(), value.into()])?;
        }
    }
    to.report.traces += 1;
    to.report.assessments += trace.assessments.len() as u64;
    let read = to.read;
    export::spans(tx, read, id, |span| {
        to.report.spans += 1;
        write_span(to, id, trace.experiment, span)
    })?;
    let of = (trace.experiment, trace.started_ms);
    trace.assessments.into_iter().try_for_each(|one| write_assessment(to, of, one))
}

fn write_span(to: &mut Export<'_>, trace: &str, experiment: i64, span: KeptSpan) -> Result<(), ImportError> {
    let [input_cost, output_cost, total_cost] = span.cost;
    let row = vec![
        trace.into(),
        experiment.into(),
        span.id.into(),
        span.parent.into(),
        span.name.into(),
        span.kind.into(),
        span.status.into(),
        span.started_ns.into(),
        span.ended_ns.into(),
        span.content.into(),
        input_cost.into(),
        output_cost.into(),
        total_cost.into(),
        span.model.into(),
        span.provider.into(),
    ];
    to.sheet.put(&SPANS, row)
}

fn write_assessment(
    to: &mut Export<'_>,
    (experiment, started_ms): (i64, i64),
    kept: KeptAssessment,
) -> Result<(), ImportError> {
    let KeptAssessment { assessment: of, value, error, metadata, number, is_number } = kept;
    let row = vec![
        of.id.into(),
        of.trace.into(),
        of.name.into(),
        of.judgement.kind().into(),
        value.into(),
        error.into(),
        of.created_at_ms.into(),
        of.updated_at_ms.into(),
        of.source.kind.into(),
        of.source.id.into(),
        of.metadata.get(ASSESSED_IN).into(),
        of.span.into(),
        of.rationale.into(),
        of.overrides.into(),
        of.valid.into(),
        metadata.into(),
        experiment.into(),
        started_ms.into(),
        number.into(),
        is_number.into(),
    ];
    to.sheet.put(&ASSESSMENTS, row)
}

//! Traces of an experiment's folder. Their spans are a file among the trace's artifacts, where clients look for it.

use super::super::traces::texts;
use super::{files, folders, given, pairs, text};
use crate::ImportError;
use crate::importer::Importer;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;
use std::path::Path;
use trueline_traces::{
    Assessment, AssessmentSource, Home, Judgement, NewTrace, Pairs, TraceState, WholeTrace,
};

/// Traces that come in at once.
const PAGE: usize = 200;

/// What `trace_info.yaml` says; the fields of MLflow 2 beside those of 3.
#[derive(Debug, Default, Deserialize)]
struct TraceMeta {
    request_time: Option<String>,
    timestamp_ms: Option<i64>,
    execution_duration_ms: Option<i64>,
    execution_time_ms: Option<i64>,
    state: Option<String>,
    status: Option<String>,
    client_request_id: Option<String>,
    request_preview: Option<String>,
    response_preview: Option<String>,
}

#[derive(Debug, Deserialize)]
struct AssessmentMeta {
    assessment_id: String,
    assessment_name: String,
    create_time: String,
    last_update_time: Option<String>,
    source: SourceMeta,
    feedback: Option<FeedbackMeta>,
    expectation: Option<ExpectationMeta>,
    issue: Option<Json>,
    metadata: Option<Json>,
    span_id: Option<String>,
    rationale: Option<String>,
    overrides: Option<String>,
    valid: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct SourceMeta {
    source_type: String,
    source_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FeedbackMeta {
    #[serde(default)]
    value: Json,
    error: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct ExpectationMeta {
    #[serde(default)]
    value: Json,
    serialized_value: Option<SerializedMeta>,
}

#[derive(Debug, Deserialize)]
struct SerializedMeta {
    value: String,
}

fn moment(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

impl AssessmentMeta {
    fn read(self) -> Option<Assessment> {
        let created = moment(&self.create_time)?;
        let judgement = match (self.feedback, self.expectation, self.issue) {
            (Some(of), ..) => {
                Judgement::Feedback { value: of.value, error: of.error.filter(|e| !e.is_null()) }
            }
            (_, Some(of), _) => Judgement::Expectation {
                value: match of.serialized_value {
                    Some(json) => serde_json::from_str(&json.value).ok()?,
                    None => of.value,
                },
            },
            (.., Some(issue)) => Judgement::read("issue", issue, None),
            _ => return None,
        };
        Some(Assessment {
            id: self.assessment_id,
            trace: String::new(),
            name: self.assessment_name,
            judgement,
            source: AssessmentSource { kind: self.source.source_type, id: self.source.source_id },
            span: self.span_id,
            rationale: self.rationale,
            metadata: self.metadata.map(texts).unwrap_or_default(),
            overrides: self.overrides,
            valid: self.valid.unwrap_or(true),
            created_at_ms: created,
            updated_at_ms: self.last_update_time.as_deref().and_then(moment).unwrap_or(created),
        })
    }
}

/// Takes the traces of an experiment.
pub(super) fn read(folder: &Path, of: i64, importer: &mut Importer) -> Result<(), ImportError> {
    let Some(experiment) = importer.place(of) else { return Ok(()) };
    let all = folders(&folder.join("traces"))?;
    for page in all.chunks(PAGE) {
        let known = importer.known_traces(page.iter().map(|(id, _)| id.clone()).collect())?;
        let mut batch = Vec::new();
        for (id, place) in page {
            let Some(mut trace) = trace(id, experiment.0, place)? else {
                importer.report.miss("traces", 1, "their trace_info.yaml is missing or can't be read");
                continue;
            };
            let beside = place.join("artifacts");
            if beside.is_dir() {
                let beside = std::path::absolute(&beside).unwrap_or(beside).display().to_string();
                trace.told.tags.insert("mlflow.artifactLocation".to_owned(), beside);
            }
            // Of one that is here the files may not be, when an import was killed.
            importer.place_trace(&mut trace);
            if known.contains(id) {
                continue;
            }
            for (_, file) in files(&place.join("assessments"))? {
                let read = serde_saphyr::from_str(&text(&file)?).ok().and_then(AssessmentMeta::read);
                match read {
                    Some(assessment) => trace.assessments.push(assessment),
                    None => importer.report.miss("assessments", 1, "their files can't be read"),
                }
            }
            batch.push(trace);
        }
        importer.traces(batch)?;
    }
    Ok(())
}

fn trace(id: &str, experiment: i64, place: &Path) -> Result<Option<WholeTrace>, ImportError> {
    let file = place.join("trace_info.yaml");
    if !file.is_file() {
        return Ok(None);
    }
    let Ok(meta) = serde_saphyr::from_str::<TraceMeta>(&text(&file)?) else { return Ok(None) };
    let started = meta.timestamp_ms.or_else(|| meta.request_time.as_deref().and_then(moment));
    let Some(started_ms) = started else { return Ok(None) };
    let all = |name: &str| -> Result<Pairs, ImportError> {
        Ok(pairs(&place.join(name))?.into_iter().map(|pair| (pair.key, pair.value)).collect())
    };
    let told = NewTrace {
        id: id.to_owned(),
        started_ms,
        took_ms: meta.execution_duration_ms.or(meta.execution_time_ms),
        state: TraceState::parse(&meta.state.or(meta.status).unwrap_or_default()),
        client_request_id: given(meta.client_request_id),
        request_preview: meta.request_preview,
        response_preview: meta.response_preview,
        metadata: all("request_metadata")?,
        tags: all("tags")?,
        ..NewTrace::default()
    };
    let home = Home { experiment, artifact_location: String::new() };
    Ok(Some(WholeTrace::new(home, told)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Option<Assessment> {
        serde_saphyr::from_str::<AssessmentMeta>(text).unwrap().read()
    }

    #[test]
    fn assessments_are_read_as_mlflow_writes_them() {
        let common = "assessment_id: a-1\nassessment_name: good\ncreate_time: '2026-01-02T03:04:05.678Z'\n\
                      source:\n  source_id: ann\n  source_type: HUMAN\ntrace_id: tr-1\nvalid: false\n";
        let feedback = read(&format!("{common}feedback:\n  value: 0.5\nmetadata:\n  k: v\n")).unwrap();
        assert_eq!(feedback.judgement, Judgement::Feedback { value: json!(0.5), error: None });
        assert_eq!((feedback.created_at_ms, feedback.valid), (1_767_323_045_678, false));
        assert_eq!(feedback.metadata["k"], "v");
        let serialized = "expectation:\n  serialized_value:\n    serialization_format: JSON_FORMAT\n    value: '{\"a\": 1.5}'\n";
        let expected = read(&format!("{common}{serialized}")).unwrap();
        assert_eq!(expected.judgement, Judgement::Expectation { value: json!({"a": 1.5}) });
        assert!(read(common).is_none(), "it says nothing");
    }
}

//! Traces in MLflow's messages: `TraceInfoV3`, `TraceInfo` of MLflow 2, spans as OpenTelemetry's, assessments. Times are
//! RFC 3339, durations seconds with an `s`, as protobuf writes them.

use crate::error::WireError;
use crate::fields::{Fields, missing};
use crate::render::compact;
use serde_json::{Map, Value as Json, json};
use trueline_flows::KeepLeave;
use trueline_flows::Session;
use trueline_traces::{
    Assessment, AssessmentSource, Judgement, NewAssessment, NewTrace, Pairs, SpanContent, StoredSpan, Trace,
    TraceInfo, TraceState, Value,
};

/// Where MLflow cuts what it shows of a trace's metadata, its tags' keys and its tags.
const SHOWN_METADATA: usize = 250;
const SHOWN_TAG: usize = 4096;

const SOURCES: [&str; 4] = ["SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE"];

pub(crate) fn leave(session: &Session) -> Result<KeepLeave, WireError> {
    Ok(KeepLeave { read: session.leave()?, write: session.leave()? })
}

/// Milliseconds since 1970 as a moment, with as many digits as it needs.
fn moment(ms: i64) -> Json {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    let format = if ms % 1000 == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%3fZ" };
    json!(at.strftime(format).to_string())
}

fn duration(ms: i64) -> Json {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    json!(match ms % 1000 {
        0 => format!("{sign}{}s", ms / 1000),
        part => format!("{sign}{}.{part:03}s", ms / 1000),
    })
}

/// A field that is a moment.
fn read_moment(fields: &Fields, name: &str) -> Result<Option<i64>, WireError> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    match parsed {
        Ok(at) => Ok(Some(at.as_millisecond())),
        Err(_) => Err(WireError::invalid(format!(
            "Invalid value '{text}' for parameter '{name}' supplied: not a time"
        ))),
    }
}

/// A field that is a duration.
fn read_duration(fields: &Fields, name: &str) -> Result<Option<i64>, WireError> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let seconds =
        text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).filter(|s: &f64| s.is_finite());
    match seconds {
        // Whole milliseconds of a double are exact far beyond any duration.
        Some(seconds) => Ok(Some((seconds * 1000.0).round() as i64)),
        None => Err(WireError::invalid(format!(
            "Invalid value '{text}' for parameter '{name}' supplied: not a duration such as '1.5s'"
        ))),
    }
}

fn shown(pairs: &Pairs, longest: usize) -> Map<String, Json> {
    let cut = |text: &str, longest: usize| text.chars().take(longest).collect::<String>();
    pairs.iter().map(|(key, value)| (cut(key, SHOWN_METADATA), cut(value, longest).into())).collect()
}

fn map_or_none(map: Map<String, Json>) -> Json {
    if map.is_empty() { Json::Null } else { Json::Object(map) }
}

pub(crate) fn info(info: &TraceInfo) -> Json {
    compact(json!({
        "trace_id": info.id,
        "client_request_id": info.client_request_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": { "experiment_id": info.experiment.to_string() },
        },
        "request_preview": info.request_preview,
        "response_preview": info.response_preview,
        "request_time": moment(info.started_ms),
        "execution_duration": info.took_ms.map(duration),
        "state": info.state.as_str(),
        "trace_metadata": map_or_none(shown(&info.metadata, SHOWN_METADATA)),
        "assessments": info.assessments.iter().map(assessment).collect::<Vec<_>>(),
        "tags": map_or_none(shown(&info.tags, SHOWN_TAG)),
    }))
}

/// As clients of MLflow 2 know it.
pub(crate) fn info_v2(info: &TraceInfo) -> Json {
    let pairs = |pairs: &Pairs, longest| -> Vec<Json> {
        shown(pairs, longest).into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
    };
    let status = match info.state {
        TraceState::Unspecified => "TRACE_STATUS_UNSPECIFIED",
        other => other.as_str(),
    };
    compact(json!({
        "request_id": info.id,
        "experiment_id": info.experiment.to_string(),
        "timestamp_ms": info.started_ms,
        "execution_time_ms": info.took_ms.unwrap_or(0),
        "status": status,
        "request_metadata": pairs(&info.metadata, SHOWN_METADATA),
        "tags": pairs(&info.tags, SHOWN_TAG),
    }))
}

pub(crate) fn trace(trace: &Trace) -> Json {
    let spans: Vec<Json> =
        trace.spans.iter().filter_map(StoredSpan::read).map(|span| self::span(&span)).collect();
    compact(json!({ "trace_info": info(&trace.info), "spans": spans }))
}

fn any_value(value: &Value) -> Json {
    match value {
        Value::Null => json!({}),
        Value::Bool(yes) => json!({ "bool_value": yes }),
        Value::Int(int) => json!({ "int_value": int }),
        Value::Real(real) => json!({ "double_value": crate::render::number(*real) }),
        Value::Text(text) => json!({ "string_value": text }),
        Value::Bytes(_) => json!({ "bytes_value": value }),
        Value::List(items) => {
            let values: Vec<Json> = items.iter().map(any_value).collect();
            json!({ "array_value": compact(json!({ "values": values })) })
        }
        Value::Map(members) => {
            let values: Vec<Json> = members.iter().map(|(key, value)| key_value(key, value)).collect();
            json!({ "kvlist_value": compact(json!({ "values": values })) })
        }
    }
}

fn key_value(key: &str, value: &Value) -> Json {
    json!({ "key": key, "value": any_value(value) })
}

/// An attribute is kept as JSON text.
fn attribute(key: &str, kept: &Value) -> Json {
    match kept {
        Value::Text(json) => key_value(key, &Value::parse(json).unwrap_or_else(|| kept.clone())),
        other => key_value(key, other),
    }
}

fn span(span: &SpanContent) -> Json {
    let events: Vec<Json> = span
        .events
        .iter()
        .map(|event| {
            let about: Vec<Json> = event.attributes.iter().map(|(k, v)| key_value(k, v)).collect();
            compact(
                json!({ "time_unix_nano": event.time_unix_nano, "name": event.name, "attributes": about }),
            )
        })
        .collect();
    let code = Some(&span.status.code).filter(|code| *code != "STATUS_CODE_UNSET");
    let message = span.status.message.as_ref().filter(|message| !message.is_empty());
    let links: Vec<Json> = span.links.iter().filter_map(link).collect();
    compact(json!({
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": span.end_time_unix_nano,
        "attributes": span.attributes.iter().map(|(k, v)| attribute(k, v)).collect::<Vec<_>>(),
        "events": events,
        "links": links,
        "status": compact(json!({ "code": code, "message": message })),
    }))
}

fn link(link: &trueline_traces::SpanLink) -> Option<Json> {
    use base64::Engine;
    let encode = |hexadecimal: &str| {
        let bytes = hex::decode(hexadecimal).ok()?;
        Some(base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    let about: Vec<Json> = match &link.attributes {
        Some(Value::Map(members)) => members.iter().map(|(key, value)| key_value(key, value)).collect(),
        _ => Vec::new(),
    };
    Some(compact(json!({
        "trace_id": encode(link.trace_id.trim_start_matches("tr-"))?,
        "span_id": encode(&link.span_id)?,
        "attributes": about,
    })))
}

/// What a client says of a trace, and the experiment that it names.
pub(crate) fn read_info(fields: &Fields) -> Result<(String, NewTrace), WireError> {
    let location = fields.message("trace_location")?;
    let experiment = location.message("mlflow_experiment")?.text_or_empty("experiment_id")?;
    let assessments = fields.messages("assessments")?;
    let new = NewTrace {
        id: fields.text_or_empty("trace_id")?,
        started_ms: read_moment(fields, "request_time")?.unwrap_or(0),
        took_ms: read_duration(fields, "execution_duration")?,
        state: TraceState::parse(&fields.text_or_empty("state")?),
        client_request_id: fields.text("client_request_id")?,
        request_preview: fields.text("request_preview")?,
        response_preview: fields.text("response_preview")?,
        metadata: fields.map("trace_metadata")?,
        tags: fields.map("tags")?,
        assessments: assessments.iter().map(read_assessment).collect::<Result<_, _>>()?,
    };
    Ok((experiment, new))
}

pub(crate) fn assessment(a: &Assessment) -> Json {
    let mut out = compact(json!({
        "assessment_id": a.id,
        "assessment_name": a.name,
        "trace_id": a.trace,
        "span_id": a.span,
        "source": compact(json!({ "source_type": a.source.kind, "source_id": a.source.id })),
        "create_time": moment(a.created_at_ms),
        "last_update_time": moment(a.updated_at_ms),
        "rationale": a.rationale,
        "metadata": map_or_none(shown(&a.metadata, usize::MAX)),
        "overrides": a.overrides,
        "valid": a.valid,
    }));
    let (kind, value) = match &a.judgement {
        Judgement::Feedback { value, error } => {
            // `null` is a value of feedback too.
            let mut feedback = json!({ "value": value });
            if let Some(error) = error {
                feedback["error"] = compact(error.clone());
            }
            ("feedback", feedback)
        }
        Judgement::Expectation { value: value @ (Json::Array(_) | Json::Object(_)) } => {
            let serialized = json!({ "serialization_format": "JSON_FORMAT", "value": value.to_string() });
            ("expectation", json!({ "serialized_value": serialized }))
        }
        Judgement::Expectation { value } => ("expectation", json!({ "value": value })),
        Judgement::Issue { issue_name } => ("issue", json!({ "issue_name": issue_name })),
    };
    out[kind] = value;
    out
}

/// Numbers of protobuf's `Value` are doubles.
fn doubles(value: &Json) -> Json {
    match value {
        Json::Number(number) => number.as_f64().map_or(Json::Null, |number| json!(number)),
        Json::Array(items) => items.iter().map(doubles).collect(),
        Json::Object(members) => {
            Json::Object(members.iter().map(|(key, value)| (key.clone(), doubles(value))).collect())
        }
        other => other.clone(),
    }
}

/// What is said in a message: feedback, expectation or issue.
pub(crate) fn read_judgement(fields: &Fields) -> Result<Judgement, WireError> {
    let value = |message: &Fields| message.any("value").map(doubles).unwrap_or_default();
    if fields.any("expectation").is_some() {
        let message = fields.message("expectation")?;
        if message.any("serialized_value").is_none() {
            return Ok(Judgement::Expectation { value: value(&message) });
        }
        let serialized = message.message("serialized_value")?;
        let format = serialized.text_or_empty("serialization_format")?;
        if format != "JSON_FORMAT" {
            return Err(WireError::invalid(format!(
                "Unknown serialization format: {format}. Only JSON_FORMAT is supported."
            )));
        }
        let value = serde_json::from_str(&serialized.text_or_empty("value")?)
            .map_err(|_| WireError::invalid("The serialized value of an expectation must be JSON."))?;
        return Ok(Judgement::Expectation { value });
    }
    if fields.any("feedback").is_some() {
        let message = fields.message("feedback")?;
        let error = match message.any("error") {
            None => None,
            Some(_) => {
                let error = message.message("error")?;
                Some(compact(json!({
                    "error_code": error.text("error_code")?,
                    "error_message": error.given("error_message")?,
                    "stack_trace": error.given("stack_trace")?,
                })))
            }
        };
        return Ok(Judgement::Feedback { value: value(&message), error });
    }
    if fields.any("issue").is_some() {
        let issue_name = fields.message("issue")?.text_or_empty("issue_name")?;
        return Ok(Judgement::Issue { issue_name });
    }
    Err(WireError::invalid("Unknown assessment type: None"))
}

fn read_source(fields: &Fields) -> Result<AssessmentSource, WireError> {
    let source = fields.message("source")?;
    let told = source.text_or_empty("source_type")?;
    let kind = SOURCES.iter().find(|kind| **kind == told).unwrap_or(&SOURCES[0]);
    Ok(AssessmentSource { kind: (*kind).to_owned(), id: source.given("source_id")? })
}

pub(crate) fn read_assessment(fields: &Fields) -> Result<NewAssessment, WireError> {
    Ok(NewAssessment {
        id: fields.given("assessment_id")?,
        name: fields.given("assessment_name")?.ok_or_else(|| missing("assessment_name"))?,
        judgement: read_judgement(fields)?,
        source: read_source(fields)?,
        span: fields.given("span_id")?,
        rationale: fields.given("rationale")?,
        metadata: fields.map("metadata")?,
        overrides: fields.given("overrides")?,
        created_at_ms: read_moment(fields, "create_time")?,
        updated_at_ms: read_moment(fields, "last_update_time")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_protobuf_writes_them() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(1001), "1970-01-01T00:00:01.001Z");
        assert_eq!(moment(1010), "1970-01-01T00:00:01.010Z");
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(1_763_736_000_123), "1763736000.123s");
        assert_eq!(duration(-1500), "-1.500s");
    }

    #[test]
    fn times_are_read_as_protobuf_writes_them() {
        let fields = Fields::of(json!({ "a": "2025-11-21T14:40:00.123456Z", "b": "1.5s", "c": "soon" }));
        assert_eq!(read_moment(&fields, "a").unwrap(), Some(1_763_736_000_123));
        assert_eq!(read_duration(&fields, "b").unwrap(), Some(1500));
        assert_eq!(read_moment(&fields, "none").unwrap(), None);
        assert!(read_moment(&fields, "c").is_err());
        assert!(read_duration(&fields, "c").is_err());
    }

    #[test]
    fn numbers_of_feedback_are_doubles_and_lists_of_expectations_are_serialised() {
        let feedback = Fields::of(json!({ "feedback": { "value": { "rating": 4 } } }));
        let Judgement::Feedback { value, .. } = read_judgement(&feedback).unwrap() else { panic!() };
        assert_eq!(value.to_string(), r#"{"rating":4.0}"#);
        let serialized = json!({ "serialization_format": "JSON_FORMAT", "value": "[1]" });
        let expectation = Fields::of(json!({ "expectation": { "serialized_value": serialized } }));
        assert_eq!(read_judgement(&expectation).unwrap(), Judgement::Expectation { value: json!([1]) });
        assert!(read_judgement(&Fields::default()).is_err());
    }
}

//! Spans: as they come, and as they are kept — one JSON text each, in the form that MLflow's clients read.

use crate::value::{Value, to_json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Attributes that MLflow reserves.
pub(crate) mod keys {
    pub(crate) const REQUEST_ID: &str = "mlflow.traceRequestId";
    pub(crate) const INPUTS: &str = "mlflow.spanInputs";
    pub(crate) const OUTPUTS: &str = "mlflow.spanOutputs";
    pub(crate) const KIND: &str = "mlflow.spanType";
    pub(crate) const USAGE: &str = "mlflow.chat.tokenUsage";
    pub(crate) const COST: &str = "mlflow.llm.cost";
    pub(crate) const MODEL: &str = "mlflow.llm.model";
    pub(crate) const PROVIDER: &str = "mlflow.llm.provider";
    pub(crate) const TOOLS: &str = "mlflow.chat.tools";
    /// On a root span: a tag of the trace.
    pub(crate) const TAG_PREFIX: &str = "mlflow.traceTag.";
    pub(crate) const SESSION: &str = "session.id";
    pub(crate) const CONVERSATION: &str = "gen_ai.conversation.id";
    pub(crate) const USER: &str = "user.id";
    pub(crate) const SERVICE: &str = "service.name";
}

/// How a span went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Not said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Badly.
    Error,
}

impl SpanStatus {
    /// The word that searches use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unset => "UNSET",
            Self::Ok => "OK",
            Self::Error => "ERROR",
        }
    }

    /// Reads OpenTelemetry's name for it, or the word of early clients.
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            "STATUS_CODE_OK" | "OK" => Self::Ok,
            "STATUS_CODE_ERROR" | "ERROR" => Self::Error,
            _ => Self::Unset,
        }
    }

    /// OpenTelemetry's name for it.
    fn code(self) -> &'static str {
        match self {
            Self::Unset => "STATUS_CODE_UNSET",
            Self::Ok => "STATUS_CODE_OK",
            Self::Error => "STATUS_CODE_ERROR",
        }
    }
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// What.
    pub name: String,
    /// When, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// More about it.
    #[serde(with = "members", default)]
    pub attributes: Vec<(String, Value)>,
}

/// A span of another trace that this one has to do with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanLink {
    /// The other trace, `tr-…`.
    pub trace_id: String,
    /// The other span, 16 hexadecimal digits.
    pub span_id: String,
    /// More about it.
    pub attributes: Option<Value>,
}

/// A span as it comes.
#[derive(Clone, Debug, Default)]
pub struct NewSpan {
    /// The trace's id in OpenTelemetry: 16 bytes.
    pub trace: [u8; 16],
    /// The span's id.
    pub id: [u8; 8],
    /// The span that it is part of; none for the root.
    pub parent: Option<[u8; 8]>,
    /// Its name.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub started_ns: i64,
    /// When it ended.
    pub ended_ns: Option<i64>,
    /// How it went.
    pub status: SpanStatus,
    /// More about that.
    pub message: String,
    /// Attributes in the order in which they came.
    pub attributes: Vec<(String, Value)>,
    /// What happened during it.
    pub events: Vec<SpanEvent>,
    /// What it has to do with.
    pub links: Vec<SpanLink>,
    /// What the process that made it says of itself.
    pub resource: Arc<Vec<(String, Value)>>,
}

impl NewSpan {
    /// The trace's id here.
    #[must_use]
    pub fn trace_id(&self) -> String {
        trace_id(&self.trace)
    }

    /// The span's id in searches and rows: 16 hexadecimal digits.
    pub(crate) fn hex_id(&self) -> String {
        hex::encode(self.id)
    }

    /// The same of its parent.
    pub(crate) fn hex_parent(&self) -> Option<String> {
        self.parent.map(hex::encode)
    }
}

/// The id here of a trace with this id in OpenTelemetry.
#[must_use]
pub fn trace_id(otel: &[u8; 16]) -> String {
    format!("tr-{}", hex::encode(otel))
}

/// Attributes as they are kept: each value a JSON text.
pub(crate) type Attributes = Vec<(String, String)>;

/// The value of an attribute, as JSON.
pub(crate) fn attribute<'a>(attributes: &'a [(String, String)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

/// The text that an attribute's JSON holds; the JSON itself if it holds another thing.
pub(crate) fn unquoted(json: &str) -> String {
    match Value::parse(json) {
        Some(Value::Text(text)) => text,
        _ => json.to_owned(),
    }
}

/// One attribute as it is kept. A text that is JSON of a text, list or map was quoted by the client already.
pub(crate) fn kept(value: &Value) -> String {
    match value {
        Value::Text(text) if quoted_already(text) => text.clone(),
        other => other.to_json(),
    }
}

fn quoted_already(text: &str) -> bool {
    text.trim_start().starts_with(['"', '[', '{'])
        && matches!(Value::parse(text), Some(Value::Text(_) | Value::List(_) | Value::Map(_)))
}

#[derive(Serialize)]
struct Content<'a> {
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    name: &'a str,
    start_time_unix_nano: i64,
    end_time_unix_nano: Option<i64>,
    events: &'a [SpanEvent],
    status: StatusContent<'a>,
    #[serde(with = "members")]
    attributes: &'a [(String, String)],
    links: &'a [SpanLink],
}

#[derive(Serialize)]
struct StatusContent<'a> {
    code: &'a str,
    message: &'a str,
}

/// The JSON that a span is kept as.
pub(crate) fn content(span: &NewSpan, attributes: &[(String, String)]) -> String {
    to_json(&Content {
        trace_id: STANDARD.encode(span.trace),
        span_id: STANDARD.encode(span.id),
        parent_span_id: span.parent.map(|id| STANDARD.encode(id)),
        name: &span.name,
        start_time_unix_nano: span.started_ns,
        end_time_unix_nano: span.ended_ns,
        events: &span.events,
        status: StatusContent { code: span.status.code(), message: &span.message },
        attributes,
        links: &span.links,
    })
}

/// A span as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSpan {
    /// The JSON text.
    pub content: String,
}

/// The JSON text of a span, read.
#[derive(Clone, Debug, Deserialize)]
pub struct SpanContent {
    /// The trace's id in OpenTelemetry, base64.
    pub trace_id: String,
    /// The span's id, base64.
    pub span_id: String,
    /// The span that it is part of, base64.
    pub parent_span_id: Option<String>,
    /// Its name.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub start_time_unix_nano: i64,
    /// When it ended.
    pub end_time_unix_nano: Option<i64>,
    /// What happened during it.
    #[serde(default)]
    pub events: Vec<SpanEvent>,
    /// How it went.
    pub status: SpanStatusContent,
    /// Attributes; each value is a JSON text.
    #[serde(with = "members", default)]
    pub attributes: Vec<(String, Value)>,
    /// What it has to do with.
    #[serde(default)]
    pub links: Vec<SpanLink>,
}

impl SpanContent {
    /// The span's id as searches and assessments have it: 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        hex_of(&self.span_id)
    }

    /// The same of the span that it is part of.
    #[must_use]
    pub fn parent(&self) -> Option<String> {
        self.parent_span_id.as_deref().filter(|id| !id.is_empty()).map(hex_of)
    }

    /// The value of an attribute, out of its JSON text.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<Value> {
        let (_, value) = self.attributes.iter().find(|(k, _)| k == key)?;
        Some(unpacked(value))
    }
}

/// What an attribute that is kept as JSON text says.
#[must_use]
pub fn unpacked(kept: &Value) -> Value {
    kept.as_text().and_then(Value::parse).unwrap_or_else(|| kept.clone())
}

fn hex_of(base64: &str) -> String {
    STANDARD.decode(base64).map_or_else(|_| base64.to_owned(), hex::encode)
}

/// How a span went, as it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct SpanStatusContent {
    /// OpenTelemetry's name for it.
    pub code: String,
    /// More about it.
    pub message: Option<String>,
}

impl StoredSpan {
    /// Reads the JSON text; none if somebody has changed it by hand.
    #[must_use]
    pub fn read(&self) -> Option<SpanContent> {
        serde_json::from_str(&self.content).ok()
    }
}

/// Members of a map in their order.
mod members {
    use crate::value::Value;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, V: Serialize>(
        members: &[(String, V)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(members.iter().map(|(key, value)| (key, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Value)>, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Map(members) => Ok(members),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_quoted_already_is_not_quoted_again() {
        let text = |text: &str| kept(&Value::Text(text.to_owned()));
        assert_eq!(text("plain"), "\"plain\"");
        assert_eq!(text("\"quoted\""), "\"quoted\"");
        assert_eq!(text("{\"a\":1}"), "{\"a\":1}");
        // A number in a text may be meant as text.
        assert_eq!(text("1"), "\"1\"");
        assert_eq!(kept(&Value::Int(1)), "1");
    }

    #[test]
    fn a_span_is_read_as_it_was_kept() {
        let span = NewSpan {
            trace: [1; 16],
            id: [2; 8],
            name: "ask".to_owned(),
            started_ns: 5,
            status: SpanStatus::Ok,
            events: vec![SpanEvent {
                name: "e".into(),
                time_unix_nano: 7,
                attributes: vec![("k".into(), Value::Int(1))],
            }],
            ..NewSpan::default()
        };
        let content = content(&span, &[("z".into(), "\"v\"".into()), ("a".into(), "1".into())]);
        assert!(content.contains(r#""attributes": {"z": "\"v\"", "a": "1"}"#), "{content}");
        let read = StoredSpan { content }.read().unwrap();
        assert_eq!(read.events, span.events);
        assert_eq!(read.parent_span_id, None);
        assert_eq!(read.status.code, "STATUS_CODE_OK");
        assert_eq!(read.attributes[0].0, "z");
        assert_eq!((read.id(), read.parent()), ("02".repeat(8), None));
        assert_eq!(read.attribute("z"), Some(Value::Text("v".into())));
        assert_eq!(read.attribute("a"), Some(Value::Int(1)));
    }
}

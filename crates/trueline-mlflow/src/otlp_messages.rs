//! OpenTelemetry's messages for traces, as far as they are read: `opentelemetry/proto/collector/trace/v1` and what it uses.
//! One set of types serves both encodings; JSON writes ids in hexadecimal and 64-bit numbers as text.

use prost::{Message, Oneof};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value as Json;

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "hexadecimal")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "hexadecimal")]
    pub(crate) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    #[serde(deserialize_with = "hexadecimal")]
    pub(crate) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) name: String,
    #[prost(fixed64, tag = "7")]
    #[serde(deserialize_with = "unsigned")]
    pub(crate) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    #[serde(deserialize_with = "unsigned")]
    pub(crate) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<Event>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    pub(crate) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Event {
    #[prost(fixed64, tag = "1")]
    #[serde(deserialize_with = "unsigned")]
    pub(crate) time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Link {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "hexadecimal")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "hexadecimal")]
    pub(crate) span_id: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(int32, tag = "3")]
    #[serde(deserialize_with = "status_code")]
    pub(crate) code: i32,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    #[serde(flatten)]
    pub(crate) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof, Deserialize)]
pub(crate) enum Kind {
    #[prost(string, tag = "1")]
    #[serde(rename = "stringValue")]
    Text(String),
    #[prost(bool, tag = "2")]
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    #[serde(rename = "intValue", deserialize_with = "signed")]
    Int(i64),
    #[prost(double, tag = "4")]
    #[serde(rename = "doubleValue", deserialize_with = "double")]
    Real(f64),
    #[prost(message, tag = "5")]
    #[serde(rename = "arrayValue")]
    List(ArrayValue),
    #[prost(message, tag = "6")]
    #[serde(rename = "kvlistValue")]
    Map(KeyValueList),
    #[prost(bytes = "vec", tag = "7")]
    #[serde(rename = "bytesValue", deserialize_with = "base64")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub(crate) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<KeyValue>,
}

impl ExportRequest {
    /// Reads the JSON encoding. A field that is `null` is one that is not there.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, serde_json::Error> {
        let mut parsed: Json = serde_json::from_slice(body)?;
        // A list would be read as the fields of a message in their order.
        if !parsed.is_object() {
            return Err(Error::custom("an export is an object"));
        }
        without_nulls(&mut parsed);
        serde_json::from_value(parsed)
    }
}

fn without_nulls(value: &mut Json) {
    match value {
        Json::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    use base64::Engine;
    let text = String::deserialize(deserializer)?;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(D::Error::custom)
}

/// A number, or the text of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written<T> {
    Number(T),
    Text(String),
}

impl<T: std::str::FromStr> Written<T> {
    fn read<E: Error>(self) -> Result<T, E> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text.parse().map_err(|_| E::custom(format!("'{text}' is no such number"))),
        }
    }
}

fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Written::<u64>::deserialize(deserializer)?.read()
}

fn signed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Written::<i64>::deserialize(deserializer)?.read()
}

/// `"NaN"` and `"Infinity"` are numbers in this encoding.
fn double<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Written::<f64>::deserialize(deserializer)?.read()
}

fn status_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    match Written::<i32>::deserialize(deserializer)? {
        Written::Number(code) => Ok(code),
        Written::Text(name) => match name.as_str() {
            "STATUS_CODE_UNSET" => Ok(0),
            "STATUS_CODE_OK" => Ok(1),
            "STATUS_CODE_ERROR" => Ok(2),
            _ => Written::Text(name).read(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_encodings_say_the_same() {
        let body = json!({ "resourceSpans": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "s" } }] },
            "scopeSpans": [{ "scope": { "name": "x" }, "spans": [{
                "traceId": "0102", "spanId": "03", "parentSpanId": null, "name": "n", "kind": 1,
                "startTimeUnixNano": "17", "endTimeUnixNano": 18,
                "status": { "code": "STATUS_CODE_ERROR" },
                "attributes": [
                    { "key": "i", "value": { "intValue": "5" } },
                    { "key": "d", "value": { "doubleValue": 0.5 } },
                    { "key": "l", "value": { "arrayValue": { "values": [{ "boolValue": true }, {}] } } },
                    { "key": "m", "value": { "kvlistValue": { "values": [{ "key": "a" }] } } },
                    { "key": "b", "value": { "bytesValue": "AQ==" } },
                ],
            }] }],
        }] });
        let read = ExportRequest::from_json(body.to_string().as_bytes()).unwrap();
        let span = &read.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id.as_slice(), span.start_time_unix_nano), ([1_u8, 2].as_slice(), 17));
        assert_eq!(span.status.as_ref().unwrap().code, 2);
        let kinds: Vec<Option<&Kind>> =
            span.attributes.iter().map(|a| a.value.as_ref().and_then(|v| v.kind.as_ref())).collect();
        assert_eq!(kinds[0], Some(&Kind::Int(5)));
        assert_eq!(kinds[4], Some(&Kind::Bytes(vec![1])));
        let again = ExportRequest::decode(read.encode_to_vec().as_slice()).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn what_is_no_export_is_refused() {
        for bad in [
            "[]",
            "{\"resourceSpans\": 5}",
            r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xy"}]}]}]}"#,
        ] {
            assert!(ExportRequest::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

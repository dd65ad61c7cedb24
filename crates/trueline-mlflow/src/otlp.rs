//! `/v1/traces`: spans by the OpenTelemetry protocol over HTTP, in protobuf or JSON, compressed or not. Its errors are told as
//! MLflow tells them here: `{"detail": …}`, but for those of the store.

use crate::error::WireError;
use crate::otlp_messages::{AnyValue, ExportRequest, KeyValue, Kind, Resource, Span};
use crate::{App, Caller, Mlflow};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use prost::Message;
use serde_json::{Value as Json, json};
use std::io::Read;
use std::sync::Arc;
use trueline_flows::KeepLeave;
use trueline_traces::{NewSpan, SpanEvent, SpanLink, SpanStatus, Value, trace_id};

const EXPERIMENT: &str = "x-mlflow-experiment-id";
const RUN: &str = "x-mlflow-run-id";
const PROTOBUF: &str = "application/x-protobuf";

pub(crate) fn routes(limit: usize) -> Router<Arc<Mlflow>> {
    Router::new().route("/v1/traces", post(export)).layer(DefaultBodyLimit::max(limit))
}

/// A refusal.
enum Refusal {
    Detail(StatusCode, Json),
    Wire(WireError),
}

impl<E: Into<WireError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Wire(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Detail(status, detail) => (status, axum::Json(json!({ "detail": detail }))).into_response(),
            Self::Wire(error) => error.into_response(),
        }
    }
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::Detail(StatusCode::BAD_REQUEST, Json::String(detail.into()))
}

fn unconvertible() -> Refusal {
    let detail = "Cannot convert OpenTelemetry span to MLflow span";
    Refusal::Detail(StatusCode::UNPROCESSABLE_ENTITY, detail.into())
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn export(
    State(app): App,
    Caller(session): Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Some(experiment) = text(&headers, EXPERIMENT) else {
        let missing = json!([{
            "type": "missing", "loc": ["header", EXPERIMENT], "msg": "Field required", "input": null,
        }]);
        return Err(Refusal::Detail(StatusCode::UNPROCESSABLE_ENTITY, missing));
    };
    let request = read(&headers, &body, app.limits.bulk)?;
    let mut spans = Vec::new();
    for resource in &request.resource_spans {
        let about = attributes(resource.resource.as_ref().map_or(&[], |Resource { attributes }| attributes));
        let about = Arc::new(about);
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push(new_span(span, &about).ok_or_else(unconvertible)?);
        }
    }
    let leave = KeepLeave { read: session.leave()?, write: session.leave()? };
    let run = text(&headers, RUN).filter(|run| !run.is_empty()).map(ToOwned::to_owned);
    app.keeper.log_spans(&leave, experiment, &spans, run).await?;
    // An export without anything to tell is no bytes in protobuf.
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], Bytes::new()).into_response())
}

fn read(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<ExportRequest, Refusal> {
    let kind = text(headers, header::CONTENT_TYPE);
    let media = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if !matches!(media, Some(PROTOBUF | "application/json")) {
        return Err(bad(format!(
            "Invalid Content-Type: {}. Expected: {PROTOBUF} or application/json",
            kind.unwrap_or("None")
        )));
    }
    let body = match text(headers, header::CONTENT_ENCODING) {
        None | Some("" | "identity") => body.to_vec(),
        Some(encoding) => decompressed(&encoding.to_lowercase(), body, limit)?,
    };
    let request = match media {
        Some(PROTOBUF) => ExportRequest::decode(body.as_slice()).ok(),
        _ => ExportRequest::from_json(&body).ok(),
    };
    let request = request.ok_or_else(|| bad("Invalid OpenTelemetry format"))?;
    if request.resource_spans.is_empty() {
        return Err(bad("Invalid OpenTelemetry format - no spans found"));
    }
    Ok(request)
}

fn decompressed(encoding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let failed = |_| bad(format!("Failed to decompress {encoding} payload"));
    let all = |reader: &mut dyn Read| {
        let mut out = Vec::new();
        // What is compressed may be a thousand times larger than it looks.
        reader.take(limit as u64 + 1).read_to_end(&mut out).map(|_| out)
    };
    let out = match encoding {
        "gzip" => all(&mut GzDecoder::new(body)).map_err(failed)?,
        // Some clients leave out the header.
        "deflate" => all(&mut ZlibDecoder::new(body))
            .or_else(|_| all(&mut DeflateDecoder::new(body)))
            .map_err(failed)?,
        _ => return Err(bad(format!("Unsupported Content-Encoding: {encoding}"))),
    };
    match out.len() > limit {
        false => Ok(out),
        true => Err(Refusal::Detail(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The spans are larger than {limit} bytes; send fewer at a time").into(),
        )),
    }
}

fn value(value: &AnyValue) -> Value {
    match &value.kind {
        None => Value::Null,
        Some(Kind::Text(text)) => Value::Text(text.clone()),
        Some(Kind::Bool(yes)) => Value::Bool(*yes),
        Some(Kind::Int(int)) => Value::Int(*int),
        Some(Kind::Real(real)) => Value::Real(*real),
        Some(Kind::Bytes(bytes)) => Value::Bytes(bytes.clone()),
        Some(Kind::List(list)) => Value::List(list.values.iter().map(self::value).collect()),
        Some(Kind::Map(map)) => Value::Map(attributes(&map.values)),
    }
}

fn attributes(list: &[KeyValue]) -> Vec<(String, Value)> {
    list.iter().map(|pair| (pair.key.clone(), pair.value.as_ref().map(value).unwrap_or_default())).collect()
}

/// An id of the length that it has to have; one that is shorter is a number with zeros before it.
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut id = [0; N];
    let start = N.checked_sub(bytes.len()).filter(|_| !bytes.is_empty())?;
    id[start..].copy_from_slice(bytes);
    Some(id)
}

fn nanos(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn new_span(span: &Span, resource: &Arc<Vec<(String, Value)>>) -> Option<NewSpan> {
    let parent = match span.parent_span_id.is_empty() {
        true => None,
        false => Some(id(&span.parent_span_id)?),
    };
    let link = |link: &crate::otlp_messages::Link| {
        let about = attributes(&link.attributes);
        Some(SpanLink {
            trace_id: trace_id(&id(&link.trace_id)?),
            span_id: hex::encode(id::<8>(&link.span_id)?),
            attributes: (!about.is_empty()).then_some(Value::Map(about)),
        })
    };
    let event = |event: &crate::otlp_messages::Event| SpanEvent {
        name: event.name.clone(),
        time_unix_nano: nanos(event.time_unix_nano),
        attributes: attributes(&event.attributes),
    };
    let status = span.status.clone().unwrap_or_default();
    Some(NewSpan {
        trace: id(&span.trace_id)?,
        id: id(&span.span_id)?,
        parent,
        name: span.name.clone(),
        started_ns: nanos(span.start_time_unix_nano),
        ended_ns: (span.end_time_unix_nano > 0).then(|| nanos(span.end_time_unix_nano)),
        status: match status.code {
            1 => SpanStatus::Ok,
            2 => SpanStatus::Error,
            _ => SpanStatus::Unset,
        },
        message: status.message,
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().filter_map(link).collect(),
        resource: Arc::clone(resource),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn ids_that_are_short_are_numbers_and_those_that_are_long_are_refused() {
        assert_eq!(id::<4>(&[1, 2]), Some([0, 0, 1, 2]));
        assert_eq!(id::<4>(&[]), None);
        assert_eq!(id::<4>(&[0; 5]), None);
    }

    #[test]
    fn a_small_body_that_grows_beyond_the_limit_is_refused() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 100_000]).unwrap();
        let body = gzip.finish().unwrap();
        assert_eq!(decompressed("gzip", &body, 100_000).ok().map(|b| b.len()), Some(100_000));
        assert!(matches!(
            decompressed("gzip", &body, 99_999),
            Err(Refusal::Detail(StatusCode::PAYLOAD_TOO_LARGE, _))
        ));
        assert!(matches!(
            decompressed("gzip", b"no gzip", 10),
            Err(Refusal::Detail(StatusCode::BAD_REQUEST, _))
        ));
        assert!(decompressed("br", &body, 10).is_err());
    }
}

//! A file as an answer, always as an attachment, so that a page somebody logged can't act as one of this server; and the
//! downloads of MLflow's pages, which name a run, a version or a logged model instead of a place.

use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::ops::Range;
use std::sync::Arc;
use trueline_flows::{Session, find_file};
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::VersionKey;
use trueline_tracking::{ArtifactPath, OpenArtifact, RunId, Tracking};

type Answer = Result<Response, WireError>;

/// Routes outside of `/api`, as MLflow's pages have them.
pub(crate) fn page_routes() -> Router<Arc<Mlflow>> {
    Router::new().route("/get-artifact", get(of_run)).route("/model-versions/get-artifact", get(of_version))
}

/// Sends a file, or the range of it that was asked for.
pub(crate) async fn send(
    tracking: &Tracking,
    leave: &Authorized<ReadProject>,
    file: OpenArtifact,
    path: &str,
    asked: &HeaderMap,
) -> Answer {
    let size = file.size;
    let range = match asked.get(header::RANGE).and_then(|v| v.to_str().ok()) {
        Some(text) => range(text, size),
        None => Ok(None),
    };
    let Ok(range) = range else {
        let content_range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, content_range).into_response());
    };
    let etag = format!("\"{}\"", file.etag);
    let bytes = tracking.artifact_bytes(leave, file, range.clone()).await?;
    let mut response = Body::from_stream(bytes).into_response();
    let name = path.rsplit('/').next().unwrap_or_default();
    let headers = response.headers_mut();
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, kind(name));
    set(header::CONTENT_DISPOSITION, attachment(name));
    // What opens it nevertheless, opens it in an origin of its own and takes it for nothing else.
    set(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned());
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
    set(header::ETAG, etag);
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    match range {
        None => set(header::CONTENT_LENGTH, size.to_string()),
        Some(Range { start, end }) => {
            set(header::CONTENT_LENGTH, (end - start).to_string());
            set(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
    Ok(response)
}

/// Endings of files that MLflow shows as text, whatever their kind is otherwise.
const TEXTS: [&str; 23] = [
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
];

fn kind(name: &str) -> String {
    let ending = name.rsplit_once('.').map_or(name, |(_, ending)| ending).to_ascii_lowercase();
    if TEXTS.contains(&ending.as_str()) || ["mlmodel", "mlproject"].contains(&ending.as_str()) {
        return "text/plain".to_owned();
    }
    mime_guess::from_path(name).first_or_octet_stream().essence_str().to_owned()
}

/// The header that names an attachment (RFC 6266): as it is where it can be, encoded where it must.
pub(crate) fn attachment(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.chars().all(plain) {
        return format!("attachment; filename={name}");
    }
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename*=UTF-8''{encoded}")
}

/// One range of bytes: `Ok(None)` when the header asks for something else, `Err` when it can't be satisfied.
fn range(text: &str, size: u64) -> Result<Option<Range<u64>>, ()> {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(tail)) if first.is_empty() => size.saturating_sub(tail)..size,
        _ => return Ok(None),
    };
    if range.start >= range.end { Err(()) } else { Ok(Some(range)) }
}

/// Sends the file at a path below a place that an artifact URI names.
async fn below(app: &Mlflow, session: &Session, uri: &str, path: &str, asked: &HeaderMap) -> Answer {
    let leave = session.leave()?;
    let root = app.tracking.artifact_path(&leave, uri).ok_or_else(|| out_of_reach(uri))?;
    let path = root.join(path)?;
    let file = find_file(&app.tracking, &app.registry, &leave, &path).await?;
    send(&app.tracking, &leave, file, path.as_str(), asked).await
}

/// The refusal for artifacts that lie where this server can't read them.
pub(crate) fn out_of_reach(uri: &str) -> WireError {
    WireError::invalid(format!(
        "The artifacts lie at '{uri}', which this server does not keep; list and read them there."
    ))
}

async fn of_run(State(app): App, Caller(session): Caller, headers: HeaderMap, fields: Fields) -> Answer {
    let run = RunId::new(fields.required_either("run_id", "run_uuid")?);
    let path = fields.required("path")?;
    ArtifactPath::parse(&path)?;
    let run = app.tracking.run(&session.leave()?, &run).await?;
    below(&app, &session, &run.run.artifact_uri, &path, &headers).await
}

async fn of_version(State(app): App, Caller(session): Caller, headers: HeaderMap, fields: Fields) -> Answer {
    let path = fields.required("path")?;
    ArtifactPath::parse(&path)?;
    let key = VersionKey::parse(&fields.required("name")?, &fields.required("version")?)?;
    let leave = session.leave()?;
    let version = app.registry.version(&leave, &key).await?;
    let uri = trueline_flows::download_uri(&app.tracking, &app.registry, &leave, &version).await?;
    below(&app, &session, &uri, &path, &headers).await
}

pub(crate) async fn of_logged_model(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    fields: Fields,
) -> Answer {
    let path = fields.required("artifact_file_path")?;
    let model = app.tracking.logged_model(&session.leave()?, &id).await?;
    below(&app, &session, &model.artifact_uri, &path, &headers).await
}

#[cfg(test)]
mod tests {
    use super::{attachment, kind, range};

    #[test]
    fn attachments_are_named_so_that_every_client_can_read_it() {
        assert_eq!(attachment("a.txt"), "attachment; filename=a.txt");
        assert_eq!(attachment("ä b"), "attachment; filename*=UTF-8''%C3%A4%20b");
    }

    #[test]
    fn texts_are_told_as_texts() {
        for (name, expected) in [
            ("MLmodel", "text/plain"),
            ("a.json", "text/plain"),
            ("a.png", "image/png"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn ranges_of_bytes() {
        assert_eq!(range("bytes=0-3", 10), Ok(Some(0..4)));
        assert_eq!(range("bytes=4-", 10), Ok(Some(4..10)));
        assert_eq!(range("bytes=-3", 10), Ok(Some(7..10)));
        assert_eq!(range("bytes=5-99", 10), Ok(Some(5..10)));
        assert_eq!(range("bytes=10-", 10), Err(()));
        assert_eq!(range("lines=1-2", 10), Ok(None));
    }
}

//! `/mlflow-artifacts/*`: the artifact proxy, and the listing of a run's artifacts.

use crate::error::{Code, WireError};
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::ops::Range;
use std::sync::Arc;
use trueline_flows::{Session, check_changeable, find_file, list_folder};
use trueline_tracking::{ArtifactEntry, ArtifactPath, RunId, TrackingError};

type Answer = Result<Response, WireError>;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/artifacts", get(list))
        .route("/artifacts/{*path}", get(download).put(upload).delete(delete))
        .route("/mpu/{action}/{*path}", post(no_multipart_upload))
        .route("/presigned/{*path}", get(no_presigned))
}

fn listed(entries: &[ArtifactEntry], prefix: &str) -> Vec<Json> {
    let path = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let entry = |entry: &ArtifactEntry| match entry {
        ArtifactEntry::Folder { name } => json!({ "path": path(name), "is_dir": true }),
        ArtifactEntry::File { name, size, .. } => {
            json!({ "path": path(name), "is_dir": false, "file_size": size })
        }
    };
    entries.iter().map(entry).collect()
}

/// Lists a folder of the proxy; paths are relative to the folder that was asked for.
async fn list(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let folder = ArtifactPath::parse(&fields.text_or_empty("path")?)?;
    let entries = list_folder(&app.tracking, &app.registry, &session.leave()?, &folder, usize::MAX).await?;
    Ok(reply::json(&render::compact(json!({ "files": listed(&entries, "") }))))
}

/// Lists a folder of a run; paths are relative to the run's root.
pub(crate) async fn list_of_run(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let run = RunId::new(fields.required_either("run_id", "run_uuid")?);
    let run = app.tracking.run(&session.leave()?, &run).await?.run;
    let below = fields.text_or_empty("path")?;
    let root = ArtifactPath::from_uri(&run.artifact_uri);
    listing(&app, &session, root, &run.artifact_uri, &below).await
}

pub(crate) async fn listing(
    app: &Mlflow,
    session: &Session,
    root: Option<ArtifactPath>,
    root_uri: &str,
    below: &str,
) -> Answer {
    let Some(root) = root else {
        return Err(WireError::invalid(format!(
            "The artifacts lie at '{root_uri}', which this server does not keep; list them there."
        )));
    };
    let entries = app.tracking.list_artifacts(&session.leave()?, &root.join(below)?, usize::MAX).await?;
    let files = listed(&entries, below.trim_end_matches('/'));
    Ok(reply::json(&render::compact(json!({ "root_uri": root_uri, "files": files }))))
}

async fn upload(State(app): App, Caller(session): Caller, Path(path): Path<String>, body: Body) -> Answer {
    let path = ArtifactPath::parse(&path)?;
    check_changeable(&path)?;
    let limit = app.limits.artifact;
    app.tracking.put_artifact(&session.leave()?, path, body.into_data_stream(), limit).await?;
    Ok(StatusCode::OK.into_response())
}

async fn download(
    State(app): App,
    Caller(session): Caller,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Answer {
    send(&app, &session, &ArtifactPath::parse(&path)?, &headers).await
}

/// A file of the proxy, or the part of it that the headers ask for.
pub(crate) async fn send(
    app: &Mlflow,
    session: &Session,
    path: &ArtifactPath,
    headers: &HeaderMap,
) -> Answer {
    let leave = session.leave()?;
    let file = find_file(&app.tracking, &app.registry, &leave, path).await?;
    let range = match headers.get(header::RANGE).and_then(|v| v.to_str().ok()) {
        Some(text) => range(text, file.size),
        None => Ok(None),
    };
    let Ok(range) = range else {
        let content_range = [(header::CONTENT_RANGE, format!("bytes */{}", file.size))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, content_range).into_response());
    };
    let bytes = app.tracking.artifact_bytes(&leave, &file, range.clone()).await?;
    let mut response = Body::from_stream(bytes).into_response();
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let headers = response.headers_mut();
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, kind.to_string());
    set(header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", encoded(name)));
    set(header::ETAG, format!("\"{}\"", file.sha256));
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    match range {
        None => set(header::CONTENT_LENGTH, file.size.to_string()),
        Some(Range { start, end }) => {
            set(header::CONTENT_LENGTH, (end - start).to_string());
            set(header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end - 1, file.size));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
    Ok(response)
}

fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
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

async fn delete(State(app): App, Caller(session): Caller, Path(path): Path<String>) -> Answer {
    let path = ArtifactPath::parse(&path)?;
    check_changeable(&path)?;
    match app.tracking.delete_artifacts(&session.leave()?, &path).await {
        // MLflow answers a deletion of nothing like any other.
        Ok(()) | Err(TrackingError::NotFound(_)) => Ok(reply::empty()),
        Err(other) => Err(other.into()),
    }
}

async fn no_multipart_upload() -> WireError {
    WireError::new(
        Code::NotImplemented,
        "Multipart upload is not supported for the current artifact repository",
    )
}

async fn no_presigned() -> WireError {
    WireError::new(
        Code::NotImplemented,
        "Multipart download is not supported for the current artifact repository",
    )
}

#[cfg(test)]
mod tests {
    use super::range;

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

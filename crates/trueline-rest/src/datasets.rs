//! `/datasets` and `/dataset-files`: bytes by hash, versions of them, what is known of each.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_data::{Dataset, DatasetRef, DatasetVersion, NamedFile};

const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;
/// Digests that may be asked for at once.
const MOST_DIGESTS: usize = 10_000;

fn dataset(d: &Dataset) -> Value {
    json!({
        "name": d.name, "number": d.number, "id": d.id, "rows": d.rows, "size": d.size, "made_here": d.made_here,
        "created_by": d.created_by, "created_at": rfc3339(d.created_at_ms),
    })
}

pub(crate) fn version_json(v: &DatasetVersion) -> Value {
    let file = |(entry, name): (&trueline_data::FileEntry, &String)| json!({ "name": name, "sha256": entry.sha256, "size": entry.size, "rows": entry.rows, "format": entry.format });
    let files: Vec<Value> = v.manifest.files.iter().zip(&v.file_names).map(file).collect();
    json!({
        "name": v.name, "number": v.number, "id": v.id, "rows": v.manifest.rows(), "size": v.manifest.size(),
        "columns": v.manifest.columns, "files": files, "profile": v.profile, "profile_states": v.states,
        "recipe": v.recipe, "created_by": v.created_by, "created_at": rfc3339(v.created_at_ms),
    })
}

/// What answers a request whose work a task does.
pub(crate) fn accepted(task: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::ACCEPTED, Json(json!({ "task": task, "follow": format!("/api/v1/tasks/{task}") })))
}

#[derive(Deserialize)]
pub(crate) struct Digests {
    sha256: Vec<String>,
}

pub(crate) async fn missing(
    State(app): App,
    Caller(session): Caller,
    Body(Digests { sha256 }): Body<Digests>,
) -> Result<Json<Value>, Problem> {
    if sha256.len() > MOST_DIGESTS {
        return Err(Problem::invalid(format!("ask for at most {MOST_DIGESTS} digests at once")));
    }
    let missing = app.data.missing(&session.leave()?, sha256).await?;
    Ok(Json(json!({ "missing": missing })))
}

pub(crate) async fn put_file(
    State(app): App,
    Caller(session): Caller,
    Path(sha256): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let blob = app.data.put_file(&session.leave()?, &sha256, body.into_data_stream()).await?;
    Ok((StatusCode::CREATED, Json(json!({ "sha256": blob.sha256, "size": blob.size }))))
}

#[derive(Deserialize)]
pub(crate) struct NewVersion {
    files: Vec<NamedFile>,
}

pub(crate) async fn add(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(NewVersion { files }): Body<NewVersion>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let task = app.data.request_version(&session.leave()?, name, files).await?;
    Ok(accepted(&task))
}

#[derive(Deserialize)]
pub(crate) struct Page {
    /// A part of the name.
    q: Option<String>,
    limit: Option<u32>,
    cursor: Option<u64>,
}

pub(crate) async fn list(
    State(app): App,
    Caller(session): Caller,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let offset = page.cursor.unwrap_or(0);
    let mut found =
        app.data.datasets(&session.leave()?, page.q.as_deref().unwrap_or(""), offset, limit + 1).await?;
    let next = (found.len() > limit as usize).then(|| (offset + u64::from(limit)).to_string());
    found.truncate(limit as usize);
    Ok(Json(json!({ "datasets": found.iter().map(dataset).collect::<Vec<_>>(), "next_cursor": next })))
}

pub(crate) async fn versions(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let found = app.data.versions(&session.leave()?, &name, limit).await?;
    Ok(Json(json!({ "name": name, "versions": found.iter().map(dataset).collect::<Vec<_>>() })))
}

/// A version's number, the beginning of its id, or `latest`.
fn reference(name: &str, version: &str) -> Result<DatasetRef, Problem> {
    Ok(DatasetRef::parse(&format!("{name}@{version}"))?)
}

pub(crate) async fn version(
    State(app): App,
    Caller(session): Caller,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let found = app.data.version(&session.leave()?, &reference(&name, &version)?).await?;
    Ok(Json(version_json(&found)))
}

pub(crate) async fn file(
    State(app): App,
    Caller(session): Caller,
    Path((name, version, place)): Path<(String, String, usize)>,
) -> Result<Response, Problem> {
    let (file, bytes) = app.data.file(&session.leave()?, &reference(&name, &version)?, place).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, file.size.to_string()),
        (header::ETAG, format!("\"{}\"", file.sha256)),
    ];
    Ok((headers, Bytes::from_stream(bytes)).into_response())
}

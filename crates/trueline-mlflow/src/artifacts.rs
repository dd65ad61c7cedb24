//! `/mlflow-artifacts/*`: the artifact proxy, and the listing of a run's artifacts.

use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, download, render, reply};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::{Session, check_changeable, find_file, list_folder};
use trueline_tracking::{ArtifactEntry, ArtifactPath, RunId, TrackingError};

type Answer = Result<Response, WireError>;

pub(crate) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/artifacts", get(list))
        .route("/artifacts/{*path}", get(download).put(upload).delete(delete))
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
    Ok(reply::json(&of_run(&app, &session, &fields).await?))
}

pub(crate) async fn of_run(app: &Mlflow, session: &Session, fields: &Fields) -> Result<Json, WireError> {
    let run = RunId::new(fields.required_either("run_id", "run_uuid")?);
    let below = fields.text_or_empty("path")?;
    ArtifactPath::parse(&below)?;
    let run = app.tracking.run(&session.leave()?, &run).await?;
    listing(app, session, &run.run.artifact_uri, &below).await
}

pub(crate) async fn listing(
    app: &Mlflow,
    session: &Session,
    root_uri: &str,
    below: &str,
) -> Result<Json, WireError> {
    let leave = session.leave()?;
    let root = app.tracking.artifact_path(&leave, root_uri);
    let root = root.ok_or_else(|| download::out_of_reach(root_uri))?;
    let entries = app.tracking.list_artifacts(&leave, &root.join(below)?, usize::MAX).await?;
    let files = listed(&entries, below.trim_end_matches('/'));
    Ok(render::compact(json!({ "root_uri": root_uri, "files": files })))
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
    download::send(&app.tracking, &leave, file, path.as_str(), headers).await
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

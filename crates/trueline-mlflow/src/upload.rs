//! `upload-artifact`: a small file that a person adds to a run on MLflow's pages.

use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use std::convert::Infallible;
use std::sync::Arc;
use trueline_flows::{Session, check_changeable};
use trueline_tracking::{ArtifactPath, RunId};

/// The largest file in bytes.
const LARGEST: usize = 10 << 20;

pub(crate) fn route() -> MethodRouter<Arc<crate::Mlflow>> {
    // One byte more than is taken, so that a file that is too large is told of in MLflow's words.
    post(upload).layer(DefaultBodyLimit::max(LARGEST + 1))
}

async fn upload(
    State(app): App,
    Caller(session): Caller,
    RawQuery(query): RawQuery,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, WireError> {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let given = |name: &str| {
        let text = fields.given(name)?;
        text.ok_or_else(|| WireError::invalid(format!("Request must specify {name}.")))
    };
    let run = given("run_uuid")?;
    let path = given("path")?;
    ArtifactPath::parse(&path)?;
    let bytes = match body {
        Ok(bytes) if bytes.len() <= LARGEST => bytes,
        _ => return Err(WireError::invalid("Artifact size is too large. Max size is 10MB.")),
    };
    if bytes.is_empty() {
        return Err(WireError::invalid("Request must specify data."));
    }
    let run = app.tracking.run(&session.leave()?, &RunId::new(run)).await?;
    put(&app, &session, &run.run.artifact_uri, &path, bytes).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], "").into_response())
}

/// Keeps a small file below the place that an artifact URI names.
pub(crate) async fn put(
    app: &crate::Mlflow,
    session: &Session,
    uri: &str,
    path: &str,
    bytes: Bytes,
) -> Result<(), WireError> {
    let root = app.tracking.artifact_path(&session.leave()?, uri);
    let path = root.ok_or_else(|| crate::download::out_of_reach(uri))?.join(path)?;
    check_changeable(&path)?;
    let stream = futures::stream::iter([Ok::<_, Infallible>(bytes)]);
    app.tracking.put_artifact(&session.leave()?, path, stream, app.limits.artifact).await?;
    Ok(())
}

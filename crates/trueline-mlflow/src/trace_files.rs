//! `/get-trace-artifact`: the spans of a trace as the file `traces.json`, from the database or from where an older client put
//! it, and files that were attached to it.

use crate::error::{Code, WireError};
use crate::fields::Fields;
use crate::{App, Caller, artifacts};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use trueline_flows::Session;
use trueline_traces::{StoredSpan, TraceInfo};
use trueline_tracking::ArtifactPath;

const FILE: &str = "traces.json";
const ATTACHMENTS: &str = "attachments";

/// The spans are JSON texts already.
fn file(spans: &[StoredSpan]) -> Response {
    let spans: Vec<&str> = spans.iter().map(|span| span.content.as_str()).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=traces.json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, format!("{{\"spans\":[{}]}}", spans.join(","))).into_response()
}

async fn stored(
    app: &crate::Mlflow,
    session: &Session,
    info: &TraceInfo,
    below: &str,
    headers: &HeaderMap,
) -> Result<Response, WireError> {
    let root = info.artifact_location().unwrap_or_default();
    let Some(folder) = ArtifactPath::from_uri(root) else {
        return Err(WireError::new(
            Code::ResourceDoesNotExist,
            format!(
                "The files of the trace lie at '{root}', which this server does not keep; fetch them there."
            ),
        ));
    };
    artifacts::send(app, session, &folder.join(below)?, headers).await
}

pub(crate) async fn get(
    State(app): App,
    Caller(session): Caller,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, WireError> {
    let id = fields.text_or_empty("request_id")?;
    if id.is_empty() {
        let told = "Request must include the \"request_id\" query parameter.";
        return Err(WireError::new(Code::BadRequest, told));
    }
    let path = fields.text_or_empty("path")?;
    if !path.is_empty() {
        let info = app.keeper.traces.info(&session.leave()?, id).await?;
        return stored(&app, &session, &info, &format!("{ATTACHMENTS}/{path}"), &headers).await;
    }
    match app.keeper.traces.partial(&session.leave()?, id).await? {
        (_, Some(spans)) => Ok(file(&spans)),
        (info, None) => stored(&app, &session, &info, FILE, &headers).await,
    }
}

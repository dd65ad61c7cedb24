//! Large files past this server: where a bucket keeps the artifacts, a client sends the parts of a file to it, or fetches
//! it from there, by signed addresses. Elsewhere these calls are refused as MLflow refuses them, and clients fall back to
//! the proxy.

use crate::error::{Code, WireError};
use crate::fields::{Fields, missing};
use crate::{App, Caller, Mlflow, download, reply};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::{check_changeable, is_frozen};
use trueline_tracking::ArtifactPath;

type Answer = Result<Response, WireError>;

/// Below the proxy's root. The list of 10,000 parts with their addresses is large.
pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/mpu/create/{*path}", post(create))
        .route("/mpu/complete/{*path}", post(complete))
        .route("/mpu/abort/{*path}", post(abort))
        .layer(bulk)
        .route("/presigned/{*path}", get(presigned))
}

fn unsupported(what: &str) -> WireError {
    let told = format!("{what} is not supported for the current artifact repository");
    WireError::new(Code::NotImplemented, told)
}

fn no_upload() -> WireError {
    unsupported("Multipart upload")
}

/// Where the file goes: into the folder of the address, under the last part of the path that it has at the client.
fn place(folder: &str, fields: &Fields) -> Result<ArtifactPath, WireError> {
    let folder = ArtifactPath::parse(folder)?;
    let local = fields.required("path")?;
    let name = local.rsplit(['/', '\\']).next().filter(|name| !name.is_empty());
    let path = folder.join(name.ok_or_else(|| WireError::invalid("Invalid path"))?)?;
    check_changeable(&path)?;
    Ok(path)
}

async fn create(
    State(app): App,
    Caller(session): Caller,
    Path(folder): Path<String>,
    fields: Fields,
) -> Answer {
    let path = place(&folder, &fields)?;
    let parts = usize::try_from(fields.integer("num_parts")?.unwrap_or_default()).unwrap_or_default();
    let begun = app.tracking.begin_multipart(&session.leave()?, &path, parts).await?;
    let upload = begun.ok_or_else(no_upload)?;
    let credential = |(index, url): (usize, String)| json!({ "url": url, "part_number": index + 1 });
    let credentials: Vec<Json> = upload.urls.into_iter().enumerate().map(credential).collect();
    Ok(reply::json(&json!({ "upload_id": upload.id, "credentials": credentials })))
}

/// The ETags of parts 1, 2, 3 and so on.
fn etags(fields: &Fields) -> Result<Vec<String>, WireError> {
    let mut parts = Vec::new();
    for part in fields.messages("parts")? {
        let number = part.integer("part_number")?.ok_or_else(|| missing("part_number"))?;
        parts.push((number, part.required("etag")?));
    }
    if parts.is_empty() {
        return Err(missing("parts"));
    }
    parts.sort_by_key(|(number, _)| *number);
    if parts.iter().zip(1..).any(|((number, _), expected)| *number != expected) {
        return Err(WireError::invalid("parts must be numbered 1, 2, 3 and so on, each once."));
    }
    Ok(parts.into_iter().map(|(_, etag)| etag).collect())
}

async fn complete(
    State(app): App,
    Caller(session): Caller,
    Path(folder): Path<String>,
    fields: Fields,
) -> Answer {
    let path = place(&folder, &fields)?;
    let id = fields.required("upload_id")?;
    let etags = etags(&fields)?;
    ended(app.tracking.complete_multipart(&session.leave()?, &path, &id, etags).await?)
}

async fn abort(
    State(app): App,
    Caller(session): Caller,
    Path(folder): Path<String>,
    fields: Fields,
) -> Answer {
    let path = place(&folder, &fields)?;
    let id = fields.required("upload_id")?;
    ended(app.tracking.abort_multipart(&session.leave()?, &path, &id).await?)
}

/// The answer to the end of an upload, which may be unknown.
fn ended(known: bool) -> Answer {
    if known { Ok(reply::empty()) } else { Err(no_upload()) }
}

async fn presigned(State(app): App, Caller(session): Caller, Path(path): Path<String>) -> Answer {
    let path = ArtifactPath::parse(&path)?;
    let no_download = || unsupported("Multipart download");
    if is_frozen(&path) && app.tracking.signs_addresses() {
        // Frozen files lie in no bucket. Told no size, a client reads through the proxy.
        let url = format!("/api/2.0/mlflow-artifacts/artifacts/{}", path.as_str());
        return Ok(reply::json(&json!({ "url": url, "headers": {} })));
    }
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let signed = app.tracking.signed_read(&session.leave()?, &path, &download::attachment(name)).await?;
    let signed = signed.ok_or_else(no_download)?;
    Ok(reply::json(&json!({ "url": signed.url, "headers": {}, "file_size": signed.size })))
}

pub(crate) async fn no_presigned_upload() -> WireError {
    unsupported("Presigned upload")
}

pub(crate) async fn no_presigned_download() -> WireError {
    unsupported("Presigned download")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_under_its_own_name_whatever_its_path_at_the_client() {
        let at = |path: &str| {
            place("1/r/artifacts", &Fields::of(json!({ "path": path }))).map(|p| p.as_str().to_owned())
        };
        assert_eq!(at("/tmp/x/model.bin").unwrap(), "1/r/artifacts/model.bin");
        assert_eq!(at("C:\\models\\model.bin").unwrap(), "1/r/artifacts/model.bin");
        for bad in ["", "/tmp/", "..", "a/.."] {
            assert!(at(bad).is_err(), "{bad}");
        }
        assert!(place("model-versions/0f", &Fields::of(json!({ "path": "x" }))).is_err());
    }

    #[test]
    fn parts_are_put_together_in_order_and_none_is_missing() {
        let of = |numbers: &[i64]| {
            let parts: Vec<Json> =
                numbers.iter().map(|n| json!({ "part_number": n, "etag": format!("e{n}") })).collect();
            etags(&Fields::of(json!({ "parts": parts })))
        };
        assert_eq!(of(&[2, 1, 3]).unwrap(), ["e1", "e2", "e3"]);
        for bad in [&[][..], &[1, 3], &[1, 1], &[0, 1]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}

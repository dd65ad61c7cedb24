//! The files of a run or of a logged model: a folder, a file that is open beside it, its bytes as a download, and the two
//! kinds that a browser shows by itself. A file that somebody logged must never act as a page of this server: what is sent
//! is a download or lies in a sandbox of its own, and the type is one of a short list, never guessed by the browser.

use super::{Answer, App, Failure, FaultKind, Visitor, Web};
use crate::links::{FilesOf, Links};
use crate::pages::{ArtifactEntry, ArtifactListing, OpenFile, Preview};
use crate::preview::{self, Grid, Kind};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use trueline_identity::{Authorized, ReadProject};
use trueline_tracking::{ArtifactEntry as Entry, OpenArtifact, RunId, TrackingError};

/// Entries of a folder that a page shows.
const ENTRIES: usize = 1000;
/// A file that was opened by its address runs in an origin of its own, if at all.
const SANDBOX: &str = "sandbox; default-src 'none'";
/// A picture may draw itself, nothing more.
const PICTURE: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";
/// A page may run what it holds itself, in an origin of its own, and reach nothing, this server included.
const PAGE: &str = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
     style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'self'";

fn parents(path: &str) -> Vec<(String, String)> {
    let mut parents = Vec::new();
    let mut so_far = String::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        so_far = if so_far.is_empty() { part.to_owned() } else { format!("{so_far}/{part}") };
        parents.push((part.to_owned(), so_far.clone()));
    }
    parents
}

fn entry(below: &str, entry: &Entry) -> ArtifactEntry {
    let path = |name: &str| if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
    match entry {
        Entry::Folder { name } => {
            ArtifactEntry { name: name.clone(), path: path(name), is_dir: true, size: None, sha256: None }
        }
        Entry::File { name, size, sha256 } => ArtifactEntry {
            name: name.clone(),
            path: path(name),
            is_dir: false,
            size: Some(*size),
            sha256: sha256.clone(),
        },
    }
}

/// The folder that a path below `uri` names, or the file with the folder that it lies in.
pub(super) async fn listing(
    app: &Web,
    visitor: &Visitor,
    of: FilesOf<'_>,
    uri: &str,
    path: &str,
) -> Result<ArtifactListing, Failure> {
    let leave = visitor.session.leave()?;
    let Some(root) = app.tracking.artifact_path(&leave, uri) else {
        return Ok(ArtifactListing { elsewhere: Some(uri.to_owned()), ..ArtifactListing::default() });
    };
    let path = path.trim_matches('/');
    let file = match path {
        "" => None,
        _ => found(app.tracking.artifact(&leave, &root.join(path)?).await)?,
    };
    let below = match &file {
        Some(_) => path.rsplit_once('/').map_or("", |(folder, _)| folder),
        None => path,
    };
    let entries = app.tracking.list_artifacts(&leave, &root.join(below)?, ENTRIES + 1).await?;
    let mut shown: Vec<ArtifactEntry> = entries.iter().take(ENTRIES).map(|e| entry(below, e)).collect();
    shown.sort_by(|a, b| (!a.is_dir, &a.name).cmp(&(!b.is_dir, &b.name)));
    let open = match file {
        Some(file) => Some(open(app, visitor, of, path, file).await?),
        None => None,
    };
    Ok(ArtifactListing {
        parents: parents(below),
        entries: shown,
        truncated: entries.len() > ENTRIES,
        open,
        elsewhere: None,
    })
}

/// A file, if there is one.
pub(super) fn found(asked: Result<OpenArtifact, TrackingError>) -> Result<Option<OpenArtifact>, Failure> {
    match asked {
        Ok(file) => Ok(Some(file)),
        Err(TrackingError::NotFound(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

async fn open(
    app: &Web,
    visitor: &Visitor,
    of: FilesOf<'_>,
    path: &str,
    file: OpenArtifact,
) -> Result<OpenFile, Failure> {
    let (size, kind) = (file.size, preview::kind(path));
    let is_digest = file.etag.len() == 64 && file.etag.bytes().all(|b| b.is_ascii_hexdigit());
    let sha256 = is_digest.then(|| file.etag.clone());
    let to = Links::new(Some(visitor.project()));
    let shown_at = || to.preview(of, path);
    let preview = match kind {
        Kind::Picture(_) | Kind::Page if size > preview::WHOLE => {
            Preview::Nothing("It is too large to be shown here.".to_owned())
        }
        Kind::Picture(_) => Preview::Picture(shown_at()),
        Kind::Page => Preview::Page(shown_at()),
        _ => {
            let wanted = preview::wanted(kind, size);
            let bytes = bytes(app, &visitor.session.leave()?, file, 0..wanted).await?;
            read(kind, &bytes, wanted < size)
        }
    };
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(OpenFile { name, path: path.to_owned(), size, sha256, preview, download: to.artifact(of, path) })
}

/// What is shown of a file whose first bytes these are.
fn read(kind: Kind, bytes: &[u8], is_cut: bool) -> Preview {
    let Some(text) = preview::text(bytes, is_cut) else {
        return Preview::Nothing("It is no kind of file that can be shown here.".to_owned());
    };
    let table = |grid: Grid| Preview::Table { columns: grid.columns, rows: grid.rows, more: grid.more };
    let grid = match kind {
        Kind::Table(delimiter) => Grid::separated(&text, delimiter, is_cut),
        _ => None,
    };
    if let Some(grid) = grid {
        return table(grid);
    }
    let first = is_cut.then_some(bytes.len() as u64);
    let json = match kind {
        Kind::Json if !is_cut => serde_json::from_str::<serde_json::Value>(&text).ok(),
        _ => None,
    };
    let Some(json) = json else { return Preview::Text { text, first } };
    if let Some(grid) = Grid::of_json(&json) {
        return table(grid);
    }
    Preview::Text { text: serde_json::to_string_pretty(&json).unwrap_or(text), first }
}

/// A stretch of a file.
pub(super) async fn bytes(
    app: &Web,
    leave: &Authorized<ReadProject>,
    file: OpenArtifact,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, Failure> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let stream = app.tracking.artifact_bytes(leave, file, Some(range)).await?;
    let collected = stream.try_fold(Vec::new(), async |mut all, part| {
        all.extend_from_slice(&part);
        Ok(all)
    });
    Ok(collected.await.map_err(TrackingError::from)?)
}

async fn artifact(
    app: &Web,
    visitor: &Visitor,
    of: FilesOf<'_>,
    path: &str,
) -> Result<(Authorized<ReadProject>, OpenArtifact), Failure> {
    let leave = visitor.session.leave()?;
    let root = match of {
        FilesOf::Run(id) => {
            let run = app.tracking.run(&leave, &RunId::new(id)).await?;
            app.tracking.artifact_path(&leave, &run.run.artifact_uri)
        }
        FilesOf::LoggedModel(id) => {
            let model = app.tracking.logged_model(&leave, id).await?;
            app.tracking.artifact_path(&leave, &model.artifact_uri)
        }
    };
    let root = root.ok_or_else(|| Failure::not_found("these artifacts lie elsewhere"))?;
    let file = app.tracking.artifact(&leave, &root.join(path)?).await?;
    Ok((leave, file))
}

/// Bytes with the headers that keep them from acting as a page of this server.
async fn sent(
    app: &Web,
    leave: &Authorized<ReadProject>,
    file: OpenArtifact,
    kind: &'static str,
    policy: &'static str,
) -> Result<Response, Failure> {
    let size = file.size;
    let bytes = app.tracking.artifact_bytes(leave, file, None).await?;
    let mut response = Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    Ok(response)
}

/// A project, what files belong to, and the path of a file.
type Asked = Path<(String, String, String)>;

pub(super) async fn download_of_run(State(app): App, visitor: Visitor, Path((_, id, path)): Asked) -> Answer {
    download(&app, &visitor, FilesOf::Run(&id), &path).await
}

pub(super) async fn download_of_model(
    State(app): App,
    visitor: Visitor,
    Path((_, id, path)): Asked,
) -> Answer {
    download(&app, &visitor, FilesOf::LoggedModel(&id), &path).await
}

pub(super) async fn shown_of_run(State(app): App, visitor: Visitor, Path((_, id, path)): Asked) -> Answer {
    shown(&app, &visitor, FilesOf::Run(&id), &path).await
}

pub(super) async fn shown_of_model(State(app): App, visitor: Visitor, Path((_, id, path)): Asked) -> Answer {
    shown(&app, &visitor, FilesOf::LoggedModel(&id), &path).await
}

/// A file as a download.
async fn download(app: &Web, visitor: &Visitor, of: FilesOf<'_>, path: &str) -> Answer {
    let (leave, file) = artifact(app, visitor, of, path).await?;
    let mut response = sent(app, &leave, file, "application/octet-stream", SANDBOX).await?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// A picture or a page for the preview.
async fn shown(app: &Web, visitor: &Visitor, of: FilesOf<'_>, path: &str) -> Answer {
    let (kind, policy) = match preview::kind(path) {
        Kind::Picture(kind) => (kind, PICTURE),
        Kind::Page => ("text/html; charset=utf-8", PAGE),
        _ => return Err(Failure::not_found("only pictures and pages have a preview of their own")),
    };
    let (leave, file) = artifact(app, visitor, of, path).await?;
    if file.size > preview::WHOLE {
        return Err(Failure::new(FaultKind::TooLarge, "the file is too large to be shown; download it"));
    }
    sent(app, &leave, file, kind, policy).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_shown_with_line_breaks_a_broken_one_as_it_is() {
        let told = |bytes: &[u8], is_cut| match read(Kind::Json, bytes, is_cut) {
            Preview::Text { text, first } => (text, first),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(br#"{"a":[1]}"#, false), ("{\n  \"a\": [\n    1\n  ]\n}".to_owned(), None));
        assert_eq!(told(br#"{"a": NaN}"#, false).0, r#"{"a": NaN}"#);
        assert_eq!(told(br#"{"a"#, true), (r#"{"a"#.to_owned(), Some(3)));
    }

    #[test]
    fn a_table_is_a_table_and_a_model_is_not_shown() {
        assert!(matches!(read(Kind::Table(b','), b"a,b\n1,2\n", false), Preview::Table { more: false, .. }));
        assert!(matches!(read(Kind::Text, b"\x80\x04\x95\0", false), Preview::Nothing(_)));
    }

    #[test]
    fn no_file_is_sent_without_a_sandbox_and_none_with_this_origin() {
        for policy in [SANDBOX, PICTURE, PAGE] {
            assert!(policy.starts_with("sandbox") && policy.contains("default-src 'none'"), "{policy}");
            assert!(!policy.contains("allow-same-origin") && !policy.contains("'self';"), "{policy}");
        }
    }
}

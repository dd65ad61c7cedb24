//! Artifacts: a tree of paths over content-addressed blobs, apart for each project. A run's and a logged model's
//! files lie under the path that its artifact URI names.

use crate::{Tracking, TrackingError};
use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use serde_json::json;
use std::ops::Range;
use trueline_blobs::BlobError;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{NewEvent, ProjectId};

/// The longest path in bytes. Paths are keys of an index, whose rows PostgreSQL limits to 2704 bytes.
const LONGEST_PATH: usize = 1024;

/// A path in the tree: relative, with no part that is empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtifactPath(String);

impl ArtifactPath {
    /// Checks a path. Control characters are refused: no file system or listing shows them, and a line break in a path
    /// could pass for another file.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`].
    pub fn parse(path: &str) -> Result<Self, TrackingError> {
        let trimmed = path.trim_end_matches('/');
        if trimmed.is_empty() && path.len() <= 1 {
            return Ok(Self(String::new()));
        }
        if trimmed.len() > LONGEST_PATH {
            return Err(TrackingError::Invalid(format!(
                "Invalid path: it has {} bytes, the longest allowed has {LONGEST_PATH}.",
                trimmed.len()
            )));
        }
        let fine = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
        if !trimmed.contains(char::is_control) && trimmed.split('/').all(fine) {
            return Ok(Self(trimmed.to_owned()));
        }
        Err(TrackingError::Invalid("Invalid path".to_owned()))
    }

    /// The path that an `mlflow-artifacts:` URI of this server names.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("mlflow-artifacts:")?;
        // With an authority (`mlflow-artifacts://host/…`) the path begins after it.
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/')?.1,
            None => rest.trim_start_matches('/'),
        };
        Self::parse(path).ok()
    }

    /// Whether this is the root of the tree.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of this path below `folder`: empty for the folder itself, none when it lies elsewhere.
    #[must_use]
    pub fn below(&self, folder: &Self) -> Option<&str> {
        match self.0.strip_prefix(&folder.0)? {
            "" => Some(""),
            rest if folder.is_root() => Some(rest),
            rest => rest.strip_prefix('/'),
        }
    }

    /// The path as text; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below this one.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`].
    pub fn join(&self, below: &str) -> Result<Self, TrackingError> {
        match (self.is_root(), below.is_empty()) {
            (_, true) => Ok(self.clone()),
            (true, false) => Self::parse(below),
            (false, false) => Self::parse(&format!("{}/{below}", self.0)),
        }
    }

    /// What every path below this one starts with.
    pub(crate) fn prefix(&self) -> String {
        if self.is_root() { String::new() } else { format!("{}/", self.0) }
    }
}

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArtifactFile {
    /// Its whole path, or its path below the folder that was asked for.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

pub(crate) fn size(row: &mut Row, i: usize) -> Result<u64, TrackingError> {
    Ok(u64::try_from(row.take::<i64>(i)?).unwrap_or(0))
}

pub(crate) fn find(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    path: &str,
) -> Result<Option<ArtifactFile>, TrackingError> {
    let row = tx.query_opt(
        "SELECT path, sha256, size FROM artifacts WHERE project = ?1 AND path = ?2",
        &[project.into(), path.into()],
    )?;
    row.map(|mut row| Ok(ArtifactFile { path: row.take(0)?, sha256: row.take(1)?, size: size(&mut row, 2)? }))
        .transpose()
}

/// All files below a folder, with paths relative to it, in order.
pub(crate) fn below(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    folder: &ArtifactPath,
) -> Result<Vec<ArtifactFile>, TrackingError> {
    let prefix = folder.prefix();
    // Every string that starts with the prefix lies between it and the prefix with its last character raised.
    let rows = if prefix.is_empty() {
        tx.query(
            "SELECT path, sha256, size FROM artifacts WHERE project = ?1 ORDER BY path",
            &[project.into()],
        )?
    } else {
        let end = format!("{}0", folder.as_str());
        tx.query(
            "SELECT path, sha256, size FROM artifacts WHERE project = ?1 AND path > ?2 AND path < ?3 ORDER BY path",
            &[project.into(), (&prefix).into(), end.into()],
        )?
    };
    let files = rows.into_iter().map(|mut row| {
        let path: String = row.take(0)?;
        let path = path.strip_prefix(&prefix).map(ToOwned::to_owned);
        Ok(path.map(|path| (path, row)))
    });
    let mut out = Vec::new();
    for file in files {
        let file: Result<_, TrackingError> = file;
        if let Some((path, mut row)) = file? {
            out.push(ArtifactFile { path, sha256: row.take(1)?, size: size(&mut row, 2)? });
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

impl Tracking {
    /// Keeps an artifact, in place of one with the same path.
    ///
    /// # Errors
    /// [`TrackingError::Blob`] when the bytes can't be kept; nothing has changed then.
    pub async fn put_artifact<S, E>(
        &self,
        leave: &Authorized<WriteTracking>,
        path: ArtifactPath,
        bytes: S,
        limit: u64,
    ) -> Result<ArtifactFile, TrackingError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        if path.is_root() {
            return Err(TrackingError::Invalid("Invalid path".to_owned()));
        }
        let project = leave.project().clone();
        let blob = self.blobs.put(&Self::namespace(&project), bytes, limit).await?;
        let file = ArtifactFile { path: path.as_str().to_owned(), sha256: blob.sha256, size: blob.size };
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = find(tx, &project, &file.path)?;
                if before.as_ref() == Some(&file) {
                    return Ok(file.clone());
                }
                let now = tx.now();
                let size = i64::try_from(file.size).unwrap_or(i64::MAX);
                tx.execute(
                    "INSERT INTO artifacts (project, path, sha256, size, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (project, path) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size,
                         updated_at_ms = excluded.updated_at_ms",
                    &[(&project).into(), (&file.path).into(), (&file.sha256).into(), size.into(), now.into()],
                )?;
                let event = NewEvent::new(&project, "artifact.written", "artifact", &file.path);
                let before = before.map(|b| b.sha256);
                tx.emit(event.with(json!({ "sha256": file.sha256, "size": file.size, "before": before })))?;
                Ok(file.clone())
            })
            .await
    }

    /// One artifact, if there is a file at this path.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn artifact(
        &self,
        leave: &Authorized<ReadProject>,
        path: &ArtifactPath,
    ) -> Result<ArtifactFile, TrackingError> {
        let (project, path) = (leave.project().clone(), path.clone());
        self.ledger
            .db()
            .read(move |tx| {
                let missing = || TrackingError::NotFound(format!("No such artifact: '{}'", path.as_str()));
                find(tx, &project, path.as_str())?.ok_or_else(missing)
            })
            .await
    }

    /// The bytes of an artifact, streamed.
    ///
    /// # Errors
    /// [`TrackingError::Blob`].
    pub async fn artifact_bytes(
        &self,
        leave: &Authorized<ReadProject>,
        file: &ArtifactFile,
        range: Option<Range<u64>>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, TrackingError> {
        Ok(self.blobs.get(&Self::namespace(leave.project()), &file.sha256, range).await?)
    }

    /// A small blob of this project by its SHA-256, whole.
    ///
    /// # Errors
    /// [`TrackingError::Blob`], also when it is larger than `limit` bytes.
    pub async fn blob(
        &self,
        leave: &Authorized<ReadProject>,
        sha256: &str,
        limit: u64,
    ) -> Result<Bytes, TrackingError> {
        Ok(self.blobs.get_bytes(&Self::namespace(leave.project()), sha256, limit).await?)
    }

    /// All files below a folder, with paths relative to it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn artifacts_below(
        &self,
        leave: &Authorized<ReadProject>,
        folder: &ArtifactPath,
    ) -> Result<Vec<ArtifactFile>, TrackingError> {
        let (project, folder) = (leave.project().clone(), folder.clone());
        self.ledger.db().read(move |tx| below(tx, &project, &folder)).await
    }

    /// Removes a file, or all files below a folder. Their blobs stay until nothing points at them.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is neither, [`TrackingError::Invalid`] for the root: no single call
    /// empties a whole project.
    pub async fn delete_artifacts(
        &self,
        leave: &Authorized<WriteTracking>,
        path: &ArtifactPath,
    ) -> Result<(), TrackingError> {
        if path.is_root() {
            return Err(TrackingError::Invalid(
                "Invalid path: the root of all artifacts can't be deleted; name a file or a folder below it."
                    .to_owned(),
            ));
        }
        let (project, path) = (leave.project().clone(), path.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut gone: Vec<String> = below(tx, &project, &path)?
                    .into_iter()
                    .map(|f| format!("{}{}", path.prefix(), f.path))
                    .collect();
                gone.extend(find(tx, &project, path.as_str())?.map(|f| f.path));
                if gone.is_empty() {
                    let message = format!("No such artifact: '{}'", path.as_str());
                    return Err(TrackingError::NotFound(message));
                }
                for file in &gone {
                    tx.execute(
                        "DELETE FROM artifacts WHERE project = ?1 AND path = ?2",
                        &[(&project).into(), file.into()],
                    )?;
                }
                let event = NewEvent::new(&project, "artifact.deleted", "artifact", path.as_str());
                tx.emit(event.with(json!({ "files": gone })))?;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_tree() {
        for good in ["", "a", "1/r/artifacts/model/MLmodel", "a/b/"] {
            assert!(ArtifactPath::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(LONGEST_PATH + 1);
        for bad in ["../x", "a/../b", "/a", "a//b", "./a", "a\\b", "a/\0", "a\nb", "a\u{85}b", "//", &long] {
            assert!(ArtifactPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ArtifactPath::parse(&long[1..]).is_ok());
    }

    #[test]
    fn a_uri_of_this_server_names_a_path() {
        let path = |uri| ArtifactPath::from_uri(uri).map(|p| p.as_str().to_owned());
        assert_eq!(path("mlflow-artifacts:/1/r/artifacts"), Some("1/r/artifacts".into()));
        assert_eq!(path("mlflow-artifacts://host:5/1/r"), Some("1/r".into()));
        assert_eq!(path("s3://bucket/x"), None);
    }

    #[test]
    fn a_path_lies_below_whole_folders_only() {
        let path = |text| ArtifactPath::parse(text).unwrap();
        assert_eq!(path("1/r/a").below(&path("1/r")), Some("a"));
        assert_eq!(path("1/r").below(&path("1/r")), Some(""));
        assert_eq!(path("1/r").below(&path("")), Some("1/r"));
        assert_eq!(path("1/run").below(&path("1/r")), None);
    }
}

//! Files of another store.

use super::digest;
use crate::artifact_path::ArtifactPath;
use crate::artifacts;
use crate::places::Kept;
use crate::{Tracking, TrackingError, plain};
use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use serde_json::json;
use trueline_blobs::Poured;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::NewEvent;

/// A file that is among the blobs, on its way to a path; or at its path already, where artifacts are plain files or
/// objects of a bucket.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedArtifact {
    path: String,
    sha256: String,
    size: u64,
    #[serde(skip)]
    placed: bool,
}

impl ImportedArtifact {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Tracking {
    /// Keeps the bytes of a file; [`Tracking::import_artifacts`] gives it its path.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for the root, [`TrackingError::Blob`] when the bytes can't be kept.
    pub async fn put_imported<S, E>(
        &self,
        leave: &Authorized<WriteTracking>,
        path: &ArtifactPath,
        bytes: S,
    ) -> Result<ImportedArtifact, TrackingError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let invalid = || TrackingError::Invalid("Invalid path".to_owned());
        if path.is_root() {
            return Err(invalid());
        }
        let (sha256, size, placed) = match self.places.kept(leave.project(), path) {
            Kept::Blobs => {
                let blob = self.blobs.put(&Self::namespace(leave.project()), bytes, u64::MAX).await?;
                (blob.sha256, blob.size, false)
            }
            Kept::Plain(folder, below) => {
                let id = self.ledger.sources().id();
                let Poured { sha256, size } = plain::put(folder, below, id, bytes, u64::MAX).await?;
                (sha256, size, true)
            }
            Kept::Bucket(bucket, key) => {
                let stored = self.put_object(&bucket, &key, bytes, u64::MAX).await?;
                (stored.sha256, stored.object.size, true)
            }
            Kept::ForOthers => return Err(invalid()),
        };
        Ok(ImportedArtifact { path: path.as_str().to_owned(), sha256, size, placed })
    }

    /// Gives files their paths, unless there is one already; answers how many came in.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn import_artifacts(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        batch: Vec<ImportedArtifact>,
    ) -> Result<u64, TrackingError> {
        let (project, source) = (leave.project().clone(), source.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let now = tx.now();
                let mut new = Vec::new();
                for file in &batch {
                    if file.placed {
                        new.push(file);
                        continue;
                    }
                    if artifacts::find(tx, &project, &file.path)?.is_some() {
                        continue;
                    }
                    let size = i64::try_from(file.size).unwrap_or(i64::MAX);
                    tx.execute(
                        "INSERT INTO artifacts (project, path, sha256, size, updated_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                        &[(&project).into(), (&file.path).into(), (&file.sha256).into(), size.into(), now.into()],
                    )?;
                    new.push(file);
                }
                if !new.is_empty() {
                    let event = NewEvent::new(&project, "artifacts.imported", "import", &source);
                    let bytes: u64 = new.iter().map(|f| f.size).sum();
                    let sha256 = digest(&new);
                    tx.emit(event.with(json!({ "files": new.len(), "bytes": bytes, "sha256": sha256 })))?;
                }
                Ok(new.len() as u64)
            })
            .await
    }
}

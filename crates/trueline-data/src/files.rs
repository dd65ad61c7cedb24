//! Bytes on their way into a dataset version: kept by hash, sent only when the server lacks them.

use crate::{Data, DataError};
use bytes::Bytes;
use futures::Stream;
use std::fmt::Display;
use trueline_blobs::{BlobError, BlobRef, NamedTempFile};
use trueline_identity::{Authorized, WriteData};
use trueline_ledger::ProjectId;

/// The largest file of a dataset in bytes: 1 TiB.
pub const LARGEST_FILE: u64 = 1 << 40;

impl Data {
    /// Keeps the bytes of a file, which must have the digest that was announced.
    ///
    /// # Errors
    /// [`DataError::Blob`], [`DataError::Invalid`] when the digest differs: the bytes were changed on their way.
    pub async fn put_file<S, E>(
        &self,
        leave: &Authorized<WriteData>,
        sha256: &str,
        stream: S,
    ) -> Result<BlobRef, DataError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        let blob = self.blobs.put(&Self::namespace(leave.project()), stream, LARGEST_FILE).await?;
        if blob.sha256 != sha256.to_ascii_lowercase() {
            return Err(DataError::Invalid(format!(
                "the bytes have the SHA-256 {}, not {sha256}: they changed on their way, send them again",
                blob.sha256
            )));
        }
        Ok(blob)
    }

    /// Keeps a file that was written here, for a task that was given leave when it was asked for.
    ///
    /// # Errors
    /// [`DataError::Blob`].
    pub async fn keep(&self, project: &ProjectId, file: NamedTempFile) -> Result<BlobRef, DataError> {
        Ok(self.blobs.put_file(&Self::namespace(project), file).await?)
    }

    /// Those of `digests` whose bytes are not here yet.
    ///
    /// # Errors
    /// [`DataError::Blob`].
    pub async fn missing(
        &self,
        leave: &Authorized<WriteData>,
        digests: Vec<String>,
    ) -> Result<Vec<String>, DataError> {
        let namespace = Self::namespace(leave.project());
        let mut missing = Vec::new();
        for sha256 in digests {
            // One that is here need not be sent, and is not collected before it is named in a version.
            match self.blobs.keep_alive(&namespace, &sha256).await {
                Ok(_) => {}
                Err(BlobError::NotFound(_)) => missing.push(sha256),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(missing)
    }
}

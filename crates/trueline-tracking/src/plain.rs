//! Artifacts that are plain files, for async callers: listed, read, measured and written away from the async threads.

use crate::folder::{Folder, PlainFile};
use crate::listing::ArtifactEntry;
use crate::{ArtifactFile, TrackingError};
use bytes::Bytes;
use futures::Stream;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use trueline_blobs::{BlobError, Poured, pour};

/// Files are read in pieces of this size.
const PIECE: usize = 1 << 20;

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, TrackingError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|e| BlobError::Store(e.to_string()))?;
    Ok(done.map_err(BlobError::from)?)
}

/// What a folder holds, by name, at most so many entries.
pub(crate) async fn list(
    folder: Folder,
    path: String,
    most: usize,
) -> Result<Vec<ArtifactEntry>, TrackingError> {
    let mut found = blocking(move || folder.entries(&path)).await?;
    found.truncate(most);
    let entry = |entry: crate::folder::PlainEntry| match entry.size {
        None => ArtifactEntry::Folder { name: entry.name },
        Some(size) => ArtifactEntry::File { name: entry.name, size, sha256: None },
    };
    Ok(found.into_iter().map(entry).collect())
}

/// Opens a file, if there is one.
pub(crate) async fn open(folder: Folder, path: String) -> Result<Option<PlainFile>, TrackingError> {
    blocking(move || folder.open(&path)).await
}

/// The paths of all files below a folder, relative to it, in order.
pub(crate) async fn below(folder: Folder, path: String) -> Result<Vec<String>, TrackingError> {
    blocking(move || folder.below(&path)).await
}

/// Removes a file, or a folder with all below it; answers the paths of the files that are gone.
pub(crate) async fn remove(folder: Folder, path: String) -> Result<Vec<String>, TrackingError> {
    blocking(move || folder.remove(&path)).await
}

/// How many digests are remembered.
const REMEMBERED: usize = 10_000;

/// Digests of plain files that were measured, each for as long as its file stays the same: a page that tells whether
/// files were changed is looked at more often than they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured(Arc<Mutex<HashMap<PathBuf, (String, String)>>>);

impl Measured {
    fn known(&self, path: &Path, etag: &str) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(path).filter(|(of, _)| of == etag).map(|(_, sha256)| sha256.clone())
    }

    fn keep(&self, path: PathBuf, etag: String, sha256: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(path, (etag, sha256));
    }

    /// The digest and size of a file, if there is one; `name` is its path in the answer.
    pub(crate) async fn measure(
        &self,
        folder: Folder,
        path: String,
        name: String,
    ) -> Result<Option<ArtifactFile>, TrackingError> {
        let measured = self.clone();
        blocking(move || {
            let Some(mut found) = folder.open(&path)? else { return Ok(None) };
            let place = folder.root().join(&path);
            let size = found.size;
            let sha256 = match measured.known(&place, &found.etag) {
                Some(sha256) => sha256,
                None => {
                    let sha256 = digest(&mut found)?;
                    measured.keep(place, found.etag, sha256.clone());
                    sha256
                }
            };
            Ok(Some(ArtifactFile { path: name, sha256, size }))
        })
        .await
    }
}

fn digest(found: &mut PlainFile) -> std::io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; PIECE]);
    loop {
        let n = found.file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// Writes what `stream` gives to a file, in place of what was there once all of it is durable.
pub(crate) async fn put<S, E>(
    folder: Folder,
    path: String,
    id: String,
    stream: S,
    limit: u64,
) -> Result<Poured, TrackingError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let begun = folder.clone();
    let put = blocking(move || begun.begin(&id)).await?;
    let poured = pour(put.file().map_err(BlobError::from)?, stream, limit).await?;
    blocking(move || folder.place(put, &path)).await?;
    Ok(poured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_measured_again_once_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        let measured = Measured::default();
        let measure = async || {
            let found = measured.measure(folder.clone(), "a".into(), "a".into()).await.unwrap();
            found.map(|file| (file.sha256, file.size))
        };
        let sha256 = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        assert_eq!(measure().await, None);
        std::fs::write(dir.path().join("a"), "one").unwrap();
        assert_eq!(measure().await, Some((sha256(b"one"), 3)));
        assert_eq!(measure().await, Some((sha256(b"one"), 3)));
        std::fs::write(dir.path().join("a"), "three").unwrap();
        assert_eq!(measure().await, Some((sha256(b"three"), 5)));
    }
}

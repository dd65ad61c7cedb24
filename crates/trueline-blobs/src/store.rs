//! Put, get and range over one store.

use crate::sweep::{Gates, is_young, refresh};
use crate::{BlobError, Poured, pour, stream_file};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Size of a part sent to a remote store.
const PART: usize = 8 << 20;
/// Parts under way to a remote store at once.
const PARTS_IN_FLIGHT: usize = 4;
/// Files are read in pieces of this size.
const PIECE: usize = 1 << 20;

/// Whose blobs these are: a project's id. Blobs of one project are not found through another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// The namespace of a project's id.
    #[must_use]
    pub fn new(project: &str) -> Self {
        Self(project.to_owned())
    }

    /// Where its blobs lie.
    pub(crate) fn folder(&self) -> Key {
        Key::from(format!("{}/sha256", self.0))
    }
}

/// A blob: its digest and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// A store of blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The folder behind `store` when it is local: puts are renamed into place and fsynced there.
    pub(crate) local: Option<PathBuf>,
    pub(crate) gates: Gates,
    spool: PathBuf,
}

/// A blob on this machine's disk; never written to.
#[derive(Debug)]
pub struct LocalFile {
    path: PathBuf,
    _copy: Option<tempfile::NamedTempFile>,
}

impl LocalFile {
    /// Where it lies, for as long as this value lives.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Blobs {
    /// Blobs in a local folder, which is made if it is missing. What a crash left in its spool is removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn local(root: &Path) -> Result<Self, BlobError> {
        let spool = root.join("spool");
        drop(std::fs::remove_dir_all(&spool));
        std::fs::create_dir_all(&spool)?;
        // A put fsyncs the folders from its place up to the root; the root's own name is made durable here.
        if let Some(parent) = std::path::absolute(root)?.parent() {
            std::fs::File::open(parent)?.sync_all()?;
        }
        let store = object_store::local::LocalFileSystem::new_with_prefix(root)?;
        Ok(Self { store: Arc::new(store), local: Some(root.to_owned()), gates: Gates::default(), spool })
    }

    /// Blobs in a remote store; `spool` is a local folder for uploads in progress. What a crash left in it is removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remote(store: Arc<dyn ObjectStore>, spool: &Path) -> Result<Self, BlobError> {
        drop(std::fs::remove_dir_all(spool));
        std::fs::create_dir_all(spool)?;
        Ok(Self { store, local: None, gates: Gates::default(), spool: spool.to_owned() })
    }

    /// Keeps what `stream` gives and answers with its digest once it is durable.
    ///
    /// # Errors
    /// [`BlobError::Interrupted`] when the stream fails, [`BlobError::TooLarge`] beyond `limit` bytes, or what the
    /// disk or store says. Nothing is kept then.
    pub async fn put<S, E>(&self, namespace: &Namespace, stream: S, limit: u64) -> Result<BlobRef, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let file = self.spool()?;
        let Poured { sha256, size } = pour(file.reopen()?, stream, limit).await?;
        self.finish(namespace, file, BlobRef { sha256, size }).await
    }

    /// Keeps bytes that are in memory already.
    ///
    /// # Errors
    /// As for [`Blobs::put`].
    pub async fn put_bytes(&self, namespace: &Namespace, bytes: Bytes) -> Result<BlobRef, BlobError> {
        let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
        self.put(namespace, stream, u64::MAX).await
    }

    /// An empty file beside the uploads in progress, to be written and then kept with [`Blobs::put_file`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn spool(&self) -> Result<tempfile::NamedTempFile, BlobError> {
        Ok(tempfile::NamedTempFile::new_in(&self.spool)?)
    }

    /// Keeps a file that [`Blobs::spool`] began.
    ///
    /// # Errors
    /// As for [`Blobs::put`].
    pub async fn put_file(
        &self,
        namespace: &Namespace,
        file: tempfile::NamedTempFile,
    ) -> Result<BlobRef, BlobError> {
        let measured = blocking(move || {
            let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; PIECE]);
            let mut source = file.reopen()?;
            loop {
                let n = source.read(&mut buffer)?;
                if n == 0 {
                    return Ok((file, BlobRef { sha256: hex::encode(hash.finalize()), size }));
                }
                hash.update(&buffer[..n]);
                size += n as u64;
            }
        });
        let (file, blob) = measured.await?;
        self.finish(namespace, file, blob).await
    }

    /// A blob as a file that can be read at any place: where it lies, or a copy that goes away with the answer.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or what the store or the disk says.
    pub async fn local_file(&self, namespace: &Namespace, sha256: &str) -> Result<LocalFile, BlobError> {
        let key = key(namespace, sha256)?;
        if let Some(root) = &self.local {
            self.store.head(&key).await?;
            return Ok(LocalFile { path: root.join(key.as_ref()), _copy: None });
        }
        let copy = self.download(namespace, sha256).await?;
        Ok(LocalFile { path: copy.path().to_owned(), _copy: Some(copy) })
    }

    /// A copy of a blob beside the uploads in progress.
    pub(crate) async fn download(
        &self,
        namespace: &Namespace,
        sha256: &str,
    ) -> Result<tempfile::NamedTempFile, BlobError> {
        let copy = self.spool()?;
        let mut to = tokio::fs::File::from_std(copy.reopen()?);
        let mut bytes = std::pin::pin!(self.get(namespace, sha256, None).await?);
        while let Some(chunk) = bytes.try_next().await? {
            tokio::io::AsyncWriteExt::write_all(&mut to, &chunk).await?;
        }
        tokio::io::AsyncWriteExt::flush(&mut to).await?;
        Ok(copy)
    }

    async fn finish(
        &self,
        namespace: &Namespace,
        file: tempfile::NamedTempFile,
        blob: BlobRef,
    ) -> Result<BlobRef, BlobError> {
        let key = key(namespace, &blob.sha256)?;
        match &self.local {
            Some(root) => {
                let target = root.join(key.as_ref());
                let (root, gates, of) = (root.clone(), self.gates.clone(), key.clone());
                blocking(move || place(file, &root, &target, || gates.hold_blocking(&of))).await?;
            }
            None => self.upload(&key, file).await?,
        }
        Ok(blob)
    }

    pub(crate) async fn upload(&self, key: &Key, file: tempfile::NamedTempFile) -> Result<(), BlobError> {
        // One that is there already is put again when it is old, which makes it young.
        if self.store.head(key).await.is_ok_and(|found| is_young(&found)) {
            return Ok(());
        }
        let upload = self.store.put_multipart(key).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut source = tokio::fs::File::from_std(file.reopen()?);
        let mut buffer = vec![0; PIECE];
        loop {
            let n = tokio::io::AsyncReadExt::read(&mut source, &mut buffer).await?;
            if n == 0 {
                break;
            }
            upload.wait_for_capacity(PARTS_IN_FLIGHT).await?;
            upload.write(&buffer[..n]);
        }
        let _held = self.gates.hold(key).await;
        upload.finish().await?;
        Ok(())
    }

    /// The size of a blob in bytes.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or what the store says.
    pub async fn size(&self, namespace: &Namespace, sha256: &str) -> Result<u64, BlobError> {
        Ok(self.store.head(&key(namespace, sha256)?).await?.size)
    }

    /// The bytes of a blob, streamed; of `range` alone when it is given.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or what the store says.
    pub async fn get(
        &self,
        namespace: &Namespace,
        sha256: &str,
        range: Option<Range<u64>>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        let key = key(namespace, sha256)?;
        if let Some(root) = &self.local {
            let path = root.join(key.as_ref());
            let opened = blocking(move || {
                let file = std::fs::File::open(path).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => BlobError::NotFound(key.to_string()),
                    _ => error.into(),
                })?;
                let size = file.metadata()?.len();
                Ok((file, size))
            });
            let (file, size) = opened.await?;
            let range = range.map_or(0..size, |range| range.start.min(size)..range.end.min(size));
            return Ok(stream_file(file, range)?.left_stream());
        }
        let options = object_store::GetOptions {
            range: range.map(object_store::GetRange::Bounded),
            ..Default::default()
        };
        let found = self.store.get_opts(&key, options).await?;
        Ok(found.into_stream().map_err(BlobError::from).right_stream())
    }

    /// A whole blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::NotFound`], or what the store says.
    pub async fn get_bytes(
        &self,
        namespace: &Namespace,
        sha256: &str,
        limit: u64,
    ) -> Result<Bytes, BlobError> {
        let found = self.store.get(&key(namespace, sha256)?).await?;
        if found.meta.size > limit {
            return Err(BlobError::TooLarge { limit });
        }
        Ok(found.bytes().await?)
    }
}

/// `<project>/sha256/ab/cdef…`: two levels, so that no folder grows too large.
pub(crate) fn key(namespace: &Namespace, sha256: &str) -> Result<Key, BlobError> {
    let hex = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex {
        return Err(BlobError::NotFound(sha256.to_owned()));
    }
    Ok(Key::from(format!("{}/{}/{}", namespace.folder(), &sha256[..2], &sha256[2..])))
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| BlobError::Store(e.to_string()))?
}

/// Renames a spooled file to its place, under the gate that `hold` gives; one that is there already is made young instead.
/// The file is fsynced first, then each folder up to the root, so that the name survives a power cut as well as the bytes.
fn place<G>(
    file: tempfile::NamedTempFile,
    root: &Path,
    target: &Path,
    hold: impl Fn() -> G,
) -> Result<(), BlobError> {
    let parent = target.parent().unwrap_or(root);
    let there = {
        let _held = hold();
        refresh(target)?
    };
    // One that is there already was fsynced by whoever put it, but perhaps its folders not yet.
    if !there {
        file.as_file().sync_all()?;
        std::fs::create_dir_all(parent)?;
        let _held = hold();
        file.as_file().set_modified(std::time::SystemTime::now())?;
        file.persist(target).map_err(|e| BlobError::from(e.error))?;
    }
    let mut folder = Some(parent);
    while let Some(path) = folder {
        std::fs::File::open(path)?.sync_all()?;
        if path == root {
            break;
        }
        folder = path.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn stream(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, String>> + Send + use<> {
        let parts: Vec<_> = parts.iter().map(|p| Ok(Bytes::from_static(p))).collect();
        futures::stream::iter(parts)
    }

    async fn read(blobs: &Blobs, ns: &Namespace, sha: &str, range: Option<Range<u64>>) -> Vec<u8> {
        let parts: Vec<Bytes> = blobs.get(ns, sha, range).await.unwrap().try_collect().await.unwrap();
        parts.concat()
    }

    #[tokio::test]
    async fn what_was_put_comes_back_whole_and_in_ranges() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let ns = Namespace::new("default");
        let blob = blobs.put(&ns, stream(&[b"hello ", b"world"]), 100).await.unwrap();
        assert_eq!(blob.size, 11);
        assert_eq!(blob.sha256, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
        assert_eq!(read(&blobs, &ns, &blob.sha256, None).await, b"hello world");
        assert_eq!(read(&blobs, &ns, &blob.sha256, Some(6..11)).await, b"world");
        let again = blobs.put(&ns, stream(&[b"hello world"]), 100).await.unwrap();
        assert_eq!(again, blob);
    }

    #[tokio::test]
    async fn a_spooled_file_is_kept_and_read_from_disk_whatever_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let ns = Namespace::new("default");
        let memory = Arc::new(object_store::memory::InMemory::new());
        let remote = Blobs::remote(memory, &dir.path().join("remote")).unwrap();
        for blobs in [Blobs::local(&dir.path().join("local")).unwrap(), remote] {
            let mut file = blobs.spool().unwrap();
            file.write_all(b"hello world").unwrap();
            let blob = blobs.put_file(&ns, file).await.unwrap();
            assert_eq!(blob, BlobRef { sha256: hex::encode(Sha256::digest(b"hello world")), size: 11 });
            let local = blobs.local_file(&ns, &blob.sha256).await.unwrap();
            assert_eq!(std::fs::read(local.path()).unwrap(), b"hello world");
            let missing = blobs.local_file(&ns, &hex::encode([0; 32])).await;
            assert!(matches!(missing, Err(BlobError::NotFound(_))));
        }
    }

    #[tokio::test]
    async fn another_project_does_not_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let blob = blobs.put(&Namespace::new("a"), stream(&[b"x"]), 100).await.unwrap();
        let other = blobs.get(&Namespace::new("b"), &blob.sha256, None).await;
        assert!(matches!(other.err(), Some(BlobError::NotFound(_))));
    }

    #[tokio::test]
    async fn an_upload_that_breaks_or_is_too_large_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let ns = Namespace::new("default");
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"half")), Err("gone")]);
        let error = blobs.put(&ns, broken, 100).await.unwrap_err();
        assert!(matches!(error, BlobError::Interrupted { received: 4, .. }), "{error}");
        let error = blobs.put(&ns, stream(&[b"12345"]), 4).await.unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { limit: 4 }));
        assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
        assert!(!dir.path().join("default").exists());
    }

    #[tokio::test]
    async fn a_digest_that_is_none_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let error = blobs.size(&Namespace::new("a"), "../../etc/passwd").await.unwrap_err();
        assert!(matches!(error, BlobError::NotFound(_)));
    }
}

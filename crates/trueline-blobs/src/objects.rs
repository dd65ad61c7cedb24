//! Plain objects below a folder of this machine or of a bucket: put whole from files and fetched into files. For what is
//! written once under a name that others read, too.

use crate::{BlobError, Bucket, BucketError, is_bucket, stream_file};
use futures::TryStreamExt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Where objects are. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Objects {
    /// Below a folder of this machine.
    Folder(Arc<Path>),
    /// Below a folder of a bucket.
    Bucket(Bucket),
}

impl Objects {
    /// The place that `s3://bucket/folder`, `file:///folder` or the path of a folder names; buckets are reached by what the
    /// variables say. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`BucketError`].
    pub fn open(uri: &str, variables: impl Fn(&str) -> Option<String>) -> Result<Self, BucketError> {
        if is_bucket(uri) {
            return Bucket::open(uri, variables).map(Self::Bucket);
        }
        let path = uri.strip_prefix("file://").unwrap_or(uri);
        if path.is_empty() || path.contains("://") || (uri.starts_with("file:") && !path.starts_with('/')) {
            return Err(BucketError::Place(uri.to_owned()));
        }
        // Written the same wherever the server was started, since copies are told apart by where they lie.
        let folder = std::path::absolute(path).map_err(|_| BucketError::Place(uri.to_owned()))?;
        Ok(Self::Folder(folder.components().collect::<PathBuf>().into()))
    }

    /// The place as it is named in messages and events.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Folder(folder) => format!("file://{}", folder.display()),
            Self::Bucket(bucket) => bucket.uri(),
        }
    }

    /// Puts a file at a path, in place of what is there, whole or not at all.
    ///
    /// # Errors
    /// What the store or the disk says.
    pub async fn put_file(&self, path: &str, file: &Path) -> Result<(), BlobError> {
        match self {
            Self::Folder(root) => {
                let (root, to, from) = (Arc::clone(root), root.join(path), file.to_owned());
                run(move || put_below(&root, &to, &from)).await
            }
            Self::Bucket(bucket) => {
                let file = File::open(file)?;
                let size = file.metadata()?.len();
                bucket.put(path, stream_file(file, 0..size)?, size, async |_| Ok(())).await.map(drop)
            }
        }
    }

    /// Fetches the object at a path into a file.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or what the store or the disk says.
    pub async fn fetch(&self, path: &str, into: &Path) -> Result<(), BlobError> {
        let missing = || BlobError::NotFound(format!("{}/{path}", self.uri()));
        match self {
            Self::Folder(root) => {
                let (from, into) = (root.join(path), into.to_owned());
                let copied = run(move || match fs::copy(&from, &into) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                    done => done.map(|_| true),
                });
                if copied.await? { Ok(()) } else { Err(missing()) }
            }
            Self::Bucket(bucket) => {
                let object = bucket.find(path).await?.ok_or_else(missing)?;
                let mut file = File::options().write(true).create(true).truncate(true).open(into)?;
                let mut bytes = std::pin::pin!(bucket.get(&object, None).await?);
                while let Some(piece) = bytes.try_next().await? {
                    file = run(move || file.write_all(&piece).map(|()| file)).await?;
                }
                Ok(())
            }
        }
    }

    /// Removes the object at a path; one that is not there is as good.
    ///
    /// # Errors
    /// What the store or the disk says.
    pub async fn remove(&self, path: &str) -> Result<(), BlobError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(path);
                run(move || match fs::remove_file(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                    done => done,
                })
                .await
            }
            Self::Bucket(bucket) => bucket.remove(path).await.map(drop),
        }
    }
}

/// Where blocking is allowed.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let done = spawn_blocking(work).await.map_err(|e| BlobError::Store(e.to_string()))?;
    Ok(done?)
}

/// Copies a file to a name below `root`, with whatever folders it needs, and makes both durable.
fn put_below(root: &Path, to: &PathBuf, from: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(&mut File::open(from)?, &mut beside)?;
    // Others read it, too: a temporary file is the owner's alone.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(readable)?;
    beside.as_file().sync_all()?;
    beside.persist(to)?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_of_a_folder_is_put_fetched_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, into) = (folder.path().join("from"), folder.path().join("into"));
        fs::write(&from, "bytes").unwrap();
        let uri = format!("file://{}/archive", folder.path().display());
        let objects = Objects::open(&uri, |_| None).unwrap();
        assert_eq!(objects.uri(), uri);
        for _ in 0..2 {
            objects.put_file("a/b=1/c.parquet", &from).await.unwrap();
        }
        objects.fetch("a/b=1/c.parquet", &into).await.unwrap();
        assert_eq!(fs::read(&into).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(folder.path().join("archive/a/b=1")).unwrap().count(), 1);
        for _ in 0..2 {
            objects.remove("a/b=1/c.parquet").await.unwrap();
        }
        let gone = objects.fetch("a/b=1/c.parquet", &into).await.unwrap_err();
        assert!(matches!(gone, BlobError::NotFound(_)), "{gone}");
    }

    #[test]
    fn what_names_no_place_is_refused() {
        for bad in ["", "gs://bucket", "file://relative", "file:relative"] {
            assert!(matches!(Objects::open(bad, |_| None), Err(BucketError::Place(_))), "{bad}");
        }
    }
}

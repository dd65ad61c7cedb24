//! How blobs go: listed with their age, kept alive by whoever is about to refer to them, removed by a collection.
//!
//! A blob that nothing refers to is either garbage or just put by somebody who will say so in a moment; its age tells them
//! apart. So each put and each [`Blobs::keep_alive`] makes its blob young again, one that was there before as well, and a
//! removal looks at the age once more. Both hold the same gate while they do, so that no put ends between the look and the
//! removal.

use crate::store::{Namespace, blocking, key};
use crate::{BlobError, Blobs};
use futures::{Stream, StreamExt};
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStoreExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, MutexGuard};

/// Gates that blobs share, by the first byte of their digest.
const GATES: usize = 64;
/// A blob of a remote store that is younger than this is not put again to make it young, because that costs a whole upload;
/// therefore nothing that is younger than twice this is removed from a remote store.
pub(crate) const YOUNG: Duration = Duration::from_secs(600);

/// A blob as a collection sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256 of the bytes.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was put last, or kept alive.
    pub put_at: SystemTime,
}

/// One for each of some parts of all blobs: whoever makes a blob young or removes it holds its gate.
#[derive(Clone, Debug)]
pub(crate) struct Gates(Arc<[Mutex<()>; GATES]>);

impl Default for Gates {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Mutex::new(()))))
    }
}

impl Gates {
    fn of(&self, key: &Key) -> &Mutex<()> {
        let hash =
            key.as_ref().bytes().fold(0usize, |all, byte| all.wrapping_mul(31).wrapping_add(byte.into()));
        &self.0[hash % GATES]
    }

    pub(crate) async fn hold(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.of(key).lock().await
    }

    /// The same, where blocking is allowed.
    pub(crate) fn hold_blocking(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.of(key).blocking_lock()
    }
}

/// Makes a file young; answers no when there is none.
pub(crate) fn refresh(path: &Path) -> std::io::Result<bool> {
    match std::fs::File::open(path) {
        Ok(file) => file.set_modified(SystemTime::now()).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn put_at(meta: &ObjectMeta) -> SystemTime {
    SystemTime::from(meta.last_modified)
}

/// The digest that a key stands for; none when it is no blob's.
fn digest(namespace: &Namespace, meta: &ObjectMeta) -> Option<Listed> {
    let name = meta.location.as_ref().strip_prefix(namespace.folder().as_ref())?;
    let sha256 = name.replace('/', "");
    (key(namespace, &sha256).ok()? == meta.location).then(|| Listed {
        sha256,
        size: meta.size,
        put_at: put_at(meta),
    })
}

impl Blobs {
    /// All blobs of a namespace, in no order.
    pub fn list(
        &self,
        namespace: &Namespace,
    ) -> impl Stream<Item = Result<Listed, BlobError>> + Send + use<> {
        let namespace = namespace.clone();
        self.store.list(Some(&namespace.folder())).filter_map(move |found| {
            let listed = match found {
                Ok(meta) => digest(&namespace, &meta).map(Ok),
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => Some(Err(error.into())),
            };
            futures::future::ready(listed)
        })
    }

    /// The size of a blob in bytes; from now on it is as young as one that was just put. Whoever is about to refer to a blob
    /// that somebody else may have put asks this first.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or what the store says.
    pub async fn keep_alive(&self, namespace: &Namespace, sha256: &str) -> Result<u64, BlobError> {
        let key = key(namespace, sha256)?;
        if let Some(root) = &self.local {
            let _held = self.gates.hold(&key).await;
            let path = root.join(key.as_ref());
            let missing = BlobError::NotFound(sha256.to_owned());
            return blocking(move || match refresh(&path)? {
                true => Ok(std::fs::metadata(&path)?.len()),
                false => Err(missing),
            })
            .await;
        }
        let found = self.store.head(&key).await?;
        if !is_young(&found) {
            let copy = self.download(namespace, sha256).await?;
            self.upload(&key, copy).await?;
        }
        Ok(found.size)
    }

    /// Removes a blob that was put before `cutoff` and not kept alive since; answers its size, or none when it is younger or
    /// gone already.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove(
        &self,
        namespace: &Namespace,
        sha256: &str,
        cutoff: SystemTime,
    ) -> Result<Option<u64>, BlobError> {
        let key = key(namespace, sha256)?;
        let cutoff = match self.local {
            Some(_) => cutoff,
            None => cutoff.min(SystemTime::now() - YOUNG * 2),
        };
        let _held = self.gates.hold(&key).await;
        let found = match self.store.head(&key).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if put_at(&found) >= cutoff {
            return Ok(None);
        }
        match self.store.delete(&key).await {
            Ok(()) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a blob of a remote store need not be put again to be kept alive.
pub(crate) fn is_young(meta: &ObjectMeta) -> bool {
    SystemTime::now().duration_since(put_at(meta)).is_ok_and(|age| age < YOUNG)
}

/// The size of a blob below a folder that [`Blobs::local`] was made of, for a check of a copy that nobody writes to; none when
/// it is missing.
#[must_use]
pub fn size_below(root: &Path, namespace: &Namespace, sha256: &str) -> Option<u64> {
    let key = key(namespace, sha256).ok()?;
    std::fs::metadata(root.join(key.as_ref()))
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::TryStreamExt;
    use object_store::memory::InMemory;

    fn ago(seconds: u64) -> SystemTime {
        SystemTime::now() - Duration::from_secs(seconds)
    }

    /// Makes a blob of a local store as old as if it had been put then.
    fn age(root: &Path, namespace: &Namespace, sha256: &str, at: SystemTime) {
        let path = root.join(key(namespace, sha256).unwrap().as_ref());
        std::fs::File::open(path).unwrap().set_modified(at).unwrap();
    }

    async fn all(blobs: &Blobs, namespace: &Namespace) -> Vec<Listed> {
        let mut found: Vec<Listed> = blobs.list(namespace).try_collect().await.unwrap();
        found.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        found
    }

    #[tokio::test]
    async fn a_listing_names_the_blobs_of_one_project_alone() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Blobs::remote(Arc::new(InMemory::new()), &dir.path().join("spool")).unwrap();
        for blobs in [Blobs::local(&dir.path().join("local")).unwrap(), memory] {
            let (a, ab) = (Namespace::new("a"), Namespace::new("ab"));
            assert_eq!(all(&blobs, &a).await, []);
            let one = blobs.put_bytes(&a, Bytes::from_static(b"one")).await.unwrap();
            let two = blobs.put_bytes(&a, Bytes::from_static(b"three")).await.unwrap();
            blobs.put_bytes(&ab, Bytes::from_static(b"other")).await.unwrap();
            let mut expected = [(one.sha256, 3), (two.sha256, 5)];
            expected.sort();
            let found: Vec<_> = all(&blobs, &a).await.into_iter().map(|l| (l.sha256, l.size)).collect();
            assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn only_what_is_old_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let ns = Namespace::new("p");
        let blob = blobs.put_bytes(&ns, Bytes::from_static(b"bytes")).await.unwrap();
        assert_eq!(blobs.remove(&ns, &blob.sha256, ago(60)).await.unwrap(), None);
        age(dir.path(), &ns, &blob.sha256, ago(120));
        assert!(all(&blobs, &ns).await[0].put_at < ago(60));
        assert_eq!(blobs.remove(&ns, &blob.sha256, ago(60)).await.unwrap(), Some(5));
        assert_eq!(all(&blobs, &ns).await, []);
        assert_eq!(blobs.remove(&ns, &blob.sha256, ago(60)).await.unwrap(), None, "it is gone already");
    }

    #[tokio::test]
    async fn putting_the_same_again_or_keeping_it_alive_makes_an_old_blob_young() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let ns = Namespace::new("p");
        let put = async || blobs.put_bytes(&ns, Bytes::from_static(b"bytes")).await.unwrap().sha256;
        let sha256 = put().await;
        age(dir.path(), &ns, &sha256, ago(120));
        put().await;
        assert_eq!(blobs.remove(&ns, &sha256, ago(60)).await.unwrap(), None);
        age(dir.path(), &ns, &sha256, ago(120));
        assert_eq!(blobs.keep_alive(&ns, &sha256).await.unwrap(), 5);
        assert_eq!(blobs.remove(&ns, &sha256, ago(60)).await.unwrap(), None);
        let gone = blobs.keep_alive(&ns, &hex::encode([0; 32])).await;
        assert!(matches!(gone, Err(BlobError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_remote_store_keeps_what_a_put_may_have_found_young() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::remote(Arc::new(InMemory::new()), dir.path()).unwrap();
        let ns = Namespace::new("p");
        let blob = blobs.put_bytes(&ns, Bytes::from_static(b"bytes")).await.unwrap();
        let soon = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(blobs.remove(&ns, &blob.sha256, soon).await.unwrap(), None);
        assert_eq!(blobs.keep_alive(&ns, &blob.sha256).await.unwrap(), 5);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_put_is_answered_for_a_blob_that_a_removal_took() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path()).unwrap();
        let ns = Namespace::new("p");
        let bytes = || Bytes::from_static(b"the same bytes each time");
        let sha256 = blobs.put_bytes(&ns, bytes()).await.unwrap().sha256;
        for round in 0..200 {
            age(dir.path(), &ns, &sha256, ago(120));
            let cutoff = ago(60);
            let (put, removed) = tokio::join!(
                tokio::spawn({
                    let (blobs, ns) = (blobs.clone(), ns.clone());
                    async move { blobs.put_bytes(&ns, bytes()).await }
                }),
                tokio::spawn({
                    let (blobs, ns, sha256) = (blobs.clone(), ns.clone(), sha256.clone());
                    async move { blobs.remove(&ns, &sha256, cutoff).await }
                })
            );
            put.unwrap().unwrap();
            removed.unwrap().unwrap();
            assert_eq!(blobs.size(&ns, &sha256).await.unwrap(), 24, "round {round}");
        }
    }
}

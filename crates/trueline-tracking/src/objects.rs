//! Artifacts that are objects of a bucket: what passes through the server is put under the key where MLflow would put it,
//! and clients may send the parts of a large file, or fetch it, by addresses that are signed for them.
//! What is noted of the bucket in the database is `object_notes.rs`.

use crate::artifact_path::ArtifactPath;
use crate::artifacts::missing;
use crate::object_notes::Notes;
use crate::places::Kept;
use crate::{ArtifactEntry, ArtifactFile, Tracking, TrackingError};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::sync::watch;
use trueline_blobs::{BlobError, Bucket, BucketEntry, MOST_PARTS, Object, SignedUpload, Stored};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Millis, NewEvent};

/// An upload that was begun so long ago is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// How often it is looked for uploads to give up.
const LOOK: Duration = Duration::from_secs(3_600);

/// Where a client reads a file by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRead {
    /// The address, good for a while.
    pub url: String,
    /// The file's size in bytes.
    pub size: u64,
}

/// What a folder of a bucket holds, by name, at most so many entries.
pub(crate) async fn list(
    bucket: &Bucket,
    path: &str,
    most: usize,
) -> Result<Vec<ArtifactEntry>, TrackingError> {
    let entry = |entry: BucketEntry| match entry {
        BucketEntry::Folder(name) => ArtifactEntry::Folder { name },
        BucketEntry::Object(Object { path: name, size, .. }) => {
            ArtifactEntry::File { name, size, sha256: None }
        }
    };
    Ok(bucket.list(path, most).await?.into_iter().map(entry).collect())
}

impl Tracking {
    fn notes<'a>(&'a self, bucket: &'a Bucket) -> Notes<'a> {
        Notes { ledger: &self.ledger, bucket }
    }

    /// Puts an object through the server; the bucket has all of it then, or nothing has changed there.
    pub(crate) async fn put_object<S, E>(
        &self,
        bucket: &Bucket,
        path: &str,
        bytes: S,
        limit: u64,
    ) -> Result<Stored, TrackingError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let notes = self.notes(bucket);
        let mut upload = None;
        let begun = async |id: String| {
            upload = Some(id.clone());
            notes.begun(path, &id).await.map_err(|e| BlobError::Store(e.to_string()))
        };
        // What breaks off stays noted, in case that giving it up at once did not reach the bucket.
        let stored = bucket.put(path, bytes, limit, begun).await?;
        if let Some(id) = upload {
            notes.ended(&id).await?;
        }
        notes.measured(path, &stored.object.etag, &stored.sha256).await?;
        Ok(stored)
    }

    /// The files below a folder of a bucket, with their digests: those that are not known are read for it.
    pub(crate) async fn objects_below(
        &self,
        bucket: &Bucket,
        path: &str,
    ) -> Result<Vec<ArtifactFile>, TrackingError> {
        let mut out = Vec::new();
        for Object { path: name, size, etag } in bucket.below(path).await? {
            let object = Object { path: joined(path, &name), size, etag };
            let sha256 = match self.notes(bucket).digest(&object.path, &object.etag).await? {
                Some(sha256) => sha256,
                None => {
                    let sha256 = digest(bucket, &object).await?;
                    self.notes(bucket).measured(&object.path, &object.etag, &sha256).await?;
                    sha256
                }
            };
            out.push(ArtifactFile { path: name, sha256, size });
        }
        Ok(out)
    }

    /// The files below a folder of a bucket, each kept as a blob from here on. What was kept before is not fetched again,
    /// so that a registration that was cut off goes on where it was.
    pub(crate) async fn freeze_objects(
        &self,
        leave: &Authorized<ReadProject>,
        bucket: &Bucket,
        path: &str,
    ) -> Result<Vec<ArtifactFile>, TrackingError> {
        let namespace = Self::namespace(leave.project());
        let mut out = Vec::new();
        for Object { path: name, size, etag } in bucket.below(path).await? {
            let object = Object { path: joined(path, &name), size, etag };
            let known = self.notes(bucket).digest(&object.path, &object.etag).await?;
            let kept = match known {
                Some(sha256) if self.blobs.keep_alive(&namespace, &sha256).await.is_ok() => sha256,
                _ => {
                    let bytes = bucket.get(&object, None).await?;
                    let blob = self.blobs.put(&namespace, bytes, u64::MAX).await?;
                    self.notes(bucket).measured(&object.path, &object.etag, &blob.sha256).await?;
                    blob.sha256
                }
            };
            out.push(ArtifactFile { path: name, sha256: kept, size });
        }
        Ok(out)
    }

    /// Whether clients may send parts to, and read from, where the proxy keeps its bytes.
    #[must_use]
    pub fn signs_addresses(&self) -> bool {
        self.places.bucket().is_some()
    }

    /// Begins an upload of so many parts to a path, which the client sends to the bucket itself; none when artifacts are
    /// kept in no bucket.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a number of parts that no bucket takes, or what the bucket says.
    pub async fn begin_multipart(
        &self,
        leave: &Authorized<WriteTracking>,
        path: &ArtifactPath,
        parts: usize,
    ) -> Result<Option<SignedUpload>, TrackingError> {
        let Some((bucket, key)) = self.in_bucket(leave.project(), path)? else { return Ok(None) };
        if !(1..=MOST_PARTS).contains(&parts) {
            return Err(TrackingError::Invalid(format!(
                "num_parts must be between 1 and {MOST_PARTS} (got {parts})."
            )));
        }
        let upload = bucket.begin_signed(&key, parts).await?;
        self.notes(&bucket).begun(&key, &upload.id).await?;
        Ok(Some(upload))
    }

    /// Puts the parts of an upload together, from their ETags in order; answers false when artifacts are kept in no bucket.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] when there is no such upload to this path, or what the bucket says.
    pub async fn complete_multipart(
        &self,
        leave: &Authorized<WriteTracking>,
        path: &ArtifactPath,
        id: &str,
        etags: Vec<String>,
    ) -> Result<bool, TrackingError> {
        let Some((bucket, key)) = self.in_bucket(leave.project(), path)? else { return Ok(false) };
        let Object { size, etag, .. } = match bucket.complete(&key, id, etags).await {
            Err(BlobError::NotFound(_)) => return Err(no_upload(id, path)),
            other => other?,
        };
        self.notes(&bucket).ended(id).await?;
        let (project, path) = (leave.project().clone(), path.as_str().to_owned());
        let write = self.ledger.write(leave.actor(), move |tx| {
            let event = NewEvent::new(&project, "artifact.written", "artifact", &path);
            // The bytes did not pass through here: their digest is known once somebody reads them.
            tx.emit(event.with(json!({ "sha256": null, "size": size, "etag": etag })))?;
            Ok::<_, TrackingError>(())
        });
        write.await?;
        Ok(true)
    }

    /// Gives up an upload; answers false when artifacts are kept in no bucket.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn abort_multipart(
        &self,
        leave: &Authorized<WriteTracking>,
        path: &ArtifactPath,
        id: &str,
    ) -> Result<bool, TrackingError> {
        let Some((bucket, key)) = self.in_bucket(leave.project(), path)? else { return Ok(false) };
        bucket.abort(&key, id).await?;
        self.notes(&bucket).ended(id).await?;
        Ok(true)
    }

    /// Where a client reads a file by itself, saved under the name of `disposition`; none when artifacts are kept in no
    /// bucket.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`], or what the bucket says.
    pub async fn signed_read(
        &self,
        leave: &Authorized<ReadProject>,
        path: &ArtifactPath,
        disposition: &str,
    ) -> Result<Option<SignedRead>, TrackingError> {
        let Some((bucket, key)) = self.in_bucket(leave.project(), path)? else { return Ok(None) };
        let Object { size, .. } = bucket.find(&key).await?.ok_or_else(|| missing(path))?;
        Ok(Some(SignedRead { url: bucket.signed_read(&key, disposition).await?, size }))
    }

    fn in_bucket(
        &self,
        project: &trueline_ledger::ProjectId,
        path: &ArtifactPath,
    ) -> Result<Option<(Bucket, String)>, TrackingError> {
        match self.places.kept(project, path) {
            Kept::Bucket(bucket, key) if !path.is_root() => Ok(Some((bucket, key))),
            Kept::Blobs | Kept::Plain(..) => Ok(None),
            Kept::Bucket(..) | Kept::ForOthers => Err(TrackingError::Invalid("Invalid path".to_owned())),
        }
    }

    /// Gives up uploads to the bucket that nobody has ended for a day, until `stop`.
    pub async fn run_upload_sweeper(&self, mut stop: watch::Receiver<bool>) {
        let Some(bucket) = self.places.bucket().cloned() else { return };
        while !*stop.borrow() {
            if let Err(error) = self.sweep_uploads(&bucket, GIVEN_UP_AFTER).await {
                tracing::warn!(%error, "old uploads to the bucket could not be given up; trying again in an hour");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn sweep_uploads(&self, bucket: &Bucket, age: Duration) -> Result<(), TrackingError> {
        let age = Millis::try_from(age.as_millis()).unwrap_or(Millis::MAX);
        let mut failed = None;
        for (id, path) in self.notes(bucket).begun_before(self.now().saturating_sub(age)).await? {
            match bucket.abort(&path, &id).await {
                Ok(()) => self.notes(bucket).ended(&id).await?,
                // The others are not to wait for it.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn no_upload(id: &str, path: &ArtifactPath) -> TrackingError {
    TrackingError::NotFound(format!(
        "There is no upload {id} to '{}': it was put together or given up before. Begin another.",
        path.as_str()
    ))
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

async fn digest(bucket: &Bucket, object: &Object) -> Result<String, TrackingError> {
    let bytes = bucket.get(object, None).await?;
    let hash = bytes.try_fold(Sha256::new(), async |mut hash, piece| {
        hash.update(&piece);
        Ok(hash)
    });
    Ok(hex::encode(hash.await?.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArtifactPlaces;
    use crate::test_databases::configs;
    use std::convert::Infallible;
    use trueline_blobs::Blobs;
    use trueline_db::Db;
    use trueline_ledger::{Ledger, Sources};
    use trueline_s3server::S3Server;

    /// Runs a test on each database, with a bucket of a real S3 server that keeps its objects below a folder. The driver
    /// of PostgreSQL blocks while it connects, which an async thread must not.
    fn on_each(name: &str, test: impl AsyncFn(&Tracking, &Bucket, &std::path::Path)) {
        let (folder, configs) = configs(name);
        for (n, config) in configs.into_iter().enumerate() {
            let root = folder.path().join(format!("s3-{n}"));
            std::fs::create_dir(&root).unwrap();
            let s3 = S3Server::start(&root).unwrap();
            s3.make_bucket("team").unwrap();
            let variables = s3.variables();
            let find =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
            let bucket = Bucket::open("s3://team/x", find).unwrap();
            let places = ArtifactPlaces::default().in_bucket(bucket.clone());
            let db = Db::open(&config, &[trueline_ledger::MODULE, crate::MODULE]).unwrap();
            let blobs = Blobs::local(&folder.path().join("blobs")).unwrap();
            let tracking = Tracking::new(Ledger::new(db, Sources::system()), blobs).with_places(places);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(test(&tracking, &bucket, &root));
        }
    }

    fn uploads(root: &std::path::Path) -> usize {
        let names = std::fs::read_dir(root).unwrap();
        names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().contains("upload")).count()
    }

    #[test]
    fn uploads_that_nobody_ended_are_given_up_whatever_becomes_of_others() {
        on_each("objects", async |tracking, bucket, root| {
            let begun = bucket.begin_signed("1/a", 1).await.unwrap();
            tracking.notes(bucket).begun("1/a", &begun.id).await.unwrap();
            tracking.notes(bucket).begun("1/b", "never-begun").await.unwrap();
            let under_way = uploads(root);
            assert!(under_way > 0);
            tracking.sweep_uploads(bucket, Duration::from_secs(3_600)).await.unwrap();
            assert_eq!(uploads(root), under_way, "it is not old yet");
            let swept = tokio::time::timeout(Duration::from_secs(20), async {
                while uploads(root) > 0 {
                    // What the bucket does not know stays noted, and is told.
                    drop(tracking.sweep_uploads(bucket, Duration::ZERO).await);
                    tokio::task::yield_now().await;
                }
            });
            swept.await.unwrap();
            let left = tracking.notes(bucket).begun_before(Millis::MAX).await.unwrap();
            assert!(!left.iter().any(|(id, _)| *id == begun.id), "{left:?}");
        });
    }

    #[test]
    fn a_digest_is_remembered_for_one_state_of_an_object() {
        on_each("digests", async |tracking, bucket, _| {
            let put = async |text: &'static str| {
                let bytes = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(text.as_bytes()))]);
                tracking.put_object(bucket, "1/a", bytes, 100).await.unwrap()
            };
            let one = put("one").await;
            let notes = tracking.notes(bucket);
            assert_eq!(notes.digest("1/a", &one.object.etag).await.unwrap(), Some(one.sha256.clone()));
            let two = put("two").await;
            assert_eq!(notes.digest("1/a", &one.object.etag).await.unwrap(), None);
            let files = tracking.objects_below(bucket, "1").await.unwrap();
            assert_eq!(files, [ArtifactFile { path: "a".to_owned(), sha256: two.sha256, size: 3 }]);
        });
    }
}

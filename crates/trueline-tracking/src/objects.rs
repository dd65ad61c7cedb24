//! Artifacts that are objects of a bucket: what passes through the server is put under the key where MLflow would put it,
//! and clients may send the parts of a large file, or fetch it, by addresses that are signed for them.
//!
//! Two tables help, neither of which says anything that the bucket does not: uploads that were begun and not ended yet, so
//! that what a crash or a client left is given up after a day, and digests of objects by their ETag, so that an object is
//! read once and not whenever somebody looks whether it has changed.

use crate::artifact_path::ArtifactPath;
use crate::artifacts::missing;
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
use trueline_ledger::{Ledger, Millis, NewEvent};

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

/// What is known of a bucket's objects in the database.
#[derive(Clone, Copy)]
struct Notes<'a> {
    ledger: &'a Ledger,
    bucket: &'a Bucket,
}

impl Notes<'_> {
    async fn digest(self, path: &str, etag: &str) -> Result<Option<String>, TrackingError> {
        let (place, path, etag) = (self.bucket.uri(), path.to_owned(), etag.to_owned());
        let found = self.ledger.db().read(move |tx| {
            tx.query_opt(
                "SELECT sha256 FROM object_digests WHERE place = ?1 AND path = ?2 AND etag = ?3",
                &[(&place).into(), (&path).into(), (&etag).into()],
            )
        });
        let found: Option<trueline_db::Row> = found.await?;
        Ok(found.map(|mut row| row.take(0)).transpose()?)
    }

    /// Remembers the digest of an object. Without an ETag nobody could tell whether it is still true.
    async fn measured(self, path: &str, etag: &str, sha256: &str) -> Result<(), TrackingError> {
        if etag.is_empty() {
            return Ok(());
        }
        let (place, path, etag) = (self.bucket.uri(), path.to_owned(), etag.to_owned());
        let sha256 = sha256.to_owned();
        let noted = self.ledger.db().bookkeep(move |tx| {
            tx.execute(
                "INSERT INTO object_digests (place, path, etag, sha256) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (place, path) DO UPDATE SET etag = excluded.etag, sha256 = excluded.sha256",
                &[(&place).into(), (&path).into(), (&etag).into(), (&sha256).into()],
            )
        });
        let _: u64 = noted.await?;
        Ok(())
    }

    async fn begun(self, path: &str, id: &str) -> Result<(), TrackingError> {
        let (place, path, id) = (self.bucket.uri(), path.to_owned(), id.to_owned());
        let now = self.ledger.sources().now();
        let noted = self.ledger.db().bookkeep(move |tx| {
            tx.execute(
                "INSERT INTO bucket_uploads (place, id, path, begun_at_ms) VALUES (?1, ?2, ?3, ?4)",
                &[(&place).into(), (&id).into(), (&path).into(), now.into()],
            )
        });
        let _: u64 = noted.await?;
        Ok(())
    }

    async fn ended(self, id: &str) -> Result<(), TrackingError> {
        let (place, id) = (self.bucket.uri(), id.to_owned());
        let noted = self.ledger.db().bookkeep(move |tx| {
            let statement = "DELETE FROM bucket_uploads WHERE place = ?1 AND id = ?2";
            tx.execute(statement, &[(&place).into(), (&id).into()])
        });
        let _: u64 = noted.await?;
        Ok(())
    }

    /// Id and path of uploads that were begun before a time.
    async fn begun_before(self, time: Millis) -> Result<Vec<(String, String)>, TrackingError> {
        let place = self.bucket.uri();
        let found = self.ledger.db().read(move |tx| {
            let statement = "SELECT id, path FROM bucket_uploads WHERE place = ?1 AND begun_at_ms < ?2";
            let rows = tx.query(statement, &[(&place).into(), time.into()])?;
            rows.into_iter().map(|mut row| Ok((row.take(0)?, row.take(1)?))).collect()
        });
        found.await
    }
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
                Some(sha256) if self.blobs.size(&namespace, &sha256).await.is_ok() => sha256,
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
        let Object { size, etag, .. } = bucket.complete(&key, id, etags).await?;
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
        for (id, path) in self.notes(bucket).begun_before(self.now().saturating_sub(age)).await? {
            bucket.abort(&path, &id).await?;
            self.notes(bucket).ended(&id).await?;
        }
        Ok(())
    }
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

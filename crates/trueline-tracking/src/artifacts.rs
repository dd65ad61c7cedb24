//! Artifacts: a tree of paths over content-addressed blobs, apart for each project. A run's and a logged model's
//! files lie under the path that its artifact URI names. Where a server was told to keep them as plain files
//! (`places.rs`) or as objects of a bucket (`objects.rs`), the same calls lead there.

use crate::artifact_path::ArtifactPath;
use crate::folder::PlainFile;
use crate::places::Kept;
use crate::{Tracking, TrackingError, plain};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::json;
use std::ops::Range;
use trueline_blobs::{BlobError, Bucket, Object, Poured, Stored, stream_file};
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{NewEvent, ProjectId};

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

/// An artifact that can be read.
#[derive(Debug)]
pub struct OpenArtifact {
    /// Its size in bytes.
    pub size: u64,
    /// A word that is another one once the bytes are.
    pub etag: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Blob { sha256: String },
    Plain(PlainFile),
    Object(Bucket, Object),
}

impl OpenArtifact {
    /// A blob.
    #[must_use]
    pub fn blob(sha256: &str, size: u64) -> Self {
        Self { size, etag: sha256.to_owned(), source: Source::Blob { sha256: sha256.to_owned() } }
    }

    fn plain(file: PlainFile) -> Self {
        Self { size: file.size, etag: file.etag.clone(), source: Source::Plain(file) }
    }

    fn object(bucket: Bucket, object: Object) -> Self {
        Self { size: object.size, etag: object.etag.clone(), source: Source::Object(bucket, object) }
    }
}

pub(crate) fn missing(path: &ArtifactPath) -> TrackingError {
    TrackingError::NotFound(format!("No such artifact: '{}'", path.as_str()))
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
        match self.places.kept(&project, &path) {
            Kept::Blobs => {}
            Kept::Plain(folder, below) => {
                let id = self.ledger.sources().id();
                let Poured { sha256, size } = plain::put(folder, below, id, bytes, limit).await?;
                let file = ArtifactFile { path: path.as_str().to_owned(), sha256, size };
                return self.tell_written(leave, file).await;
            }
            Kept::Bucket(bucket, key) => {
                let Stored { sha256, object } = self.put_object(&bucket, &key, bytes, limit).await?;
                let file = ArtifactFile { path: path.as_str().to_owned(), sha256, size: object.size };
                return self.tell_written(leave, file).await;
            }
            Kept::ForOthers => return Err(TrackingError::Invalid("Invalid path".to_owned())),
        }
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

    /// Tells the ledger of a file that no row tells of.
    async fn tell_written(
        &self,
        leave: &Authorized<WriteTracking>,
        file: ArtifactFile,
    ) -> Result<ArtifactFile, TrackingError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let event = NewEvent::new(&project, "artifact.written", "artifact", &file.path);
                tx.emit(event.with(json!({ "sha256": file.sha256, "size": file.size })))?;
                Ok(file.clone())
            })
            .await
    }

    /// The path that a URI names, when it is one of this project that the server can read.
    #[must_use]
    pub fn artifact_path(&self, leave: &Authorized<ReadProject>, uri: &str) -> Option<ArtifactPath> {
        self.places.path_of(leave.project(), uri)
    }

    /// One artifact, if there is a file at this path.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn artifact(
        &self,
        leave: &Authorized<ReadProject>,
        path: &ArtifactPath,
    ) -> Result<OpenArtifact, TrackingError> {
        let (project, path) = (leave.project().clone(), path.clone());
        match self.places.kept(&project, &path) {
            Kept::Blobs => {}
            Kept::Plain(folder, below) => {
                let found = plain::open(folder, below).await?;
                return found.map(OpenArtifact::plain).ok_or_else(|| missing(&path));
            }
            Kept::Bucket(bucket, key) if !path.is_root() => {
                let found = bucket.find(&key).await?.ok_or_else(|| missing(&path))?;
                return Ok(OpenArtifact::object(bucket, found));
            }
            Kept::Bucket(..) => return Err(missing(&path)),
            Kept::ForOthers => return Err(missing(&path)),
        }
        let found = self.ledger.db().read({
            let path = path.clone();
            move |tx| find(tx, &project, path.as_str())
        });
        let found: Option<ArtifactFile> = found.await?;
        found.map(|file| OpenArtifact::blob(&file.sha256, file.size)).ok_or_else(|| missing(&path))
    }

    /// The bytes of an artifact, streamed.
    ///
    /// # Errors
    /// [`TrackingError::Blob`].
    pub async fn artifact_bytes(
        &self,
        leave: &Authorized<ReadProject>,
        file: OpenArtifact,
        range: Option<Range<u64>>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, TrackingError> {
        match file.source {
            Source::Plain(file) => {
                let range = range.unwrap_or(0..file.size);
                Ok(stream_file(file.file, range)?.left_stream().left_stream())
            }
            Source::Object(bucket, object) => {
                Ok(bucket.get(&object, range).await?.right_stream().left_stream())
            }
            Source::Blob { sha256 } => {
                let bytes = self.blobs.get(&Self::namespace(leave.project()), &sha256, range).await?;
                Ok(bytes.right_stream())
            }
        }
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

    /// All files below a folder as they are now, with paths relative to it. Plain files are read for their digests.
    ///
    /// # Errors
    /// What the database or the disk says.
    pub async fn artifacts_below(
        &self,
        leave: &Authorized<ReadProject>,
        folder: &ArtifactPath,
    ) -> Result<Vec<ArtifactFile>, TrackingError> {
        let (project, folder) = (leave.project().clone(), folder.clone());
        let (plain, path) = match self.places.kept(&project, &folder) {
            Kept::Blobs => return self.ledger.db().read(move |tx| below(tx, &project, &folder)).await,
            Kept::Plain(plain, path) => (plain, path),
            Kept::Bucket(bucket, path) => return self.objects_below(&bucket, &path).await,
            Kept::ForOthers => return Ok(Vec::new()),
        };
        let mut out = Vec::new();
        for name in plain::below(plain.clone(), path.clone()).await? {
            let file = self.measured.measure(plain.clone(), format!("{path}/{name}"), name);
            out.extend(file.await?);
        }
        Ok(out)
    }

    /// All files below a folder, with paths relative to it, each kept as a blob from here on, whatever becomes of the
    /// folder. What is kept as blobs already is not copied.
    ///
    /// # Errors
    /// What the database or the disk says.
    pub async fn freeze(
        &self,
        leave: &Authorized<ReadProject>,
        folder: &ArtifactPath,
    ) -> Result<Vec<ArtifactFile>, TrackingError> {
        let (plain, path) = match self.places.kept(leave.project(), folder) {
            Kept::Plain(plain, path) => (plain, path),
            Kept::Bucket(bucket, path) => return self.freeze_objects(leave, &bucket, &path).await,
            Kept::Blobs | Kept::ForOthers => {
                let files = self.artifacts_below(leave, folder).await?;
                // Whoever is told of them is about to refer to them, and by then the artifacts may be deleted.
                for file in &files {
                    self.blobs.keep_alive(&Self::namespace(leave.project()), &file.sha256).await?;
                }
                return Ok(files);
            }
        };
        let namespace = Self::namespace(leave.project());
        let mut out = Vec::new();
        for name in plain::below(plain.clone(), path.clone()).await? {
            let Some(found) = plain::open(plain.clone(), format!("{path}/{name}")).await? else { continue };
            let bytes = stream_file(found.file, 0..found.size)?;
            let blob = self.blobs.put(&namespace, bytes, u64::MAX).await?;
            out.push(ArtifactFile { path: name, sha256: blob.sha256, size: blob.size });
        }
        Ok(out)
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
        match self.places.kept(&project, &path) {
            Kept::Blobs => {}
            Kept::Plain(folder, at) => {
                let files = plain::remove(folder, at).await?;
                return self.tell_deleted(leave, files, path).await;
            }
            Kept::Bucket(bucket, key) => {
                let files = bucket.remove(&key).await?;
                return self.tell_deleted(leave, files, path).await;
            }
            Kept::ForOthers => return Err(missing(&path)),
        }
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut gone: Vec<String> = below(tx, &project, &path)?
                    .into_iter()
                    .map(|f| format!("{}{}", path.prefix(), f.path))
                    .collect();
                gone.extend(find(tx, &project, path.as_str())?.map(|f| f.path));
                if gone.is_empty() {
                    return Err(missing(&path));
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

    /// Tells the ledger of files that are gone, which no row told of.
    async fn tell_deleted(
        &self,
        leave: &Authorized<WriteTracking>,
        files: Vec<String>,
        path: ArtifactPath,
    ) -> Result<(), TrackingError> {
        if files.is_empty() {
            return Err(missing(&path));
        }
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let event = NewEvent::new(&project, "artifact.deleted", "artifact", path.as_str());
                tx.emit(event.with(json!({ "files": files })))?;
                Ok(())
            })
            .await
    }
}

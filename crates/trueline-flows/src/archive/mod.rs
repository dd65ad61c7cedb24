//! Sealed segments of the prediction log are archived as Parquet, below a folder or in a bucket, where anybody reads them: one
//! object for each day on which some of a segment came. The ledger has the digest of each.

mod read;
mod rows;

pub use read::ArchiveReader;
pub(crate) use read::ArchivedRow;

use crate::record_segments::{name_of, segment_of};
use rows::Row;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use trueline_blobs::{BlobError, Blobs, NamedTempFile, Objects};
use trueline_identity::{Identity, IdentityError};
use trueline_ledger::{Ledger, Millis, ProjectId};
use trueline_predictions::{Cursor, LogError, Page, PredictionLog, Scan, Sealed, StreamName};
use trueline_query::{ParquetFile, QueryError};
use trueline_serving::{Archived, ArchivedObject, ArchivedSegment, SealedSegments, ServingError};

/// How often it is looked for what was not archived, besides after each seal.
const LOOK: Duration = Duration::from_secs(5);
/// After a seal, the ledger is given so long to take the segment in.
const AFTER_SEAL: Duration = Duration::from_millis(500);
/// Records that become a group of rows together.
const PAGE: usize = 2_000;
/// The folder of a project's labels, beside those of its endpoints. No endpoint's name begins like this.
const LABELS: &str = "_labels";
const DAY_MS: Millis = 24 * 60 * 60 * 1000;

/// Where segments are archived.
#[derive(Clone, Debug)]
pub struct PredictionArchive {
    /// The place.
    pub objects: Objects,
    /// How long copies are kept there; none is for ever.
    pub keep_ms: Option<Millis>,
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The ledger can't be had.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// Projects can't be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The table can't be written.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The archive refuses.
    #[error("the archive of predictions: {0}")]
    Store(#[from] BlobError),
    /// The disk refuses.
    #[error("the disk says: {0}")]
    Io(#[from] io::Error),
    /// The thread that read stopped.
    #[error("archiving stopped: {0}")]
    Thread(String),
}

/// What archiving needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PredictionArchiver {
    /// What is archived.
    pub log: Arc<PredictionLog>,
    /// What the ledger knows of it.
    pub segments: SealedSegments,
    /// The names of projects.
    pub identity: Identity,
    /// Where files are made.
    pub blobs: Blobs,
    /// The clock.
    pub ledger: Ledger,
    /// Where to.
    pub archive: PredictionArchive,
}

/// A table that is about to be archived.
struct Made {
    path: String,
    file: NamedTempFile,
    records: u64,
    event_time_ms: (Millis, Millis),
}

impl PredictionArchiver {
    /// Archives what is sealed and recorded and was not archived yet; how many segments these were. One that fails does not hold up
    /// other streams.
    ///
    /// # Errors
    /// The first failure; the next call goes on from there.
    pub async fn archive_sealed(&self) -> Result<u64, ArchiveError> {
        let projects = self.identity.projects().await?;
        let mut names = projects.into_iter().map(|p| (p.id.to_string(), p.name)).collect::<BTreeMap<_, _>>();
        let (mut done, mut failed) = (0, None);
        for stream in self.log.streams() {
            let id = stream.project().to_owned();
            let project = names.entry(id.clone()).or_insert(id).clone();
            match self.archive_stream(&stream, &project).await {
                Ok(archived) => done += archived,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(done), Err)
    }

    async fn archive_stream(&self, stream: &StreamName, project: &str) -> Result<u64, ArchiveError> {
        let waiting = self.segments.unarchived(&ProjectId::new(stream.project()), &name_of(stream)).await?;
        let Some((first, _)) = waiting.first() else { return Ok(0) };
        let here = self.log.sealed_after(stream, first.saturating_sub(1));
        let mut done = 0;
        for sealed in here {
            // What the ledger does not know by these bytes would not be found to be whole later.
            if waiting.contains(&(sealed.segment, hex::encode(sealed.sha256))) {
                self.archive_segment(&sealed, project).await?;
                done += 1;
            }
        }
        Ok(done)
    }

    async fn archive_segment(&self, sealed: &Sealed, project: &str) -> Result<(), ArchiveError> {
        let folder = format!("{project}/{}", sealed.stream.endpoint().unwrap_or(LABELS));
        let (log, blobs, segment) = (Arc::clone(&self.log), self.blobs.clone(), sealed.clone());
        let make = move || make_tables(&log, &blobs, &segment, &folder);
        let made =
            tokio::task::spawn_blocking(make).await.map_err(|e| ArchiveError::Thread(e.to_string()))??;
        let mut objects = Vec::with_capacity(made.len());
        for table in made {
            self.archive.objects.put_file(&table.path, table.file.path()).await?;
            let mut hash = Sha256::new();
            let bytes = io::copy(&mut File::open(table.file.path())?, &mut hash)?;
            objects.push(ArchivedObject {
                path: table.path,
                bytes,
                sha256: hex::encode(hash.finalize()),
                records: table.records,
                event_time_ms: table.event_time_ms,
            });
        }
        let copy = Archived {
            place: self.archive.objects.uri(),
            received_until_ms: sealed.received_at_ms.1,
            objects,
        };
        Ok(self.segments.archive(segment_of(sealed, self.segments.server()), copy).await?)
    }

    /// Deletes copies that were kept for long enough. The objects go first, so that none stays that the ledger calls deleted.
    ///
    /// # Errors
    /// What the archive or the ledger says; the next call goes on from there.
    pub async fn sweep(&self) -> Result<(), ArchiveError> {
        let Some(keep_ms) = self.archive.keep_ms else { return Ok(()) };
        let before_ms = self.ledger.sources().now().saturating_sub(keep_ms);
        let mut failed = None;
        for segment in self.segments.expired_copies(before_ms).await? {
            // What lies elsewhere, since the archive has moved, is not this server's to delete.
            if segment.copy.place != self.archive.objects.uri() {
                continue;
            }
            if let Err(error) = self.delete(segment, keep_ms).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn delete(&self, segment: ArchivedSegment, keep_ms: Millis) -> Result<(), ArchiveError> {
        for object in &segment.copy.objects {
            self.archive.objects.remove(&object.path).await?;
        }
        self.segments.delete_copy(segment, keep_ms).await?;
        Ok(())
    }

    /// Archives until the server stops; what fails is tried again.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut seals = self.log.seals();
        let mut failing = false;
        loop {
            seals.mark_unchanged();
            let done = async {
                // Neither waits for the other to succeed.
                let archived = self.archive_sealed().await;
                let swept = self.sweep().await;
                archived.and(swept)
            };
            let done = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                done = done => done,
            };
            if let (Err(error), false) = (&done, failing) {
                tracing::warn!(%error, "predictions can't be archived; it is tried again");
            }
            failing = done.is_err();
            let sealed = async {
                drop(seals.changed().await);
                tokio::time::sleep(AFTER_SEAL).await;
            };
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = sealed => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// The tables of a segment, day by day.
fn make_tables(
    log: &PredictionLog,
    blobs: &Blobs,
    sealed: &Sealed,
    folder: &str,
) -> Result<Vec<Made>, ArchiveError> {
    let (stream, number) = (&sealed.stream, sealed.segment);
    // Part of the digest keeps the segments of servers apart that archive to one place.
    let name = format!("{number:020}-{}.parquet", &hex::encode(sealed.sha256)[..8]);
    let spool = || Ok(blobs.spool()?);
    let (project, from) = (stream.project(), Cursor::of_segment(number));
    let scan = |from| Scan { from, event_time_ms: None, limit: PAGE, until: None };
    match stream.endpoint() {
        Some(endpoint) => {
            let page = |at| log.scan_through(project, endpoint, number, &scan(at));
            tables(from, page, spool, folder, &name)
        }
        None => tables(from, |at| log.scan_labels_through(project, number, &scan(at)), spool, folder, &name),
    }
}

/// A table in the making.
struct Open {
    parquet: ParquetFile<File>,
    made: Made,
}

fn tables<T: Row>(
    from: Cursor,
    page: impl Fn(Cursor) -> Result<Page<T>, LogError>,
    spool: impl Fn() -> Result<NamedTempFile, ArchiveError>,
    folder: &str,
    name: &str,
) -> Result<Vec<Made>, ArchiveError> {
    let mut open: BTreeMap<Millis, Open> = BTreeMap::new();
    let mut at = from;
    loop {
        let found = page(at)?;
        let mut days: BTreeMap<Millis, Vec<T>> = BTreeMap::new();
        for row in found.items {
            days.entry(row.received_ms().div_euclid(DAY_MS)).or_default().push(row);
        }
        for (day, rows) in days {
            let batch = T::table(&rows)?;
            let table = match open.entry(day) {
                std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    let file = spool()?;
                    let parquet = ParquetFile::begin(file.reopen()?, batch.schema())?;
                    let path = format!("{folder}/date={}/{name}", date(day));
                    let event_time_ms = (Millis::MAX, Millis::MIN);
                    free.insert(Open { parquet, made: Made { path, file, records: 0, event_time_ms } })
                }
            };
            table.parquet.append(&batch)?;
            for ms in rows.iter().map(Row::event_ms) {
                let (first, last) = table.made.event_time_ms;
                table.made.event_time_ms = (first.min(ms), last.max(ms));
            }
        }
        at = found.next;
        if found.end {
            break;
        }
    }
    let finish = |Open { parquet, mut made }| {
        made.records = parquet.finish()?.1;
        Ok(made)
    };
    open.into_values().map(finish).collect()
}

/// The day, as partitions of tables are named.
fn date(day: Millis) -> String {
    jiff::Timestamp::from_millisecond(day.saturating_mul(DAY_MS))
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

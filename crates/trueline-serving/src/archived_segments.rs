//! Where sealed segments of the prediction log were archived, as the ledger knows it: one event with a digest for each object, and
//! one when they are deleted there.

use crate::error::ServingError;
use crate::segments::{Deletion, SealedSegment, SealedSegments, column, id_of};
use serde::{Deserialize, Serialize};
use serde_json::json;
use trueline_db::Row;
use trueline_ledger::{Actor, Millis, NewEvent, ProjectId};

/// The action of the event that tells where a segment's copy lies.
pub(crate) const ARCHIVED: &str = "predictions.archived";
/// The action of the event that tells of the copy's end.
pub(crate) const ARCHIVE_DELETED: &str = "predictions.archive_deleted";

/// An object of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedObject {
    /// Its path in the archive.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Records in it.
    pub records: u64,
    /// The first and the last event time in it, in milliseconds since 1970.
    pub event_time_ms: (Millis, Millis),
}

/// The copy of a segment in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// The archive.
    pub place: String,
    /// When the last record in it had come, in milliseconds since 1970.
    pub received_until_ms: Millis,
    /// What it lies in: an object for each day on which some of it came.
    pub objects: Vec<ArchivedObject>,
}

/// A segment that was archived.
#[derive(Clone, Debug)]
pub struct ArchivedSegment {
    /// The project.
    pub project: ProjectId,
    /// What is in it: `endpoints/<name>`, or `labels`.
    pub stream: String,
    /// The server whose log it was part of; empty in a database that one server has for itself, and where it was told before events
    /// named servers.
    pub server: String,
    /// Its number in the stream.
    pub number: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its copy.
    pub copy: Archived,
}

/// The number of a segment and the SHA-256 of its bytes, in hexadecimal.
pub type SegmentDigest = (u64, String);

const COLUMNS: &str = "SELECT project, stream, server, number, sha256, archived FROM sealed_segments";

fn from_row(mut row: Row) -> Result<ArchivedSegment, ServingError> {
    let copy = serde_json::from_str(&row.take::<String>(5)?)
        .map_err(|e| ServingError::State(format!("where a segment was archived can't be read: {e}")))?;
    Ok(ArchivedSegment {
        project: ProjectId::new(row.take::<String>(0)?),
        stream: row.take(1)?,
        server: row.take(2)?,
        number: u64::try_from(row.take::<i64>(3)?).unwrap_or(0),
        sha256: row.take(4)?,
        copy,
    })
}

impl SealedSegments {
    /// This server's segments of a stream that are neither archived nor deleted, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unarchived(
        &self,
        project: &ProjectId,
        stream: &str,
    ) -> Result<Vec<SegmentDigest>, ServingError> {
        let (project, stream, server) = (project.clone(), stream.to_owned(), self.server.clone());
        self.ledger
            .db()
            .read(move |tx| {
                let rows = tx.query(
                    "SELECT number, sha256 FROM sealed_segments
                     WHERE project = ?1 AND stream = ?2 AND server = ?3
                           AND archived IS NULL AND deleted_at_ms IS NULL
                     ORDER BY number",
                    &[(&project).into(), (&stream).into(), (&server).into()],
                )?;
                rows.into_iter()
                    .map(|mut row| Ok((u64::try_from(row.take::<i64>(0)?).unwrap_or(0), row.take(1)?)))
                    .collect()
            })
            .await
    }

    /// Writes down where a segment's copy lies.
    ///
    /// # Errors
    /// What the database says.
    pub async fn archive(&self, segment: SealedSegment, copy: Archived) -> Result<(), ServingError> {
        self.ledger
            .write(&Actor::system("prediction-log"), move |tx| {
                tx.execute(
                    "UPDATE sealed_segments SET archived = ?5, archived_until_ms = ?6
                     WHERE project = ?1 AND stream = ?2 AND server = ?3 AND number = ?4",
                    &[
                        (&segment.project).into(),
                        (&segment.stream).into(),
                        (&segment.server).into(),
                        column(segment.number).into(),
                        json!(copy).to_string().into(),
                        copy.received_until_ms.into(),
                    ],
                )?;
                let event = NewEvent::new(&segment.project, ARCHIVED, "prediction_segment", segment.id());
                tx.emit(event.with(json!({ "segment_sha256": segment.sha256, "copy": copy })))?;
                Ok(())
            })
            .await
    }

    /// What the archive holds of a project, of all servers, in the order of streams and numbers.
    ///
    /// # Errors
    /// What the database says.
    pub async fn archived(&self, project: &ProjectId) -> Result<Vec<ArchivedSegment>, ServingError> {
        let project = project.clone();
        self.ledger
            .db()
            .read(move |tx| {
                let sql = format!(
                    "{COLUMNS} WHERE project = ?1 AND archived IS NOT NULL AND archive_deleted_at_ms IS NULL
                     ORDER BY stream, number, server"
                );
                tx.query(&sql, &[(&project).into()])?.into_iter().map(from_row).collect()
            })
            .await
    }

    /// Segments, of all servers, whose copies all came before a time, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expired_copies(&self, before_ms: Millis) -> Result<Vec<ArchivedSegment>, ServingError> {
        self.ledger
            .db()
            .read(move |tx| {
                let sql = format!(
                    "{COLUMNS} WHERE archived_until_ms < ?1 AND archive_deleted_at_ms IS NULL
                     ORDER BY archived_until_ms"
                );
                tx.query(&sql, &[before_ms.into()])?.into_iter().map(from_row).collect()
            })
            .await
    }

    /// Writes down that a segment's copy was deleted because it was kept for long enough, unless another server has done so.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_copy(&self, segment: ArchivedSegment, kept_ms: Millis) -> Result<(), ServingError> {
        self.ledger
            .write(&Actor::system("prediction-log"), move |tx| {
                let ArchivedSegment { project, stream, server, number, copy, .. } = &segment;
                let now = tx.now();
                let changed = tx.execute(
                    "UPDATE sealed_segments SET archive_deleted_at_ms = ?5
                     WHERE project = ?1 AND stream = ?2 AND server = ?3 AND number = ?4
                           AND archive_deleted_at_ms IS NULL",
                    &[project.into(), stream.into(), server.into(), column(*number).into(), now.into()],
                )?;
                if changed == 0 {
                    return Ok(());
                }
                let why = Deletion { received_until_ms: copy.received_until_ms, kept_ms };
                let id = id_of(stream, server, *number);
                let event = NewEvent::new(project, ARCHIVE_DELETED, "prediction_segment", id);
                tx.emit(event.with(json!({ "reason": "retention", "why": why, "copy": copy })))?;
                Ok(())
            })
            .await
    }
}

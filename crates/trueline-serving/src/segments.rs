//! Sealed segments of the prediction log, as the ledger knows them: one event with a digest each, so that a changed or
//! missing file is found.

use crate::error::ServingError;
use serde::Serialize;
use serde_json::json;
use trueline_db::Tx;
use trueline_ledger::{Actor, Ledger, Millis, NewEvent, ProjectId};

/// A segment that will not change any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SealedSegment {
    /// The project.
    pub project: ProjectId,
    /// What is in it: `endpoints/<name>`, or `labels`.
    pub stream: String,
    /// Its number in the stream.
    pub number: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Event times of the first and last record, in milliseconds since 1970.
    pub event_time_ms: (Millis, Millis),
}

/// The ledger's side of the prediction log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SealedSegments {
    ledger: Ledger,
}

fn last(tx: &mut Tx<'_>, project: &ProjectId, stream: &str) -> Result<u64, ServingError> {
    let newest: Option<Option<i64>> = tx.scalar(
        "SELECT MAX(number) FROM prediction_segments WHERE project = ?1 AND stream = ?2",
        &[project.into(), stream.into()],
    )?;
    Ok(newest.flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl SealedSegments {
    /// The actions of its events.
    pub const ACTIONS: [&'static str; 1] = ["predictions.sealed"];

    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// The number of the last segment of a stream that was recorded; 0 when none was.
    ///
    /// # Errors
    /// What the database says.
    pub async fn last(&self, project: &ProjectId, stream: &str) -> Result<u64, ServingError> {
        let (project, stream) = (project.clone(), stream.to_owned());
        self.ledger.db().read(move |tx| last(tx, &project, &stream)).await
    }

    /// Records a segment; one that was recorded before changes nothing.
    ///
    /// # Errors
    /// What the database says.
    pub async fn record(&self, segment: SealedSegment) -> Result<(), ServingError> {
        // A write without an event is refused, so what is there already is found out before.
        if self.last(&segment.project, &segment.stream).await? >= segment.number {
            return Ok(());
        }
        self.ledger
            .write(&Actor::system("prediction-log"), move |tx| {
                let project = &segment.project;
                tx.execute(
                    "INSERT INTO prediction_segments (project, stream, number, sha256) VALUES (?1, ?2, ?3, ?4)",
                    &[
                        project.into(),
                        (&segment.stream).into(),
                        column(segment.number).into(),
                        (&segment.sha256).into(),
                    ],
                )?;
                let id = format!("{}/{}", segment.stream, segment.number);
                let event = NewEvent::new(project, Self::ACTIONS[0], "prediction_segment", id);
                tx.emit(event.with(json!(segment)))?;
                Ok(())
            })
            .await
    }
}

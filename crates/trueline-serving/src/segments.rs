//! Sealed segments of the prediction log, as the ledger knows them: one event with a digest each, so that a changed or
//! missing file is found.

use crate::archived_segments::{ARCHIVE_DELETED, ARCHIVED, Archived, ArchivedObject};
use crate::error::ServingError;
use crate::rollout::{Mismatch, disagreements};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use trueline_db::{Row, Tx};
use trueline_ledger::{Actor, EventRow, Ledger, Millis, NewEvent, ProjectId};

/// The action of the event.
const SEALED: &str = "predictions.sealed";
/// The action of the event by which a server says that a segment is its own, which was told before events named servers.
const CLAIMED: &str = "predictions.claimed";
/// The action of the event that tells of a segment's end.
const DELETED: &str = "predictions.deleted";

/// A segment that will not change any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSegment {
    /// The project.
    pub project: ProjectId,
    /// What is in it: `endpoints/<name>`, or `labels`.
    pub stream: String,
    /// The server whose log it is part of; empty in a database that one server has for itself, and where it was told before events
    /// named servers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
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

impl SealedSegment {
    pub(crate) fn id(&self) -> String {
        id_of(&self.stream, &self.server, self.number)
    }
}

/// Why a segment is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When the last record in it had come, in milliseconds since 1970.
    pub received_until_ms: Millis,
    /// For how long such are kept, in milliseconds.
    pub kept_ms: Millis,
}

/// The ledger's side of a server's prediction log. Servers that share a database number their segments alike, so each has its
/// name beside the number; a server that has its database for itself needs none. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SealedSegments {
    pub(crate) ledger: Ledger,
    pub(crate) server: String,
}

fn last(tx: &mut Tx<'_>, project: &ProjectId, stream: &str, server: &str) -> Result<u64, ServingError> {
    let newest: Option<Option<i64>> = tx.scalar(
        "SELECT MAX(number) FROM sealed_segments WHERE project = ?1 AND stream = ?2 AND server = ?3",
        &[project.into(), stream.into(), server.into()],
    )?;
    Ok(newest.flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

/// Has a segment be this server's whose row names none; `false` when there is no such row with these bytes.
fn claim(tx: &mut Tx<'_>, segment: &SealedSegment) -> Result<bool, ServingError> {
    let claimed = tx.execute(
        "UPDATE sealed_segments SET server = ?5
         WHERE project = ?1 AND stream = ?2 AND server = '' AND number = ?3 AND sha256 = ?4",
        &[
            (&segment.project).into(),
            (&segment.stream).into(),
            column(segment.number).into(),
            (&segment.sha256).into(),
            (&segment.server).into(),
        ],
    )?;
    Ok(claimed > 0)
}

/// A row in words.
fn said(sha256: &str, deleted: bool, copy: Option<&Copy>) -> String {
    let copy = copy.map(|copy| {
        format!(", archived as {}{}", copy.said, if copy.deleted { ", deleted there" } else { "" })
    });
    format!("{sha256}{}{}", if deleted { ", deleted" } else { "" }, copy.unwrap_or_default())
}

/// A segment's copy in the archive.
#[derive(Clone, Debug)]
struct Copy {
    /// The paths and digests of its objects.
    said: String,
    deleted: bool,
}

impl Copy {
    fn of(archived: &Archived, deleted: bool) -> Self {
        let object = |object: &ArchivedObject| format!("{} with SHA-256 {}", object.path, object.sha256);
        Self { said: archived.objects.iter().map(object).collect::<Vec<_>>().join(" and "), deleted }
    }
}

/// A segment's id within its project, as events have it: `<stream>/<number>@<server>`, without the server where none was
/// named. No name of an endpoint has a `@`.
pub(crate) fn id_of(stream: &str, server: &str, number: u64) -> String {
    let at = if server.is_empty() { "" } else { "@" };
    format!("{stream}/{number}{at}{server}")
}

/// The stream, the server and the number in an id.
fn parts_of(id: &str) -> Option<(&str, &str, u64)> {
    let (id, server) = id.rsplit_once('@').unwrap_or((id, ""));
    let (stream, number) = id.rsplit_once('/')?;
    Some((stream, server, number.parse().ok()?))
}

pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl SealedSegments {
    /// What a ledger knows of the log of the server of this name, which is empty where no other shares the database.
    #[must_use]
    pub fn new(ledger: Ledger, server: String) -> Self {
        Self { ledger, server }
    }

    /// The name of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The number of this server's last segment of a stream that was recorded; 0 when none was.
    ///
    /// # Errors
    /// What the database says.
    pub async fn last(&self, project: &ProjectId, stream: &str) -> Result<u64, ServingError> {
        let (project, stream, server) = (project.clone(), stream.to_owned(), self.server.clone());
        self.ledger.db().read(move |tx| last(tx, &project, &stream, &server)).await
    }

    /// Records a segment of this server; one that was recorded before changes nothing.
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
                let claimed = !segment.server.is_empty() && claim(tx, &segment)?;
                if !claimed {
                    tx.execute(
                        "INSERT INTO sealed_segments (project, stream, server, number, sha256)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                        &[
                            project.into(),
                            (&segment.stream).into(),
                            (&segment.server).into(),
                            column(segment.number).into(),
                            (&segment.sha256).into(),
                        ],
                    )?;
                }
                let action = if claimed { CLAIMED } else { SEALED };
                let event = NewEvent::new(project, action, "prediction_segment", segment.id());
                tx.emit(event.with(json!(segment)))?;
                Ok(())
            })
            .await
    }

    /// Writes down that a segment is about to be deleted because it was kept for long enough; one of which that is written
    /// down changes nothing. `false` when no event tells of this segment with these bytes, or, where there is an `archive`, none
    /// of its copy there: then it must stay.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete(
        &self,
        segment: SealedSegment,
        why: Deletion,
        archive: bool,
    ) -> Result<bool, ServingError> {
        let asked = segment.clone();
        match self.ledger.db().read(move |tx| recorded(tx, &asked)).await? {
            None => return Ok(false),
            Some(Recorded { deleted: true, .. }) => return Ok(true),
            Some(Recorded { archived: false, .. }) if archive => return Ok(false),
            Some(Recorded { .. }) => {}
        }
        self.ledger
            .write(&Actor::system("prediction-log"), move |tx| {
                let key = [
                    (&segment.project).into(),
                    (&segment.stream).into(),
                    (&segment.server).into(),
                    column(segment.number).into(),
                    tx.now().into(),
                ];
                tx.execute(
                    "UPDATE sealed_segments SET deleted_at_ms = ?5
                     WHERE project = ?1 AND stream = ?2 AND server = ?3 AND number = ?4",
                    &key,
                )?;
                let event = NewEvent::new(&segment.project, DELETED, "prediction_segment", segment.id());
                let (segment, reason) = (segment.clone(), "retention".to_owned());
                tx.emit(event.with(json!(DeletedSegment { segment, reason, why })))?;
                Ok(true)
            })
            .await
    }
}

/// What the event of a deletion says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeletedSegment {
    #[serde(flatten)]
    segment: SealedSegment,
    reason: String,
    #[serde(flatten)]
    why: Deletion,
}

struct Recorded {
    deleted: bool,
    archived: bool,
}

/// What is recorded of a segment that has these bytes.
fn recorded(tx: &mut Tx<'_>, segment: &SealedSegment) -> Result<Option<Recorded>, ServingError> {
    let row = tx.query_opt(
        "SELECT deleted_at_ms, archived FROM sealed_segments
         WHERE project = ?1 AND stream = ?2 AND server = ?3 AND number = ?4 AND sha256 = ?5",
        &[
            (&segment.project).into(),
            (&segment.stream).into(),
            (&segment.server).into(),
            column(segment.number).into(),
            (&segment.sha256).into(),
        ],
    )?;
    let read = |mut row: Row| {
        let deleted = row.take::<Option<i64>>(0)?.is_some();
        Ok(Recorded { deleted, archived: row.take::<Option<String>>(1)?.is_some() })
    };
    row.map(read).transpose()
}

/// What one event says of a segment.
#[derive(Clone, Debug)]
pub struct ToldSegment {
    /// The event's index in the log, when it has one.
    pub entry: Option<i64>,
    /// The project's id.
    pub project: String,
    /// What is in it: `endpoints/<name>`, or `labels`.
    pub stream: String,
    /// The server whose log it is part of; empty where no event names one.
    pub server: String,
    /// Its number in the stream.
    pub number: u64,
    /// The segment; none when the event's payload was erased.
    pub segment: Option<SealedSegment>,
    /// Whether a later event tells that it was deleted, because it was kept for long enough.
    pub deleted: bool,
    /// Its copy in the archive.
    copy: Option<Copy>,
    /// The event that tells of its copy had its payload erased.
    copy_unknown: bool,
}

impl ToldSegment {
    /// Takes in a later event.
    fn go_on(&mut self, event: &EventRow) {
        match event.action.as_str() {
            DELETED => self.deleted = true,
            ARCHIVED => {
                let copy = event.payload.as_ref().map(|payload| payload["copy"].clone());
                let copy = copy.and_then(|copy| serde_json::from_value(copy).ok());
                self.copy_unknown = copy.is_none();
                self.copy = copy.map(|archived| Copy::of(&archived, false));
            }
            ARCHIVE_DELETED => self.copy.iter_mut().for_each(|copy| copy.deleted = true),
            _ => {}
        }
    }

    /// Whether it lies with another server than this. One that no event gives to a server is looked for by each, or who changes it
    /// before it is claimed would not be found out.
    #[must_use]
    pub fn is_elsewhere(&self, server: &str) -> bool {
        !server.is_empty() && !self.server.is_empty() && self.server != server
    }

    fn claim(&mut self, server: &str) {
        server.clone_into(&mut self.server);
        if let Some(segment) = &mut self.segment {
            server.clone_into(&mut segment.server);
        }
    }
}

/// Whose segment it is: the project, and the id within it.
type Key = (String, String);

/// Sealed segments as the ledger tells them, in the order in which they were recorded, for `trueline ledger verify
/// --state`. What was recorded must be there, until an event says that it is deleted.
#[derive(Clone, Debug, Default)]
pub struct SegmentReplay {
    told: Vec<ToldSegment>,
    /// Where each stands in `told`.
    places: HashMap<Key, usize>,
}

impl SegmentReplay {
    /// The actions whose events are replayed.
    pub const ACTIONS: &[&str] = &[SEALED, CLAIMED, DELETED, ARCHIVED, ARCHIVE_DELETED];

    /// Takes in the next event, in the order of commit.
    pub fn apply(&mut self, event: &EventRow) {
        let id = &event.resource.id;
        let Some((stream, server, number)) = parts_of(id) else { return };
        let key = |id: String| (event.project.clone(), id);
        match event.action.as_str() {
            SEALED => {
                self.told.push(ToldSegment {
                    entry: event.index,
                    project: event.project.clone(),
                    stream: stream.to_owned(),
                    server: server.to_owned(),
                    number,
                    segment: event.payload.clone().and_then(|payload| serde_json::from_value(payload).ok()),
                    deleted: false,
                    copy: None,
                    copy_unknown: false,
                });
                self.places.insert(key(id.clone()), self.told.len() - 1);
            }
            CLAIMED => {
                let place = self.places.remove(&key(id_of(stream, "", number)));
                if let Some(told) = place.and_then(|at| self.told.get_mut(at)) {
                    told.claim(server);
                }
                self.places.extend(place.map(|at| (key(id.clone()), at)));
            }
            _ => {
                if let Some(told) = self.places.get(&key(id.clone())).and_then(|at| self.told.get_mut(*at)) {
                    told.go_on(event);
                }
            }
        }
    }

    /// What was told.
    #[must_use]
    pub fn told(&self) -> &[ToldSegment] {
        &self.told
    }

    /// The rows that are not what the events say, and how many can't be told, because payloads were erased.
    ///
    /// # Errors
    /// What the database says.
    pub fn compare(&self, tx: &mut Tx<'_>) -> Result<(Vec<Mismatch>, u64), ServingError> {
        let digest = |told: &ToldSegment| {
            let known = told.segment.as_ref().filter(|_| !told.copy_unknown);
            known.map(|s| said(&s.sha256, told.deleted, told.copy.as_ref()))
        };
        let told = self.places.iter().map(|(key, at)| (key.clone(), self.told.get(*at).and_then(digest)));
        let told: BTreeMap<_, _> = told.collect();
        let mut found = BTreeMap::new();
        let sql =
            "SELECT project, stream, server, number, sha256, deleted_at_ms, archived, archive_deleted_at_ms
                   FROM sealed_segments";
        for mut row in tx.query(sql, &[])? {
            let (project, stream, server): (String, String, String) =
                (row.take(0)?, row.take(1)?, row.take(2)?);
            let number = u64::try_from(row.take::<i64>(3)?).unwrap_or(0);
            let deleted = row.take::<Option<i64>>(5)?.is_some();
            let archived = row.take::<Option<String>>(6)?.and_then(|text| serde_json::from_str(&text).ok());
            let copy_deleted = row.take::<Option<i64>>(7)?.is_some();
            let copy = archived.map(|archived| Copy::of(&archived, copy_deleted));
            let said = said(&row.take::<String>(4)?, deleted, copy.as_ref());
            found.insert((project, id_of(&stream, &server, number)), said);
        }
        Ok(disagreements("prediction segment", &told, &found))
    }
}

//! Sealing: points are too many for an event each, so they are written in chunks, and the digest of a chunk is recorded
//! by an event once nothing more comes into it. A sealed chunk never changes; what is logged later opens the next one.
//!
//! The chunks of a run are sealed when it has ended, those of a logged model when they have been left alone for a
//! while. Reading and hashing happen page by page on the readers; the writer only checks that nothing was added since.

use crate::metrics::MetricPoint;
use crate::points::{self, Folder};
use crate::{Tracking, TrackingError};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use trueline_db::{Db, Tx, Value};
use trueline_ledger::{Actor, EventRow, NewEvent, ProjectId, Resource};

/// What the event of a sealed chunk is called.
const SEALED: &str = "metrics.sealed";
/// Events of imports seal the first chunk of everything that came with them.
pub(crate) const IMPORTED: [&str; 2] = ["runs.imported", "logged_models.imported"];
/// Points read and hashed at a time.
const PAGE: i64 = 5_000;
/// Chunks sealed in one round at the most.
const ROUND: i64 = 500;
/// How often it is looked for chunks to seal.
const PAUSE: Duration = Duration::from_secs(1);

/// Whose points they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Run,
    LoggedModel,
}

impl Owner {
    const fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::LoggedModel => "logged_model",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Run, Self::LoggedModel].into_iter().find(|o| o.word() == word)
    }
}

/// The points of a logged model's chunk after a key, in the order of their keys: `?1` model, `?2` chunk, `?3` limit.
fn points_of_model(resumed: bool) -> String {
    let after =
        if resumed { "AND (key, step, at_ms, value, is_nan, run) > (?4, ?5, ?6, ?7, ?8, ?9)" } else { "" };
    format!(
        "SELECT key, step, at_ms, value, is_nan, run FROM logged_model_metrics WHERE model = ?1 AND chunk = ?2 {after}
         ORDER BY key, step, at_ms, value, is_nan, run LIMIT ?3"
    )
}

/// The chunk that new points of an owner belong to.
pub(crate) fn open_chunk(tx: &mut Tx<'_>, owner: Owner, id: &str) -> Result<i64, TrackingError> {
    let open = tx.scalar(
        "SELECT chunk FROM metric_chunks WHERE kind = ?1 AND owner = ?2",
        &[owner.word().into(), id.into()],
    )?;
    Ok(open.unwrap_or(0))
}

/// Notes that so many points came into the open chunk of each of these owners.
pub(crate) fn added<'a>(
    tx: &mut Tx<'_>,
    kind: Owner,
    points: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), TrackingError> {
    let row = |(owner, points): (&str, u64)| {
        let points = i64::try_from(points).unwrap_or(i64::MAX);
        vec![kind.word().into(), owner.into(), 0i64.into(), points.into()]
    };
    tx.insert_rows(
        "INSERT INTO metric_chunks (kind, owner, chunk, points)",
        points.into_iter().filter(|(_, points)| *points > 0).map(row).collect(),
        "ON CONFLICT (kind, owner) DO UPDATE SET points = metric_chunks.points + excluded.points",
    )?;
    Ok(())
}

/// Notes that an owner's first chunk is sealed by the event of this transaction.
pub(crate) fn first_is_sealed(tx: &mut Tx<'_>, owner: Owner, id: &str) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO metric_chunks (kind, owner, chunk, points) VALUES (?1, ?2, 1, 0)",
        &[owner.word().into(), id.into()],
    )?;
    Ok(())
}

/// What an import's event says of the points of one owner.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FirstSeal {
    owner: &'static str,
    id: String,
    points: i64,
    sha256: String,
}

impl FirstSeal {
    /// Of points in the order of their keys, as (key, run, point).
    pub(crate) fn of<'p>(
        owner: Owner,
        id: &str,
        points: impl Iterator<Item = (&'p str, &'p str, MetricPoint)>,
    ) -> Self {
        let mut all = Points::default();
        for (key, run, point) in points {
            let (value, is_nan) = point.stored();
            all.add(key, run, (point.step, point.at_ms), (value, is_nan.into()));
        }
        Self { owner: owner.word(), id: id.to_owned(), points: all.count, sha256: all.sha256() }
    }

    pub(crate) fn points(&self) -> u64 {
        self.points.unsigned_abs()
    }
}

/// A chunk by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chunk {
    owner: Owner,
    id: String,
    number: i64,
}

/// A digest in progress; it can be carried from one read to the next.
#[derive(Clone, Debug, Default)]
struct Points {
    hash: Sha256,
    count: i64,
    /// The key of the last point of a logged model,
    last: Option<[Value; 6]>,
    /// or of the last series of a run.
    last_key: Option<String>,
}

impl Points {
    /// Takes in the next page of a chunk; answers whether there may be more.
    fn page(&mut self, tx: &mut Tx<'_>, chunk: &Chunk) -> Result<bool, TrackingError> {
        match chunk.owner {
            Owner::Run => self.series(tx, chunk),
            Owner::LoggedModel => self.rows(tx, chunk),
        }
    }

    /// Takes in the next series of a run's chunk.
    fn series(&mut self, tx: &mut Tx<'_>, chunk: &Chunk) -> Result<bool, TrackingError> {
        let run: Option<i64> = tx.scalar("SELECT n FROM runs WHERE id = ?1", &[(&chunk.id).into()])?;
        let Some(run) = run else { return Ok(false) };
        let Some((key, points)) = points::blocks_of_chunk(tx, run, chunk.number, self.last_key.as_deref())?
        else {
            return Ok(false);
        };
        for point in points {
            let (value, is_nan) = point.stored();
            self.add(&key, &chunk.id, (point.step, point.at_ms), (value, is_nan.into()));
        }
        self.last_key = Some(key);
        Ok(true)
    }

    /// Takes in the next rows of a logged model's chunk.
    fn rows(&mut self, tx: &mut Tx<'_>, chunk: &Chunk) -> Result<bool, TrackingError> {
        let mut params: Vec<Value> = vec![(&chunk.id).into(), chunk.number.into(), PAGE.into()];
        params.extend(self.last.iter().flatten().cloned());
        let rows = tx.query(&points_of_model(self.last.is_some()), &params)?;
        let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) == PAGE;
        for mut row in rows {
            let (key, step, at_ms): (String, i64, i64) = (row.take(0)?, row.take(1)?, row.take(2)?);
            let (value, is_nan, run): (f64, i64, String) = (row.take(3)?, row.take(4)?, row.take(5)?);
            self.add(&key, &run, (step, at_ms), (value, is_nan));
            self.last =
                Some([key.into(), step.into(), at_ms.into(), value.into(), is_nan.into(), run.into()]);
        }
        Ok(more)
    }

    fn add(&mut self, key: &str, run: &str, (step, at_ms): (i64, i64), (value, is_nan): (f64, i64)) {
        for text in [key, run] {
            self.hash.update((text.len() as u64).to_be_bytes());
            self.hash.update(text.as_bytes());
        }
        self.hash.update(step.to_be_bytes());
        self.hash.update(at_ms.to_be_bytes());
        self.hash.update(value.to_bits().to_be_bytes());
        self.hash.update(is_nan.to_be_bytes());
        self.count += 1;
    }

    /// A whole chunk, in reads of a page each.
    async fn of(db: &Db, chunk: &Chunk) -> Result<Self, TrackingError> {
        let mut points = Self::default();
        loop {
            let (so_far, of) = (points.clone(), chunk.clone());
            let read = db.read(move |tx: &mut Tx<'_>| {
                let mut points = so_far.clone();
                let more = points.page(tx, &of)?;
                Ok::<_, TrackingError>((points, more))
            });
            let more;
            (points, more) = read.await?;
            if !more {
                return Ok(points);
            }
        }
    }

    fn sha256(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

/// An open chunk that is due.
#[derive(Clone, Debug)]
struct Due {
    chunk: Chunk,
    project: ProjectId,
    /// Points that came into it, those twice that came twice.
    points: i64,
}

fn due(tx: &mut Tx<'_>) -> Result<Vec<Due>, TrackingError> {
    let rows = tx.query(
        "SELECT c.kind, c.owner, c.chunk, c.points, r.project FROM metric_chunks c JOIN runs r ON r.id = c.owner
         WHERE c.kind = 'run' AND c.points > 0 AND r.status IN ('FINISHED', 'FAILED', 'KILLED')
         UNION ALL
         SELECT c.kind, c.owner, c.chunk, c.points, m.project
         FROM metric_chunks c JOIN logged_models m ON m.id = c.owner
         WHERE c.kind = 'logged_model' AND c.points > 0
         ORDER BY 1, 2 LIMIT ?1",
        &[ROUND.into()],
    )?;
    let mut found = Vec::new();
    for mut row in rows {
        let (kind, id, number): (String, String, i64) = (row.take(0)?, row.take(1)?, row.take(2)?);
        let (points, project): (i64, String) = (row.take(3)?, row.take(4)?);
        let project = ProjectId::new(project);
        found.extend(Owner::parse(&kind).map(|owner| Due {
            chunk: Chunk { owner, id, number },
            project,
            points,
        }));
    }
    Ok(found)
}

impl Tracking {
    /// Folds points and seals chunks that are due until `stop` says so; what is due by then is still folded and sealed.
    pub async fn run_sealer(&self, mut stop: watch::Receiver<bool>) {
        let mut seen = BTreeMap::new();
        let mut folder = Folder::default();
        loop {
            let stopping = *stop.borrow();
            if let Err(error) = folder.round(self, stopping).await {
                tracing::warn!(%error, "points could not be folded; trying again");
            }
            match self.seal_due(&seen, stopping).await {
                Ok(now) => seen = now,
                Err(error) => tracing::warn!(%error, "points could not be sealed; trying again"),
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Seals the chunks that have not changed since they were `seen`, or all that are due; answers what was seen now.
    async fn seal_due(
        &self,
        seen: &BTreeMap<Chunk, i64>,
        all: bool,
    ) -> Result<BTreeMap<Chunk, i64>, TrackingError> {
        let found = self.ledger.db().read(due).await?;
        for due in &found {
            if all || seen.get(&due.chunk) == Some(&due.points) {
                self.seal(due.clone()).await?;
            }
        }
        Ok(found.into_iter().map(|due| (due.chunk, due.points)).collect())
    }

    async fn seal(&self, due: Due) -> Result<(), TrackingError> {
        let points = Points::of(self.ledger.db(), &due.chunk).await?;
        let (count, sha256) = (points.count, points.sha256());
        self.ledger
            .write(&Actor::system("sealer"), move |tx| {
                let Chunk { owner, id, number } = &due.chunk;
                let closed = tx.execute(
                    "UPDATE metric_chunks SET chunk = chunk + 1, points = 0
                     WHERE kind = ?1 AND owner = ?2 AND chunk = ?3 AND points = ?4",
                    &[owner.word().into(), id.into(), (*number).into(), due.points.into()],
                )?;
                if closed == 0 {
                    // Points came in meanwhile, or another server was faster: the next round sees.
                    return Ok(());
                }
                let payload = json!({ "chunk": number, "points": count, "sha256": sha256 });
                tx.emit(NewEvent::new(&due.project, SEALED, owner.word(), id).with(payload))?;
                Ok(())
            })
            .await
    }
}

/// What an event said of a sealed chunk, to be compared with the points that are there.
#[derive(Clone, Debug)]
pub struct Seal {
    chunk: Chunk,
    project: String,
    points: i64,
    sha256: String,
}

/// A sealed chunk whose points are not those that were sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Whose points they are.
    pub owner: String,
    /// What the ledger says.
    pub sealed: String,
    /// What is there.
    pub found: String,
}

/// What the event of an owner that is gone for good is called.
const PURGED: [(Owner, &str); 2] = [(Owner::Run, "run.purged"), (Owner::LoggedModel, "logged_model.purged")];

impl Seal {
    /// Whose points they are, with the project and the action of an event after which none of them are there any more.
    #[must_use]
    pub fn purge(&self) -> (&str, Resource, &'static str) {
        let owner = self.chunk.owner;
        let action = PURGED.iter().find(|(of, _)| *of == owner).map_or("", |(_, action)| *action);
        (&self.project, Resource::new(owner.word(), &self.chunk.id), action)
    }

    /// The actions whose events seal points.
    pub const ACTIONS: &[&str] = &[SEALED, IMPORTED[0], IMPORTED[1]];

    /// What an event says, an import's of many chunks; none when it is no event of a seal, or its payload was erased.
    #[must_use]
    pub fn of(event: &EventRow) -> Option<Vec<Self>> {
        let payload = event.payload.as_ref()?;
        let project = &event.project;
        if event.action == SEALED {
            return Some(vec![Self::said(project, &event.resource.kind, &event.resource.id, payload)?]);
        }
        if !IMPORTED.contains(&event.action.as_str()) {
            return None;
        }
        let sealed = payload["sealed"].as_array()?;
        sealed.iter().map(|s| Self::said(project, s["owner"].as_str()?, s["id"].as_str()?, s)).collect()
    }

    pub(crate) fn said(project: &str, owner: &str, id: &str, payload: &serde_json::Value) -> Option<Self> {
        Some(Self {
            chunk: Chunk {
                owner: Owner::parse(owner)?,
                id: id.to_owned(),
                number: payload.get("chunk").map_or(Some(0), serde_json::Value::as_i64)?,
            },
            project: project.to_owned(),
            points: payload["points"].as_i64()?,
            sha256: payload["sha256"].as_str()?.to_owned(),
        })
    }

    /// Compares with the points in the database, in reads of a page each.
    ///
    /// # Errors
    /// What the database says.
    pub async fn check(&self, db: &Db) -> Result<Option<Broken>, TrackingError> {
        self.compare(Points::of(db, &self.chunk).await)
    }

    /// The same over one connection.
    ///
    /// # Errors
    /// What the database says.
    pub fn check_offline(&self, tx: &mut Tx<'_>) -> Result<Option<Broken>, TrackingError> {
        let mut points = Points::default();
        let read = loop {
            match points.page(tx, &self.chunk) {
                Ok(true) => {}
                Ok(false) => break Ok(points),
                Err(error) => break Err(error),
            }
        };
        self.compare(read)
    }

    fn compare(&self, found: Result<Points, TrackingError>) -> Result<Option<Broken>, TrackingError> {
        let found = match found {
            Ok(found) if found.count == self.points && found.sha256() == self.sha256 => return Ok(None),
            Ok(found) => format!("{} points with digest {}", found.count, found.sha256()),
            Err(TrackingError::Damaged(why)) => why,
            Err(other) => return Err(other),
        };
        let Chunk { owner, id, number } = &self.chunk;
        Ok(Some(Broken {
            owner: format!("{} {}: {id}, chunk {number} of its metrics", owner.word(), self.project),
            sealed: format!("{} points with digest {}", self.points, self.sha256),
            found,
        }))
    }
}

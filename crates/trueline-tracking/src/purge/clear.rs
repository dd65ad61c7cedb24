//! What is left of purged things: params, tags, points, artifacts. Some rows at a time, so that the writer is free in
//! between; plain files and objects before the rows that remember where they are.

use super::{Kind, in_rows};
use crate::artifact_path::ArtifactPath;
use crate::places::Kept;
use crate::{Tracking, TrackingError, plain};
use trueline_db::{Row, Tx};
use trueline_ledger::ProjectId;

/// Rows that one transaction deletes at the most, and a bit.
const ROWS: i64 = 2_000;
/// Blocks and rows of the inbox weigh more.
const HEAVY: i64 = 200;
/// Purged things that are looked at together.
const AT_ONCE: i64 = 64;

/// What is cleared without an event of its own: the purge's event has told of it.
const TABLES: &[&str] = &[
    "artifacts",
    "latest_metrics",
    "logged_model_metrics",
    "metric_blocks",
    "metric_inbox",
    "params",
    "purged",
    "tags",
];

/// A purged thing of which something may be left.
#[derive(Clone, Debug)]
struct Left {
    project: ProjectId,
    kind: String,
    id: String,
    n: i64,
    folder: Option<ArtifactPath>,
}

fn left(row: &mut Row) -> Result<Left, TrackingError> {
    let folder: Option<String> = row.take(4)?;
    Ok(Left {
        project: ProjectId::new(row.take::<String>(0)?),
        kind: row.take(1)?,
        id: row.take(2)?,
        n: row.take(3)?,
        folder: folder.as_deref().and_then(ArtifactPath::from_stored),
    })
}

fn next(tx: &mut Tx<'_>) -> Result<Vec<Left>, TrackingError> {
    let sql = "SELECT project, kind, id, n, folder FROM purged WHERE cleared = 0 ORDER BY at_ms LIMIT ?1";
    tx.query(sql, &[AT_ONCE.into()])?.into_iter().map(|mut row| left(&mut row)).collect()
}

/// Of a run, by its number: what is deleted, how many rows at a time.
const OF_RUN: [(&str, i64); 5] = [
    ("DELETE FROM params WHERE run = ?1 AND key IN (SELECT key FROM params WHERE run = ?1 LIMIT ?2)", ROWS),
    ("DELETE FROM tags WHERE run = ?1 AND key IN (SELECT key FROM tags WHERE run = ?1 LIMIT ?2)", ROWS),
    (
        "DELETE FROM latest_metrics WHERE run = ?1 AND key IN (SELECT key FROM latest_metrics WHERE run = ?1 LIMIT ?2)",
        ROWS,
    ),
    ("DELETE FROM metric_inbox WHERE id IN (SELECT id FROM metric_inbox WHERE run = ?1 LIMIT ?2)", HEAVY),
    (
        "DELETE FROM metric_blocks WHERE run = ?1
         AND (key, block) IN (SELECT key, block FROM metric_blocks WHERE run = ?1 LIMIT ?2)",
        HEAVY,
    ),
];

const OF_MODEL: &str = "DELETE FROM logged_model_metrics WHERE model = ?1
     AND (key, step, at_ms, value, is_nan, run) IN
         (SELECT key, step, at_ms, value, is_nan, run FROM logged_model_metrics WHERE model = ?1 LIMIT ?2)";

const ARTIFACTS: &str = "DELETE FROM artifacts WHERE project = ?1
     AND path IN (SELECT path FROM artifacts WHERE project = ?1 AND path > ?2 AND path < ?3 LIMIT ?4)";

impl Left {
    /// Deletes some of what is left; answers how many rows, none when nothing is left.
    fn clear(&self, tx: &mut Tx<'_>) -> Result<u64, TrackingError> {
        if self.kind == Kind::Run.word() {
            for (sql, most) in OF_RUN {
                let gone = tx.execute(sql, &[self.n.into(), most.into()])?;
                if gone > 0 {
                    return Ok(gone);
                }
            }
        }
        if self.kind == Kind::LoggedModel.word() {
            let gone = tx.execute(OF_MODEL, &[(&self.id).into(), ROWS.into()])?;
            if gone > 0 {
                return Ok(gone);
            }
        }
        let Some(folder) = self.folder.as_ref().filter(|folder| in_rows(folder)) else { return Ok(0) };
        let (start, end) = (folder.prefix(), format!("{}0", folder.as_str()));
        Ok(tx.execute(ARTIFACTS, &[(&self.project).into(), start.into(), end.into(), ROWS.into()])?)
    }

    fn cleared(&self, tx: &mut Tx<'_>) -> Result<(), TrackingError> {
        tx.execute(
            "UPDATE purged SET cleared = 1 WHERE project = ?1 AND kind = ?2 AND id = ?3",
            &[(&self.project).into(), (&self.kind).into(), (&self.id).into()],
        )?;
        Ok(())
    }
}

impl Tracking {
    /// Clears what is left of purged things, until nothing is.
    ///
    /// # Errors
    /// What the database or the disk says.
    pub async fn finish_purges(&self) -> Result<(), TrackingError> {
        loop {
            let found = self.ledger.db().read(next).await?;
            if found.is_empty() {
                return Ok(());
            }
            for one in &found {
                self.clear_files(one).await?;
            }
            self.ledger
                .write_summarised(TABLES, move |tx| {
                    let mut gone = 0;
                    for one in &found {
                        loop {
                            if gone >= ROWS.unsigned_abs() {
                                return Ok(());
                            }
                            match one.clear(tx)? {
                                0 => break,
                                rows => gone += rows,
                            }
                        }
                        one.cleared(tx)?;
                    }
                    Ok::<_, TrackingError>(())
                })
                .await?;
        }
    }

    /// Removes artifacts that are plain files, or objects of a bucket.
    async fn clear_files(&self, left: &Left) -> Result<(), TrackingError> {
        let Some(folder) = &left.folder else { return Ok(()) };
        match self.places.kept(&left.project, folder) {
            Kept::Plain(plain, at) => drop(plain::remove(plain, at).await?),
            Kept::Bucket(bucket, at) if !folder.is_root() => drop(bucket.remove(&at).await?),
            Kept::Bucket(..) | Kept::Blobs | Kept::ForOthers => {}
        }
        Ok(())
    }
}

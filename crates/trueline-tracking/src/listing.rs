//! What a folder of artifacts holds, one level deep. The tree is read in pages by path, and a folder met on the way is
//! stepped over, so that a listing costs what it shows and not what lies below it.

use crate::artifact_path::ArtifactPath;
use crate::artifacts::{ArtifactFile, size};
use crate::places::Kept;
use crate::{Tracking, TrackingError, objects, plain};
use serde::Serialize;
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::ProjectId;

/// Rows read at a time.
const PAGE: i64 = 500;

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ArtifactEntry {
    /// A folder.
    Folder {
        /// Its name.
        name: String,
    },
    /// A file.
    File {
        /// Its name.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// SHA-256 of its bytes; none when it is a plain file or an object, which was not read for this.
        sha256: Option<String>,
    },
}

/// A listing in the making: files below the folder go in, in the order of their paths, and its own entries come out.
#[derive(Debug, Default)]
pub struct Level {
    entries: Vec<ArtifactEntry>,
}

impl Level {
    /// Takes the next file, whose path is relative to the folder.
    pub fn take(&mut self, file: ArtifactFile) {
        let Some((name, _)) = file.path.split_once('/') else {
            let ArtifactFile { path: name, sha256, size } = file;
            self.entries.push(ArtifactEntry::File { name, size, sha256: Some(sha256) });
            return;
        };
        let known = matches!(self.entries.last(), Some(ArtifactEntry::Folder { name: last }) if last == name);
        if !known {
            self.entries.push(ArtifactEntry::Folder { name: name.to_owned() });
        }
    }

    /// The entries, in the order of their paths.
    #[must_use]
    pub fn entries(self) -> Vec<ArtifactEntry> {
        self.entries
    }
}

/// The files of `folder` after `cursor`, with paths relative to it.
fn page(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    folder: &ArtifactPath,
    cursor: &str,
) -> Result<Vec<ArtifactFile>, TrackingError> {
    let prefix = folder.prefix();
    // `0` follows `/`, so that every path below the folder is smaller.
    let end = if folder.is_root() { "\u{10ffff}".to_owned() } else { format!("{}0", folder.as_str()) };
    let rows = tx.query(
        "SELECT path, sha256, size FROM artifacts WHERE project = ?1 AND path >= ?2 AND path < ?3
         ORDER BY path LIMIT ?4",
        &[project.into(), format!("{prefix}{cursor}").into(), end.into(), PAGE.into()],
    )?;
    let read = |mut row: trueline_db::Row| {
        let path: String = row.take(0)?;
        let path = path.strip_prefix(&prefix).unwrap_or(&path).to_owned();
        Ok(ArtifactFile { path, sha256: row.take(1)?, size: size(&mut row, 2)? })
    };
    rows.into_iter().map(read).collect()
}

impl Tracking {
    /// What a folder holds, by name, at most so many entries.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list_artifacts(
        &self,
        leave: &Authorized<ReadProject>,
        folder: &ArtifactPath,
        most: usize,
    ) -> Result<Vec<ArtifactEntry>, TrackingError> {
        match self.places.kept(leave.project(), folder) {
            Kept::Blobs => {}
            Kept::Plain(folder, path) => return plain::list(folder, path, most).await,
            Kept::Bucket(bucket, path) => return objects::list(&bucket, &path, most).await,
            Kept::ForOthers => return Ok(Vec::new()),
        }
        let mut level = Level::default();
        let mut cursor = String::new();
        loop {
            let (project, folder, from) = (leave.project().clone(), folder.clone(), cursor);
            let files = self.ledger.db().read(move |tx| page(tx, &project, &folder, &from)).await?;
            let Some(last) = files.last() else { break };
            // The smallest path after the last one; after all of its folder, when it lies in one.
            cursor = match last.path.split_once('/') {
                Some((name, _)) => format!("{name}0"),
                None => format!("{}\u{1}", last.path),
            };
            files.into_iter().for_each(|file| level.take(file));
            if level.entries.len() > most {
                break;
            }
        }
        level.entries.truncate(most);
        Ok(level.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lists_its_own_names_once() {
        let file = |path: &str| ArtifactFile { path: path.into(), sha256: "0".into(), size: 1 };
        let mut level = Level::default();
        for path in ["a/x", "a/y", "b"] {
            level.take(file(path));
        }
        let folder = ArtifactEntry::Folder { name: "a".into() };
        let b = ArtifactEntry::File { name: "b".into(), size: 1, sha256: Some("0".into()) };
        assert_eq!(level.entries(), [folder, b]);
    }
}

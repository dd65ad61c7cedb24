//! The log's files: entry bundles, hash tiles and the signed checkpoint under one folder, in the C2SP layout.
//!
//! A file is written beside its place, fsynced, renamed and never overwritten; the checkpoint comes last. A crash in
//! between leaves files that the next run makes again with the same bytes.

use crate::LedgerError;
use crate::key::LedgerKey;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use trueline_tlog::note::Note;
use trueline_tlog::{Checkpoint, LogAppender, LogReader, ReadError, Tile, TileId, TlogProof};

pub(crate) const CHECKPOINT: &str = "checkpoint";

/// A folder of tiles, for reading.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl LogReader for Folder {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ReadError::failed(path, &e)),
        }
    }
}

impl Folder {
    /// All partial tiles that lie there, those of earlier sizes among them.
    pub(crate) fn partial_tiles(&self) -> Result<Vec<TileId>, LedgerError> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.join("tile")];
        while let Some(folder) = folders.pop() {
            let failed = |e: &dyn std::fmt::Display| LedgerError::files(&folder, e);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                // The log may be growing, and the folder of a tile that became full is removed.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(&e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| failed(&e))?;
                let path = entry.path();
                if entry.file_type().map_err(|e| failed(&e))?.is_dir() {
                    folders.push(path);
                } else if let Ok(name) = path.strip_prefix(&self.0) {
                    found.extend(name.to_str().and_then(|n| n.parse::<TileId>().ok()));
                }
            }
        }
        found.retain(TileId::is_partial);
        Ok(found)
    }
}

/// The log's files as their only writer holds them.
#[derive(Debug)]
pub struct LedgerFiles {
    folder: PathBuf,
    key: LedgerKey,
    log: LogAppender,
}

/// The newest checkpoint, as it stands in the files. Nobody has verified it yet.
#[derive(Clone, Debug)]
pub struct LedgerHead {
    /// Entries under it.
    pub size: u64,
    /// Root hash, hexadecimal.
    pub root: String,
    /// The signed note.
    pub note: String,
    /// Name of the log.
    pub origin: String,
    /// When the file was written, in milliseconds since 1970.
    pub written_at_ms: crate::Millis,
}

impl LedgerHead {
    /// What a signed note says. When it was written is not in it.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] when it can't be read as a checkpoint.
    pub fn parse(note: &str) -> Result<Self, LedgerError> {
        let diverged = |e: &dyn std::fmt::Display| LedgerError::Diverged(e.to_string());
        let parsed = Note::parse_unverified(note.as_bytes()).map_err(|e| diverged(&e))?;
        let checkpoint: Checkpoint = parsed.text().parse().map_err(|e| diverged(&e))?;
        Ok(Self {
            size: checkpoint.size,
            root: checkpoint.root.to_hex(),
            origin: checkpoint.origin,
            written_at_ms: 0,
            note: note.to_owned(),
        })
    }
}

impl LedgerFiles {
    /// Reads the newest checkpoint, if there is one.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] when it can't be read as one.
    pub fn read_head(folder: &Path) -> Result<Option<LedgerHead>, LedgerError> {
        let path = folder.join(CHECKPOINT);
        let Ok(note) = fs::read_to_string(&path) else { return Ok(None) };
        let written = fs::metadata(&path).and_then(|m| m.modified()).ok();
        let since = written.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        let written_at_ms = crate::Millis::try_from(since.as_millis()).unwrap_or(crate::Millis::MAX);
        Ok(Some(LedgerHead { written_at_ms, ..LedgerHead::parse(&note)? }))
    }

    /// A proof that entry `index` is under the newest checkpoint, as a `.tlog-proof` file; none when it is not yet.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] when tiles are missing.
    pub fn inclusion_proof(folder: &Path, index: u64) -> Result<Option<String>, LedgerError> {
        let Some(head) = Self::read_head(folder)? else { return Ok(None) };
        if index >= head.size {
            return Ok(None);
        }
        let proof = TlogProof::prove(Folder(folder.to_owned()), &head.note, index);
        proof.map(|p| Some(p.to_string())).map_err(|e| LedgerError::Diverged(e.to_string()))
    }

    /// Opens the files under `folder`, which is made if it is missing, and checks their right edge against the signed
    /// checkpoint.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] when tiles and checkpoint disagree, [`LedgerError::Files`].
    pub fn open(folder: &Path, key: LedgerKey) -> Result<Self, LedgerError> {
        fs::create_dir_all(folder).map_err(|e| LedgerError::files(folder, e))?;
        let reader = Folder(folder.to_owned());
        let diverged = |e: &dyn std::fmt::Display| LedgerError::Diverged(e.to_string());
        let log = match reader.read(CHECKPOINT).map_err(|e| diverged(&e))? {
            None => LogAppender::new(),
            Some(signed) => {
                let checkpoint = Checkpoint::open(&signed, key.verifier()).map_err(|e| diverged(&e))?;
                let log = LogAppender::resume(&reader, checkpoint.size).map_err(|e| diverged(&e))?;
                if log.root() != checkpoint.root {
                    return Err(diverged(&"the tiles' root is not the checkpoint's"));
                }
                log
            }
        };
        Ok(Self { folder: folder.to_owned(), key, log })
    }

    /// How many entries the files hold.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// The public key, as text.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.key.public()
    }

    /// Adds entries, makes them durable, then signs the checkpoint over them.
    ///
    /// # Errors
    /// [`LedgerError::Files`], [`LedgerError::Diverged`] when a file is there with other bytes. The files are as
    /// before then, or hold more than the checkpoint says, which the next run completes.
    pub(crate) fn extend(&mut self, entries: &[Vec<u8>]) -> Result<(), LedgerError> {
        let mut log = self.log.clone();
        for entry in entries {
            log.push(entry).map_err(|e| LedgerError::Diverged(e.to_string()))?;
        }
        let tiles = log.take_tiles();
        let mut folders = BTreeSet::new();
        for tile in &tiles {
            self.write_tile(tile, &mut folders)?;
        }
        for folder in &folders {
            sync_folder(folder)?;
        }
        let checkpoint = Checkpoint::new(self.key.signer().name(), log.size(), log.root());
        let note = checkpoint.sign(&[self.key.signer()]).map_err(|e| LedgerError::Diverged(e.to_string()))?;
        self.replace(&self.folder.join(CHECKPOINT), note.to_string().as_bytes())?;
        sync_folder(&self.folder)?;
        self.log = log;
        for tile in tiles.iter().filter(|tile| !tile.id.is_partial()) {
            self.remove_partials(tile);
        }
        Ok(())
    }

    fn write_tile(&self, tile: &Tile, folders: &mut BTreeSet<PathBuf>) -> Result<(), LedgerError> {
        let path = self.folder.join(tile.id.path());
        let parent = path.parent().unwrap_or(&self.folder);
        // A new folder is durable only when its parent is. A tile that a crashed run left may not be durable in its
        // folder yet either.
        let below = |p: &&Path| p.starts_with(&self.folder);
        folders.extend(parent.ancestors().take_while(below).map(Path::to_owned));
        match fs::read(&path) {
            Ok(there) if there == tile.bytes => Ok(()),
            Ok(_) => Err(LedgerError::Diverged(format!("{} has other bytes", tile.id.path()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_all(parent).map_err(|e| LedgerError::files(parent, e))?;
                self.replace(&path, &tile.bytes)
            }
            Err(e) => Err(LedgerError::files(&path, e)),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
        let failed = |e: &dyn std::fmt::Display| LedgerError::files(path, e);
        let beside = self.folder.join("new");
        let mut file = fs::File::create(&beside).map_err(|e| failed(&e))?;
        file.write_all(bytes).map_err(|e| failed(&e))?;
        file.sync_all().map_err(|e| failed(&e))?;
        fs::rename(&beside, path).map_err(|e| failed(&e))
    }

    /// Partial tiles stay as long as their full one is missing: who reads with an older checkpoint needs them until the
    /// full tile can stand in for them.
    fn remove_partials(&self, full: &Tile) {
        let full = self.folder.join(full.id.path());
        drop(fs::remove_dir_all(format!("{}.p", full.display())));
    }
}

fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| LedgerError::files(folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sources;

    fn open(dir: &Path) -> Result<LedgerFiles, LedgerError> {
        let key = LedgerKey::open(&dir.join("key"), &dir.join("ledger"), &Sources::system())?;
        LedgerFiles::open(&dir.join("ledger"), key)
    }

    fn entries(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
        range.map(|i| format!("entry {i}").into_bytes()).collect()
    }

    #[test]
    fn files_go_on_where_they_were_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = open(dir.path()).unwrap();
        files.extend(&entries(0..300)).unwrap();
        drop(files);
        let mut files = open(dir.path()).unwrap();
        assert_eq!(files.size(), 300);
        files.extend(&entries(300..301)).unwrap();
        let partials = fs::read_dir(dir.path().join("ledger/tile/entries/001.p")).unwrap();
        let mut left: Vec<_> = partials.map(|f| f.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["44", "45"], "a reader may still be at the earlier size");
        files.extend(&entries(301..512)).unwrap();
        assert!(dir.path().join("ledger/tile/entries/001").exists());
        assert!(!dir.path().join("ledger/tile/entries/001.p").exists(), "the full tile stands in for them");
    }

    #[test]
    fn a_reader_with_an_older_checkpoint_finds_everything_while_the_log_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = open(dir.path()).unwrap();
        let key = files.public_key().parse().unwrap();
        let reader = Folder(dir.path().join("ledger"));
        let mut next = 0;
        // Steps within a tile, to its end, over one and over several.
        for step in [5, 1, 200, 50, 1, 300, 700, 3] {
            files.extend(&entries(next..next + step)).unwrap();
            next += step;
            let older = fs::read(dir.path().join("ledger/checkpoint")).unwrap();
            let mut seen = 0;
            let found = trueline_tlog::verify_log(&reader, &older, &key, None, |_, _| {
                // The log grows under the reader's hands.
                if seen == 0 {
                    files.extend(&entries(next..next + 90)).unwrap();
                    next += 90;
                }
                seen += 1;
            });
            assert_eq!(found.unwrap().checkpoint.size, seen);
            let note = String::from_utf8(older).unwrap();
            TlogProof::prove(&reader, &note, seen - 1).unwrap();
        }
    }

    #[test]
    fn a_crash_before_the_checkpoint_is_completed_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = open(dir.path()).unwrap();
        files.extend(&entries(0..10)).unwrap();
        let checkpoint = fs::read(dir.path().join("ledger/checkpoint")).unwrap();
        files.extend(&entries(10..400)).unwrap();
        // The checkpoint of the second step, and the partial tile that only the first one names, never came.
        fs::write(dir.path().join("ledger/checkpoint"), checkpoint).unwrap();
        let mut again = open(dir.path()).unwrap();
        assert_eq!(again.size(), 10);
        again.extend(&entries(10..400)).unwrap();
        assert_eq!(open(dir.path()).unwrap().size(), 400);

        let mut other = entries(10..400);
        other[0] = b"another".to_vec();
        fs::write(dir.path().join("ledger/checkpoint"), b"").unwrap();
        assert!(open(dir.path()).is_err(), "a damaged checkpoint is refused");
    }
}

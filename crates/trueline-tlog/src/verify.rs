//! The check of a whole log: everything is recomputed from the entries and compared with every byte of the tiles and with
//! the signed checkpoint. What entries say is not looked at here, but shown to the caller one by one.

use std::fmt;

use crate::append::Frontier;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::{Hash, leaf_hash};
use crate::note::VerifierKey;
use crate::read::{LogReader, ReadError, Stored, read_stored};
use crate::tile::{self, TILE_LEVELS, TILE_WIDTH, TileId, TileLevel, tiles_for_size};

/// What was checked in a log that is as its checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The verified checkpoint.
    pub checkpoint: Checkpoint,
    /// Bytes of all entries together.
    pub entry_bytes: u64,
    /// Entry bundles and hash tiles compared.
    pub files: u64,
    /// Size of the earlier checkpoint that the log goes on from, if one was given.
    pub extends: Option<u64>,
}

/// The first thing wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Lowest index of an entry that is altered, lost or, when the fault cannot be narrowed down, no longer vouched for: 0
    /// for a bad checkpoint, the size of the confirmed earlier checkpoint for a wrong root.
    pub first_bad_entry: u64,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from entry {} on: {}", self.first_bad_entry, self.fault)
    }
}

impl std::error::Error for Finding {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

/// How a log is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The checkpoint's signature or form.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log is shorter than it was.
    #[error("rolled back: the checkpoint has {size} entries, an earlier one had {earlier}")]
    RolledBack {
        /// Entries of the earlier checkpoint.
        earlier: u64,
        /// Entries now.
        size: u64,
    },
    /// The log does not go on from the earlier checkpoint.
    #[error("forked: the first {size} entries have root {found}, an earlier checkpoint has {earlier}")]
    Forked {
        /// Entries of the earlier checkpoint.
        size: u64,
        /// Root of the earlier checkpoint.
        earlier: Hash,
        /// Root of as many entries now.
        found: Hash,
    },
    /// The earlier checkpoint is of another log.
    #[error("the earlier checkpoint is of log {earlier:?}, this one is {origin:?}")]
    OtherLog {
        /// Origin of the earlier checkpoint.
        earlier: String,
        /// Origin now.
        origin: String,
    },
    /// The store failed; nothing is said about the log.
    #[error(transparent)]
    Unreadable(ReadError),
    /// A tile or bundle that this size requires.
    #[error("{path} is missing")]
    Missing {
        /// File.
        path: String,
    },
    /// A hash tile that is cut off or has bytes too many.
    #[error("{path} has {found} bytes instead of {expected}")]
    TileLength {
        /// File.
        path: String,
        /// Bytes it should have.
        expected: usize,
        /// Bytes it has.
        found: usize,
    },
    /// A bundle that ends before its last entry does.
    #[error("{path} has {found} whole entries instead of {expected}")]
    FewerEntries {
        /// File.
        path: String,
        /// Entries it should have.
        expected: u16,
        /// Entries it has.
        found: u16,
    },
    /// A bundle with bytes after its last entry.
    #[error("{path} has {bytes} bytes after its last entry")]
    TrailingBytes {
        /// File.
        path: String,
        /// How many.
        bytes: usize,
    },
    /// The entry is not the one that the level-0 tile tells: one of the two is altered.
    #[error("the entry has hash {computed}, but {path} says {stored}")]
    EntryMismatch {
        /// Level-0 tile.
        path: String,
        /// Hash of the entry.
        computed: Hash,
        /// Hash in the tile.
        stored: Hash,
    },
    /// A hash in a tile above level 0 is not that of the hashes below it.
    #[error("hash {position} of {path} is {stored}, but those below it give {computed}")]
    NodeMismatch {
        /// Level of the tile, 1 or more.
        level: u8,
        /// Index of the tile in its level.
        index: u64,
        /// Position of the hash in the tile.
        position: u16,
        /// File.
        path: String,
        /// Hash of the subtree.
        computed: Hash,
        /// Hash in the tile.
        stored: Hash,
    },
    /// Entries and tiles agree with each other, but not with the checkpoint.
    #[error("the entries have root {computed}, the checkpoint says {signed}")]
    RootMismatch {
        /// Root of the entries.
        computed: Hash,
        /// Root in the checkpoint.
        signed: Hash,
    },
    /// A leftover tile holds other bytes than the current one at its place.
    #[error("leftover {path} is not the beginning of the current tile")]
    Stale {
        /// File.
        path: String,
    },
    /// A tile that a log of this size does not have.
    #[error("{path} lies beyond the {size} entries of the checkpoint")]
    Beyond {
        /// File.
        path: String,
        /// Entries of the checkpoint.
        size: u64,
    },
}

impl Fault {
    fn at(self, first_bad_entry: u64) -> Finding {
        Finding { first_bad_entry, fault: self }
    }
}

/// Recomputes a log from its entry bundles and compares everything: each entry with the level-0 tile, each higher hash with
/// the hashes below, all bytes of all tiles that this size requires, the root with the checkpoint, the checkpoint with the
/// trusted key, and the log's beginning with an `earlier` checkpoint from elsewhere. Without such a one, whoever holds the
/// key can have rewritten everything.
///
/// `on_entry` gets each entry, in order, once it agrees with its tile; only after `Ok` is it covered by the signature.
///
/// A partial tile that was removed after its full one came about is read from the full one. Memory: one bundle, and two
/// tiles per level.
///
/// # Errors
/// The first thing that is wrong, in the order of entries.
pub fn verify_log<R: LogReader + ?Sized>(
    reader: &R,
    signed_checkpoint: &[u8],
    key: &VerifierKey,
    earlier: Option<&Checkpoint>,
    mut on_entry: impl FnMut(u64, &[u8]),
) -> Result<Report, Finding> {
    let checkpoint = Checkpoint::open(signed_checkpoint, key).map_err(|fault| Fault::from(fault).at(0))?;
    check_succession(&checkpoint, earlier)?;
    let size = checkpoint.size;
    let mut recomputed = Recomputed::new(reader, size);
    let mut entry_bytes = 0;
    check_prefix(&recomputed.frontier, earlier)?;
    for id in tiles_for_size(size).take_while(|id| id.level() == TileLevel::Entries) {
        check_bundle(reader, id, |at, entry| {
            recomputed.push(leaf_hash(entry))?;
            check_prefix(&recomputed.frontier, earlier)?;
            entry_bytes += entry.len() as u64;
            on_entry(at, entry);
            Ok(())
        })?;
        recomputed.files += 1;
    }
    let computed = recomputed.frontier.root();
    if computed != checkpoint.root {
        let confirmed = earlier.map_or(0, |earlier| earlier.size);
        return Err(Fault::RootMismatch { computed, signed: checkpoint.root }.at(confirmed));
    }
    let extends = earlier.map(|earlier| earlier.size);
    Ok(Report { checkpoint, entry_bytes, files: recomputed.files, extends })
}

/// Checks a partial tile or bundle that a smaller size left behind: it must be the beginning of the current one at its
/// place. To be called after [`verify_log`] has found nothing, with the checkpoint's size.
///
/// # Errors
/// The leftover is missing, is not such a beginning, or lies beyond the size; or the current file is missing or unreadable.
pub fn check_stale_tile<R: LogReader + ?Sized>(reader: &R, stale: TileId, size: u64) -> Result<(), Finding> {
    let from_entry = stale.first_entry(0);
    let path = stale.path();
    let current = TileId::at(stale.level(), stale.index(), size).filter(|now| now.width() >= stale.width());
    let Some(current) = current else {
        return Err(Fault::Beyond { path, size }.at(from_entry));
    };
    let unreadable = |fault| Fault::Unreadable(fault).at(from_entry);
    let Some(found) = reader.read(&path).map_err(unreadable)? else {
        return Err(Fault::Missing { path }.at(from_entry));
    };
    let now = read_tile(reader, current)?;
    let length = match stale.level() {
        TileLevel::Hashes(_) => Some(usize::from(stale.width()) * Hash::LEN),
        TileLevel::Entries => bundle_length(&now.bytes, stale.width()),
    };
    if length.and_then(|length| now.bytes.get(..length)) == Some(found.as_slice()) {
        return Ok(());
    }
    let agreeing = now.bytes.iter().zip(&found).take_while(|(now, found)| now == found).count();
    let position = match stale.level() {
        TileLevel::Hashes(_) => agreeing / Hash::LEN,
        TileLevel::Entries => whole_entries(&now.bytes[..agreeing]),
    };
    let position = position.min(stale.width().into()) as u16;
    Err(Fault::Stale { path }.at(stale.first_entry(position)))
}

/// Bytes that the first `width` entries of a bundle take.
fn bundle_length(bundle: &[u8], width: u16) -> Option<usize> {
    let mut entries = tile::entries(bundle);
    for _ in 0..width {
        entries.next()?.ok()?;
    }
    Some(bundle.len() - entries.rest().len())
}

fn whole_entries(bundle: &[u8]) -> usize {
    tile::entries(bundle).take_while(Result::is_ok).count()
}

fn check_succession(now: &Checkpoint, earlier: Option<&Checkpoint>) -> Result<(), Finding> {
    let Some(earlier) = earlier else { return Ok(()) };
    if earlier.origin != now.origin {
        let (earlier, origin) = (earlier.origin.clone(), now.origin.clone());
        return Err(Fault::OtherLog { earlier, origin }.at(0));
    }
    if earlier.size > now.size {
        return Err(Fault::RolledBack { earlier: earlier.size, size: now.size }.at(now.size));
    }
    if earlier.size == now.size && earlier.root != now.root {
        let fault = Fault::Forked { size: now.size, earlier: earlier.root, found: now.root };
        return Err(fault.at(0));
    }
    Ok(())
}

/// Compares with the earlier checkpoint once as many entries are recomputed.
fn check_prefix(frontier: &Frontier, earlier: Option<&Checkpoint>) -> Result<(), Finding> {
    let Some(earlier) = earlier.filter(|earlier| earlier.size == frontier.size()) else { return Ok(()) };
    let found = frontier.root();
    if found == earlier.root {
        return Ok(());
    }
    Err(Fault::Forked { size: earlier.size, earlier: earlier.root, found }.at(0))
}

/// Shows the entries of a bundle one by one, so that an entry before a cut or a wrong length is judged first.
fn check_bundle<R: LogReader + ?Sized>(
    reader: &R,
    id: TileId,
    mut on_entry: impl FnMut(u64, &[u8]) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let Stored { path, bytes, width } = read_tile(reader, id)?;
    let mut entries = tile::entries(&bytes);
    for position in 0..id.width() {
        let at = id.first_entry(position);
        let Some(Ok(entry)) = entries.next() else {
            let fault = Fault::FewerEntries { path, expected: width, found: position };
            return Err(fault.at(at));
        };
        on_entry(at, entry)?;
    }
    // A full bundle that stands in for a partial one goes on after this log's last entry.
    let trailing = entries.rest().len();
    if width == id.width() && trailing > 0 {
        let fault = Fault::TrailingBytes { path, bytes: trailing };
        return Err(fault.at(id.first_entry(id.width())));
    }
    Ok(())
}

fn read_tile<R: LogReader + ?Sized>(reader: &R, id: TileId) -> Result<Stored, Finding> {
    read_stored(reader, id).map_err(|fault| {
        let fault = match fault {
            ReadError::Missing { path } => Fault::Missing { path },
            other => Fault::Unreadable(other),
        };
        fault.at(id.first_entry(0))
    })
}

/// The tree as the entries give it, compared with the stored tiles hash by hash while it grows.
struct Recomputed<'r, R: ?Sized> {
    reader: &'r R,
    size: u64,
    frontier: Frontier,
    /// Current tile of each level, as stored.
    stored: [Vec<Hash>; TILE_LEVELS as usize],
    files: u64,
}

impl<'r, R: LogReader + ?Sized> Recomputed<'r, R> {
    fn new(reader: &'r R, size: u64) -> Self {
        Recomputed { reader, size, frontier: Frontier::new(), stored: Default::default(), files: 0 }
    }

    fn push(&mut self, leaf: Hash) -> Result<(), Finding> {
        let Recomputed { reader, size, frontier, stored, files } = self;
        let mut finding = None;
        frontier.push_with(leaf, |level, at, tile| {
            let (Some(computed), None) = (tile.last(), &finding) else { return };
            let current = &mut stored[usize::from(level)];
            finding = compare(*reader, *size, current, level, at, computed, files).err();
        });
        finding.map_or(Ok(()), Err)
    }
}

/// Compares the hash at position `at` of a tile level with the stored tile, which is fetched at its first hash.
fn compare<R: LogReader + ?Sized>(
    reader: &R,
    size: u64,
    current: &mut Vec<Hash>,
    level: u8,
    at: u64,
    computed: &Hash,
    files: &mut u64,
) -> Result<(), Finding> {
    let (index, position) = (at / u64::from(TILE_WIDTH), (at % u64::from(TILE_WIDTH)) as u16);
    let tile_level = TileLevel::Hashes(level);
    let Some(id) = TileId::at(tile_level, index, size) else {
        // Complete subtrees of a tree of this size all have a tile; a verifier must not pass what it cannot compare.
        return Err(Fault::Unreadable(ReadError::OutsideTree { level, index: at, size }).at(0));
    };
    if position == 0 {
        *current = read_whole_tile(reader, id)?;
        *files += 1;
    }
    let first_bad_entry = id.first_entry(position);
    let path = id.path();
    let computed = *computed;
    let fault = match current.get(usize::from(position)) {
        Some(stored) if *stored == computed => return Ok(()),
        Some(&stored) if level == 0 => Fault::EntryMismatch { path, computed, stored },
        Some(&stored) => Fault::NodeMismatch { level, index, position, path, computed, stored },
        None => Fault::Missing { path },
    };
    Err(fault.at(first_bad_entry))
}

/// Hashes of a tile, which must have exactly the bytes that its width tells.
fn read_whole_tile<R: LogReader + ?Sized>(reader: &R, id: TileId) -> Result<Vec<Hash>, Finding> {
    let Stored { path, bytes, width } = read_tile(reader, id)?;
    let (expected, found) = (usize::from(width) * Hash::LEN, bytes.len());
    if expected != found {
        let position = (found / Hash::LEN).min(id.width().into()) as u16;
        return Err(Fault::TileLength { path, expected, found }.at(id.first_entry(position)));
    }
    Ok(Hash::many(&bytes))
}

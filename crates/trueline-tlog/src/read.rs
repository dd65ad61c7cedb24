//! Reading a log's files through a trait the caller fulfils, and tree nodes out of tiles.
//! Nothing read here is trusted: proofs must be verified against a signed checkpoint.

use std::collections::{BTreeMap, HashMap};

use crate::merkle::{self, Hash, HashReader};
use crate::tile::{self, TILE_HEIGHT, TILE_WIDTH, TileError, TileId, TileLevel};

/// The files of a log, by their path below its prefix, such as `tile/0/000.p/5`.
pub trait LogReader {
    /// Contents of a file, `None` if it does not exist.
    ///
    /// # Errors
    /// [`ReadError::Failed`] when it is unknown whether it exists or what it holds.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError>;
}

impl<R: LogReader + ?Sized> LogReader for &R {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        (**self).read(path)
    }
}

impl LogReader for BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.get(path).cloned())
    }
}

impl LogReader for HashMap<String, Vec<u8>> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.get(path).cloned())
    }
}

/// Why a file or node could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error("cannot read {path}: {reason}")]
    Failed {
        /// File.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// A file that the log of this size must have.
    #[error("{path} is missing")]
    Missing {
        /// File.
        path: String,
    },
    /// A hash tile with more or fewer bytes than its width tells.
    #[error("{path} has {found} bytes instead of {expected}")]
    Length {
        /// File.
        path: String,
        /// Bytes it should have.
        expected: usize,
        /// Bytes it has.
        found: usize,
    },
    /// An entry bundle that cannot be decoded.
    #[error("{path}: {fault}")]
    Bundle {
        /// File.
        path: String,
        /// What is wrong with it.
        fault: TileError,
    },
    /// A node that is not, or not yet complete, in the tree.
    #[error("node {index} at level {level} is not complete in a tree of {size}")]
    OutsideTree {
        /// Tree level, leaves at 0.
        level: u8,
        /// Position in the level.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
}

impl ReadError {
    /// The store failed on this path.
    pub fn failed(path: impl Into<String>, reason: &impl ToString) -> Self {
        ReadError::Failed { path: path.into(), reason: reason.to_string() }
    }
}

/// Bytes of a tile, and whether they are those of the full tile in place of a partial one that has been removed, as the
/// tiles specification lets logs do.
pub(crate) struct Stored {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) width: u16,
}

pub(crate) fn read_stored<R: LogReader + ?Sized>(reader: &R, id: TileId) -> Result<Stored, ReadError> {
    let path = id.path();
    if let Some(bytes) = reader.read(&path)? {
        return Ok(Stored { path, bytes, width: id.width() });
    }
    if id.is_partial() {
        let full = id.full().path();
        if let Some(bytes) = reader.read(&full)? {
            return Ok(Stored { path: full, bytes, width: TILE_WIDTH });
        }
    }
    Err(ReadError::Missing { path })
}

/// Hashes of a tile, as many as its width; taken from the full tile if only that is left.
///
/// # Errors
/// [`ReadError::Missing`], [`ReadError::Length`], or the store failed.
pub fn read_hashes<R: LogReader + ?Sized>(reader: &R, id: TileId) -> Result<Vec<Hash>, ReadError> {
    let Stored { path, bytes, width } = read_stored(reader, id)?;
    let (expected, found) = (usize::from(width) * Hash::LEN, bytes.len());
    if found != expected {
        return Err(ReadError::Length { path, expected, found });
    }
    let mut hashes = Hash::many(&bytes);
    hashes.truncate(id.width().into());
    Ok(hashes)
}

/// Entries of a bundle, as many as its width; taken from the full bundle if only that is left.
///
/// # Errors
/// [`ReadError::Missing`], [`ReadError::Bundle`], or the store failed.
pub fn read_entries<R: LogReader + ?Sized>(reader: &R, id: TileId) -> Result<Vec<Vec<u8>>, ReadError> {
    let Stored { path, bytes, width } = read_stored(reader, id)?;
    let entries = tile::decode_bundle(&bytes, width).map_err(|fault| ReadError::Bundle { path, fault })?;
    Ok(entries.into_iter().take(id.width().into()).map(<[u8]>::to_vec).collect())
}

/// Tree nodes of a log of a fixed size, computed from its tiles. Keeps one tile per level in memory.
#[derive(Debug)]
pub struct TileHashes<R> {
    reader: R,
    size: u64,
    kept: BTreeMap<u8, (u64, Vec<Hash>)>,
}

impl<R: LogReader> TileHashes<R> {
    /// Nodes of the first `size` entries.
    pub fn new(reader: R, size: u64) -> Self {
        TileHashes { reader, size, kept: BTreeMap::new() }
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl<R: LogReader> HashReader for TileHashes<R> {
    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let outside = ReadError::OutsideTree { level, index, size: self.size };
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let per_tile = u64::from(TILE_WIDTH) >> height;
        let (tile_index, within) = (index / per_tile, (index % per_tile) as usize);
        let Some(id) = TileId::at(TileLevel::Hashes(tile_level), tile_index, self.size) else {
            return Err(outside);
        };
        if self.kept.get(&tile_level).is_none_or(|(kept, _)| *kept != tile_index) {
            self.kept.insert(tile_level, (tile_index, read_hashes(&self.reader, id)?));
        }
        self.kept
            .get(&tile_level)
            .and_then(|(_, hashes)| hashes.get(within << height..(within + 1) << height))
            .map(merkle::root)
            .ok_or(outside)
    }
}

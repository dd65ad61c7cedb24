//! Growing a log: leaf hashes or entries go in, full and partial tiles and the root come out.
//! Writing them, in which order and how durably, is the caller's; so is signing the checkpoint.

use std::mem;

use crate::merkle::{self, Hash, leaf_hash};
use crate::read::{LogReader, ReadError, read_entries, read_hashes};
use crate::tile::{EntryBundle, TILE_LEVELS, TILE_WIDTH, Tile, TileError, TileId, TileLevel, tiles_added};

/// The right edge of a tree: the unfinished tile at each level, at most 255 hashes each. Enough to go on appending and
/// to tell the root at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Frontier {
    /// The edge of an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of an existing log of `size` entries, from its rightmost tiles. Compare [`Frontier::root`] with a
    /// checkpoint before trusting it.
    ///
    /// # Errors
    /// A tile is missing, has the wrong length or cannot be read.
    pub fn resume<R: LogReader + ?Sized>(reader: &R, size: u64) -> Result<Self, ReadError> {
        let mut levels = Vec::new();
        for level in (0..TILE_LEVELS).map(TileLevel::Hashes) {
            let count = level.count(size);
            if count == 0 {
                break;
            }
            let edge = TileId::at(level, count / u64::from(TILE_WIDTH), size);
            levels.push(edge.map_or(Ok(Vec::new()), |id| read_hashes(reader, id))?);
        }
        Ok(Frontier { size, levels })
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of all leaves so far; at most 256 hashes per level are joined.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut edge: Option<Hash> = None;
        for level in &self.levels {
            let mut nodes = level.clone();
            nodes.extend(edge);
            edge = (!nodes.is_empty()).then(|| merkle::root(&nodes));
        }
        edge.unwrap_or(Hash::EMPTY_ROOT)
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _, _| {});
    }

    /// Appends a leaf and shows each hash that comes to stand in a tile by it: tile level, position in the level, and the
    /// tile up to and including that hash. Levels above 0 are reached when the tile below is full.
    pub(crate) fn push_with(&mut self, leaf: Hash, mut on_hash: impl FnMut(u8, u64, &[Hash])) {
        let (mut hash, mut index) = (leaf, self.size);
        for level in 0..TILE_LEVELS {
            let slot = usize::from(level);
            if self.levels.len() == slot {
                self.levels.push(Vec::new());
            }
            let tile = &mut self.levels[slot];
            tile.push(hash);
            on_hash(level, index, tile);
            if tile.len() < usize::from(TILE_WIDTH) {
                break;
            }
            hash = merkle::root(tile);
            tile.clear();
            index /= u64::from(TILE_WIDTH);
        }
        self.size += 1;
    }

    /// Hashes of the unfinished tile at a level.
    fn edge(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }
}

/// Takes leaf hashes and yields the hash tiles to write.
#[derive(Debug, Clone, Default)]
pub struct Appender {
    frontier: Frontier,
    full: Vec<Tile>,
    taken: u64,
}

impl Appender {
    /// Begins an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with a log of `size` entries whose tiles are all there. Compare [`Appender::root`] with the checkpoint
    /// before going on.
    ///
    /// # Errors
    /// As [`Frontier::resume`].
    pub fn resume<R: LogReader + ?Sized>(reader: &R, size: u64) -> Result<Self, ReadError> {
        Ok(Appender { frontier: Frontier::resume(reader, size)?, full: Vec::new(), taken: size })
    }

    /// Leaves so far, taken or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root of all leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Appends a leaf and returns its index. Finished tiles wait in memory for [`Appender::take_tiles`].
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.frontier.size();
        let full = &mut self.full;
        self.frontier.push_with(leaf, |level, at, hashes| {
            if hashes.len() == usize::from(TILE_WIDTH) {
                // The hash is the last of its tile, so the tile's index is its own divided by the width.
                let id = TileId::new(TileLevel::Hashes(level), at / u64::from(TILE_WIDTH), TILE_WIDTH);
                full.extend(id.ok().map(|id| Tile::of_hashes(id, hashes)));
            }
        });
        index
    }

    /// Hash tiles that came about since the last call: all that were filled, and the partial ones that the current size
    /// requires. Together with the earlier ones they are those of [`tiles_for_size`](crate::tiles_for_size).
    pub fn take_tiles(&mut self) -> Vec<Tile> {
        let mut tiles = mem::take(&mut self.full);
        for id in tiles_added(self.taken, self.size()).filter(TileId::is_partial) {
            if let TileLevel::Hashes(level) = id.level() {
                tiles.push(Tile::of_hashes(id, self.frontier.edge(level)));
            }
        }
        self.taken = self.size();
        tiles
    }
}

/// Takes entries and yields both entry bundles and hash tiles: a whole log.
#[derive(Debug, Clone, Default)]
pub struct LogAppender {
    hashes: Appender,
    bundle: EntryBundle,
    full: Vec<Tile>,
    taken: u64,
}

impl LogAppender {
    /// Begins an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with a log of `size` entries whose tiles and bundles are all there. Compare [`LogAppender::root`] with the
    /// checkpoint before going on.
    ///
    /// # Errors
    /// A tile or the last bundle is missing, malformed or cannot be read.
    pub fn resume<R: LogReader + ?Sized>(reader: &R, size: u64) -> Result<Self, ReadError> {
        let mut bundle = EntryBundle::new();
        let last = TileId::at(TileLevel::Entries, size / u64::from(TILE_WIDTH), size);
        if let Some(id) = last {
            bundle = EntryBundle::encode(read_entries(reader, id)?)
                .map_err(|fault| ReadError::Bundle { path: id.path(), fault })?;
        }
        Ok(LogAppender { hashes: Appender::resume(reader, size)?, bundle, full: Vec::new(), taken: size })
    }

    /// Entries so far, taken or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.hashes.size()
    }

    /// Root of all entries so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.hashes.root()
    }

    /// Appends an entry and returns its index. Finished tiles wait in memory for [`LogAppender::take_tiles`].
    ///
    /// # Errors
    /// [`TileError::EntryTooLong`]; the log is then unchanged.
    pub fn push(&mut self, entry: &[u8]) -> Result<u64, TileError> {
        self.bundle.push(entry)?;
        let index = self.hashes.push(leaf_hash(entry));
        if self.bundle.width() == TILE_WIDTH {
            let id = TileId::new(TileLevel::Entries, index / u64::from(TILE_WIDTH), TILE_WIDTH)?;
            self.full.push(Tile { id, bytes: mem::take(&mut self.bundle).into_bytes() });
        }
        Ok(index)
    }

    /// Bundles and hash tiles that came about since the last call, bundles first; see [`Appender::take_tiles`].
    pub fn take_tiles(&mut self) -> Vec<Tile> {
        let mut tiles = mem::take(&mut self.full);
        if self.size() > self.taken && self.bundle.width() > 0 {
            let last = TileId::at(TileLevel::Entries, self.size() / u64::from(TILE_WIDTH), self.size());
            tiles.extend(last.map(|id| Tile { id, bytes: self.bundle.as_bytes().to_vec() }));
        }
        self.taken = self.size();
        tiles.extend(self.hashes.take_tiles());
        tiles
    }
}

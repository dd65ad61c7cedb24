//! Names and contents of hash tiles and entry bundles, and which of them a log of a size has (C2SP tlog-tiles).
//! Computing tiles from leaves is in `append`, fetching them in `read`.

use std::fmt;
use std::iter;
use std::str::FromStr;

use crate::merkle::Hash;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Tree levels that a tile spans.
pub const TILE_HEIGHT: u8 = 8;
/// Bytes of a full hash tile.
pub const TILE_BYTES: usize = TILE_WIDTH as usize * Hash::LEN;
/// Longest entry in bytes: bundles have 16-bit lengths.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;
/// Highest tile level that a path may name.
pub const MAX_TILE_LEVEL: u8 = 63;
/// Tile levels that a log of fewer than 2^64 entries can have.
pub(crate) const TILE_LEVELS: u8 = 8;
const WIDTH: u64 = TILE_WIDTH as u64;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileLevel {
    /// Entries themselves (`tile/entries/…`).
    Entries,
    /// Hashes of subtrees of 256^level leaves (`tile/<level>/…`).
    Hashes(u8),
}

impl TileLevel {
    /// Entries or hashes at this level in a log of `size` entries: floor(size / 256^level).
    #[must_use]
    pub fn count(self, size: u64) -> u64 {
        match self {
            TileLevel::Entries => size,
            TileLevel::Hashes(level) => {
                size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
            }
        }
    }

    /// Every level there can be, entries first.
    fn all() -> impl Iterator<Item = TileLevel> {
        iter::once(TileLevel::Entries).chain((0..TILE_LEVELS).map(TileLevel::Hashes))
    }
}

/// Name of a hash tile or entry bundle. `Display` and `FromStr` speak the path, such as `tile/0/x001/234.p/5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: TileLevel,
    index: u64,
    width: u16,
}

/// A tile name or bundle that breaks the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Width outside 1 to 256, or level above 63.
    #[error("a tile has 1 to 256 hashes and a level from 0 to 63")]
    OutOfRange,
    /// Not a canonical path.
    #[error("not a tile path: {0:?}; expected tile/<level>/<index> or tile/entries/<index>")]
    Path(String),
    /// An entry that a 16-bit length cannot tell.
    #[error("entry of {0} bytes; the limit is {MAX_ENTRY_BYTES}: log a hash of it instead")]
    EntryTooLong(usize),
    /// A 257th entry.
    #[error("the bundle already has {TILE_WIDTH} entries")]
    Full,
    /// The bundle ends before or within the entry with this position in the bundle.
    #[error("the bundle ends at its entry {0}")]
    Truncated(u16),
    /// Bytes after the last entry.
    #[error("{0} bytes after the last entry of the bundle")]
    Trailing(usize),
}

impl TileId {
    /// A tile with `width` hashes or entries, 1 to 256.
    ///
    /// # Errors
    /// [`TileError::OutOfRange`].
    pub fn new(level: TileLevel, index: u64, width: u16) -> Result<Self, TileError> {
        let level_fits = !matches!(level, TileLevel::Hashes(level) if level > MAX_TILE_LEVEL);
        if !level_fits || !(1..=TILE_WIDTH).contains(&width) {
            return Err(TileError::OutOfRange);
        }
        Ok(TileId { level, index, width })
    }

    /// The tile as it stands in a log of `size` entries, `None` if it is empty there.
    #[must_use]
    pub fn at(level: TileLevel, index: u64, size: u64) -> Option<Self> {
        let before = index.checked_mul(WIDTH)?;
        let rest = level.count(size).checked_sub(before)?;
        let width = rest.min(WIDTH) as u16;
        (width > 0).then_some(TileId { level, index, width })
    }

    /// What it holds.
    #[must_use]
    pub fn level(&self) -> TileLevel {
        self.level
    }

    /// Position within the level, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it, 1 to 256.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Fewer than 256 hashes or entries.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }

    /// The full tile at this place.
    #[must_use]
    pub fn full(&self) -> TileId {
        TileId { width: TILE_WIDTH, ..*self }
    }

    /// Index of the first log entry under the hash or entry at `position` in this tile; saturates at `u64::MAX`.
    #[must_use]
    pub fn first_entry(&self, position: u16) -> u64 {
        let level = match self.level {
            TileLevel::Entries => 0,
            TileLevel::Hashes(level) => level,
        };
        let index = self.index.saturating_mul(WIDTH).saturating_add(position.into());
        let span = 1u64.checked_shl(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(u64::MAX);
        index.saturating_mul(span)
    }

    /// Path below the log's prefix.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            TileLevel::Entries => f.write_str("tile/entries")?,
            TileLevel::Hashes(level) => write!(f, "tile/{level}")?,
        }
        let digits = self.index.to_string();
        let groups = digits.len().div_ceil(3);
        let padded = format!("{digits:0>width$}", width = groups * 3);
        for group in 0..groups {
            let mark = if group + 1 < groups { "x" } else { "" };
            write!(f, "/{mark}{}", &padded[group * 3..group * 3 + 3])?;
        }
        if self.is_partial() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TileId {
    type Err = TileError;

    /// Only the canonical path is read: what is accepted is written back the same.
    fn from_str(path: &str) -> Result<Self, TileError> {
        parse_path(path).filter(|id| id.to_string() == path).ok_or_else(|| TileError::Path(path.to_owned()))
    }
}

fn parse_path(path: &str) -> Option<TileId> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => TileLevel::Entries,
        level => TileLevel::Hashes(level.parse().ok()?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok()?),
        None => (rest, TILE_WIDTH),
    };
    let digits: String = index.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
    TileId::new(level, digits.parse().ok()?, width).ok()
}

/// A tile and its bytes, ready to be written under [`TileId::path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Name.
    pub id: TileId,
    /// Contents: hashes one after the other, or an encoded entry bundle.
    pub bytes: Vec<u8>,
}

impl Tile {
    pub(crate) fn of_hashes(id: TileId, hashes: &[Hash]) -> Self {
        Tile { id, bytes: hashes.iter().flat_map(|hash| hash.0).collect() }
    }
}

/// All tiles and bundles of a log of `size` entries: bundles first, then hash tiles from level 0 up, each by index.
pub fn tiles_for_size(size: u64) -> impl Iterator<Item = TileId> {
    tiles_added(0, size)
}

/// Tiles and bundles that a log of `to` entries has and a log of `from` entries has not, in the order of
/// [`tiles_for_size`]. None if `to <= from`.
pub fn tiles_added(from: u64, to: u64) -> impl Iterator<Item = TileId> {
    TileLevel::all().flat_map(move |level| {
        let (before, after) = (level.count(from), level.count(to));
        let end = after.div_ceil(WIDTH);
        let start = if after > before { before / WIDTH } else { end };
        (start..end).filter_map(move |index| TileId::at(level, index, to))
    })
}

/// Up to 256 entries in their stored form: each a big-endian 16-bit length and the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryBundle {
    bytes: Vec<u8>,
    width: u16,
}

impl EntryBundle {
    /// A bundle without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes entries in order.
    ///
    /// # Errors
    /// An entry is too long, or there are more than 256.
    pub fn encode<E: AsRef<[u8]>>(entries: impl IntoIterator<Item = E>) -> Result<Self, TileError> {
        let mut bundle = Self::new();
        for entry in entries {
            bundle.push(entry.as_ref())?;
        }
        Ok(bundle)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`TileError::EntryTooLong`], [`TileError::Full`]; the bundle is then unchanged.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), TileError> {
        if self.width == TILE_WIDTH {
            return Err(TileError::Full);
        }
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong(entry.len()))?;
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(entry);
        self.width += 1;
        Ok(())
    }

    /// Entries in it, 0 to 256.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Stored form.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Entries of a stored bundle, one by one; ends after the first error.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
    position: u16,
}

impl<'a> Entries<'a> {
    /// Bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], TileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let position = self.position;
        self.position = position.saturating_add(1);
        let entry = self.rest.split_first_chunk().and_then(|(length, rest)| {
            let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            self.rest = rest;
            Some(entry)
        });
        if entry.is_none() {
            self.rest = &[];
        }
        Some(entry.ok_or(TileError::Truncated(position)))
    }
}

/// Reads a stored bundle entry by entry, without a limit on their number.
#[must_use]
pub fn entries(bundle: &[u8]) -> Entries<'_> {
    Entries { rest: bundle, position: 0 }
}

/// Reads a stored bundle that has exactly `width` entries.
///
/// # Errors
/// [`TileError::Truncated`] or [`TileError::Trailing`].
pub fn decode_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let mut reading = entries(bundle);
    let decoded = (0..width)
        .map(|position| reading.next().unwrap_or(Err(TileError::Truncated(position))))
        .collect::<Result<Vec<_>, _>>()?;
    match reading.rest().len() {
        0 => Ok(decoded),
        extra => Err(TileError::Trailing(extra)),
    }
}

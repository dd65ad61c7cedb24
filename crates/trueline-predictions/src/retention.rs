//! What is too old goes: the oldest sealed segments of a folder, with a mark of how far. How long something is kept, and who
//! still needs it, the floors above know.
//!
//! ```text
//! <20 digits>.gone   the newest segment that was removed, with all before it: when the last item in them came
//! ```
//!
//! The mark is durable before the first file goes, so that a crash in between is completed at the next start, and no number is
//! given twice.

use crate::files::{numbered, replace, segment_path, sync_folder};
use crate::segment::{SealedSegment, Segment, Segments};
use crate::{Cursor, LogError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far a folder's segments were removed. No segment has the number 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// This segment and all before it.
    pub(crate) through: u64,
    /// When the last item in them came, in milliseconds since 1970.
    pub(crate) until_ms: i64,
}

impl Removed {
    /// Reads the mark of a folder, and completes what it tells of.
    pub(crate) fn recover(folder: &Path) -> Result<Self, LogError> {
        let Some((through, path)) = numbered(folder, "gone")?.pop() else { return Ok(Self::default()) };
        let text = fs::read_to_string(&path).map_err(|e| LogError::io(&path, &e))?;
        let until_ms = text.trim().parse();
        let until_ms = until_ms.map_err(|_| LogError::damaged(&path, 0, "it tells no time"))?;
        clear(folder, through)?;
        Ok(Self { through, until_ms })
    }
}

impl Segments {
    /// The oldest sealed segments in which everything came before `before_ms`, up to the first that somebody who follows the
    /// stream has still to read.
    pub(crate) fn expired(&self, before_ms: i64, followers: &[Cursor]) -> Vec<Arc<SealedSegment>> {
        let is_over = |segment: &Arc<SealedSegment>| {
            let is_read = |at: &Cursor| {
                at.segment > segment.number
                    || (at.segment == segment.number && at.offset >= segment.summary.bytes)
            };
            segment.summary.spans.received_ms.1 < before_ms && followers.iter().all(is_read)
        };
        self.sealed_after(0).into_iter().take_while(is_over).collect()
    }

    /// Whether everything in the segment that is still open came before then.
    pub(crate) fn is_open_since_before(&self, before_ms: i64) -> bool {
        match self.read().values().next_back() {
            Some(Segment::Live(live)) => live.open && live.bytes > 0 && live.spans.received_ms.1 < before_ms,
            _ => false,
        }
    }

    /// Removes sealed segments up to this one; how many records and bytes these were.
    pub(crate) fn remove_through(&self, number: u64) -> Result<(u64, u64), LogError> {
        let _one_at_a_time = self.lock_sealing();
        let sealed = self.sealed_after(0);
        let gone: Vec<_> = sealed.into_iter().take_while(|segment| segment.number <= number).collect();
        let Some(last) = gone.last() else { return Ok((0, 0)) };
        let until_ms = gone.iter().map(|segment| segment.summary.spans.received_ms.1).max();
        let until_ms = until_ms.unwrap_or_default().max(self.removed().until_ms);
        let removed = Removed { through: last.number, until_ms };
        let mark = segment_path(&self.folder, removed.through).with_extension("gone");
        replace(&mark, until_ms.to_string().as_bytes())?;
        self.forget(removed);
        clear(&self.folder, removed.through)?;
        let sum = |of: fn(&SealedSegment) -> u64| gone.iter().map(|segment| of(segment)).sum();
        Ok((sum(|s| s.summary.records), sum(|s| s.summary.bytes)))
    }

    /// Whether a segment was removed: who was about to read it finds nothing, and goes on behind it.
    pub(crate) fn is_removed(&self, number: u64) -> bool {
        number <= self.removed().through
    }
}

/// Takes away whatever belongs to segments up to a number, but the newest mark.
fn clear(folder: &Path, through: u64) -> Result<(), LogError> {
    let io = |e: io::Error| LogError::io(folder, &e);
    let mark = segment_path(folder, through).with_extension("gone");
    let belongs = |path: &PathBuf| {
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        number.is_some_and(|number| number <= through) && *path != mark
    };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(io)?;
    for path in entries.into_iter().map(|entry| entry.path()).filter(belongs) {
        fs::remove_file(&path).map_err(|e| LogError::io(&path, &e))?;
    }
    sync_folder(folder)
}

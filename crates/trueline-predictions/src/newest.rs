//! The newest items of a stream, from its end, so that what lies before them costs nothing. Following a stream in order is
//! `scan`.

use crate::frame::FrameReader;
use crate::segment::{Extent, Segments};
use crate::wire::{Head, Reader};
use crate::{DecodeError, LogError, record};
use std::collections::VecDeque;
use std::ops::Range;

/// What to read of the end of a stream.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Only items with an event time in here, in milliseconds since 1970.
    pub event_time_ms: Option<Range<i64>>,
    /// At most this many items.
    pub limit: usize,
    /// At most this many encoded bytes, but one item if there is one.
    pub bytes: usize,
}

/// The last items of one segment, as many as there is room for.
struct Kept {
    /// Each with the offset of its frame.
    items: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    limit: usize,
    most_bytes: usize,
}

impl Kept {
    fn push(&mut self, offset: u64, item: &[u8]) {
        self.items.push_back((offset, item.to_vec()));
        self.bytes += item.len();
        while self.items.len() > self.limit || (self.bytes > self.most_bytes && self.items.len() > 1) {
            self.bytes -= self.items.pop_front().map_or(0, |(_, gone)| gone.len());
        }
    }
}

/// Newest first, by the order of appending.
pub(crate) fn newest<T>(
    segments: &Segments,
    what: &Newest,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, LogError> {
    let mut found = Vec::new();
    let mut room = what.bytes;
    for extent in segments.extents(0).iter().rev() {
        let left = what.limit - found.len();
        if left == 0 || (room == 0 && !found.is_empty()) {
            break;
        }
        let (first, last) = extent.spans.event_ms;
        if what.event_time_ms.as_ref().is_some_and(|range| range.end <= first || range.start > last) {
            continue;
        }
        let mut kept = Kept { items: VecDeque::new(), bytes: 0, limit: left, most_bytes: room };
        read(extent, what, &mut kept)?;
        // One item is kept whatever its size; with others found already it is one too many.
        if kept.bytes > room && !found.is_empty() {
            break;
        }
        room = room.saturating_sub(kept.bytes);
        for (offset, item) in kept.items.iter().rev() {
            found.push(decode(item).map_err(|e| LogError::damaged(&extent.path, *offset, e))?);
        }
    }
    Ok(found)
}

fn read(extent: &Extent, what: &Newest, kept: &mut Kept) -> Result<(), LogError> {
    let within = |ms: i64| what.event_time_ms.as_ref().is_none_or(|range| range.contains(&ms));
    let mut frames = FrameReader::open(&extent.path, 0, extent.bytes)?;
    while let Some(frame) = frames.next().map_err(|e| e.into_error(&extent.path))? {
        for item in frame.items() {
            let item = item.map_err(|e| frame.damaged(&extent.path, e))?;
            let head = Head::take(record::VERSION, &mut Reader::new(item));
            let (_, head) = head.map_err(|e| frame.damaged(&extent.path, e))?;
            if within(head.event_ms) {
                kept.push(frame.offset, item);
            }
        }
    }
    Ok(())
}

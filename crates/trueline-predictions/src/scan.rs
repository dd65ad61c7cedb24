//! Reading a stream in order, page by page, from a position that can be kept: how windows follow the log.

use crate::frame::FrameReader;
use crate::segment::{Extent, Segments};
use crate::wire::{Head, Reader};
use crate::{DecodeError, LogError, record};
use std::fmt;
use std::ops::Range;
use std::time::Instant;

/// A page ends when it holds this many encoded bytes, however few items they are.
const PAGE_BYTES: usize = 4 << 20;

/// A position between two items of a stream. It stays right across restarts; its text can be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) item: u64,
}

impl Cursor {
    /// Before the first item.
    pub const START: Self = Self { segment: 0, offset: 0, item: 0 };

    /// Before the first item of a segment.
    #[must_use]
    pub fn of_segment(segment: u64) -> Self {
        Self { segment, ..Self::START }
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(str::parse);
        let (segment, offset, item) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        parts.next().is_none().then_some(Self { segment, offset, item })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.segment, self.offset, self.item)
    }
}

/// What to read of a stream.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Where to go on.
    pub from: Cursor,
    /// Only items with an event time in here, in milliseconds since 1970.
    pub event_time_ms: Option<Range<i64>>,
    /// At most this many items; fewer when they are large.
    pub limit: usize,
    /// The page ends by then, however few items were found; something is read in any case, so that whoever goes on arrives.
    pub until: Option<Instant>,
}

/// Some items of a stream, in the order of appending.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts.
    pub next: Cursor,
    /// Everything that was durable when this page was asked for has been read.
    pub end: bool,
}

/// A page of what lies in segments up to `through`.
pub(crate) fn page<T>(
    segments: &Segments,
    scan: &Scan,
    through: u64,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Page<T>, LogError> {
    let mut extents = segments.extents(scan.from.segment);
    extents.retain(|extent| extent.number <= through);
    if !segments.is_removed(scan.from.segment) && !is_of(&extents, scan.from) {
        return Err(LogError::Cursor(scan.from.to_string()));
    }
    let page = Page { items: Vec::new(), next: scan.from, end: false };
    let mut reading = Reading { scan, decode, page, bytes: 0, began: false };
    for extent in extents {
        match reading.segment(&extent) {
            // It went while it was read.
            Err(_) if segments.is_removed(extent.number) => {}
            done => {
                if done? == Go::Stop {
                    return Ok(reading.page);
                }
            }
        }
    }
    reading.page.end = true;
    Ok(reading.page)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// A page in the making.
struct Reading<'a, T, D> {
    scan: &'a Scan,
    decode: D,
    page: Page<T>,
    bytes: usize,
    began: bool,
}

impl<T, D: Fn(&[u8]) -> Result<T, DecodeError>> Reading<'_, T, D> {
    fn segment(&mut self, extent: &Extent) -> Result<Go, LogError> {
        let from = self.scan.from;
        let start = if extent.number == from.segment { from } else { Cursor::default() };
        let at = |offset, item| Cursor { segment: extent.number, offset, item };
        let (first, last) = extent.spans.event_ms;
        if self.scan.event_time_ms.as_ref().is_some_and(|range| range.end <= first || range.start > last) {
            self.page.next = at(extent.bytes, 0);
            return Ok(Go::On);
        }
        let mut frames = FrameReader::open(&extent.path, start.offset, extent.bytes)?;
        self.page.next = at(extent.bytes, 0);
        while let Some(frame) = frames.next().map_err(|e| e.into_error(&extent.path))? {
            let skip = if frame.offset == start.offset { start.item } else { 0 };
            if self.is_out_of_time() {
                self.page.next = at(frame.offset, skip);
                return Ok(Go::Stop);
            }
            self.began = true;
            for (item_at, item) in (0..).zip(frame.items()).skip(usize::try_from(skip).unwrap_or(usize::MAX))
            {
                if self.is_full() {
                    self.page.next = at(frame.offset, item_at);
                    return Ok(Go::Stop);
                }
                let taken = item.and_then(|item| self.take(item));
                taken.map_err(|e| frame.damaged(&extent.path, e))?;
            }
        }
        Ok(Go::On)
    }

    fn take(&mut self, item: &[u8]) -> Result<(), DecodeError> {
        let (_, head) = Head::take(record::VERSION, &mut Reader::new(item))?;
        if self.scan.event_time_ms.as_ref().is_none_or(|range| range.contains(&head.event_ms)) {
            self.page.items.push((self.decode)(item)?);
            self.bytes += item.len();
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.page.items.len() >= self.scan.limit || self.bytes >= PAGE_BYTES
    }

    fn is_out_of_time(&self) -> bool {
        self.began && self.scan.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Behind the last item that is durable now.
pub(crate) fn end(segments: &Segments) -> Cursor {
    let last = segments.extents(0).pop();
    last.map_or(Cursor::START, |last| Cursor { segment: last.number, offset: last.bytes, item: 0 })
}

/// Can these extents have given this position, or one of an earlier segment?
fn is_of(extents: &[Extent], from: Cursor) -> bool {
    let beyond = |first: &Extent| first.number == from.segment && first.bytes < from.offset;
    from == Cursor::START || extents.first().is_some_and(|first| !beyond(first))
}

//! Looks through a stream from its newest record back, with a filter and a bound on what one look may cost: how people
//! go through the log. Windows follow it in order (`scan.rs`).

use crate::frame::{Frame, FrameFault, FrameReader};
use crate::index::Spans;
use crate::segment::{Extent, Segments};
use crate::wire::{Head, Reader};
use crate::{Cursor, LogError, PredictionId, Record, Status, record};
use std::ops::Range;
use std::time::Instant;

/// Frames are read from the end of a segment in blocks that begin at least so many bytes apart; one block is in memory.
const BLOCK_BYTES: u64 = 256 << 10;
/// A look ends when it holds this many encoded bytes, however few records they are.
const FOUND_BYTES: usize = 4 << 20;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was not.
    Failed,
}

/// What a record must be like; nothing said is everything wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Its id.
    pub id: Option<PredictionId>,
    /// The key of its caller.
    pub key: Option<String>,
    /// When its request came, in milliseconds since 1970.
    pub received_ms: Option<Range<i64>>,
    /// When what it predicts happens, in milliseconds since 1970.
    pub event_time_ms: Option<Range<i64>>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The model that was to answer.
    pub model: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

impl RecordFilter {
    /// Whether a record is as wanted.
    #[must_use]
    pub fn takes(&self, record: &Record) -> bool {
        let outcome = match record.status {
            Status::Ok => Outcome::Answered,
            Status::Error(_) => Outcome::Failed,
        };
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        self.id.is_none_or(|id| id == record.prediction_id)
            && self.came_within(record.received_at_ms, record.event_time_ms)
            && self.outcome.is_none_or(|o| o == outcome)
            && self.key.as_ref().is_none_or(|key| Some(key) == record.key.as_ref())
            && same(&self.model, &record.variant.model)
            && same(&self.version, &record.variant.version)
    }

    fn came_within(&self, received_ms: i64, event_ms: i64) -> bool {
        let within = |range: &Option<Range<i64>>, ms| range.as_ref().is_none_or(|range| range.contains(&ms));
        within(&self.received_ms, received_ms) && within(&self.event_time_ms, event_ms)
    }

    /// Can something between these bounds be as wanted?
    fn may_lie_in(&self, spans: &Spans) -> bool {
        let meets = |range: &Option<Range<i64>>, (first, last): (i64, i64)| {
            range.as_ref().is_none_or(|range| range.start <= last && first < range.end)
        };
        meets(&self.received_ms, spans.received_ms) && meets(&self.event_time_ms, spans.event_ms)
    }
}

/// A look at the log.
#[derive(Clone, Debug)]
pub struct Look {
    /// What is wanted.
    pub filter: RecordFilter,
    /// Where to go on, as an earlier look said; the end of the log when it is not said.
    pub before: Option<Cursor>,
    /// At most this many records; fewer when they are large.
    pub limit: usize,
    /// Looks at no more than this many records, wanted or not.
    pub most: u64,
    /// Ends by then; something is looked at in any case, so that whoever goes on arrives.
    pub until: Option<Instant>,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The records, the last one appended first.
    pub items: Vec<Record>,
    /// Where to go on; none when the log's beginning was reached.
    pub next: Option<Cursor>,
    /// How many records were looked at.
    pub looked_at: u64,
    /// When the request of the last record that was looked at came, in milliseconds since 1970.
    pub back_to_ms: Option<i64>,
    /// It ended because it had looked at enough, not because it had found enough.
    pub gave_up: bool,
}

pub(crate) fn look(segments: &Segments, what: &Look) -> Result<Found, LogError> {
    let mut search = Search { what, found: Found::default(), bytes: 0, began: false };
    for extent in segments.extents(0).iter().rev() {
        let end = match what.before {
            Some(before) if before.segment < extent.number => continue,
            Some(before) if before.segment == extent.number => before,
            _ => Cursor { segment: extent.number, offset: extent.bytes, item: 0 },
        };
        if !what.filter.may_lie_in(&extent.spans) {
            continue;
        }
        match search.segment(extent, end) {
            // It went while it was read.
            Err(_) if segments.is_removed(extent.number) => {}
            done => {
                if done? == Go::Stop {
                    break;
                }
            }
        }
    }
    Ok(search.found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

struct Search<'a> {
    what: &'a Look,
    found: Found,
    bytes: usize,
    began: bool,
}

impl Search<'_> {
    /// Reads what lies before `end` in a segment, backwards.
    fn segment(&mut self, extent: &Extent, end: Cursor) -> Result<Go, LogError> {
        let bounds = blocks(extent, end)?;
        for pair in bounds.windows(2).rev() {
            if self.is_out_of_time() {
                self.found.gave_up = true;
                // The newest block may end within a frame.
                let here = Cursor { segment: extent.number, offset: pair[1], item: 0 };
                self.found.next = Some(here.min(end));
                return Ok(Go::Stop);
            }
            self.began = true;
            for frame in frames(extent, pair[0], pair[1])?.iter().rev() {
                let items = if frame.offset == end.offset { end.item } else { u64::MAX };
                if self.frame(extent, frame, items)? == Go::Stop {
                    return Ok(Go::Stop);
                }
            }
        }
        Ok(Go::On)
    }

    /// Reads the first `items` of a frame, backwards.
    fn frame(&mut self, extent: &Extent, frame: &Frame, items: u64) -> Result<Go, LogError> {
        let damaged = |e: crate::DecodeError| frame.damaged(&extent.path, e);
        let all = frame.items().collect::<Result<Vec<_>, _>>().map_err(damaged)?;
        for (at, item) in (0..items).zip(all).collect::<Vec<_>>().into_iter().rev() {
            let behind = Cursor { segment: extent.number, offset: frame.offset, item: at + 1 };
            if self.found.looked_at >= self.what.most {
                self.found.gave_up = true;
                self.found.next = Some(behind);
                return Ok(Go::Stop);
            }
            let (_, head) = Head::take(record::VERSION, &mut Reader::new(item)).map_err(damaged)?;
            if self.what.filter.came_within(head.received_ms, head.event_ms) {
                let record = Record::decode(item).map_err(damaged)?;
                if self.what.filter.takes(&record) {
                    // Only one that has found another knows that there is a next page.
                    if self.is_full() {
                        self.found.next = Some(behind);
                        return Ok(Go::Stop);
                    }
                    self.bytes += item.len();
                    self.found.items.push(record);
                }
            }
            self.found.looked_at += 1;
            self.found.back_to_ms = Some(head.received_ms);
        }
        Ok(Go::On)
    }

    fn is_full(&self) -> bool {
        self.found.items.len() >= self.what.limit || self.bytes >= FOUND_BYTES
    }

    fn is_out_of_time(&self) -> bool {
        self.began && self.what.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Where blocks of frames begin, and behind them where the last one ends: with the frame that `end` lies in.
fn blocks(extent: &Extent, end: Cursor) -> Result<Vec<u64>, LogError> {
    let mut frames = FrameReader::open(&extent.path, 0, extent.bytes)?;
    let fault = |e: FrameFault| e.into_error(&extent.path);
    let mut bounds = vec![0];
    let mut block = 0;
    while frames.offset() < end.offset {
        if frames.offset() - block >= BLOCK_BYTES {
            block = frames.offset();
            bounds.push(block);
        }
        if !frames.skip().map_err(fault)? {
            break;
        }
    }
    let within = end.item > 0 && frames.offset() == end.offset;
    if frames.offset() != end.offset || (within && !frames.skip().map_err(fault)?) {
        return Err(LogError::Cursor(end.to_string()));
    }
    bounds.push(frames.offset());
    Ok(bounds)
}

/// The frames of a block, in the order of appending.
fn frames(extent: &Extent, from: u64, to: u64) -> Result<Vec<Frame>, LogError> {
    let mut reader = FrameReader::open(&extent.path, from, to)?;
    std::iter::from_fn(|| reader.next().map_err(|e| e.into_error(&extent.path)).transpose()).collect()
}

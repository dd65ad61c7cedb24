//! Segments of one folder: which there are and where each ends.
//!
//! A segment is open (the writer appends to it), closed (nobody appends, its ids are still in memory) or sealed (its
//! index is durable beside it). Readers see durable bytes only.

use crate::files::{numbered, segment_path, sync_up};
use crate::frame::Placed;
use crate::index::{self, Spans, Summary};
use crate::recover::{self, Cut};
use crate::retention::Removed;
use crate::seal::seal_segment;
use crate::{LogError, PredictionId};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A segment whose ids are in memory.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// Durable bytes.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) spans: Spans,
    /// The writer still appends to it.
    pub(crate) open: bool,
    first: HashMap<PredictionId, u32>,
    /// Further frames of an id that has several, as labels do.
    further: HashMap<PredictionId, Vec<u32>>,
}

impl Live {
    pub(crate) fn new(number: u64, path: PathBuf) -> Self {
        let (first, further) = (HashMap::new(), HashMap::new());
        Self { number, path, bytes: 0, records: 0, spans: Spans::empty(), open: true, first, further }
    }

    pub(crate) fn take_in(&mut self, placed: &Placed) {
        self.spans.take_in(placed);
        self.records += 1;
        let offset = placed.offset;
        let first = *self.first.entry(placed.head.id).or_insert(offset);
        if first != offset {
            let further = self.further.entry(placed.head.id).or_default();
            if further.last() != Some(&offset) {
                further.push(offset);
            }
        }
    }

    pub(crate) fn get(&self, id: PredictionId) -> Vec<u32> {
        let further = self.further.get(&id).into_iter().flatten();
        self.first.get(&id).into_iter().chain(further).copied().collect()
    }
}

/// A sealed segment of one folder.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) summary: Summary,
}

#[derive(Debug)]
pub(crate) enum Segment {
    Live(Box<Live>),
    Sealed(Arc<SealedSegment>),
}

/// By number, which is the order of appending.
pub(crate) type State = BTreeMap<u64, Segment>;

/// The segments of one folder, shared by its writer, its sealer and its readers.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) folder: PathBuf,
    state: RwLock<State>,
    /// Written while `state` is held for writing, so that a reader of both sees them agree.
    removed: RwLock<Removed>,
    sealing: Mutex<()>,
    /// What recovery cut off.
    pub(crate) cuts: Vec<Cut>,
}

/// A part of a segment to be read.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) spans: Spans,
}

impl Segments {
    /// Of a folder that need not be there yet.
    pub(crate) fn none(folder: &Path) -> Self {
        let (state, removed, sealing) = (RwLock::default(), RwLock::default(), Mutex::default());
        Self { folder: folder.to_owned(), state, removed, sealing, cuts: Vec::new() }
    }

    /// Reads what is in the folder, and cuts torn tails.
    pub(crate) fn recover(folder: &Path, root: &Path) -> Result<Self, LogError> {
        let mut state = State::new();
        let mut cuts = Vec::new();
        let removed = RwLock::new(Removed::recover(folder)?);
        let found = numbered(folder, "log")?;
        let last = found.last().map(|(number, _)| *number);
        for (number, path) in found {
            if let Some(summary) = sealed_summary(&path)? {
                state.insert(number, Segment::Sealed(Arc::new(SealedSegment { number, path, summary })));
                continue;
            }
            let (mut live, cut) = recover::recover(number, &path)?;
            cuts.extend(cut);
            live.open = Some(number) == last;
            if live.open || live.bytes > 0 {
                state.insert(number, Segment::Live(Box::new(live)));
            } else {
                // It never held anything that was acknowledged.
                fs::remove_file(&path).map_err(|e| LogError::io(&path, &e))?;
            }
        }
        // A process that was killed may have made names and not yet made them durable.
        sync_up(folder, root)?;
        Ok(Self { state: RwLock::new(state), removed, cuts, ..Self::none(folder) })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number, path and durable bytes of the open segment.
    pub(crate) fn open(&self) -> Option<(u64, PathBuf, u64)> {
        match self.read().last_key_value() {
            Some((number, Segment::Live(live))) if live.open => {
                Some((*number, live.path.clone(), live.bytes))
            }
            _ => None,
        }
    }

    /// Where the next segment goes.
    pub(crate) fn next(&self) -> (u64, PathBuf) {
        let last = self.read().last_key_value().map_or(0, |(number, _)| *number);
        let number = last.max(self.removed().through) + 1;
        (number, segment_path(&self.folder, number))
    }

    /// Adds a new, empty, durable segment as the open one.
    pub(crate) fn add(&self, number: u64, path: PathBuf) {
        self.write().insert(number, Segment::Live(Box::new(Live::new(number, path))));
    }

    /// Shows readers what has become durable in the open segment.
    pub(crate) fn publish(&self, placed: &[Placed], bytes: u64) {
        if let Some(Segment::Live(live)) = self.write().values_mut().next_back() {
            placed.iter().for_each(|p| live.take_in(p));
            live.bytes = bytes;
        }
    }

    /// Nobody will append to the open segment any more.
    pub(crate) fn close(&self) {
        if let Some(Segment::Live(live)) = self.write().values_mut().next_back() {
            live.open = false;
        }
    }

    /// Seals what is closed, oldest first; how many it were.
    pub(crate) fn seal_closed(&self) -> Result<usize, LogError> {
        let _one_at_a_time = self.lock_sealing();
        let mut done = 0;
        loop {
            let closed = self.read().values().find_map(|segment| match segment {
                Segment::Live(live) if !live.open => Some((live.number, live.path.clone(), live.bytes)),
                _ => None,
            });
            let Some((number, path, bytes)) = closed else { return Ok(done) };
            if bytes == 0 {
                // Its first append failed, so nothing names it.
                fs::remove_file(&path).map_err(|e| LogError::io(&path, &e))?;
                self.write().remove(&number);
                continue;
            }
            cut_to(&path, bytes)?;
            let summary = seal_segment(&path, bytes)?;
            let sealed = Arc::new(SealedSegment { number, path, summary });
            self.write().insert(number, Segment::Sealed(sealed));
            done += 1;
        }
    }

    /// Makes the index of a sealed segment again: it is a copy of what the segment holds.
    pub(crate) fn index_again(&self, segment: &SealedSegment) -> Result<(), LogError> {
        let _one_at_a_time = self.lock_sealing();
        seal_segment(&segment.path, segment.summary.bytes).map(drop)
    }

    /// How far segments were removed.
    pub(crate) fn removed(&self) -> Removed {
        *self.removed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers that segments are gone.
    pub(crate) fn forget(&self, removed: Removed) {
        let mut state = self.write();
        *self.removed.write().unwrap_or_else(PoisonError::into_inner) = removed;
        state.retain(|number, _| *number > removed.through);
    }

    pub(crate) fn lock_sealing(&self) -> MutexGuard<'_, ()> {
        self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sealed segments with numbers beyond `after`, oldest first.
    pub(crate) fn sealed_after(&self, after: u64) -> Vec<Arc<SealedSegment>> {
        let sealed = |segment: &Segment| match segment {
            Segment::Sealed(sealed) => Some(sealed.clone()),
            Segment::Live(_) => None,
        };
        self.read().range(after.saturating_add(1)..).map_while(|(_, segment)| sealed(segment)).collect()
    }

    /// All that is durable now from segment `from` on, in the order of appending.
    pub(crate) fn extents(&self, from: u64) -> Vec<Extent> {
        let extent = |(number, segment): (&u64, &Segment)| {
            let (path, bytes, spans) = match segment {
                Segment::Live(live) => (&live.path, live.bytes, live.spans),
                Segment::Sealed(sealed) => (&sealed.path, sealed.summary.bytes, sealed.summary.spans),
            };
            Extent { number: *number, path: path.clone(), bytes, spans }
        };
        self.read().range(from..).map(extent).filter(|e| e.bytes > 0).collect()
    }

    /// Records and bytes that are durable now.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.read().values().fold((0, 0), |(records, bytes), segment| match segment {
            Segment::Live(live) => (records + live.records, bytes + live.bytes),
            Segment::Sealed(sealed) => (records + sealed.summary.records, bytes + sealed.summary.bytes),
        })
    }
}

/// What the index says of a sealed segment; none for one that is not sealed. An index that can't be read is made again.
fn sealed_summary(path: &Path) -> Result<Option<Summary>, LogError> {
    if !index::path_of(path).exists() {
        return Ok(None);
    }
    if let Some(summary) = index::summary(path)? {
        return Ok(Some(summary));
    }
    let bytes = fs::metadata(path).map_err(|e| LogError::io(path, &e))?.len();
    seal_segment(path, bytes).map(Some)
}

/// Takes off what a failed append left behind.
fn cut_to(path: &Path, bytes: u64) -> Result<(), LogError> {
    let cut = || {
        let file = File::options().write(true).open(path)?;
        if file.metadata()?.len() != bytes {
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        Ok(())
    };
    cut().map_err(|e| LogError::io(path, &e))
}

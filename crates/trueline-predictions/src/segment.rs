//! Segments of one folder: which there are, what recovery makes of them, sealing, and where an id lies.
//!
//! A segment is `open` (the writer appends to it), `closed` (nobody appends, its ids are still in memory) or `sealed` (its
//! index is durable beside it). Readers see durable bytes only.

use crate::frame::{FrameFault, FrameReader, MAX_FRAME, Placed, is_zero_from, read_frame};
use crate::index::{self, Lookup, Spans, Summary};
use crate::{LogError, PredictionId};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bytes that a recovery took off the end of a segment, because they were no whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: PathBuf,
    /// Its length now.
    pub kept: u64,
    /// Bytes taken off.
    pub cut: u64,
    /// Where they are kept: only when they are more than an append that was under way.
    pub aside: Option<PathBuf>,
}

/// A segment whose ids are in memory.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// Durable bytes.
    pub(crate) bytes: u64,
    pub(crate) spans: Spans,
    first: HashMap<PredictionId, u32>,
    /// Further frames of an id that has several, as labels do.
    further: HashMap<PredictionId, Vec<u32>>,
}

impl Live {
    pub(crate) fn new(number: u64, path: PathBuf) -> Self {
        let (first, further) = (HashMap::new(), HashMap::new());
        Self { number, path, bytes: 0, spans: Spans::empty(), first, further }
    }

    pub(crate) fn take_in(&mut self, placed: &Placed) {
        self.spans.take_in(placed);
        let offset = placed.offset;
        let first = *self.first.entry(placed.head.id).or_insert(offset);
        if first != offset {
            let further = self.further.entry(placed.head.id).or_default();
            if further.last() != Some(&offset) {
                further.push(offset);
            }
        }
    }

    fn get(&self, id: PredictionId) -> Vec<u32> {
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

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) sealed: Vec<Arc<SealedSegment>>,
    pub(crate) closed: Vec<Live>,
    pub(crate) open: Option<Live>,
}

/// The segments of one folder, shared by its writer, its sealer and its readers.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) folder: PathBuf,
    state: RwLock<State>,
    sealing: Mutex<()>,
    pub(crate) cuts: Vec<Cut>,
    /// The number that no segment had yet when the folder was opened.
    pub(crate) next_number: u64,
}

/// A part of a segment to be read.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) spans: Spans,
}

impl Segments {
    /// Reads what is in the folder, which is made durably if it is missing, and cuts torn tails.
    pub(crate) fn open(folder: &Path, root: &Path) -> Result<Self, LogError> {
        make_folder(folder, root)?;
        let mut state = State::default();
        let mut cuts = Vec::new();
        let found = list(folder)?;
        let last = found.last().map(|(number, _)| *number);
        for (number, path) in found {
            if let Some(summary) = index::summary(&path)? {
                state.sealed.push(Arc::new(SealedSegment { number, path, summary }));
                continue;
            }
            let (live, cut) = recover(number, &path)?;
            cuts.extend(cut);
            match live {
                live if Some(number) == last => state.open = Some(live),
                // It never held anything that was acknowledged.
                live if live.bytes == 0 => fs::remove_file(&path).map_err(|e| LogError::io(&path, &e))?,
                live => state.closed.push(live),
            }
        }
        sync_folder(folder)?;
        let next_number = last.map_or(1, |n| n + 1);
        let (state, sealing) = (RwLock::new(state), Mutex::new(()));
        Ok(Self { folder: folder.to_owned(), state, sealing, cuts, next_number })
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.log"))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals what is closed, oldest first.
    pub(crate) fn seal_closed(&self) -> Result<Vec<Arc<SealedSegment>>, LogError> {
        let _one_at_a_time: MutexGuard<'_, ()> = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Vec::new();
        loop {
            let next = self.read().closed.first().map(|live| (live.number, live.path.clone(), live.bytes));
            let Some((number, path, bytes)) = next else { return Ok(done) };
            let summary = seal_segment(&path, bytes)?;
            let sealed = Arc::new(SealedSegment { number, path, summary });
            let mut state = self.write();
            state.closed.remove(0);
            state.sealed.push(sealed.clone());
            done.push(sealed);
        }
    }

    /// All that is durable now, in the order of appending.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        let state = self.read();
        let sealed = state.sealed.iter().map(|s| Extent {
            path: s.path.clone(),
            bytes: s.summary.bytes,
            spans: s.summary.spans,
        });
        let live = state.closed.iter().chain(&state.open);
        let live = live.map(|l| Extent { path: l.path.clone(), bytes: l.bytes, spans: l.spans });
        sealed.chain(live).filter(|e| e.bytes > 0).collect()
    }
}

/// Finds ids in the segments of a folder. It keeps what it opened, so that many lookups cost less than one each.
#[derive(Debug)]
pub(crate) struct Finder {
    segments: Arc<Segments>,
    open: HashMap<u64, (Lookup, File)>,
    keep: usize,
}

impl Finder {
    /// Keeps at most `keep` sealed segments open.
    pub(crate) fn new(segments: Arc<Segments>, keep: usize) -> Self {
        Self { segments, open: HashMap::new(), keep }
    }

    /// Gives every item of `id` to `visit`, in the order of appending, until it answers `false`.
    pub(crate) fn visit(
        &mut self,
        id: PredictionId,
        mut visit: impl FnMut(&[u8]) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let (sealed, live) = self.candidates(id);
        for segment in sealed {
            let (lookup, file) = self.opened(&segment)?;
            for offset in lookup.get(id)? {
                if !visit_frame(file, &segment.path, offset, id, &mut visit)? {
                    return Ok(());
                }
            }
        }
        for (path, offsets) in live {
            let file = File::open(&path).map_err(|e| LogError::io(&path, &e))?;
            for offset in offsets {
                if !visit_frame(&file, &path, offset, id, &mut visit)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "named by the one caller above")]
    fn candidates(&self, id: PredictionId) -> (Vec<Arc<SealedSegment>>, Vec<(PathBuf, Vec<u32>)>) {
        let state = self.segments.read();
        let within = |s: &&Arc<SealedSegment>| (s.summary.spans.ids.0..=s.summary.spans.ids.1).contains(&id);
        let sealed = state.sealed.iter().filter(within).cloned().collect();
        let live = state.closed.iter().chain(&state.open).map(|l| (l.path.clone(), l.get(id)));
        (sealed, live.filter(|(_, offsets)| !offsets.is_empty()).collect())
    }

    fn opened(&mut self, segment: &SealedSegment) -> Result<&mut (Lookup, File), LogError> {
        if !self.open.contains_key(&segment.number) && self.open.len() >= self.keep {
            self.open.clear();
        }
        match self.open.entry(segment.number) {
            std::collections::hash_map::Entry::Occupied(there) => Ok(there.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                let lookup = match Lookup::open(&segment.path) {
                    Err(LogError::Damaged { .. }) => {
                        // The index is a copy: make it again from the segment.
                        seal_segment(&segment.path, segment.summary.bytes)?;
                        Lookup::open(&segment.path)?
                    }
                    other => other?,
                };
                let file = File::open(&segment.path).map_err(|e| LogError::io(&segment.path, &e))?;
                Ok(free.insert((lookup, file)))
            }
        }
    }
}

fn visit_frame(
    file: &File,
    path: &Path,
    offset: u32,
    id: PredictionId,
    visit: &mut impl FnMut(&[u8]) -> Result<bool, LogError>,
) -> Result<bool, LogError> {
    let frame = read_frame(file, path, offset)?;
    for item in frame.items() {
        let item = item.map_err(|e| frame.damaged(path, e))?;
        // Every item's id stands after one byte of version.
        if item.get(1..17) == Some(&id.to_bytes()[..]) && !visit(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Hashes a segment that nobody appends to and writes its index beside it. Doing it again gives the same bytes.
///
/// Here Parquet will be written beside the segment too, once Arrow is in the house.
pub(crate) fn seal_segment(path: &Path, bytes: u64) -> Result<Summary, LogError> {
    let mut frames = FrameReader::open(path, bytes)?;
    let mut entries = Vec::new();
    let mut spans = Spans::empty();
    while let Some(frame) = frames.next().map_err(|e| e.into_error(path))? {
        for placed in frame.heads(path)? {
            spans.take_in(&placed);
            entries.push((placed.head.id, placed.offset));
        }
    }
    let summary = Summary { bytes, records: entries.len() as u64, sha256: digest(path, bytes)?, spans };
    index::write(path, &summary, entries)?;
    Ok(summary)
}

/// SHA-256 over the first bytes of a segment.
pub(crate) fn digest(path: &Path, bytes: u64) -> Result<[u8; 32], LogError> {
    let io = |e| LogError::io(path, &e);
    let mut input = File::open(path).map_err(io)?.take(bytes);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer).map_err(io)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Reads a segment that was not sealed, cuts what is no whole batch off its end, and makes the rest durable.
fn recover(number: u64, path: &Path) -> Result<(Live, Option<Cut>), LogError> {
    let io = |e| LogError::io(path, &e);
    let file = File::options().read(true).write(true).open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut live = Live::new(number, path.to_owned());
    let mut frames = FrameReader::open(path, size)?;
    let mut batch = Vec::new();
    let fault = loop {
        match frames.next() {
            Ok(Some(frame)) => {
                batch.extend(frame.heads(path)?);
                if frame.ends_batch() {
                    batch.drain(..).for_each(|placed| live.take_in(&placed));
                    live.bytes = frame.end();
                }
            }
            Ok(None) => break None,
            Err(FrameFault::Io(error)) => return Err(io(error)),
            Err(fault) => break Some(fault),
        }
    };
    let cut = if live.bytes < size { Some(cut(&file, &live, size, fault.as_ref())?) } else { None };
    // After a kill the bytes may be in the system's memory only.
    file.sync_all().map_err(io)?;
    Ok((live, cut))
}

fn cut(file: &File, live: &Live, size: u64, fault: Option<&FrameFault>) -> Result<Cut, LogError> {
    let io = |e| LogError::io(&live.path, &e);
    let aside = match fault {
        // A write that was under way: part of a batch, or of a frame, or zeros where bytes never came.
        None => None,
        Some(FrameFault::Torn { offset }) if size - offset <= MAX_FRAME as u64 => None,
        Some(FrameFault::Bad { offset, .. }) if is_zero_from(file, *offset).map_err(io)? => None,
        Some(_) => Some(set_aside(file, live, size)?),
    };
    file.set_len(live.bytes).map_err(io)?;
    let cut = Cut { segment: live.path.clone(), kept: live.bytes, cut: size - live.bytes, aside };
    tracing::warn!(segment = %cut.segment.display(), kept = cut.kept, cut = cut.cut, "cut a torn tail");
    Ok(cut)
}

/// Keeps bytes that might be more than a torn write: nothing of the log is destroyed on a guess.
fn set_aside(mut file: &File, live: &Live, size: u64) -> Result<PathBuf, LogError> {
    let path = live.path.with_extension(format!("cut-{}-{size}", live.bytes));
    let io = |e| LogError::io(&path, &e);
    file.seek(SeekFrom::Start(live.bytes)).map_err(io)?;
    let mut copy = File::create(&path).map_err(io)?;
    std::io::copy(&mut file, &mut copy).map_err(io)?;
    copy.sync_all().map_err(io)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    Ok(path)
}

fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let io = |e| LogError::io(folder, &e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        if let (Some("log"), Some(number)) = (path.extension().and_then(|e| e.to_str()), number) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a folder below `root`, and its name durable.
fn make_folder(folder: &Path, root: &Path) -> Result<(), LogError> {
    fs::create_dir_all(folder).map_err(|e| LogError::io(folder, &e))?;
    folder.ancestors().skip(1).take_while(|p| p.starts_with(root)).try_for_each(sync_folder)
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), LogError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| LogError::io(folder, &e))
}

/// Writes a file beside its place, makes it durable, and renames it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| LogError::io(path, &e))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

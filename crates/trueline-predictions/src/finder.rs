//! Finds what was logged by its id.

use crate::frame::read_frame;
use crate::index::Lookup;
use crate::segment::{SealedSegment, Segment};
use crate::stream::{Stream, Streams};
use crate::{DecodeError, Label, LogError, PredictionId, Record};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sealed segments that one finder keeps open in a stream.
const MOST_OPEN: usize = 32;

/// Finds predictions and labels of one project, in the endpoints that were there when it was made. It keeps what it
/// opened, so that many lookups cost less than one each. Its methods read files: call them where blocking is allowed.
#[derive(Debug)]
pub struct Finder {
    predictions: Vec<IdFinder>,
    labels: Option<IdFinder>,
}

impl Finder {
    /// In one endpoint, or in all of a project.
    pub(crate) fn new(streams: &Streams, project: &str, endpoint: Option<&str>) -> Self {
        let predictions = match endpoint {
            Some(_) => streams.get(project, endpoint).into_iter().collect(),
            None => streams.endpoints(project),
        };
        Self {
            predictions: predictions.into_iter().map(IdFinder::new).collect(),
            labels: streams.get(project, None).map(IdFinder::new),
        }
    }

    /// The prediction of this id.
    ///
    /// # Errors
    /// When a file can't be read or is damaged.
    pub fn find(&mut self, id: PredictionId) -> Result<Option<Record>, LogError> {
        let mut found = None;
        for finder in &mut self.predictions {
            finder.visit(id, |item| {
                found = Some(Record::decode(item)?);
                Ok(false)
            })?;
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Is there a prediction of this id?
    pub(crate) fn has(&mut self, id: PredictionId) -> Result<bool, LogError> {
        for finder in &mut self.predictions {
            if finder.contains(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All labels of this id in the order of their arrival: the last one is true, those before it are its history.
    ///
    /// # Errors
    /// When a file can't be read or is damaged.
    pub fn labels(&mut self, id: PredictionId) -> Result<Vec<Label>, LogError> {
        let mut found = Vec::new();
        if let Some(finder) = &mut self.labels {
            finder.visit(id, |item| {
                found.push(Label::decode(item)?);
                Ok(true)
            })?;
        }
        Ok(found)
    }
}

/// Finds ids in the segments of one stream.
#[derive(Debug)]
pub(crate) struct IdFinder {
    stream: Arc<Stream>,
    open: HashMap<u64, (Lookup, File)>,
}

impl IdFinder {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self { stream, open: HashMap::new() }
    }

    /// Gives every item of `id` to `visit`, in the order of appending, until it answers `false`.
    pub(crate) fn visit(
        &mut self,
        id: PredictionId,
        mut visit: impl FnMut(&[u8]) -> Result<bool, DecodeError>,
    ) -> Result<(), LogError> {
        for candidate in self.candidates(id) {
            let go_on = match candidate {
                Candidate::Sealed(segment) => match self.visit_sealed(&segment, id, &mut visit) {
                    // It went after the candidates were listed.
                    Err(_) if self.stream.segments.is_removed(segment.number) => true,
                    done => done?,
                },
                Candidate::Live(path, offsets) => {
                    let file = File::open(&path).map_err(|e| LogError::io(&path, &e))?;
                    visit_frames(&file, &path, &offsets, id, &mut visit)?
                }
            };
            if !go_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Is there an item of `id`? Reads indexes only.
    pub(crate) fn contains(&mut self, id: PredictionId) -> Result<bool, LogError> {
        for candidate in self.candidates(id) {
            let found = match candidate {
                Candidate::Sealed(segment) => match self.offsets(&segment, id) {
                    Err(_) if self.stream.segments.is_removed(segment.number) => false,
                    offsets => !offsets?.is_empty(),
                },
                Candidate::Live(..) => true,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn visit_sealed(
        &mut self,
        segment: &SealedSegment,
        id: PredictionId,
        visit: &mut impl FnMut(&[u8]) -> Result<bool, DecodeError>,
    ) -> Result<bool, LogError> {
        let offsets = self.offsets(segment, id)?;
        let (_, file) = self.opened(segment)?;
        visit_frames(file, &segment.path, &offsets, id, visit)
    }

    fn candidates(&self, id: PredictionId) -> Vec<Candidate> {
        let candidate = |segment: &Segment| match segment {
            Segment::Sealed(sealed) => {
                let (least, greatest) = sealed.summary.spans.ids;
                (least..=greatest).contains(&id).then(|| Candidate::Sealed(sealed.clone()))
            }
            Segment::Live(live) => {
                let offsets = live.get(id);
                (!offsets.is_empty()).then(|| Candidate::Live(live.path.clone(), offsets))
            }
        };
        self.stream.segments.read().values().filter_map(candidate).collect()
    }

    /// Where the frames of an id lie in a sealed segment. A broken index is made again from its segment.
    fn offsets(&mut self, segment: &SealedSegment, id: PredictionId) -> Result<Vec<u32>, LogError> {
        let found = self.opened(segment).and_then(|(lookup, _)| lookup.get(id));
        if !matches!(found, Err(LogError::Damaged { .. })) {
            return found;
        }
        self.open.remove(&segment.number);
        self.stream.segments.index_again(segment)?;
        self.opened(segment)?.0.get(id)
    }

    fn opened(&mut self, segment: &SealedSegment) -> Result<&mut (Lookup, File), LogError> {
        if !self.open.contains_key(&segment.number) && self.open.len() >= MOST_OPEN {
            self.open.clear();
        }
        match self.open.entry(segment.number) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(free) => {
                let file = File::open(&segment.path).map_err(|e| LogError::io(&segment.path, &e))?;
                Ok(free.insert((Lookup::open(&segment.path)?, file)))
            }
        }
    }
}

/// `false` when `visit` has seen enough.
fn visit_frames(
    file: &File,
    path: &Path,
    offsets: &[u32],
    id: PredictionId,
    visit: &mut impl FnMut(&[u8]) -> Result<bool, DecodeError>,
) -> Result<bool, LogError> {
    for offset in offsets {
        let frame = read_frame(file, path, *offset)?;
        for item in frame.items() {
            let item = item.map_err(|e| frame.damaged(path, e))?;
            // Every item's id stands after one byte of version.
            let ours = item.get(1..17) == Some(&id.to_bytes()[..]);
            if ours && !visit(item).map_err(|e| frame.damaged(path, e))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A segment that may hold an id.
enum Candidate {
    Sealed(Arc<SealedSegment>),
    Live(PathBuf, Vec<u32>),
}

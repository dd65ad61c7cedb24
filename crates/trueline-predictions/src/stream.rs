//! A stream: the segments of one endpoint's predictions or of one project's labels, with its counters; and the map of
//! them all.

use crate::segment::Segments;
use crate::{LogError, files};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// What a stream holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamName {
    /// Predictions of one endpoint.
    Predictions {
        /// Project's id.
        project: String,
        /// Endpoint's name.
        endpoint: String,
    },
    /// Labels of one project.
    Labels {
        /// Project's id.
        project: String,
    },
}

impl StreamName {
    /// The project's id.
    #[must_use]
    pub fn project(&self) -> &str {
        match self {
            Self::Predictions { project, .. } | Self::Labels { project } => project,
        }
    }

    /// The endpoint's name; none for labels.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Predictions { endpoint, .. } => Some(endpoint),
            Self::Labels { .. } => None,
        }
    }
}

/// Numbers for the metrics of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStats {
    /// Whose.
    pub stream: StreamName,
    /// Durable records that are there.
    pub records: u64,
    /// Bytes of them on the disk, indexes apart.
    pub bytes: u64,
    /// Files that they lie in.
    pub segments: u64,
    /// When the first of them came, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Until when what was deleted, because it was kept for long enough, had come.
    pub deleted_until_ms: Option<i64>,
    /// Best-effort records that were not kept, since the log was opened.
    pub dropped: u64,
    /// Groups of appends that the disk refused, since the log was opened.
    pub failed: u64,
    /// How long the last write and fsync took, in microseconds; 0 before the first.
    pub last_sync_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) last_sync_us: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    /// Its place among all streams, in the order of their making.
    pub(crate) ordinal: usize,
    pub(crate) segments: Segments,
    pub(crate) counters: Counters,
}

impl Stream {
    /// Until when what was removed had come; none when nothing was.
    pub(crate) fn deleted_until_ms(&self) -> Option<i64> {
        let removed = self.segments.removed();
        (removed.through > 0).then_some(removed.until_ms)
    }

    pub(crate) fn stats(&self) -> StreamStats {
        let Counters { records, bytes, dropped, failed, last_sync_us } = &self.counters;
        let extents = self.segments.extents(0);
        StreamStats {
            stream: self.name.clone(),
            records: records.load(Relaxed),
            bytes: bytes.load(Relaxed),
            segments: extents.len() as u64,
            oldest_ms: extents.iter().map(|extent| extent.spans.received_ms.0).min(),
            deleted_until_ms: self.deleted_until_ms(),
            dropped: dropped.load(Relaxed),
            failed: failed.load(Relaxed),
            last_sync_us: last_sync_us.load(Relaxed),
        }
    }
}

#[derive(Debug, Default)]
struct OfProject {
    labels: Option<Arc<Stream>>,
    endpoints: BTreeMap<String, Arc<Stream>>,
}

/// All streams under a root.
#[derive(Debug)]
pub(crate) struct Streams {
    root: PathBuf,
    made: AtomicUsize,
    map: RwLock<HashMap<String, OfProject>>,
}

impl Streams {
    /// Recovers every stream that has a folder.
    pub(crate) fn open(root: &Path) -> Result<Self, LogError> {
        let streams = Self { root: root.to_owned(), made: AtomicUsize::new(0), map: RwLock::default() };
        for name in files::streams(root)? {
            let segments = Segments::recover(&files::folder_of(root, &name)?, root)?;
            let (records, bytes) = segments.totals();
            let stream = streams.insert(name, segments);
            stream.counters.records.store(records, Relaxed);
            stream.counters.bytes.store(bytes, Relaxed);
        }
        Ok(streams)
    }

    /// The stream of this name, if anything was ever appended to it.
    pub(crate) fn get(&self, project: &str, endpoint: Option<&str>) -> Option<Arc<Stream>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let of_project = map.get(project)?;
        match endpoint {
            Some(endpoint) => of_project.endpoints.get(endpoint).cloned(),
            None => of_project.labels.clone(),
        }
    }

    /// The stream of this name; the writer makes its folder with its first segment.
    pub(crate) fn get_or_make(&self, project: &str, endpoint: Option<&str>) -> Result<Arc<Stream>, LogError> {
        if let Some(stream) = self.get(project, endpoint) {
            return Ok(stream);
        }
        let project = project.to_owned();
        let name = match endpoint {
            Some(endpoint) => StreamName::Predictions { project, endpoint: endpoint.to_owned() },
            None => StreamName::Labels { project },
        };
        let folder = files::folder_of(&self.root, &name)?;
        Ok(self.insert(name, Segments::none(&folder)))
    }

    /// Puts a stream into the map, unless another thread was first.
    fn insert(&self, name: StreamName, segments: Segments) -> Arc<Stream> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let of_project = map.entry(name.project().to_owned()).or_default();
        let make = |name: &StreamName| {
            let ordinal = self.made.fetch_add(1, Relaxed);
            Arc::new(Stream { name: name.clone(), ordinal, segments, counters: Counters::default() })
        };
        match &name {
            StreamName::Labels { .. } => of_project.labels.get_or_insert_with(|| make(&name)).clone(),
            StreamName::Predictions { endpoint, .. } => {
                of_project.endpoints.entry(endpoint.clone()).or_insert_with(|| make(&name)).clone()
            }
        }
    }

    /// Every endpoint's stream of a project.
    pub(crate) fn endpoints(&self, project: &str) -> Vec<Arc<Stream>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.get(project).into_iter().flat_map(|p| p.endpoints.values().cloned()).collect()
    }

    /// All streams, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            map.values().flat_map(|p| p.endpoints.values().chain(&p.labels).cloned()).collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

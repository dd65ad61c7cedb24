//! The log as its callers see it.

use crate::finder::Finder;
use crate::frame::{Frames, Kind};
use crate::labeller::{LabelJob, Labeller};
use crate::stream::{Stream, Streams};
use crate::writer::{Job, MAX_FLUSH_AFTER, Writer};
use crate::{
    Cursor, Cut, Dropped, Found, Label, Labelled, LogError, Look, Page, PredictionId, Record, Scan, Sealed,
    StreamName, StreamStats, files, newest, scan, sealer,
};
use crossbeam_channel::{Sender, TrySendError, bounded, unbounded};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Most bytes of records in one append, or of labels in one call.
pub const MAX_BATCH: usize = 32 << 20;

/// Limits of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment is closed before it would grow beyond this many bytes; at most 1 GiB.
    pub segment_bytes: u64,
    /// A segment is closed this long after its first append of this process.
    pub seal_after: Duration,
    /// Appends that may wait for the writer, and calls that may wait with labels.
    pub queue: usize,
    /// Bytes that may wait in both queues; a single append may have more.
    pub queue_bytes: usize,
    /// Best-effort records wait this long for others, at most 50 ms, so that the disk has as long again.
    pub flush_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            seal_after: Duration::from_secs(3600),
            queue: 4096,
            queue_bytes: 64 << 20,
            flush_after: MAX_FLUSH_AFTER,
        }
    }
}

/// What waits for the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Appends.
    pub appends: usize,
    /// Bytes in both queues.
    pub bytes: usize,
    /// Calls with labels.
    pub labels: usize,
}

/// The log of a server's predictions and labels. Share it in an [`Arc`]; when the last one is dropped, what waits is written
/// and the threads end.
#[derive(Debug)]
pub struct PredictionLog {
    streams: Arc<Streams>,
    options: Options,
    queued_bytes: Arc<AtomicUsize>,
    sealed: watch::Receiver<u64>,
    /// Taken when the log is dropped; the labeller ends first, because it talks to the writer.
    labels: Option<Sender<LabelJob>>,
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    _lock: File,
}

impl PredictionLog {
    /// Opens the log under `root`, which is made if it is missing: takes the lock, cuts torn tails, starts the threads.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another process has it open; otherwise when files can't be read.
    pub fn open(root: &Path, options: Options) -> Result<Self, LogError> {
        let io = |e| LogError::io(root, &e);
        fs::create_dir_all(root).map_err(io)?;
        files::sync_parent(root)?;
        let lock = lock(root)?;
        let streams = Arc::new(Streams::open(root)?);
        let options = Options {
            segment_bytes: options.segment_bytes.min(1 << 30),
            flush_after: options.flush_after.min(MAX_FLUSH_AFTER),
            queue: options.queue.max(1),
            ..options
        };
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let (jobs, to_write) = bounded(options.queue);
        let (labels, to_label) = bounded(options.queue);
        let (to_sealer, to_seal) = unbounded();
        let (count, sealed) = watch::channel(0);
        let writer = Writer {
            root: root.to_owned(),
            options: options.clone(),
            jobs: to_write,
            queued_bytes: queued_bytes.clone(),
            sealer: to_sealer,
            tails: Default::default(),
            look_for_old: None,
        };
        let labeller = Labeller {
            streams: streams.clone(),
            jobs: to_label,
            writer: jobs.clone(),
            queued_bytes: queued_bytes.clone(),
        };
        let of_sealer = streams.clone();
        let thread = |name: &str| Builder::new().name(name.to_owned());
        let threads = vec![
            thread("log-labeller").spawn(move || labeller.run()).map_err(io)?,
            thread("log-writer").spawn(move || writer.run()).map_err(io)?,
            thread("log-sealer").spawn(move || sealer::run(&of_sealer, &to_seal, &count)).map_err(io)?,
        ];
        let (labels, jobs) = (Some(labels), Some(jobs));
        Ok(Self { streams, options, queued_bytes, sealed, labels, jobs, threads, _lock: lock })
    }

    /// What recovery cut off when the log was opened.
    #[must_use]
    pub fn cuts(&self) -> Vec<Cut> {
        self.streams.all().iter().flat_map(|stream| stream.segments.cuts.clone()).collect()
    }

    /// Appends records of one endpoint, all or none. They are in the queue when this returns; the future ends when they
    /// are durable, and need not be polled for that.
    ///
    /// # Errors
    /// [`LogError::Busy`] when the queue is full; what the disk said; records beyond the limits or of two endpoints.
    pub fn append_required(
        &self,
        records: &[Record],
    ) -> impl Future<Output = Result<(), LogError>> + Send + 'static + use<> {
        let (waiter, answer) = oneshot::channel();
        let queued = frame(records).and_then(|frames| self.push(records, frames, Some(waiter)));
        async move {
            match queued? {
                Pushed::Nothing => Ok(()),
                Pushed::Waiting => answer.await.map_err(|_| LogError::Closed)?,
            }
        }
    }

    /// Appends records of one endpoint without waiting. They are durable within 100 ms, unless the machine or the disk
    /// fails before; what is lost by a failure of the disk is counted in [`StreamStats::dropped`] like what is refused
    /// here.
    ///
    /// # Errors
    /// When the queue is full, or the records can't be logged; they were counted as dropped.
    pub fn append_best_effort(&self, records: &[Record]) -> Result<(), Dropped> {
        let queued = frame(records).and_then(|frames| self.push(records, frames, None));
        queued.map(drop).map_err(|error| {
            if let Some(Ok(stream)) =
                records.first().map(|r| self.streams.get_or_make(&r.project, Some(&r.endpoint)))
            {
                stream.counters.dropped.fetch_add(records.len() as u64, Relaxed);
            }
            match error {
                LogError::Busy { .. } => Dropped::QueueFull,
                other => Dropped::Refused(other),
            }
        })
    }

    fn push(
        &self,
        records: &[Record],
        frames: Frames,
        waiter: Option<crate::tail::Waiter>,
    ) -> Result<Pushed, LogError> {
        let (Some(first), Some(jobs)) = (records.first(), &self.jobs) else { return Ok(Pushed::Nothing) };
        let stream = self.streams.get_or_make(&first.project, Some(&first.endpoint))?;
        let bytes = frames.bytes.len();
        self.enqueue(jobs, Job::Append { stream, frames, waiter }, bytes)?;
        Ok(Pushed::Waiting)
    }

    /// Whoever takes a job out of a queue takes its bytes off again.
    fn enqueue<T>(&self, queue: &Sender<T>, job: T, bytes: usize) -> Result<(), LogError> {
        let busy = || LogError::Busy { waiting: queue.len() };
        let before = self.queued_bytes.fetch_add(bytes, Relaxed);
        let sent = if before > 0 && before + bytes > self.options.queue_bytes {
            Err(busy())
        } else {
            queue.try_send(job).map_err(|e| match e {
                TrySendError::Full(_) => busy(),
                TrySendError::Disconnected(_) => LogError::Closed,
            })
        };
        sent.inspect_err(|_| {
            self.queued_bytes.fetch_sub(bytes, Relaxed);
        })
    }

    /// Keeps labels of a project and answers when they are durable. One that says nothing new is not kept again; one that
    /// says something else for the same prediction is a correction, and the last to arrive is true.
    ///
    /// # Errors
    /// [`LogError::Busy`] when too many calls wait; what the disk said: then some of the labels may be kept, and sending
    /// all of them again is right.
    pub async fn label(&self, project: &str, labels: Vec<Label>) -> Result<Labelled, LogError> {
        let labels = labels.into_iter().map(|label| Ok((label.encode()?, label)));
        let labels = labels.collect::<Result<Vec<_>, LogError>>()?;
        let bytes = labels.iter().map(|(bytes, _)| bytes.len()).sum();
        within_batch("labels", bytes)?;
        let (reply, answer) = oneshot::channel();
        let jobs = self.labels.as_ref().ok_or(LogError::Closed)?;
        self.enqueue(jobs, LabelJob { project: project.to_owned(), bytes, labels, reply }, bytes)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// For lookups by id in a project, or in one of its endpoints.
    #[must_use]
    pub fn finder(&self, project: &str, endpoint: Option<&str>) -> Finder {
        Finder::new(&self.streams, project, endpoint)
    }

    /// The prediction of this id in a project. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When a file can't be read or is damaged.
    pub fn find(&self, project: &str, id: PredictionId) -> Result<Option<Record>, LogError> {
        self.finder(project, None).find(id)
    }

    /// The labels of this id, the last one being true. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// When a file can't be read or is damaged.
    pub fn labels_of(&self, project: &str, id: PredictionId) -> Result<Vec<Label>, LogError> {
        self.finder(project, None).labels(id)
    }

    /// A page of an endpoint's records. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`LogError::Cursor`] for a position that is not of this log; when a file can't be read or is damaged.
    pub fn scan(&self, project: &str, endpoint: &str, what: &Scan) -> Result<Page<Record>, LogError> {
        read(self.streams.get(project, Some(endpoint)), what, u64::MAX, Record::decode)
    }

    /// Records of an endpoint from the newest back. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn look(&self, project: &str, endpoint: &str, what: &Look) -> Result<Found, LogError> {
        if let Some(id) = what.filter.id {
            let found = self.finder(project, Some(endpoint)).find(id)?;
            let items: Vec<_> = found.into_iter().filter(|record| what.filter.takes(record)).collect();
            return Ok(Found { looked_at: items.len() as u64, items, ..Found::default() });
        }
        match self.streams.get(project, Some(endpoint)) {
            Some(stream) => newest::look(&stream.segments, what),
            None => Ok(Found::default()),
        }
    }

    /// A page of a project's labels. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_labels(&self, project: &str, what: &Scan) -> Result<Page<Label>, LogError> {
        read(self.streams.get(project, None), what, u64::MAX, Label::decode)
    }

    /// A page of a project's labels, of what lies in segments up to `through` alone. Reads files: call it where blocking is
    /// allowed.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_labels_through(
        &self,
        project: &str,
        through: u64,
        what: &Scan,
    ) -> Result<Page<Label>, LogError> {
        read(self.streams.get(project, None), what, through, Label::decode)
    }

    /// A page of an endpoint's records, of what lies in segments up to `through` alone. Reads files: call it where blocking
    /// is allowed.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_through(
        &self,
        project: &str,
        endpoint: &str,
        through: u64,
        what: &Scan,
    ) -> Result<Page<Record>, LogError> {
        read(self.streams.get(project, Some(endpoint)), what, through, Record::decode)
    }

    /// The newest segment of a stream that was removed, with all before it; 0 when none was.
    #[must_use]
    pub fn removed_through(&self, stream: &StreamName) -> u64 {
        let found = self.streams.get(stream.project(), stream.endpoint());
        found.map_or(0, |stream| stream.segments.removed().through)
    }

    /// Where the labels of a project end now: who reads on from here sees those alone that come later.
    #[must_use]
    pub fn end_of_labels(&self, project: &str) -> Cursor {
        self.streams.get(project, None).map_or(Cursor::START, |stream| scan::end(&stream.segments))
    }

    /// Everything that ever was appended to, by name.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamName> {
        self.streams.all().iter().map(|stream| stream.name.clone()).collect()
    }

    /// Sealed segments of a stream with numbers beyond `segment`, oldest first. Whoever records them keeps the last number
    /// in the same transaction; so each is recorded once, whatever crashes.
    #[must_use]
    pub fn sealed_after(&self, stream: &StreamName, segment: u64) -> Vec<Sealed> {
        let Some(found) = self.streams.get(stream.project(), stream.endpoint()) else { return Vec::new() };
        let sealed = found.segments.sealed_after(segment);
        sealed.iter().map(|s| Sealed::new(stream, s.number, &s.path, &s.summary)).collect()
    }

    /// The oldest sealed segments of a stream in which everything came before `before_ms`, oldest first, up to the first that
    /// one of those who follow it has still to read. A segment that is open and as old is closed, so that its time comes, too.
    #[must_use]
    pub fn expired(&self, stream: &StreamName, before_ms: i64, followers: &[Cursor]) -> Vec<Sealed> {
        let Some(found) = self.streams.get(stream.project(), stream.endpoint()) else { return Vec::new() };
        if let (true, Some(jobs)) = (found.segments.is_open_since_before(before_ms), &self.jobs) {
            // When the queue is full, whoever asks again has it closed.
            let _ = jobs.try_send(Job::Close(Arc::clone(&found)));
        }
        let expired = found.segments.expired(before_ms, followers);
        expired.iter().map(|s| Sealed::new(stream, s.number, &s.path, &s.summary)).collect()
    }

    /// Removes the sealed segments of a stream up to this one, for good. Reads and writes files: call it where blocking is
    /// allowed. Whoever is reading them goes on behind them; positions in them stay good.
    ///
    /// # Errors
    /// What the disk said. What is left of them goes with the next call or at the next start.
    pub fn remove_through(&self, stream: &StreamName, segment: u64) -> Result<(), LogError> {
        let Some(found) = self.streams.get(stream.project(), stream.endpoint()) else { return Ok(()) };
        let (records, bytes) = found.segments.remove_through(segment)?;
        found.counters.records.fetch_sub(records, Relaxed);
        found.counters.bytes.fetch_sub(bytes, Relaxed);
        Ok(())
    }

    /// Until when what was removed of an endpoint's predictions had come, or of any endpoint's; none when nothing was.
    #[must_use]
    pub fn deleted_until_ms(&self, project: &str, endpoint: Option<&str>) -> Option<i64> {
        match endpoint {
            Some(_) => self.streams.get(project, endpoint)?.deleted_until_ms(),
            None => self.streams.endpoints(project).iter().filter_map(|s| s.deleted_until_ms()).max(),
        }
    }

    /// Changes whenever a segment was sealed: what to wait for before asking [`sealed_after`](Self::sealed_after) again.
    #[must_use]
    pub fn seals(&self) -> watch::Receiver<u64> {
        self.sealed.clone()
    }

    /// Closes all open segments and waits until they are sealed.
    ///
    /// # Errors
    /// When one can't be sealed now; it is tried again later.
    pub async fn seal_all(&self) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(LogError::Closed)?;
        jobs.try_send(Job::SealAll(reply)).map_err(|_| LogError::Busy { waiting: jobs.len() })?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// Numbers of every stream, by name.
    #[must_use]
    pub fn stats(&self) -> Vec<StreamStats> {
        self.streams.all().iter().map(|stream| stream.stats()).collect()
    }

    /// Numbers of an endpoint's predictions; none before the first.
    #[must_use]
    pub fn stats_of(&self, project: &str, endpoint: &str) -> Option<StreamStats> {
        self.streams.get(project, Some(endpoint)).map(|stream| stream.stats())
    }

    /// What waits for the writer now.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting {
            appends: self.jobs.as_ref().map_or(0, Sender::len),
            bytes: self.queued_bytes.load(Relaxed),
            labels: self.labels.as_ref().map_or(0, Sender::len),
        }
    }
}

impl Drop for PredictionLog {
    fn drop(&mut self) {
        self.labels = None;
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the prediction log has panicked");
            }
        }
    }
}

enum Pushed {
    Nothing,
    Waiting,
}

fn lock(root: &Path) -> Result<File, LogError> {
    let path = root.join("lock");
    let open = File::options().write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(|e| LogError::io(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse(root.display().to_string())),
        Err(TryLockError::Error(e)) => Err(LogError::io(&path, &e)),
    }
}

/// Encodes on the caller's thread, so that the writer has little to do.
fn frame(records: &[Record]) -> Result<Frames, LogError> {
    let Some(first) = records.first() else { return Ok(Frames::default()) };
    let mut items = Vec::with_capacity(records.len());
    let mut bytes = 0;
    for record in records {
        if (&record.project, &record.endpoint) != (&first.project, &first.endpoint) {
            let name = |r: &Record| format!("{}/{}", r.project, r.endpoint);
            return Err(LogError::Mixed { first: name(first), other: name(record) });
        }
        let item = record.encode()?;
        bytes += item.len();
        within_batch("an append", bytes)?;
        items.push((record.head(), item));
    }
    Ok(Frames::build(Kind::Predictions, true, &items))
}

fn within_batch(what: &'static str, bytes: usize) -> Result<(), LogError> {
    if bytes > MAX_BATCH { Err(LogError::TooLarge { what, bytes, limit: MAX_BATCH }) } else { Ok(()) }
}

fn read<T>(
    stream: Option<Arc<Stream>>,
    what: &Scan,
    through: u64,
    decode: impl Fn(&[u8]) -> Result<T, crate::DecodeError>,
) -> Result<Page<T>, LogError> {
    match stream {
        Some(stream) => scan::page(&stream.segments, what, through, decode),
        None => Ok(Page { items: Vec::new(), next: what.from, end: true }),
    }
}

//! The end of one stream, as only the writer sees it: what waits to be written, and the file that it goes into.
//!
//! A commit is one write and one fdatasync for everything that waits. Only then do readers see it and callers get their
//! answers.

use crate::frame::{Frames, Placed};
use crate::stream::Stream;
use crate::{LogError, files};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Who waits for an append.
pub(crate) type Waiter = oneshot::Sender<Result<(), LogError>>;

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
    /// Bytes that are durable; the next write goes there.
    durable: u64,
    since: Instant,
}

/// The end of one stream.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) stream: Arc<Stream>,
    root: PathBuf,
    open: Option<OpenFile>,
    bytes: Vec<u8>,
    placed: Vec<Placed>,
    waiters: Vec<Waiter>,
    best_effort: u64,
    waiting_since: Option<Instant>,
}

impl Tail {
    pub(crate) fn new(stream: Arc<Stream>, root: &Path) -> Self {
        Self {
            stream,
            root: root.to_owned(),
            open: None,
            bytes: Vec::new(),
            placed: Vec::new(),
            waiters: Vec::new(),
            best_effort: 0,
            waiting_since: None,
        }
    }

    /// Would these bytes make the open segment longer than allowed?
    pub(crate) fn overflows(&self, bytes: usize, limit: u64) -> bool {
        let length = self.open.as_ref().map_or(0, |o| o.durable) + self.bytes.len() as u64;
        length > 0 && length + bytes as u64 > limit
    }

    /// Puts frames in line for the next commit.
    pub(crate) fn push(&mut self, frames: Frames, waiter: Option<Waiter>, now: Instant) {
        let base = self.bytes.len() as u32;
        match waiter {
            Some(waiter) => self.waiters.push(waiter),
            None => self.best_effort += frames.placed.len() as u64,
        }
        self.bytes.extend_from_slice(&frames.bytes);
        self.placed.extend(frames.placed.iter().map(|p| Placed { offset: p.offset + base, ..*p }));
        self.waiting_since.get_or_insert(now);
    }

    /// Since when something waits.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Does somebody wait for the next commit?
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Since when the open segment holds something.
    pub(crate) fn open_since(&self) -> Option<Instant> {
        self.open.as_ref().filter(|o| o.durable > 0).map(|o| o.since)
    }

    /// Makes durable what waits, and answers. `true` when the segment had to be given up.
    pub(crate) fn commit(&mut self) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        let started = Instant::now();
        let result = self.write();
        let counters = &self.stream.counters;
        match &result {
            Ok(()) => {
                counters.records.fetch_add(self.placed.len() as u64, Relaxed);
                counters.bytes.fetch_add(self.bytes.len() as u64, Relaxed);
                counters.last_sync_us.store(micros(started.elapsed()), Relaxed);
            }
            Err(error) => {
                counters.failed.fetch_add(1, Relaxed);
                counters.dropped.fetch_add(self.best_effort, Relaxed);
                tracing::error!(stream = ?self.stream.name, %error, "the prediction log could not write");
            }
        }
        for waiter in self.waiters.drain(..) {
            // A caller that went away does not mind.
            let _ = waiter.send(result.clone());
        }
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.placed.clear();
        self.best_effort = 0;
        self.waiting_since = None;
        result.is_err() && self.open.is_none()
    }

    fn write(&mut self) -> Result<(), LogError> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(open_file(&self.stream, &self.root)?),
        };
        let error = match open.file.write_all_at(&self.bytes, open.durable) {
            Err(error) => {
                // Take back what was written of it; a segment that can't even be cut is not written to again.
                let error = LogError::io(&open.path, &error);
                if open.file.set_len(open.durable).is_ok() {
                    return Err(error);
                }
                error
            }
            Ok(()) => match open.file.sync_data() {
                Ok(()) => {
                    let base = open.durable as u32;
                    self.placed.iter_mut().for_each(|p| p.offset += base);
                    open.durable += self.bytes.len() as u64;
                    self.stream.segments.publish(&self.placed, open.durable);
                    return Ok(());
                }
                // After a failed fsync the system may have thrown the bytes away and call the next fsync a success.
                Err(error) => LogError::io(&open.path, &error),
            },
        };
        self.close();
        Err(error)
    }

    /// Ends the open segment, so that the next append starts a new one. `false` when there was none.
    pub(crate) fn close(&mut self) -> bool {
        let was_open = self.open.take().is_some();
        if was_open {
            self.stream.segments.close();
        }
        was_open
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Goes on with the segment that recovery left open, or starts one whose name is durable.
fn open_file(stream: &Stream, root: &Path) -> Result<OpenFile, LogError> {
    let segments = &stream.segments;
    let since = Instant::now();
    if let Some((_, path, durable)) = segments.open() {
        let file = File::options().write(true).open(&path).map_err(|e| LogError::io(&path, &e))?;
        return Ok(OpenFile { path, file, durable, since });
    }
    files::make_folder(&segments.folder, root)?;
    let (number, path) = segments.next();
    // A file that is there already is what an earlier attempt left, before it could make the name durable.
    let options = File::options().write(true).create(true).truncate(true).open(&path);
    let file = options.map_err(|e| LogError::io(&path, &e))?;
    files::sync_folder(&segments.folder)?;
    segments.add(number, path.clone());
    Ok(OpenFile { path, file, durable: 0, since })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PredictionId;
    use crate::finder::IdFinder;
    use crate::frame::Kind;
    use crate::stream::Streams;
    use crate::wire::Head;

    fn push(tail: &mut Tail, n: u64) -> oneshot::Receiver<Result<(), LogError>> {
        let (waiter, answer) = oneshot::channel();
        let head = Head { id: PredictionId::new(n, 0), event_ms: 0, received_ms: 0 };
        let mut item = Vec::new();
        head.put(1, &mut item);
        tail.push(Frames::build(Kind::Predictions, true, &[(head, item)]), Some(waiter), Instant::now());
        answer
    }

    fn has(tail: &Tail, n: u64) -> bool {
        IdFinder::new(tail.stream.clone()).contains(PredictionId::new(n, 0)).unwrap()
    }

    #[test]
    fn after_a_failed_fsync_callers_get_the_error_and_the_segment_is_never_written_to_again() {
        let dir = tempfile::tempdir().unwrap();
        let streams = Streams::open(dir.path()).unwrap();
        let mut tail = Tail::new(streams.get_or_make("p", Some("e")).unwrap(), dir.path());
        let mut first = push(&mut tail, 1);
        assert!(!tail.commit());
        assert_eq!(first.try_recv().unwrap(), Ok(()));

        // A device that takes every write and can't be synced.
        tail.open.as_mut().unwrap().file = File::options().write(true).open("/dev/null").unwrap();
        let (mut second, mut third) = (push(&mut tail, 2), push(&mut tail, 3));
        assert!(tail.commit(), "the segment was given up");
        for answer in [&mut second, &mut third] {
            assert!(matches!(answer.try_recv().unwrap(), Err(LogError::Files { .. })));
        }

        let mut fourth = push(&mut tail, 4);
        assert!(!tail.commit());
        assert_eq!(fourth.try_recv().unwrap(), Ok(()));
        assert_eq!([1, 2, 3, 4].map(|n| has(&tail, n)), [true, false, false, true]);
        assert_eq!(tail.stream.segments.open().unwrap().0, 2, "in a segment of its own");
        assert_eq!(tail.stream.segments.seal_closed(), Ok(1));
        assert_eq!([1, 2, 3, 4].map(|n| has(&tail, n)), [true, false, false, true]);
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_an_error_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let streams = Streams::open(dir.path()).unwrap();
        let mut tail = Tail::new(streams.get_or_make("p", Some("e")).unwrap(), dir.path());
        std::fs::write(dir.path().join("p"), "in the way").unwrap();
        let mut first = push(&mut tail, 1);
        assert!(tail.commit());
        assert!(first.try_recv().unwrap().is_err());
        std::fs::remove_file(dir.path().join("p")).unwrap();
        let mut second = push(&mut tail, 2);
        assert!(!tail.commit());
        assert_eq!(second.try_recv().unwrap(), Ok(()));
        assert_eq!([1, 2].map(|n| has(&tail, n)), [false, true]);
    }
}

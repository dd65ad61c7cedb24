//! The labeller: the one thread that decides what a label means after those before it, so that the same label sent twice
//! at once is kept once.

use crate::finder::Finder;
use crate::frame::{Frames, Kind};
use crate::label::Meaning;
use crate::stream::Streams;
use crate::wire::Head;
use crate::writer::Job;
use crate::{Label, Labelled, LogError, PredictionId};
use crossbeam_channel::{Receiver, Sender};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::oneshot;

/// Labels that share one append; predictions are written between two.
const CHUNK: usize = 4096;

/// Labels of one caller.
#[derive(Debug)]
pub(crate) struct LabelJob {
    pub(crate) project: String,
    /// Encoded, and as they are.
    pub(crate) labels: Vec<(Vec<u8>, Label)>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<Labelled, LogError>>,
}

pub(crate) struct Labeller {
    pub(crate) streams: Arc<Streams>,
    pub(crate) jobs: Receiver<LabelJob>,
    pub(crate) writer: Sender<Job>,
    pub(crate) queued_bytes: Arc<AtomicUsize>,
}

impl Labeller {
    /// Works until the queue is closed and empty.
    pub(crate) fn run(self) {
        while let Ok(first) = self.jobs.recv() {
            let mut groups: HashMap<String, Vec<LabelJob>> = HashMap::new();
            let mut labels = 0;
            for job in std::iter::once(first).chain(self.jobs.try_iter()) {
                self.queued_bytes.fetch_sub(job.bytes, Relaxed);
                labels += job.labels.len();
                groups.entry(job.project.clone()).or_default().push(job);
                if labels >= CHUNK {
                    break;
                }
            }
            for (project, jobs) in groups {
                self.label(&project, jobs);
            }
        }
    }

    /// Appends the labels of several callers together, then answers all of them.
    fn label(&self, project: &str, jobs: Vec<LabelJob>) {
        let flat =
            jobs.iter().enumerate().flat_map(|(at, job)| job.labels.iter().map(move |label| (at, label)));
        let flat: Vec<_> = flat.collect();
        let mut done = vec![Ok(Labelled::default()); jobs.len()];
        let mut seen = HashSet::new();
        for chunk in flat.chunks(CHUNK) {
            let result = self.chunk(project, chunk, &mut seen, &mut done);
            if let Err(error) = result {
                chunk.iter().for_each(|(job, _)| done[*job] = Err(error.clone()));
            }
        }
        for (job, result) in jobs.into_iter().zip(done) {
            let _ = job.reply.send(result);
        }
    }

    fn chunk(
        &self,
        project: &str,
        chunk: &[(usize, &(Vec<u8>, Label))],
        seen_unknown: &mut HashSet<(usize, PredictionId)>,
        done: &mut [Result<Labelled, LogError>],
    ) -> Result<(), LogError> {
        // Made anew, because the first labels of a project make its stream.
        let mut finder = Finder::new(&self.streams, project, None);
        let mut histories: HashMap<PredictionId, Vec<Label>> = HashMap::new();
        let mut unknown = HashSet::new();
        let mut items = Vec::with_capacity(chunk.len());
        for (job, (bytes, label)) in chunk {
            let Ok(tally) = &mut done[*job] else { continue };
            let id = label.prediction_id;
            let history = match histories.entry(id) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => {
                    if !finder.has(id)? {
                        unknown.insert(id);
                    }
                    free.insert(finder.labels(id)?)
                }
            };
            if unknown.contains(&id) && seen_unknown.insert((*job, id)) {
                tally.unknown.push(id);
            }
            let meaning = label.after(history);
            match meaning {
                Meaning::New => tally.new += 1,
                Meaning::Correction => tally.corrections += 1,
                Meaning::Duplicate => tally.duplicates += 1,
            }
            if meaning != Meaning::Duplicate {
                items.push((label.head(), bytes.clone()));
                history.push(label.clone());
            }
        }
        if items.is_empty() { Ok(()) } else { self.append(project, &items) }
    }

    fn append(&self, project: &str, items: &[(Head, Vec<u8>)]) -> Result<(), LogError> {
        let stream = self.streams.get_or_make(project, None)?;
        let frames = Frames::build(Kind::Labels, false, items);
        let (waiter, answer) = oneshot::channel();
        self.queued_bytes.fetch_add(frames.bytes.len(), Relaxed);
        let job = Job::Append { stream, frames, waiter: Some(waiter) };
        self.writer.send(job).map_err(|_| LogError::Closed)?;
        answer.blocking_recv().map_err(|_| LogError::Closed)?
    }
}

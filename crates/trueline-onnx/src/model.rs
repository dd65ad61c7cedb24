//! A model: what it takes and gives, and its answers.

use crate::deadline;
use crate::error::{LoadError, RunError};
use crate::feed::{feed, names};
use crate::library::Library;
use crate::load::{Loaded, ModelInfo, Source, load};
use crate::pool::{Bounds, Pool, Refusal};
use crate::session::{self, Recipe, Wanted};
use crate::table;
use crate::types::TensorInfo;
use ort::session::{RunOptions, Session, SessionInputValue};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use trueline_tensors::Tensor;

/// How a model is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most sessions, each of which answers one call at a time. They are made when they are needed.
    pub sessions: usize,
    /// Threads that one call may use.
    pub threads: usize,
    /// The most calls that wait for a session; further ones are refused.
    pub waiting: usize,
    /// The longest that a call waits for a session.
    pub wait: Duration,
}

impl Default for Options {
    /// As many sessions as the machine runs threads, of one thread each; 1,024 calls wait up to ten seconds.
    fn default() -> Self {
        let sessions = std::thread::available_parallelism().map_or(1, Into::into);
        Self { sessions, threads: 1, waiting: 1024, wait: Duration::from_secs(10) }
    }
}

/// How a model is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// The outputs that are wanted, in this order; all when there are none.
    pub outputs: &'a [&'a str],
    /// When the answer is of no use any more: neither waiting nor running goes on after it.
    pub deadline: Option<Instant>,
}

/// A model in memory, ready to answer. Shared by all callers at once; what it takes is given back when it is dropped.
#[derive(Debug)]
pub struct Model {
    inner: Arc<Inner>,
    /// Who makes the next session, if somebody does or did.
    growing: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    recipe: Recipe,
    pool: Pool<Session>,
    /// What the process grew by with each session, summed up.
    grown: AtomicUsize,
    sessions: usize,
    wait: Duration,
    info: ModelInfo,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Model {
    /// A model of its bytes, all of which are in them.
    ///
    /// # Errors
    /// [`LoadError`], which says why it is refused.
    pub fn from_bytes(
        library: &'static Library,
        bytes: Vec<u8>,
        options: &Options,
    ) -> Result<Self, LoadError> {
        Self::of(library, bytes, None, options)
    }

    /// A model of a file, which may name others in its folder and below.
    ///
    /// # Errors
    /// [`LoadError`], which says why it is refused.
    pub fn from_file(library: &'static Library, file: &Path, options: &Options) -> Result<Self, LoadError> {
        let unreadable =
            |e: std::io::Error| LoadError::File { path: file.display().to_string(), reason: e.to_string() };
        let file = file.canonicalize().map_err(unreadable)?;
        let bytes = std::fs::read(&file).map_err(unreadable)?;
        Self::of(library, bytes, file.parent().map(Path::to_path_buf), options)
    }

    fn of(
        library: &'static Library,
        bytes: Vec<u8>,
        folder: Option<PathBuf>,
        options: &Options,
    ) -> Result<Self, LoadError> {
        let sessions = options.sessions.max(1);
        let source = Source {
            library,
            bytes: Arc::new(bytes),
            folder,
            threads: options.threads.max(1),
            several: sessions > 1,
        };
        let Loaded { recipe, first, info, inputs, outputs } = load(&source)?;
        let bounds = Bounds { sessions, waiting: options.waiting, wait: options.wait };
        let inner = Inner {
            recipe,
            pool: Pool::new(first.session, bounds),
            grown: AtomicUsize::new(first.bytes),
            sessions,
            wait: options.wait,
            info,
            inputs,
            outputs,
        };
        Ok(Self { inner: Arc::new(inner), growing: Mutex::default() })
    }

    /// What it takes.
    #[must_use]
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inner.inputs
    }

    /// What it gives.
    #[must_use]
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.inner.outputs
    }

    /// What it says of itself besides.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Its sessions so far, one that is being made included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.inner.pool.there()
    }

    /// What it takes of memory, in bytes: what its sessions share, and by how much the process grew with each of them. Where
    /// something else grew or shrank at the same moment, it is off by that.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.inner.recipe.heap_bytes() + self.inner.grown.load(Ordering::Relaxed)
    }

    /// A table's columns as tensors for [`Model::run`], as MLflow's ONNX flavour gives a table to a model: one input gets
    /// all columns side by side, in the order in which they come; several get the column of their name, and further
    /// columns are left out. Integers among floats become floats.
    ///
    /// # Errors
    /// [`RunError::Missing`] and [`RunError::Table`], which name what does not fit.
    pub fn table(&self, columns: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        table::of_table(&self.inner.inputs, columns)
    }

    /// Answers, in the caller's thread. Inputs are found by their names; a single tensor for a single input needs none.
    ///
    /// Numbers are turned into what the model takes where that is safe, see [`RunError::Type`]; a column may stand for a
    /// table that is one wide. A deadline ends a run between two nodes of the graph: a node that takes long is not
    /// interrupted.
    ///
    /// # Errors
    /// [`RunError`], which names the input that is wrong, or says why there is no answer.
    pub fn run(&self, given: &[Tensor], call: &Call<'_>) -> Result<Vec<Tensor>, RunError> {
        let inner = &self.inner;
        if let Some(name) = call.outputs.iter().find(|name| !inner.outputs.iter().any(|o| o.name == **name)) {
            return Err(RunError::UnknownOutput { name: (*name).to_owned(), gives: names(&inner.outputs) });
        }
        let feed = feed(&inner.inputs, given)?;
        let Some(deadline) = call.deadline else {
            let wanted = if call.outputs.is_empty() { Wanted::All } else { Wanted::Some(call.outputs) };
            return self.taken(None, |session| session::run(session, &feed, &wanted));
        };
        let ran = self.taken(Some(deadline), |session| until(session, &feed, deadline));
        let answers = ran.map_err(|error| match (error, Instant::now() >= deadline) {
            (RunError::Failed { .. } | RunError::Timeout { .. }, true) => RunError::Deadline,
            (error, _) => error,
        })?;
        Ok(chosen(answers, call.outputs))
    }

    fn taken(
        &self,
        deadline: Option<Instant>,
        act: impl FnOnce(&mut Session) -> Result<Vec<Tensor>, RunError>,
    ) -> Result<Vec<Tensor>, RunError> {
        let inner = &self.inner;
        inner.pool.with(deadline, || self.grow(), act).unwrap_or_else(|refusal| {
            Err(match refusal {
                Refusal::Full(waiting) => RunError::Busy { waiting, sessions: inner.sessions },
                Refusal::Timeout => RunError::Timeout { waited: inner.wait, sessions: inner.sessions },
            })
        })
    }

    /// Has another session made beside the calls, which go on with those that there are.
    fn grow(&self) {
        let inner = Arc::clone(&self.inner);
        let make = move || {
            let made = inner
                .recipe
                .make()
                .inspect_err(|error| tracing::warn!(%error, "no further session was made"));
            let session = made.ok().map(|made| {
                inner.grown.fetch_add(made.bytes, Ordering::Relaxed);
                made.session
            });
            inner.pool.grown(session);
        };
        match std::thread::Builder::new().name("onnx-session".to_owned()).spawn(make) {
            Ok(thread) => *self.growing.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            Err(_) => self.inner.pool.grown(None),
        }
    }
}

impl Drop for Model {
    /// Waits for a session that is being made, so that all memory has been given back when this returns.
    fn drop(&mut self) {
        let thread = self.growing.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }
}

/// Runs for all outputs, since what the library takes to end a run can't name some; until `deadline`.
fn until(
    session: &mut Session,
    feed: &[SessionInputValue<'_>],
    deadline: Instant,
) -> Result<Vec<Tensor>, RunError> {
    let failed = |reason: String| RunError::Failed { reason };
    let options = Arc::new(RunOptions::new().map_err(|e| failed(e.to_string()))?);
    let _watched = deadline::watch(&options, deadline).map_err(failed)?;
    session::run(session, feed, &Wanted::UntilEnded(&options))
}

/// Those of the answers that are wanted, in that order; all when none is named.
fn chosen(answers: Vec<Tensor>, wanted: &[&str]) -> Vec<Tensor> {
    if wanted.is_empty() {
        return answers;
    }
    wanted.iter().filter_map(|name| answers.iter().find(|answer| answer.name() == *name).cloned()).collect()
}

//! A model: what it takes and gives, and its answers.

use crate::error::{LoadError, RunError};
use crate::library::Library;
use crate::pool::{Bounds, Pool, Refusal};
use crate::session::{self, Recipe};
use crate::types::TensorInfo;
use crate::{cast, shape};
use ort::session::{RunOptions, Session, SessionInputValue};
use std::path::Path;
use std::sync::Arc;
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
}

#[derive(Debug)]
struct Inner {
    recipe: Recipe,
    pool: Pool<Session>,
    sessions: usize,
    wait: Duration,
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
        Self::of(Recipe { library, bytes, folder: None, threads: options.threads.max(1) }, options)
    }

    /// A model of a file, which may name others beside it.
    ///
    /// # Errors
    /// [`LoadError`], which says why it is refused.
    pub fn from_file(library: &'static Library, file: &Path, options: &Options) -> Result<Self, LoadError> {
        let unreadable =
            |e: std::io::Error| LoadError::File { path: file.display().to_string(), reason: e.to_string() };
        let file = file.canonicalize().map_err(unreadable)?;
        let bytes = std::fs::read(&file).map_err(unreadable)?;
        let folder = file.parent().map(Path::to_path_buf);
        Self::of(Recipe { library, bytes, folder, threads: options.threads.max(1) }, options)
    }

    fn of(recipe: Recipe, options: &Options) -> Result<Self, LoadError> {
        let first = recipe.make()?;
        let export = "export the model without it";
        let input = |outlet| {
            let refused = |found| LoadError::Input {
                name: ort::value::Outlet::name(outlet).to_owned(),
                found,
                remedy: export,
            };
            TensorInfo::of(outlet).map_err(refused)
        };
        let output = |outlet| {
            let refused = |found| LoadError::Output {
                name: ort::value::Outlet::name(outlet).to_owned(),
                found,
                remedy: export,
            };
            TensorInfo::of(outlet).map_err(refused)
        };
        let inputs = first.inputs().iter().map(input).collect::<Result<_, _>>()?;
        let outputs = first.outputs().iter().map(output).collect::<Result<_, _>>()?;
        let bounds = Bounds { sessions: options.sessions, waiting: options.waiting, wait: options.wait };
        let pool = Pool::new(first, bounds);
        let sessions = options.sessions.max(1);
        Ok(Self { inner: Arc::new(Inner { recipe, pool, sessions, wait: options.wait, inputs, outputs }) })
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

    /// Its sessions so far.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.inner.pool.there()
    }

    /// Answers.
    ///
    /// # Errors
    /// [`RunError`], which names the input that is wrong, or says why there is no answer.
    pub fn run(&self, given: &[Tensor], call: &Call<'_>) -> Result<Vec<Tensor>, RunError> {
        let inner = &self.inner;
        let mut values = Vec::with_capacity(inner.inputs.len());
        for (input, tensor) in inner.inputs.iter().zip(given) {
            let shape = shape::fit(input, tensor.shape())?;
            values.push((input.name.as_str(), cast::value(input, shape, tensor)?));
        }
        self.answer(values, call)
    }

    fn answer(
        &self,
        values: Vec<(&str, SessionInputValue<'_>)>,
        call: &Call<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        let inner = &self.inner;
        let options = RunOptions::new().map_err(|e| RunError::Failed { reason: e.to_string() })?;
        let ran = inner.pool.with(call.deadline, || self.grow(), |s| session::run(s, values, &options));
        ran.unwrap_or_else(|refusal| {
            Err(match refusal {
                Refusal::Full(waiting) => RunError::Busy { waiting, sessions: inner.sessions },
                Refusal::Timeout => RunError::Timeout { waited: inner.wait, sessions: inner.sessions },
            })
        })
    }

    fn grow(&self) {
        let inner = Arc::clone(&self.inner);
        std::thread::spawn(move || inner.pool.grown(inner.recipe.make().ok()));
    }
}

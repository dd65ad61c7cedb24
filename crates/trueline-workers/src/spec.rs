//! What a worker is to be: the model, where it runs, and the limits it is kept in.

use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::request::Request;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A worker to be started.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// Whose worker it is, for messages and the log: `name/version`.
    pub name: String,
    /// The folder that holds the `MLmodel` file.
    pub model: PathBuf,
    /// Where it runs.
    pub environment: Environment,
    /// Variables of its own. Of the server's it gets those that it needs to run, and none that could hold a secret.
    pub variables: BTreeMap<String, String>,
    /// Threads that libraries of linear algebra may use (`OMP_NUM_THREADS` and its relatives).
    pub threads: usize,
    /// Requests that the model is given at once, each on a thread of Python. One, unless it waits for others most of its time.
    pub concurrency: usize,
    /// `model_config` for `mlflow.pyfunc.load_model`.
    pub model_config: Option<Json>,
    /// A request that must be answered before the worker is ready.
    pub warm: Option<Request>,
    /// Its limits.
    pub limits: Limits,
}

impl WorkerSpec {
    /// A worker of a model, with nothing special about it.
    #[must_use]
    pub fn new(name: impl Into<String>, model: impl Into<PathBuf>, environment: Environment) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            environment,
            variables: BTreeMap::new(),
            threads: 1,
            concurrency: 1,
            model_config: None,
            warm: None,
            limits: Limits::default(),
        }
    }
}

/// The limits of a worker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long it may take until it is ready.
    pub start: Duration,
    /// Requests that may wait for it.
    pub queue: usize,
    /// How long it may go on with a request behind the request's deadline, before it is taken to hang and is killed.
    pub overrun: Duration,
    /// Memory that it may hold.
    ///
    /// `RLIMIT_AS` would count address space, of which NumPy's threads and CUDA reserve many times what they use, and a model
    /// that meets it fails in ways that nobody can read. So the resident set is looked at, ten times a second while the model
    /// works, and a process that holds more is killed with a message that says so. What it takes between two looks is not
    /// bounded by this, and processes that a model starts are not counted.
    pub memory_bytes: Option<u64>,
    /// The largest body of a request or an answer.
    pub body_bytes: u64,
    /// The largest body that goes through the socket; larger ones go through a file in memory.
    ///
    /// As measured (`tests/workers/measure.rs`): 8 bytes there and back take 0.15 ms through the socket and 0.27 ms through
    /// memory, half a megabyte takes the same through either, and larger ones are no worse through memory, which they don't
    /// have to wait for piece by piece.
    pub inline_bytes: u64,
    /// How long it has to end by itself once it was asked to.
    pub grace: Duration,
    /// How long restarts wait.
    pub backoff: Backoff,
    /// Failures in a row after which requests are refused at once, and no longer wait for a restart.
    pub patience: u32,
    /// How long it must have been up for its failures to be forgotten.
    pub stable: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(120),
            queue: 64,
            overrun: Duration::from_secs(30),
            memory_bytes: None,
            body_bytes: 1 << 30,
            inline_bytes: 256 << 10,
            grace: Duration::from_secs(5),
            backoff: Backoff::default(),
            patience: 3,
            stable: Duration::from_secs(60),
        }
    }
}

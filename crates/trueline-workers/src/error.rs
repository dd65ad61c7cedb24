//! What can go wrong with a worker, each with what to do. Errors of environments stand with those.

use std::path::PathBuf;
use std::time::Duration;

/// An exception of Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its type, such as `ValueError`.
    pub kind: String,
    /// Its message. It may tell of the data that was sent.
    pub message: String,
    /// Its traceback, for the log: it tells of the model's code and of where that lies.
    pub traceback: String,
}

/// Why a worker can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process can't be made.
    #[error("the worker of {worker} can't be started with {}: {source}; name another interpreter", python.display())]
    Spawn {
        /// Whose worker.
        worker: String,
        /// The interpreter.
        python: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The environment lacks what a worker needs.
    #[error(
        "the environment of {worker} can't serve it: {}: {}; add what is missing to the model's requirements (MLflow, NumPy \
         and pandas are needed besides its own)",
        exception.kind, exception.message
    )]
    Environment {
        /// Whose worker.
        worker: String,
        /// The exception of the import.
        exception: Exception,
    },
    /// MLflow can't load the model.
    #[error(
        "{worker} can't be loaded: {}: {}; load it with mlflow.pyfunc.load_model in the same environment to look for the \
         cause",
        exception.kind, exception.message
    )]
    Load {
        /// Whose worker.
        worker: String,
        /// The exception of the load.
        exception: Exception,
    },
    /// The model fails on the example that it was to be warmed with.
    #[error("{worker} fails on its own example, so it is not made ready: {why}")]
    Warm {
        /// Whose worker.
        worker: String,
        /// How.
        why: String,
    },
    /// The process ended before it was ready.
    #[error("the worker of {worker} {why} while it was {stage}; it wrote last:\n{tail}")]
    Ended {
        /// Whose worker.
        worker: String,
        /// How it ended.
        why: String,
        /// What it was at.
        stage: &'static str,
        /// The last lines that it wrote.
        tail: String,
    },
    /// It holds too much memory before it is ready.
    #[error(
        "the worker of {worker} holds {held} bytes of memory while it is {stage}, and may hold {limit}; raise the limit or make the model smaller"
    )]
    Memory {
        /// Whose worker.
        worker: String,
        /// What it was at.
        stage: &'static str,
        /// What it holds.
        held: u64,
        /// What it may hold.
        limit: u64,
    },
    /// It took too long.
    #[error(
        "the worker of {worker} was still {stage} after {limit:?}; allow more time or look at what it wrote last:\n{tail}"
    )]
    Slow {
        /// Whose worker.
        worker: String,
        /// What it was at.
        stage: &'static str,
        /// How long it had.
        limit: Duration,
        /// The last lines that it wrote.
        tail: String,
    },
    /// It speaks another protocol.
    #[error(
        "the worker of {worker} speaks protocol {spoken}, the server {own}; remove its environment and have it made again"
    )]
    Protocol {
        /// Whose worker.
        worker: String,
        /// Its protocol.
        spoken: u32,
        /// The server's.
        own: u32,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Too many requests wait.
    #[error("{waiting} requests wait for {worker} already; ask again in a moment, or give it more workers")]
    Busy {
        /// Whose worker.
        worker: String,
        /// How many wait.
        waiting: usize,
    },
    /// The deadline came first.
    #[error("{worker} did not answer within {waited:?} ({}); allow more time or send fewer rows", if *.sent { "it was at it" } else { "others were before it" })]
    Deadline {
        /// Whose worker.
        worker: String,
        /// How long it was waited for.
        waited: Duration,
        /// Whether the model was asked.
        sent: bool,
    },
    /// The request is not what the model takes.
    #[error("{worker} refuses the input: {}", exception.message)]
    Input {
        /// Whose worker.
        worker: String,
        /// What MLflow says of it.
        exception: Exception,
    },
    /// The model fails.
    #[error("{worker} failed: {}: {}", exception.kind, exception.message)]
    Model {
        /// Whose worker.
        worker: String,
        /// The exception.
        exception: Exception,
    },
    /// The process ended while it had the request. Whether the model did anything is not known.
    #[error("the worker of {worker} {why} while it answered; it is being restarted, ask again")]
    Gone {
        /// Whose worker.
        worker: String,
        /// How it ended.
        why: String,
        /// The last lines that it wrote, for the log.
        tail: String,
    },
    /// The process ended several times in a row, and is not up.
    #[error(
        "the worker of {worker} has failed {failures} times and is not up; it is tried again. The last time it {last_error}"
    )]
    Down {
        /// Whose worker.
        worker: String,
        /// Failures in a row.
        failures: u32,
        /// The last of them.
        last_error: String,
    },
    /// It is being stopped, or was.
    #[error("the worker of {worker} is stopped; ask the one that took its place")]
    Stopped {
        /// Whose worker.
        worker: String,
    },
    /// The request can't be sent.
    #[error("the request to {worker} can't be sent: {why}")]
    Unsendable {
        /// Whose worker.
        worker: String,
        /// Why.
        why: String,
    },
    /// The answer is none.
    #[error(
        "the worker of {worker} answers what is no answer: {why}; this is a fault of the worker, tell us"
    )]
    Answer {
        /// Whose worker.
        worker: String,
        /// Why.
        why: String,
    },
}

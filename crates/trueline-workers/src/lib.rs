//! Python workers: processes that serve whatever `mlflow.pyfunc.load_model` loads, each one model in its own environment.
//!
//! [`Environments`] makes the Python environment that a model requires, or takes an interpreter that is there.
//! [`Worker::start`] starts a process in it, which loads the model and answers typed tensors ([`Worker::predict`]) and bodies
//! of HTTP ([`Worker::invoke`]). A worker that dies, hangs or holds too much memory is started again; those whose requests it
//! had are told so. This crate knows of processes and tensors, and of nothing above: no endpoints, no projects, no database.
//!
//! # The protocol
//!
//! One process, one Unix socket. The process finds it as its standard input, puts `/dev/null` there instead, and reads the
//! first frame, `start`. All numbers are little-endian. A frame is
//!
//! ```text
//! bytes  0..4   "TLw1"
//!        4      kind: 1 start, 2 hello, 3 ready, 4 failed, 5 predict, 6 invoke, 7 answer
//!        5      flags: 1 when the body is apart
//!        6..8   zero
//!        8..12  number of the request; 0 where there is none
//!       12..16  bytes of the head, at most 16 MiB
//!       16..24  bytes of the body
//!       24..    the head, JSON; then the body, unless it is apart
//! ```
//!
//! A body that is apart is a file in memory (`memfd`) whose descriptor travels with the first byte of the frame
//! (`SCM_RIGHTS`); descriptors belong to frames in their order. Bodies up to [`Limits::inline_bytes`] stay in the frame. The
//! side that receives a file owns it. Python maps it; this side reads it piece by piece, since mapping is `unsafe` here, and a
//! process that cuts a mapped file short would end the server.
//!
//! | frame | to | head | body |
//! |---|---|---|---|
//! | `start` | worker | `model`, `apart_above`, `most_body`, `threads`, `model_config`; beside it the lifeline's descriptor | |
//! | `hello` | server | `protocol`, `python`, `mlflow`, `numpy`, `pandas` | |
//! | `ready` | server | | |
//! | `failed` | server | `fault`, `type`, `message`, `traceback`; in the place of `hello` or `ready` | |
//! | `predict` | worker | `form` (`table`, `numbered`, `array`, `dict`, `document`), `inputs`, `params` | tensors |
//! | `invoke` | worker | `content_type` | what came over HTTP |
//! | `answer` | server | `form` (`array`, `records`, `dict`), `outputs`, `ns` | tensors |
//! | | | `form` (`json`), `ns` | JSON as Python writes it |
//! | | | `status`, `content_type`, `failure`, `ns`: to `invoke` | what goes over HTTP |
//! | | | `fault` (`input`, `model`), `type`, `message`, `traceback` | |
//!
//! `ns` is how long reading, predicting and writing took. `inputs` and `outputs` tell of each tensor `name`, `type`, `shape`,
//! and `at` and `len` of its bytes in the body. Types are `BOOL`, `UINT8` … `UINT64`, `INT8` … `INT64`, `FP32`, `FP64`: values
//! one after the other, row-major, from a multiple of 64 bytes on, so that NumPy takes them where they are; `TEXT` and `BYTES`:
//! lengths of 32 bits, -1 for a missing text, then the contents; `JSON`: an array.
//!
//! A worker is sent [`WorkerSpec::concurrency`] requests at once, as a rule one: Python runs one at a time, and what waits is
//! better kept here, where it can be cancelled.
//!
//! # No orphans
//!
//! A worker leads a process group, which is killed when its [`Worker`] is dropped, when it ends, and when the server does:
//! the worker holds one end of a pipe, the lifeline, and has told the kernel to send SIGKILL to the group when the other end
//! closes. That needs nobody's help, not even the lock of Python that a model may hold, and other than `PR_SET_PDEATHSIG` it
//! follows the server and not the thread that happened to start the worker. What a model starts in a session of its own is
//! no longer in the group.

mod backoff;
mod body;
mod channel;
mod columns;
mod environment;
mod error;
mod frame;
mod launch;
mod output;
mod process;
mod python_json;
mod queue;
mod request;
mod spec;
mod state;
mod supervisor;
mod variables;
mod wire;
mod worker;

pub use backoff::Backoff;
pub use environment::{Environment, EnvironmentError, Environments, Interpreter, Requirements};
pub use error::{Exception, StartError, WorkerError};
pub use launch::Facts;
pub use request::{Columns, Form, Invocation, Output, Prediction, Reply, Request, Timings};
pub use spec::{Limits, WorkerSpec};
pub use state::State;
pub use wire::Versions;
pub use worker::Worker;

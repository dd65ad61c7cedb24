//! Pipelines: DAGs of commands as `trueline.yaml` declares them, their runs, what starts them, which steps need not run
//! again, and the local processes that steps are. What a step's run in tracking looks like is a flow's matter.
//!
//! ```text
//! declaration ──► pipeline (version = hash) ──► run ──► step ──► attempt ── one leased task, one folder, one keeper
//!                                  trigger ──────┘       └── key = hash(command, inputs, environment) ──► cache
//! ```
//!
//! An attempt is a process that outlives the server: a keeper, in a session of its own, runs the command, ends it at its
//! timeout and leaves the outcome in the attempt's folder. A server that comes back adopts keepers that it can prove to
//! be its own, and fences the others.

mod blob_references;
mod cache;
mod declaration;
mod error;
pub mod executor;
mod graph;
mod model;
mod pipelines;
mod progress;
mod runs;
mod schema;
mod span;
mod triggers;
mod workspace;

pub use blob_references::{cached_blobs, log_blobs, output_blobs};
pub use cache::{KeyParts, OutputFile, Outputs, keep_outputs, restore_outputs};
pub use declaration::{Clock, Command, PipelineSpec, StepSpec, TriggerKind, TriggerSpec};
pub use error::PipelineError;
pub use graph::Graph;
pub use model::{
    Attempt, AttemptState, Pipeline, PipelineRun, Reason, RunState, StepRun, StepState, StepTask,
};
pub use pipelines::{Declared, Pipelines};
pub use progress::{AttemptEnd, Usage};
pub use runs::NewRun;
pub use schema::MODULE;
pub use span::Span;
pub use triggers::Fired;
pub use workspace::{copy_project, declared_files, hash_file};

/// The kind of the task that is an attempt of a step.
pub const STEP_TASK: &str = "pipeline.step";

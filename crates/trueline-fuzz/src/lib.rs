//! What coverage-guided fuzzing drives: the filter parsers; every JSON body through the door of a whole server that runs in
//! the same process, so that its counters are the fuzzer's; requests of all scoring wires to a model; files of models.
//! `cargo xtask fuzz` builds and runs it.
//!
//! A panic here is a finding unless the product contains it; so is an answer of 5xx that says more than "switched off", and an answer that does not come.

mod begin;
mod bodies;
mod filters;
mod models;
mod routes;
mod scoring;
mod seeds;
mod server;
mod tables;

pub use begin::begin;
pub use bodies::{Bodies, Finding};
pub use filters::filters;
pub use models::{model_seeds, models};
pub use scoring::{Scoring, scoring_seeds};
pub use seeds::{body_seeds, filter_seeds};

//! Requests answered together by real Python workers: the models of `make_models.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // Clippy knows only `#[test]` functions as tests.

mod answers;
mod house;
#[path = "../../../trueline-workers/tests/workers/made.rs"]
mod made;
mod measure;

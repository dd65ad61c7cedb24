//! Workers against the real MLflow: the models of `make_models.py`, in the environment that the other tests use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // Clippy knows only `#[test]` functions as tests.

mod columns;
mod environments;
mod failures;
mod house;
mod invocations;
mod made;
mod measure;
mod orphans;

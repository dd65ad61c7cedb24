//! Workers against the real MLflow: the models of `make_models.py`, in the environment that the other tests use.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

mod columns;
mod house;

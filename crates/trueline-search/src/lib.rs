//! Search expressions as values.
//!
//! A filter is text only at the edge. [`mlflow`] reads MLflow's grammar into an [`Expr`]; [`sql`] turns an [`Expr`]
//! into a condition that SQLite and PostgreSQL understand alike. Everything here is a pure function: which tables
//! hold the fields is told by the caller.

mod expr;
pub mod mlflow;
pub mod query;
pub mod sql;

pub use expr::{Comparison, Entity, Expr, Field, Number, NumberKind, Op, Value};

//! Moving in and out: other tools' stores read into tracking, traces and registry, and a database of MLflow's made of them.
//! What is read is handed over as values; how it is kept is the domains' matter.
//!
//! ```text
//! mlflow (database, folder) ─┐                    ┌─ experiments, runs with points, logged models
//! wandb (log of a run) ──────┴─► Importer, batches ┼─ artifacts
//!                                                 └─ registered models
//! tracking, traces, registry ───► Export, Sheet ─────► MLflow's tables
//! ```

mod artifacts;
mod error;
mod evaluated;
pub mod export;
mod importer;
mod intake;
pub mod mlflow;
mod report;
pub mod wandb;

pub use artifacts::Artifacts;
pub use error::ImportError;
pub use importer::{Leaves, Progress, Target};
pub use report::{Count, NotTaken, Report};

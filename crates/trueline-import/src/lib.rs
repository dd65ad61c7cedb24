//! Moving in and out: other tools' stores read into tracking and registry. What is read is handed over as values; how it is
//! kept is the domains' matter.
//!
//! ```text
//! mlflow (database, folder) ─┐                    ┌─ experiments, runs with points, logged models
//! wandb (log of a run) ──────┴─► Importer, batches ┼─ artifacts
//!                                                 └─ registered models
//! ```

mod artifacts;
mod error;
mod importer;
mod intake;
pub mod mlflow;
mod report;
pub mod wandb;

pub use artifacts::Artifacts;
pub use error::ImportError;
pub use importer::{Leaves, Progress, Target};
pub use report::{Count, NotTaken, Report};

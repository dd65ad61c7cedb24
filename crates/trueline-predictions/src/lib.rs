//! The log of predictions and of the labels that arrive later: framed files, group commit, recovery, sealing, lookup and
//! scans. What a prediction means is not known here, nor what the ledger records of it.
//!
//! ```text
//! append_required ──┐                       ┌─ commit: one write, one fdatasync per stream ─ answer
//! append_best_effort┼─ bounded queue ─ writer
//! label ─ labeller ─┘                       └─ closed segments ─ sealer: SHA-256, index ─ sealed_after ─ a flow ─ ledger
//! ```
//!
//! A record is durable when [`PredictionLog::append_required`] has answered, and within 100 ms after
//! [`PredictionLog::append_best_effort`]. Readers see only what is durable.

mod assignment;
mod error;
mod files;
mod finder;
mod frame;
mod index;
mod label;
mod labeller;
mod log;
mod newest;
mod record;
mod recover;
mod retention;
mod scalar;
mod scan;
mod seal;
mod sealer;
mod segment;
mod stream;
mod tail;
mod verify;
mod wire;
mod writer;

pub use assignment::{Assignment, Unit};
pub use error::{DecodeError, Dropped, LogError};
pub use finder::Finder;
pub use label::{Label, Labelled, MAX_LABEL};
pub use log::{MAX_BATCH, Options, PredictionLog, Waiting};
pub use newest::{Found, Look, Outcome, RecordFilter};
pub use record::{Columns, EVERY, MAX_RECORD, Outputs, PredictionId, Record, Stage, Status, Variant};
pub use recover::Cut;
pub use scalar::Scalar;
pub use scan::{Cursor, Page, Scan};
pub use stream::{StreamName, StreamStats};
pub use verify::{Sealed, sealed_segments, verify, verify_segment};

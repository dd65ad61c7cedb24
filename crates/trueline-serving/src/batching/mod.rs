//! Requests to one model that come while it is busy are answered together.
//!
//! ```text
//! request ─► Batcher ── nobody there? ──────────────► runtime      the caller's own future, nothing copied
//!               └─ busy: Gather, in order ─ free ─► batch ─► cut by rows ─► each its own
//! ```
//!
//! [`gather`] decides who goes with whom and when, without a clock or a task of its own; [`latency`] is what it knows of the
//! model's times; [`batch`] is several requests as one, [`join`] cuts its answer and knows when that
//! would be wrong; [`batcher`] is the plumbing.

mod batch;
mod batcher;
mod gather;
#[cfg(test)]
mod gather_tests;
mod join;
mod latency;
#[cfg(test)]
mod property_tests;

use std::time::Duration;

pub(crate) use batcher::Batcher;
pub(crate) use gather::Limits;

/// How a request went to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batched {
    /// How long it waited for the model to be free.
    pub queued: Duration,
    /// Requests that were answered by the same call, this one included; 0 when the model was not asked.
    pub requests: usize,
    /// Their rows.
    pub rows: usize,
}

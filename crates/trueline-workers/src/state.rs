//! How a worker does.

use crate::launch::Facts;
use std::time::Instant;

/// How a worker does. One that is being started for the first time is none yet: [`crate::Worker::start`] is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready(Facts),
    /// Its process ended, and is started again.
    Restarting {
        /// Since when it doesn't answer.
        since: Instant,
        /// Failures in a row.
        failures: u32,
        /// The last of them: `was killed …`, `can't be loaded …`.
        last_error: String,
    },
    /// It was drained or dropped.
    Stopped,
}

/// What the holder of a worker wishes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    /// Answer who waits, then stop.
    Drain,
    /// Stop now.
    Stop,
}

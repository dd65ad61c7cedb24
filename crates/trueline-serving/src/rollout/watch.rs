//! What the data plane sees of a rollout: each answer of either arm, handed over to the judge in memory.

use super::plan::Share;
use crate::model::Predictions;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trueline_stats::sequential::Arm;

/// Requests that wait for the judge, who comes every second; more are only counted.
const MOST_WAITING: usize = 1 << 17;

/// A request as it was assigned and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Which arm took it.
    pub arm: Arm,
    /// The candidate's share when it was assigned.
    pub share: Share,
    /// The hash of the key that assigned it; none when chance did.
    pub key: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It was refused, it failed, or its answer is not a number.
    Failed,
    /// It was answered.
    Answered {
        /// The prediction; the mean over the rows of the request.
        prediction: f64,
        /// How long the variant took, in milliseconds.
        latency_ms: f64,
    },
}

impl Outcome {
    /// Of what a variant answered, if it did. An answer that is not a number is none.
    pub(crate) fn of(predictions: Option<&Predictions>, took: Duration) -> Self {
        match predictions.map(mean).filter(|m| m.is_finite()) {
            Some(prediction) => Self::Answered { prediction, latency_ms: took.as_secs_f64() * 1e3 },
            None => Self::Failed,
        }
    }
}

/// The mean over the rows. Where a row has the probabilities of several classes, it stands for the class that is expected,
/// from 0 for the first to 1 for the last: one number that moves when probability moves between classes.
#[allow(clippy::cast_precision_loss)]
fn mean(predictions: &Predictions) -> f64 {
    let width = predictions.width.max(1);
    let row = |values: &[f32]| match values {
        [one] => f64::from(*one),
        many => {
            let weighted = many.iter().enumerate().map(|(class, p)| class as f64 * f64::from(*p));
            weighted.sum::<f64>() / (many.len().max(2) - 1) as f64
        }
    };
    let rows = predictions.values.len().div_ceil(width);
    predictions.values.chunks(width).map(row).sum::<f64>() / rows as f64
}

/// Observations on their way from the requests to the judge. A request only puts one at the end of a list; all reckoning
/// is the judge's.
///
/// When the list is full, what comes is left out whatever it shows, in both arms alike, so nothing is biased.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    seen: Vec<Observation>,
    overlooked: u64,
}

impl Watch {
    pub(crate) fn put(&self, seen: Observation) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.seen.len() < MOST_WAITING {
            true => waiting.seen.push(seen),
            false => waiting.overlooked += 1,
        }
    }

    /// What waits, and how many requests were left out since the last time.
    pub(crate) fn take(&self) -> (Vec<Observation>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *waiting);
        (taken.seen, taken.overlooked)
    }
}

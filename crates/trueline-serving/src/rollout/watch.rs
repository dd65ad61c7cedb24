//! What the data plane sees of a rollout: each answer of either arm, handed over to the judge in memory.

use super::plan::Share;
use super::segments::InSegments;
use crate::predictions::Predictions;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trueline_stats::sequential::Arm;

/// Requests that wait for the judge, who comes every second; more are only counted.
const MOST_WAITING: usize = 1 << 17;

/// A request as it was assigned and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Which arm took it.
    pub arm: Arm,
    /// The candidate's share when it was assigned.
    pub share: Share,
    /// The hash of the key that assigned it; none when chance did.
    pub key: Option<u64>,
    /// The segments in which it lies.
    pub segments: InSegments,
    /// What came of it.
    pub outcome: Outcome,
}

/// The lot that a request drew, as its record in the log tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The rollout's id; of a bandit its id and the generation of the route, `<id>/<generation>`.
    pub trial: String,
    /// How likely it was to draw the arm that it drew.
    pub chance: f64,
    /// Whether the caller's key drew it, for all of its requests.
    pub by_key: bool,
}

impl Drawn {
    pub(crate) fn new(rollout: &str, arm: Arm, share: Share, by_key: bool) -> Self {
        let chance = match arm {
            Arm::Canary => share.fraction(),
            Arm::Champion => 1.0 - share.fraction(),
        };
        Self { trial: rollout.to_owned(), chance, by_key }
    }

    /// Of a bandit, whose shares belong to a generation of the route.
    pub(crate) fn of_bandit(bandit: &str, generation: i64, chance: f64, by_key: bool) -> Self {
        Self { trial: format!("{bandit}/{generation}"), chance, by_key }
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
        match predictions.map(Predictions::mean).filter(|m| m.is_finite()) {
            Some(prediction) => Self::Answered { prediction, latency_ms: took.as_secs_f64() * 1e3 },
            None => Self::Failed,
        }
    }
}

/// Observations on their way from the requests to the judge. A request only puts one at the end of a list; all reckoning
/// is the judge's.
///
/// When the list is full, what comes is left out whatever it shows, in both arms alike, so nothing is biased.
#[derive(Debug)]
pub(crate) struct Watch<T = Observation> {
    waiting: Mutex<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    seen: Vec<T>,
    overlooked: u64,
}

impl<T> Default for Watch<T> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting::default()) }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { seen: Vec::new(), overlooked: 0 }
    }
}

impl<T> Watch<T> {
    pub(crate) fn put(&self, seen: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.seen.len() < MOST_WAITING {
            true => waiting.seen.push(seen),
            false => waiting.overlooked += 1,
        }
    }

    /// Counts a request that was left out.
    pub(crate) fn overlook(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).overlooked += 1;
    }

    /// The `most` that wait for longest, and how many requests were left out since the last time.
    pub(crate) fn take(&self, most: usize) -> (Vec<T>, u64) {
        let mut taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.seen.len() > most {
            self.put_back(taken.seen.split_off(most));
        }
        (taken.seen, taken.overlooked)
    }

    /// Puts what was not wanted yet before what has come meanwhile, which is little: requests wait for no more than its being
    /// moved. Should it be too much together, it is the later ones that are left out, as ever.
    fn put_back(&self, mut rest: Vec<T>) {
        let fits = MOST_WAITING.saturating_sub(rest.len());
        // Room for all that may come is made before anybody waits.
        rest.reserve(fits);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let came = std::mem::take(&mut waiting.seen);
        waiting.overlooked += came.len().saturating_sub(fits) as u64;
        rest.extend(came.into_iter().take(fits));
        waiting.seen = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(seen: std::ops::Range<usize>) -> Watch<usize> {
        let watch = Watch::default();
        seen.for_each(|n| watch.put(n));
        watch
    }

    #[test]
    fn those_that_wait_for_longest_are_taken_first_and_the_others_keep_their_turn() {
        let watch = watch(0..5);
        watch.overlook();
        assert_eq!(watch.take(2), (vec![0, 1], 1));
        watch.put(5);
        assert_eq!(watch.take(3), (vec![2, 3, 4], 0));
        assert_eq!(watch.take(9), (vec![5], 0));
        assert_eq!(watch.take(9), (Vec::new(), 0));
    }

    #[test]
    fn what_came_while_some_were_taken_stands_behind_what_is_put_back() {
        let watch = watch(7..9);
        watch.put_back(vec![3, 4]);
        assert_eq!(watch.take(9), (vec![3, 4, 7, 8], 0));
    }

    #[test]
    fn what_finds_no_room_is_counted_whether_it_comes_to_a_full_list_or_while_some_were_taken() {
        let full = watch(0..MOST_WAITING + 3);
        let (taken, overlooked) = full.take(1);
        assert_eq!((taken, overlooked), (vec![0], 3));
        let (rest, _) = full.take(MOST_WAITING);
        assert_eq!(rest.len(), MOST_WAITING - 1);
        full.put(MOST_WAITING);
        full.put(MOST_WAITING + 1);
        full.put_back(rest);
        let (all, overlooked) = full.take(MOST_WAITING);
        assert_eq!((all.len(), all.last(), overlooked), (MOST_WAITING, Some(&MOST_WAITING), 1));
    }
}

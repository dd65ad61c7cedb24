//! What a bandit knows at a look, with its numbers: as the ledger, the API and the pages tell it.

use serde::{Deserialize, Serialize};
use trueline_ledger::Millis;
use trueline_stats::sequential::Interval;

/// What became of the predictions that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Units that counted with a reward.
    pub rewards: u64,
    /// Predictions that failed. They have the worst reward where what has no label has, and do not count otherwise.
    pub failed: u64,
    /// Predictions whose label did not come in time.
    pub without_label: u64,
    /// Predictions of keys or requests that had counted before.
    pub repeated: u64,
    /// Predictions whose label, answer or key can't be used.
    pub unusable: u64,
    /// Batches of other servers that could not be read: their rewards are in none of these numbers, so no arm is made the only
    /// one without a person.
    pub unreadable_batches: u64,
}

/// What is known of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    /// The version, `name/number`.
    pub version: String,
    /// Its share of the traffic in percent.
    pub share_percent: f64,
    /// Units that it had a reward for.
    pub rewards: u64,
    /// The mean of these rewards, in their own unit; none before the first.
    pub mean: Option<f64>,
    /// Where its mean reward over all units lies, at all looks and for all arms together with probability 1 - alpha; in the
    /// reward's own unit.
    pub interval: Interval,
    /// The probability that it is the best, given what counts for the shares.
    pub probability_best: f64,
    /// How many rewards count for the shares, where older ones count for less.
    pub weighs: f64,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanditReport {
    /// The arms, in the order in which they were named.
    pub arms: Vec<ArmReport>,
    /// What became of what was read.
    pub tally: Tally,
    /// Predictions were read that came until then; none before the first.
    pub read_to_ms: Option<Millis>,
    /// The shares of the next allotment, in parts of 10,000.
    pub next_shares: Vec<u32>,
    /// The arm that is known to be the best, by its place.
    pub settled: Option<usize>,
}

impl BanditReport {
    /// The arm that is likeliest the best, by its place; the first of equal ones.
    #[must_use]
    pub fn likeliest(&self) -> usize {
        let probability = |arm: usize| self.arms[arm].probability_best;
        (0..self.arms.len()).reduce(|a, b| if probability(b) > probability(a) { b } else { a }).unwrap_or(0)
    }

    /// What the arms have, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let arm = |a: &ArmReport| {
            let mean = a
                .mean
                .map_or_else(|| "no rewards yet".to_owned(), |m| format!("mean {m:.4} of {}", a.rewards));
            format!("{}: {mean}, best with {:.1} %", a.version, a.probability_best * 100.0)
        };
        let lost = match self.tally.unreadable_batches {
            0 => None,
            many => {
                Some(format!("without the rewards of {many} batches of other servers that can't be read"))
            }
        };
        self.arms.iter().map(arm).chain(lost).collect::<Vec<_>>().join("; ")
    }
}

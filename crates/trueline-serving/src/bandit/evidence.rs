//! What a bandit has seen: rewards by arm, and how far the log was read. One state, which is kept whole, so that no reward
//! counts twice after a restart.

use super::plan::{BanditPlan, WithoutLabel};
use super::record::Bandit;
use super::report::{ArmReport, BanditReport, Tally};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_ledger::Millis;
use trueline_stats::StatsError;
use trueline_stats::allotment::{ArmMeans, RewardCounts, WHOLE, allot, probability_best};
use trueline_stats::sequential::{FirstPerKey, Interval};

/// Bits of the filter of keys that have counted, as a power of two: 128 KiB, good for 130,000 keys.
const KEY_BITS: u32 = 20;
/// Apart from all lots, so that which keys are overlooked has nothing to do with whom they were assigned to.
const KEY_SEED: u64 = 0x6261_6e64_6974_2121;

/// Records of a log may stand out of the order in which they came by so many milliseconds; mostly by none.
const OUT_OF_ORDER: Millis = 1_000;

/// A prediction that was drawn by the bandit's lot, and whose label is there or will not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitReward {
    /// The arm that answered, by its place.
    pub arm: usize,
    /// The hash of what drew the lot: a key, or a request with all of its rows.
    pub unit: u64,
    /// Whether that was a key.
    pub by_key: bool,
    /// When the prediction was asked for.
    pub at_ms: Millis,
    /// What it came to.
    pub outcome: UnitOutcome,
}

/// What a prediction came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitOutcome {
    /// A reward, from 0 to 1.
    Rewarded(f64),
    /// It failed, so that it has no label.
    Failed,
    /// No label came in time.
    WithoutLabel,
    /// Its label, answer or key can't be used.
    Unusable,
}

/// What was seen so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanditEvidence {
    /// How far the log of predictions was read, as it was kept here once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cursor: String,
    /// What came until then has counted, where it was read when that was kept here; none otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted_to_ms: Option<Millis>,
    counts: Vec<RewardCounts>,
    /// When the counts were discounted last.
    as_of_ms: Millis,
    means: ArmMeans,
    /// Keys that have counted; none before the first.
    keys: Option<FirstPerKey>,
    /// The request that counted last of each server's log: its other rows follow it there.
    #[serde(default)]
    last_requests: BTreeMap<String, u64>,
    tally: Tally,
    /// Rewards since the last allotment.
    since_allotment: u64,
    read_to_ms: Option<Millis>,
}

impl BanditEvidence {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// A plan that was not checked.
    pub fn new(plan: &BanditPlan, arms: usize) -> Result<Self, StatsError> {
        Ok(Self {
            cursor: String::new(),
            counted_to_ms: None,
            counts: vec![RewardCounts::default(); arms],
            as_of_ms: 0,
            means: ArmMeans::new(arms, plan.alpha)?,
            keys: None,
            last_requests: BTreeMap::new(),
            tally: Tally::default(),
            since_allotment: 0,
            read_to_ms: None,
        })
    }

    /// Drops how far the log was read, of a state from before that was kept by server: nobody knows any more which server's log
    /// it was. Each log is read from its beginning then, and what came until that time is passed over: it has counted, or is
    /// left out by the clock. What took longer than that to be answered may count again.
    pub fn forget_cursor(&mut self) {
        if !std::mem::take(&mut self.cursor).is_empty() {
            self.counted_to_ms = self.read_to_ms.map(|at| at.saturating_add(OUT_OF_ORDER));
        }
    }

    /// Whether keys are remembered, which takes some hundred kilobytes.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Rewards since the last allotment.
    #[must_use]
    pub fn since_allotment(&self) -> u64 {
        self.since_allotment
    }

    /// The shares were looked at anew.
    pub fn allotted(&mut self) {
        self.since_allotment = 0;
    }

    /// Predictions were read that came until then.
    pub fn read_to(&mut self, at_ms: Millis) {
        self.read_to_ms = self.read_to_ms.max(Some(at_ms));
    }

    /// Says that a batch of another server could not be read.
    pub fn lose_batch(&mut self) {
        self.tally.unreadable_batches += 1;
    }

    /// Takes in what became of a prediction of a server's log that was drawn when the arms had these shares.
    ///
    /// # Errors
    /// An arm that there is not, or shares that are none; nothing is counted then.
    pub fn observe(
        &mut self,
        plan: &BanditPlan,
        (server, seen): (&str, &UnitReward),
        shares: &[u32],
    ) -> Result<(), StatsError> {
        if self.counted_to_ms.is_some_and(|to| seen.at_ms <= to) {
            return Ok(());
        }
        let reward = match (seen.outcome, plan.without_label) {
            (UnitOutcome::Rewarded(reward), _) => reward,
            (UnitOutcome::Failed | UnitOutcome::WithoutLabel, WithoutLabel::Worst) => 0.0,
            // It has no label, as most answers have none: counted always, it would weigh more than they do.
            (UnitOutcome::Failed, WithoutLabel::Skip) => {
                self.tally.failed += 1;
                return Ok(());
            }
            (UnitOutcome::WithoutLabel, WithoutLabel::Skip) => {
                self.tally.without_label += 1;
                return Ok(());
            }
            (UnitOutcome::Unusable, _) => {
                self.tally.unusable += 1;
                return Ok(());
            }
        };
        if !self.is_first(server, seen)? {
            self.tally.repeated += 1;
            return Ok(());
        }
        let probabilities: Vec<f64> = shares.iter().map(|s| f64::from(*s) / f64::from(WHOLE)).collect();
        self.means.observe(seen.arm, reward, &probabilities)?;
        self.discount(plan, seen.at_ms)?;
        self.counts[seen.arm].observe(reward)?;
        self.tally.rewards += 1;
        self.tally.failed += u64::from(seen.outcome == UnitOutcome::Failed);
        self.tally.without_label += u64::from(seen.outcome == UnitOutcome::WithoutLabel);
        self.since_allotment += 1;
        Ok(())
    }

    /// Whether what drew the lot did not count before: a key once in all, a request by its first row.
    fn is_first(&mut self, server: &str, seen: &UnitReward) -> Result<bool, StatsError> {
        if seen.by_key {
            let keys = match &mut self.keys {
                Some(keys) => keys,
                none => none.insert(FirstPerKey::new(KEY_BITS, KEY_SEED)?),
            };
            return Ok(keys.admit(seen.unit));
        }
        // Logs are read by turns, a page at a time, and a page may end within a request.
        if let Some(last) = self.last_requests.get_mut(server) {
            return Ok(std::mem::replace(last, seen.unit) != seen.unit);
        }
        self.last_requests.insert(server.to_owned(), seen.unit);
        Ok(true)
    }

    /// Has what is there count for less, by how long ago it was.
    #[allow(clippy::cast_precision_loss)]
    fn discount(&mut self, plan: &BanditPlan, at_ms: Millis) -> Result<(), StatsError> {
        let elapsed = at_ms.saturating_sub(self.as_of_ms);
        let Some(half_life) = plan.half_life_seconds else { return Ok(()) };
        if elapsed > 0 {
            let factor = (-(elapsed as f64) / (half_life as f64 * 1_000.0)).exp2();
            self.counts.iter_mut().try_for_each(|counts| counts.discount(factor))?;
            self.as_of_ms = at_ms;
        }
        Ok(())
    }

    /// What is known now.
    ///
    /// # Errors
    /// A plan that was not checked.
    pub fn look(&self, bandit: &Bandit) -> Result<BanditReport, StatsError> {
        let best = probability_best(&self.counts);
        let reward = &bandit.plan.reward;
        let arm = |(i, version): (usize, String)| ArmReport {
            version,
            share_percent: bandit.shares.get(i).map_or(0.0, |s| f64::from(*s) * 100.0 / f64::from(WHOLE)),
            rewards: self.means.drawn(i),
            mean: self.means.mean(i).map(|mean| reward.in_own_unit(mean)),
            interval: own_interval(bandit, self.means.interval(i)),
            probability_best: best[i],
            weighs: self.counts[i].count(),
        };
        Ok(BanditReport {
            arms: bandit.arms.iter().map(crate::ModelSpec::name).enumerate().map(arm).collect(),
            tally: self.tally,
            read_to_ms: self.read_to_ms,
            next_shares: allot(&best, bandit.plan.floor_parts())?,
            settled: self.settled(&bandit.plan, &best),
        })
    }

    /// The arm that is known to be the best: by its posterior, and by intervals that hold at all looks.
    fn settled(&self, plan: &BanditPlan, best: &[f64]) -> Option<usize> {
        let arm = (0..best.len()).find(|arm| best[*arm] >= plan.finish.probability)?;
        let [low, high] = plan.reward.range;
        let margin = plan.finish.margin / (high - low);
        let lower = self.means.interval(arm).lower?;
        let above =
            |other: usize| self.means.interval(other).upper.is_some_and(|upper| lower > upper + margin);
        (0..best.len()).filter(|other| *other != arm).all(above).then_some(arm)
    }
}

/// An interval in the reward's own unit, its lower end first.
fn own_interval(bandit: &Bandit, scaled: Interval) -> Interval {
    let own = |end: Option<f64>| end.map(|end| bandit.plan.reward.in_own_unit(end));
    let (one, other) = (own(scaled.lower), own(scaled.upper));
    let ordered = one.zip(other).map(|(a, b)| (a.min(b), a.max(b)));
    Interval { lower: ordered.map(|o| o.0), upper: ordered.map(|o| o.1) }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;

//! Is the canary's latency quantile higher than the champion's by more than a margin? Two independent
//! streams. For bursts that both arms share, and for sticky keys, `slow` is the safer test.

use serde::{Deserialize, Serialize};

use super::binomial::{BetaPrior, log_e_above, log_e_below};
use super::latency::{ArmHistograms, LatencyBins, LatencyHistogram};
use super::{Arm, Interval};
use crate::error::{StatsError, non_negative, open_unit};
use crate::special::log_sum_exp;

/// Two-stream quantile comparison: e-value against H0: Q_canary(p) <= (1 + margin)·Q_champion(p), and a
/// confidence sequence for the ratio of the quantiles.
///
/// For each possible champion quantile q: if it is the true one, 1{champion < q} has mean at most p, and
/// under H0 1{canary <= (1+margin)q} has mean at least p. So A(q) = e-value of too few canary values below
/// (1+margin)q, and B(q) = e-value of too many champion values below q, are e-processes at the true q; hence
/// ¼A + ¼B + ½AB is, and the smallest of these over all q is one under H0 (the idea of Howard & Ramdas 2022,
/// section 5, with mixtures). q runs over bins, with the counts that make A and B smallest inside a bin:
/// conservative by about two bins of the histogram.
///
/// Exact for observations that are independent within and across streams. Autocorrelation inside one arm
/// breaks it: use [`super::BlockDifference`] on slow shares there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantileDifference {
    quantile: f64,
    margin: f64,
    arms: ArmHistograms,
}

impl QuantileDifference {
    /// Compares the `quantile` (say 0.99) and tolerates a rise by the share `margin` (0.1: ten per cent).
    ///
    /// # Errors
    /// `quantile` outside (0, 1); `margin` negative or not finite.
    pub fn new(quantile: f64, margin: f64, bins: LatencyBins) -> Result<Self, StatsError> {
        open_unit("quantile", quantile)?;
        non_negative("margin", margin)?;
        Ok(Self { quantile, margin, arms: ArmHistograms::new(bins) })
    }

    /// Adds one latency. O(1).
    ///
    /// # Errors
    /// `latency` negative or not finite; nothing is recorded then.
    pub fn observe(&mut self, arm: Arm, latency: f64) -> Result<(), StatsError> {
        self.arms.observe(arm, latency)
    }

    /// The champion's histogram.
    #[must_use]
    pub fn champion(&self) -> &LatencyHistogram {
        &self.arms.champion
    }

    /// The canary's histogram.
    #[must_use]
    pub fn canary(&self) -> &LatencyHistogram {
        &self.arms.canary
    }

    /// The (1 - `alpha`) confidence sequence for Q_canary/Q_champion: the arms' sequences at `alpha`/2 each,
    /// divided.
    ///
    /// # Errors
    /// `alpha` outside (0, 1).
    pub fn ratio_interval(&self, alpha: f64) -> Result<Interval, StatsError> {
        let champion = self.arms.champion.quantile_interval(self.quantile, alpha / 2.0)?;
        let canary = self.arms.canary.quantile_interval(self.quantile, alpha / 2.0)?;
        let over = |a: Option<f64>, b: Option<f64>| a.zip(b).filter(|&(_, b)| b > 0.0).map(|(a, b)| a / b);
        Ok(Interval {
            lower: Some(over(canary.lower, champion.upper).unwrap_or(0.0)),
            upper: over(canary.upper, champion.lower),
        })
    }

    /// ln of the current e-value. Work for a look, not for each request: some tens of incomplete betas.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        let search = BucketSearch::new(self);
        let last = search.champion_below.len();
        let (first_ends, last_ends) = (search.bounds(0, 0), search.bounds(last, last));
        let start = combine(first_ends).min(combine(last_ends));
        search.smallest(0, last, start)
    }
}

fn combine((a, b): (f64, f64)) -> f64 {
    let quarter = -2.0 * std::f64::consts::LN_2;
    log_sum_exp(&[a + quarter, b + quarter, a + b - std::f64::consts::LN_2])
}

/// Branch and bound over the bucket of the champion's quantile: A falls and B rises along the buckets.
struct BucketSearch {
    p: f64,
    prior: BetaPrior,
    shift: usize,
    champion_below: Vec<u64>,
    champion_total: u64,
    canary_below: Vec<u64>,
    canary_total: u64,
}

impl BucketSearch {
    fn new(test: &QuantileDifference) -> Self {
        Self {
            p: test.quantile,
            prior: BetaPrior::centred(test.quantile),
            shift: test.arms.champion.bins().steps_for(1.0 + test.margin),
            champion_below: test.arms.champion.below_edges(),
            champion_total: test.arms.champion.total(),
            canary_below: test.arms.canary.below_edges(),
            canary_total: test.arms.canary.total(),
        }
    }

    /// (ln A, ln B), each a lower bound over the buckets `from..=to`.
    fn bounds(&self, from: usize, to: usize) -> (f64, f64) {
        // q < edge(to), so canary values up to (1+margin)q lie below edge(to + shift); q >= edge(from - 1).
        let canary = self.canary_below.get(to + self.shift).copied().unwrap_or(self.canary_total);
        let champion = if from == 0 { 0 } else { self.champion_below[from - 1] };
        (
            log_e_below(canary, self.canary_total, self.p, self.prior),
            log_e_above(champion, self.champion_total, self.p, self.prior),
        )
    }

    fn smallest(&self, from: usize, to: usize, best: f64) -> f64 {
        let bound = combine(self.bounds(from, to));
        if bound >= best {
            return best;
        }
        if from == to {
            return bound;
        }
        let middle = from + (to - from) / 2;
        let best = self.smallest(from, middle, best);
        self.smallest(middle + 1, to, best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::SplitMix64;

    fn after(slowdown: f64, margin: f64, requests: u32) -> QuantileDifference {
        let mut test = QuantileDifference::new(0.99, margin, LatencyBins::default()).unwrap();
        let mut random = SplitMix64::new(9);
        for _ in 0..requests {
            let canary = random.next_f64() < 0.2;
            let latency = -20.0 * (1.0 - random.next_f64()).ln();
            let arm = if canary { Arm::Canary } else { Arm::Champion };
            test.observe(arm, if canary { latency * slowdown } else { latency }).unwrap();
        }
        test
    }

    #[test]
    fn sees_a_slower_tail_and_respects_the_margin() {
        let slow = after(1.5, 0.1, 60_000);
        assert!(slow.log_e() > 10.0, "{}", slow.log_e());
        assert!(slow.ratio_interval(0.05).unwrap().contains(1.5));
        assert!(after(1.5, 0.6, 60_000).log_e() < 0.0);
        let fair = after(1.0, 0.1, 200_000);
        assert!(fair.log_e() < 0.0);
        assert!(fair.ratio_interval(0.05).unwrap().is_below(1.2), "{:?}", fair.ratio_interval(0.05));
    }

    #[test]
    fn the_search_finds_what_trying_every_bucket_finds() {
        for (slowdown, requests) in [(1.3, 20_000), (1.0, 3_000), (2.0, 500), (1.0, 1)] {
            let test = after(slowdown, 0.05, requests);
            let search = BucketSearch::new(&test);
            let every = (0..=search.champion_below.len()).map(|i| combine(search.bounds(i, i)));
            let smallest = every.fold(f64::INFINITY, f64::min);
            assert!((test.log_e() - smallest).abs() < 1e-9, "{} {smallest}", test.log_e());
        }
    }
}

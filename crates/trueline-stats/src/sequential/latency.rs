//! Latencies in a fixed log-spaced histogram: exact counts below each edge, constant memory, adds up.
//! No sketch: a quantile bound from it is conservative by at most one bin.

use serde::{Deserialize, Serialize};

use super::binomial::{BetaPrior, largest_shortfall, smallest_excess};
use super::{Arm, Interval};
use crate::error::{StatsError, non_negative, open_unit, positive};

/// Edges lowest·growth^i, i = 0..=bins, with an open bin below and one above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyBins {
    lowest: f64,
    growth: f64,
    bins: u32,
}

impl Default for LatencyBins {
    /// 0.01 ms to 120 s in steps of 2 %: 824 bins, about 7 KB per histogram.
    fn default() -> Self {
        Self { lowest: 0.01, growth: 1.02, bins: 824 }
    }
}

impl LatencyBins {
    /// Bins from `lowest` (any unit; the same for every call) with ratio `growth` from edge to edge.
    ///
    /// # Errors
    /// `lowest` not positive, `growth` not above 1 (at least 1.0001), `bins` 0 or above 100,000.
    pub fn new(lowest: f64, growth: f64, bins: u32) -> Result<Self, StatsError> {
        positive("lowest edge", lowest)?;
        if !(growth.is_finite() && growth >= 1.0001) {
            return Err(StatsError::OutOfRange {
                what: "growth",
                value: growth,
                expected: "at least 1.0001",
            });
        }
        if bins == 0 || bins > 100_000 {
            let value = f64::from(bins);
            return Err(StatsError::OutOfRange { what: "bins", value, expected: "from 1 to 100,000" });
        }
        Ok(Self { lowest, growth, bins })
    }

    /// How many edges there are: bins + 1.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.bins as usize + 1
    }

    /// The edge with index `i` from 0 to `bins`.
    #[must_use]
    pub fn edge(&self, i: usize) -> f64 {
        self.lowest * (i as f64 * self.growth.ln()).exp()
    }

    /// The bucket of a value: 0 below the first edge, i for [edge(i-1), edge(i)), edges() from the last edge
    /// up.
    #[must_use]
    pub fn bucket(&self, value: f64) -> usize {
        if value < self.lowest {
            return 0;
        }
        let guess =
            ((value / self.lowest).ln() / self.growth.ln()).floor().clamp(0.0, f64::from(self.bins)) as usize;
        // The logarithm may be off in the last bit at an edge; the edges themselves decide.
        if value < self.edge(guess) {
            guess
        } else if guess + 1 < self.edges() && value >= self.edge(guess + 1) {
            guess + 2
        } else {
            guess + 1
        }
    }

    /// The smallest number of bins that multiplies a value by at least `factor`.
    pub(super) fn steps_for(&self, factor: f64) -> usize {
        ((factor.ln() / self.growth.ln()) - 1e-9).ceil().max(0.0) as usize
    }
}

/// Counts of one stream over [`LatencyBins`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyHistogram {
    bins: LatencyBins,
    counts: Vec<u64>,
    total: u64,
}

impl LatencyHistogram {
    /// An empty histogram.
    #[must_use]
    pub fn new(bins: LatencyBins) -> Self {
        Self { bins, counts: vec![0; bins.edges() + 1], total: 0 }
    }

    /// Adds one latency. O(1).
    ///
    /// # Errors
    /// `latency` negative or not finite; nothing is recorded then.
    pub fn observe(&mut self, latency: f64) -> Result<(), StatsError> {
        let bucket = self.bins.bucket(non_negative("latency", latency)?);
        self.counts[bucket] += 1;
        self.total += 1;
        Ok(())
    }

    /// Adds another's counts.
    ///
    /// # Errors
    /// The bins differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.bins != other.bins {
            return Err(StatsError::Incompatible { what: "latency bins" });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        Ok(())
    }

    /// How many latencies were seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The bins.
    #[must_use]
    pub fn bins(&self) -> LatencyBins {
        self.bins
    }

    /// For each edge, how many values lie below it: exact.
    pub(super) fn below_edges(&self) -> Vec<u64> {
        let mut sum = 0;
        let running = self.counts.iter().take(self.bins.edges()).map(|&count| {
            sum += count;
            sum
        });
        running.collect()
    }

    /// The smallest edge with at least a share `p` of the values below it: the sample quantile, rounded up to
    /// an edge. `None` when empty or when the quantile lies above the last edge.
    #[must_use]
    pub fn quantile(&self, p: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let needed = p * self.total as f64;
        let mut below = 0;
        self.counts.iter().take(self.bins.edges()).enumerate().find_map(|(i, &count)| {
            below += count;
            (below as f64 >= needed).then(|| self.bins.edge(i))
        })
    }

    /// The (1 - `alpha`) confidence sequence for the `p`-quantile Q.
    ///
    /// The indicator 1{x < Q} has mean at most p and 1{x <= Q} at least p, so truncated Beta mixtures (a
    /// sub-Bernoulli boundary as in Howard & Ramdas, "Sequential estimation of quantiles with applications to
    /// A/B testing and best-arm identification", Bernoulli 2022, fixed-quantile case) bound both counts for
    /// all time, each with `alpha`/2. Edges with more values below than the bound lie above Q, edges with
    /// fewer below it. Exact for independent observations.
    ///
    /// # Errors
    /// `p` or `alpha` outside (0, 1).
    pub fn quantile_interval(&self, p: f64, alpha: f64) -> Result<Interval, StatsError> {
        open_unit("quantile", p)?;
        open_unit("alpha", alpha)?;
        let prior = BetaPrior::centred(p);
        let needed = (2.0 / alpha).ln();
        let below = self.below_edges();
        let upper = smallest_excess(self.total, p, prior, needed)
            .map(|k| below.partition_point(|&count| count < k))
            .filter(|&i| i < below.len())
            .map(|i| self.bins.edge(i));
        let lower = largest_shortfall(self.total, p, prior, needed)
            .map(|k| below.partition_point(|&count| count <= k))
            .filter(|&edges| edges > 0)
            .map(|edges| self.bins.edge(edges - 1));
        Ok(Interval { lower: Some(lower.unwrap_or(0.0)), upper })
    }
}

/// Both arms' histograms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ArmHistograms {
    pub(super) champion: LatencyHistogram,
    pub(super) canary: LatencyHistogram,
}

impl ArmHistograms {
    pub(super) fn new(bins: LatencyBins) -> Self {
        Self { champion: LatencyHistogram::new(bins), canary: LatencyHistogram::new(bins) }
    }

    pub(super) fn observe(&mut self, arm: Arm, latency: f64) -> Result<(), StatsError> {
        match arm {
            Arm::Champion => self.champion.observe(latency),
            Arm::Canary => self.canary.observe(latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::SplitMix64;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_lies_inside_its_bucket(exponent in -7.0..7.0_f64) {
            let (bins, value) = (LatencyBins::default(), 10_f64.powf(exponent));
            let bucket = bins.bucket(value);
            prop_assert!(bucket == 0 || bins.edge(bucket - 1) <= value);
            prop_assert!(bucket == bins.edges() || value < bins.edge(bucket));
        }
    }

    #[test]
    fn an_edge_opens_its_bucket() {
        let bins = LatencyBins::default();
        (0..bins.edges()).for_each(|i| assert_eq!(bins.bucket(bins.edge(i)), i + 1));
    }

    #[test]
    fn the_interval_closes_in_on_the_true_p99() {
        let mut histogram = LatencyHistogram::new(LatencyBins::default());
        let mut random = SplitMix64::new(5);
        for i in 0..100_000 {
            // Exponential with mean 20 ms: p99 = 20 ln 100 = 92.10 ms.
            histogram.observe(-20.0 * (1.0 - random.next_f64()).ln()).unwrap();
            if i == 50 {
                assert_eq!(histogram.quantile_interval(0.99, 0.05).unwrap().upper, None);
            }
        }
        let interval = histogram.quantile_interval(0.99, 0.05).unwrap();
        assert!(interval.contains(92.1), "{interval:?}");
        assert!(interval.lower.unwrap() > 85.0 && interval.upper.unwrap() < 100.0, "{interval:?}");
        let mut twice = histogram.clone();
        twice.merge(&histogram).unwrap();
        assert_eq!(twice.total(), 200_000);
        assert!(twice.merge(&LatencyHistogram::new(LatencyBins::new(1.0, 1.1, 10).unwrap())).is_err());
        assert!(twice.observe(f64::NAN).is_err());
    }
}

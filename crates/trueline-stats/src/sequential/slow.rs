//! Latency as an error count: a request is slow when it exceeds a threshold drawn from the past. Feed the
//! slow ones to an `ErrorRatioTest`; the randomisation then covers every burst and cycle both arms share.

use serde::{Deserialize, Serialize};

use super::Arm;
use super::latency::{LatencyBins, LatencyHistogram};
use crate::error::{StatsError, non_negative, open_unit};

/// Marks requests above a moving threshold.
///
/// The threshold is the `quantile` of all *earlier* latencies of both arms, refreshed every 256 requests; the
/// canary's is (1 + margin) times that. If the canary's latencies are stochastically at most (1 + margin)
/// times the champion's, given the past, a slow request falls on the canary with probability at most its
/// share, so the slow requests (with sticky keys: the first of each key) are errors for
/// [`super::ErrorRatioTest`] and its guarantee carries over: no independence in time is needed, only that
/// units were assigned at random. Pooling both arms keeps the threshold independent of the assignment under
/// the sharp null; under a real slowdown it rises by the canary's share of it, which costs some power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowThreshold {
    quantile: f64,
    margin: f64,
    least_past: u64,
    past: LatencyHistogram,
    threshold: Option<f64>,
}

impl SlowThreshold {
    const REFRESH: u64 = 256;

    /// A threshold at `quantile` with a tolerated rise `margin`; silent until `least_past` requests were
    /// seen.
    ///
    /// # Errors
    /// `quantile` outside (0, 1); `margin` negative or not finite.
    pub fn new(quantile: f64, margin: f64, least_past: u64, bins: LatencyBins) -> Result<Self, StatsError> {
        open_unit("quantile", quantile)?;
        non_negative("margin", margin)?;
        let past = LatencyHistogram::new(bins);
        Ok(Self { quantile, margin, least_past: least_past.max(1), past, threshold: None })
    }

    /// Starts from the champion's latencies before the rollout, so that nothing is lost to warming up.
    ///
    /// # Errors
    /// The histogram's bins differ.
    pub fn learn(&mut self, before: &LatencyHistogram) -> Result<(), StatsError> {
        self.past.merge(before)?;
        self.refresh();
        Ok(())
    }

    /// True when this request is slow, judged by the past only; then adds it to the past.
    ///
    /// # Errors
    /// `latency` negative or not finite; nothing is recorded then.
    pub fn is_slow(&mut self, arm: Arm, latency: f64) -> Result<bool, StatsError> {
        non_negative("latency", latency)?;
        let tolerance = if arm == Arm::Canary { 1.0 + self.margin } else { 1.0 };
        let slow = self.threshold.is_some_and(|threshold| latency > threshold * tolerance);
        self.past.observe(latency)?;
        if self.past.total().is_multiple_of(Self::REFRESH) || self.past.total() == self.least_past {
            self.refresh();
        }
        Ok(slow)
    }

    /// The champion's threshold now; `None` while too little was seen.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    fn refresh(&mut self) {
        if self.past.total() >= self.least_past {
            self.threshold = self.past.quantile(self.quantile);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::SplitMix64;

    #[test]
    fn marks_about_the_declared_share_after_warming_up() {
        let mut slow = SlowThreshold::new(0.95, 0.0, 1_000, LatencyBins::default()).unwrap();
        let mut random = SplitMix64::new(1);
        let mut marked = 0;
        for i in 0..21_000 {
            let is_slow = slow.is_slow(Arm::Champion, 10.0 + 10.0 * random.next_f64()).unwrap();
            assert!(i >= 1_000 || !is_slow);
            marked += u32::from(is_slow);
        }
        // The threshold is an edge: 19.5 ms rounds up by at most 2 %, so between 1.1 % and 5 % of 20,000 are
        // slow.
        assert!((200..=1_100).contains(&marked), "{marked}");
    }

    #[test]
    fn the_margin_is_the_canarys_alone() {
        let mut before = LatencyHistogram::new(LatencyBins::default());
        (0..1_000).for_each(|_| before.observe(10.0).unwrap());
        let mut slow = SlowThreshold::new(0.5, 0.5, 100, LatencyBins::default()).unwrap();
        slow.learn(&before).unwrap();
        assert!(slow.is_slow(Arm::Champion, 12.0).unwrap());
        assert!(!slow.is_slow(Arm::Canary, 12.0).unwrap());
        assert!(slow.is_slow(Arm::Canary, 20.0).unwrap());
    }
}

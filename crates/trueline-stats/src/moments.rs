//! Count, mean and variance in one pass, mergeable. Only finite values belong here; what to do with the
//! others is the caller's rule.

use serde::{Deserialize, Serialize};

/// Welford's running moments, merged with the pairwise rule of Chan, Golub & `LeVeque` (1979).
///
/// mean_n = mean_{n-1} + (x - mean_{n-1})/n, M2_n = M2_{n-1} + (x - mean_{n-1})(x - mean_n).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    m2: f64,
}

impl Moments {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one value. A value that is not finite is ignored.
    pub fn observe(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (value - self.mean);
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let total = (self.count + other.count) as f64;
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * (self.count as f64 * other.count as f64 / total);
        self.mean += delta * (other.count as f64 / total);
        self.count += other.count;
    }

    /// How many values were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean; `None` before the first value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The population variance M2/n (ddof 0); `None` before the first value.
    #[must_use]
    pub fn population_variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.m2.max(0.0) / self.count as f64)
    }

    /// The unbiased variance M2/(n-1); `None` before the second value.
    #[must_use]
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.m2.max(0.0) / (self.count - 1) as f64)
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::new();
        values.into_iter().for_each(|value| moments.observe(value));
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_parts_equals_seeing_all(left in prop::collection::vec(-1e6..1e6, 0..60),
                                           right in prop::collection::vec(-1e6..1e6, 1..60)) {
            let all: Moments = left.iter().chain(&right).copied().collect();
            let mut parts: Moments = left.iter().copied().collect();
            parts.merge(&right.iter().copied().collect());
            prop_assert_eq!(parts.count(), all.count());
            prop_assert!((parts.mean().unwrap() - all.mean().unwrap()).abs() < 1e-8);
            let (a, b) = (parts.population_variance().unwrap(), all.population_variance().unwrap());
            prop_assert!((a - b).abs() <= 1e-9 * (1.0 + b));
        }
    }
}

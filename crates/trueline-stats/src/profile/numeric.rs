//! The profile of a numeric column: counts, range, moments, distinct values, quantiles.
//! It can hand its quantile bins to the drift measures.

use serde::{Deserialize, Serialize};

use super::{DistinctCount, QuantileSketch};
use crate::drift::{ReferenceBins, Window};
use crate::error::StatsError;
use crate::hash::hash_f64;
use crate::moments::Moments;

/// KLL size of a profile: ranks within 1.65 % with 99 % confidence.
const SKETCH_SIZE: usize = 200;

/// Counts, range, moments, distinct values and quantiles of a numeric column in one scan. About 10 KB beyond
/// the first 4,096 distinct values. Merges; the order of merging changes quantiles only within their error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumericProfile {
    rows: u64,
    nulls: u64,
    nans: u64,
    infinities: u64,
    range: Option<(f64, f64)>,
    moments: Moments,
    distinct: DistinctCount,
    quantiles: QuantileSketch,
    seed: u64,
}

impl NumericProfile {
    /// An empty profile. `seed` fixes the sketches' coin flips and hashes; profiles that merge must share it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rows: 0,
            nulls: 0,
            nans: 0,
            infinities: 0,
            range: None,
            moments: Moments::new(),
            distinct: DistinctCount::new(),
            quantiles: QuantileSketch::sized(SKETCH_SIZE, seed),
            seed,
        }
    }

    /// Adds one row. Null, NaN and the infinities are counted, each for itself, and enter nothing else.
    pub fn observe(&mut self, value: Option<f64>) {
        self.rows += 1;
        match value {
            None => self.nulls += 1,
            Some(value) if value.is_nan() => self.nans += 1,
            Some(value) if value.is_infinite() => self.infinities += 1,
            Some(value) => {
                self.range =
                    Some(self.range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
                self.moments.observe(value);
                self.distinct.observe(hash_f64(value, self.seed));
                self.quantiles.push(value);
            }
        }
    }

    /// Adds another profile of the same column.
    ///
    /// # Errors
    /// The seeds differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.seed != other.seed {
            return Err(StatsError::Incompatible { what: "profile seeds" });
        }
        self.quantiles.merge(&other.quantiles)?;
        self.rows += other.rows;
        self.nulls += other.nulls;
        self.nans += other.nans;
        self.infinities += other.infinities;
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        self.moments.merge(&other.moments);
        self.distinct.merge(&other.distinct);
        Ok(())
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that are null.
    #[must_use]
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// Rows that are NaN.
    #[must_use]
    pub fn nans(&self) -> u64 {
        self.nans
    }

    /// Rows that are plus or minus infinity.
    #[must_use]
    pub fn infinities(&self) -> u64 {
        self.infinities
    }

    /// The smallest and largest finite value.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// Count, mean and variance of the finite values.
    #[must_use]
    pub fn moments(&self) -> Moments {
        self.moments
    }

    /// Distinct finite values.
    #[must_use]
    pub fn distinct(&self) -> &DistinctCount {
        &self.distinct
    }

    /// The `p`-quantile, exact at 0 and 1, else within the sketch's error; `None` without finite values.
    ///
    /// # Errors
    /// `p` outside [0, 1].
    pub fn quantile(&self, p: f64) -> Result<Option<f64>, StatsError> {
        let inner = self.quantiles.quantile(p)?;
        Ok(self.range.map(|(low, high)| {
            if p <= 0.0 {
                low
            } else if p >= 1.0 {
                high
            } else {
                inner.unwrap_or(low)
            }
        }))
    }

    /// `bins` equally wide bins over the range, with the counts that the sketch gives them: exact while the sketch
    /// is, else within twice its rank error. Empty without finite values; one bin when all are equal.
    #[must_use]
    pub fn histogram(&self, bins: usize) -> Vec<(f64, f64, u64)> {
        let Some((low, high)) = self.range else { return Vec::new() };
        let bins = if low < high { bins.max(1) } else { 1 };
        let edge = |i: usize| if i == bins { high } else { low + (high - low) * (i as f64 / bins as f64) };
        let upto = |i: usize| if i == bins { self.quantiles.count() } else { self.quantiles.rank(edge(i)) };
        // The lowest value belongs to the first bin, so its lower edge counts nothing.
        let from = |i: usize| if i == 0 { 0 } else { upto(i) };
        (0..bins).map(|i| (edge(i), edge(i + 1), upto(i + 1).saturating_sub(from(i)))).collect()
    }

    /// A reference window for drift from this one scan: about `bins` equally filled bins at the profile's
    /// quantiles, with the counts the sketch gives them, and nulls plus NaN as missing (infinities are left
    /// out). Exact while the sketch is; else each count may be off by twice the sketch's rank error. Beyond
    /// about 10,000 rows that is no longer small against the null threshold of
    /// [`crate::drift::calibrated_psi`]: count the reference once more over [`Window::bins`] there.
    ///
    /// # Errors
    /// `bins` below 2; no finite value.
    pub fn reference_window(&self, bins: usize) -> Result<Window, StatsError> {
        let (Some(at), Some((_, maximum))) = (self.quantiles.quantile_function(), self.range) else {
            return Err(StatsError::Empty { what: "profile" });
        };
        let bins = ReferenceBins::from_quantile_function(bins, at, maximum)?;
        let upto: Vec<u64> =
            bins.cuts().iter().map(|&cut| self.quantiles.rank(cut)).chain([self.quantiles.count()]).collect();
        let counts = (0..upto.len()).map(|i| upto[i] - if i == 0 { 0 } else { upto[i - 1] }).collect();
        Window::from_counts(bins, counts, self.nulls + self.nans, self.moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[Option<f64>]) -> NumericProfile {
        let mut profile = NumericProfile::new(9);
        values.iter().for_each(|&value| profile.observe(value));
        profile
    }

    #[test]
    fn odd_values_are_counted_and_kept_out() {
        let profile = of(&[
            None,
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(1.0),
            Some(-0.0),
            Some(0.0),
            Some(f64::NEG_INFINITY),
        ]);
        assert_eq!((profile.rows(), profile.nulls(), profile.nans(), profile.infinities()), (7, 1, 1, 2));
        assert_eq!((profile.range(), profile.distinct().estimate()), (Some((0.0, 1.0)), 2.0));
        assert_eq!(of(&[None]).quantile(0.5).unwrap(), None);
        assert!(of(&[None]).reference_window(10).is_err());
    }

    #[test]
    fn its_histogram_counts_every_finite_value_once() {
        let values: Vec<Option<f64>> = (0..=100).map(|i| Some(f64::from(i))).chain([None]).collect();
        let bins = of(&values).histogram(4);
        assert_eq!(bins.iter().map(|b| b.2).collect::<Vec<_>>(), [26, 25, 25, 25]);
        assert_eq!((bins[0].0, bins[3].1), (0.0, 100.0));
        assert_eq!(of(&[Some(7.0), Some(7.0)]).histogram(4), [(7.0, 7.0, 2)]);
        assert!(of(&[None]).histogram(4).is_empty());
    }

    #[test]
    fn its_reference_window_feeds_psi() {
        let values: Vec<Option<f64>> =
            (0..50_000_u32).map(|i| Some(f64::from((i * 7_919) % 10_007))).collect();
        let reference = of(&values).reference_window(10).unwrap();
        assert_eq!((reference.bins().len(), reference.present()), (10, 50_000));
        let mut current = Window::new(reference.bins().clone());
        values[..5_000].iter().for_each(|&value| current.observe(value));
        assert!(crate::drift::calibrated_psi(&reference, &current, 0.001).unwrap().psi < 0.01);
    }

    proptest! {
        #[test]
        fn merging_parts_gives_the_profile_of_all(
            left in prop::collection::vec(prop::option::weighted(0.9, -50.0..50.0_f64), 0..150),
            right in prop::collection::vec(prop::option::weighted(0.9, -50.0..50.0_f64), 0..150)
        ) {
            let mut merged = of(&left);
            merged.merge(&of(&right)).unwrap();
            let all = of(&left.iter().chain(&right).copied().collect::<Vec<_>>());
            prop_assert_eq!((merged.rows(), merged.nulls(), merged.range()), (all.rows(), all.nulls(), all.range()));
            prop_assert_eq!(merged.distinct(), all.distinct());
        }
    }
}

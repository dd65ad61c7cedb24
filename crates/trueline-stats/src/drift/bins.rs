//! Bins fixed by the reference: exact, additive counters instead of a sketch per window.
//! The counts themselves are in `window`.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, finite};

/// Cut points c_1 < … < c_k, giving k+1 bins: (-∞, c_1], (c_1, c_2], …, (c_k, ∞). Infinite values fall into
/// the outer bins; NaN has no bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceBins {
    cuts: Vec<f64>,
}

impl ReferenceBins {
    /// Bins between the given cut points, which must be finite and rise strictly. None at all gives one bin.
    ///
    /// # Errors
    /// A cut that is not finite or does not rise.
    pub fn from_cuts(cuts: Vec<f64>) -> Result<Self, StatsError> {
        for (i, &cut) in cuts.iter().enumerate() {
            finite("cut point", cut)?;
            if i > 0 && cut <= cuts[i - 1] {
                return Err(StatsError::OutOfRange {
                    what: "cut point",
                    value: cut,
                    expected: "more than the one before",
                });
            }
        }
        Ok(Self { cuts })
    }

    /// About equally filled bins of a reference sample: cuts at its i/B quantiles (the smallest value with at
    /// least that share at or below it), doubles removed, so that heavy ties give fewer bins. Values that are
    /// not finite are left out.
    ///
    /// # Errors
    /// `bins` below 2, or no finite value.
    pub fn quantiles(reference: &[f64], bins: usize) -> Result<Self, StatsError> {
        let mut sorted: Vec<f64> = reference.iter().copied().filter(|value| value.is_finite()).collect();
        if sorted.is_empty() {
            return Err(StatsError::Empty { what: "reference" });
        }
        sorted.sort_by(f64::total_cmp);
        let at =
            |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        Self::from_quantile_function(bins, at, sorted[sorted.len() - 1])
    }

    /// The same from any non-decreasing quantile function, for instance a sketch's; `maximum` is the largest
    /// value.
    ///
    /// # Errors
    /// `bins` below 2, or a quantile that is not finite.
    pub fn from_quantile_function(
        bins: usize,
        quantile: impl Fn(f64) -> f64,
        maximum: f64,
    ) -> Result<Self, StatsError> {
        if bins < 2 {
            return Err(StatsError::OutOfRange { what: "bins", value: bins as f64, expected: "at least 2" });
        }
        let mut cuts: Vec<f64> = (1..bins).map(|i| quantile(i as f64 / bins as f64)).collect();
        // A cut at the maximum would leave the last bin empty in the reference by construction.
        cuts.retain(|&cut| cut < maximum);
        cuts.dedup();
        Self::from_cuts(cuts)
    }

    /// The cut points.
    #[must_use]
    pub fn cuts(&self) -> &[f64] {
        &self.cuts
    }

    /// How many bins there are: cuts + 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cuts.len() + 1
    }

    /// Never true; there is always one bin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bin of a value; `None` for NaN.
    #[must_use]
    pub fn index(&self, value: f64) -> Option<usize> {
        (!value.is_nan()).then(|| self.cuts.partition_point(|&cut| cut < value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_bins_fill_evenly_and_ties_merge_them() {
        let values: Vec<f64> = (0..1_000).map(|i| f64::from((i * 7_919) % 1_000)).collect();
        let bins = ReferenceBins::quantiles(&values, 10).unwrap();
        let mut counts = vec![0; bins.len()];
        values.iter().for_each(|&value| counts[bins.index(value).unwrap()] += 1);
        assert_eq!(counts, vec![100; 10]);
        let tied = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0];
        assert_eq!(ReferenceBins::quantiles(&tied, 10).unwrap().cuts(), [0.0, 1.0, 2.0]);
        assert_eq!(ReferenceBins::quantiles(&[4.0; 9], 10).unwrap().len(), 1);
    }

    #[test]
    fn infinities_fall_outside_and_nan_nowhere() {
        let bins = ReferenceBins::from_cuts(vec![0.0, 1.0]).unwrap();
        let places = [f64::NEG_INFINITY, 0.0, 0.5, f64::INFINITY, f64::NAN].map(|value| bins.index(value));
        assert_eq!(places, [Some(0), Some(0), Some(1), Some(2), None]);
        assert!(ReferenceBins::from_cuts(vec![1.0, 1.0]).is_err());
        assert!(ReferenceBins::quantiles(&[f64::NAN], 5).is_err());
    }
}

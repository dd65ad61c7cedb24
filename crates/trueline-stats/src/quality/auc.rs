//! Area under the ROC curve: exact with ties and `DeLong`'s error for a batch, bounded from bins for a
//! stream. Measures at a threshold are in `binary`.

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::error::{StatsError, finite, same_length, unit};

/// Exact AUC of a batch: P(score of a positive > score of a negative) + ½P(equal), the Mann-Whitney statistic
/// over P·N.
///
/// The standard error is `DeLong`, `DeLong` & Clarke-Pearson's (Biometrics 1988) from midranks (Sun & Xu
/// 2014): with V_i = share of negatives below positive i (ties half) and W_j = share of positives above
/// negative j, √(var(V)/P + var(W)/N), variances with ddof 1; `None` with fewer than two of a class. `None`
/// labels are left out; the result is `None` unless both classes occur. O(n log n).
///
/// # Errors
/// Lengths differ or are zero; a score that is not finite.
pub fn auc(scores: &[f64], labels: &[Option<bool>]) -> Result<Option<Estimate>, StatsError> {
    same_length("scores and labels", scores.len(), labels.len())?;
    let mut labelled = Vec::with_capacity(scores.len());
    for (&score, label) in scores.iter().zip(labels) {
        finite("score", score)?;
        if let Some(label) = *label {
            labelled.push((score, label));
        }
    }
    labelled.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = labelled.iter().filter(|(_, label)| *label).count() as u64;
    let negatives = labelled.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return Ok(None);
    }
    let (p, n) = (positives as f64, negatives as f64);
    let (mut positives_below, mut negatives_below) = (0_u64, 0_u64);
    let (mut wins, mut of_positives, mut of_negatives) =
        (0_u128, crate::Moments::new(), crate::Moments::new());
    for tie in labelled.chunk_by(|a, b| a.0 == b.0) {
        let up = tie.iter().filter(|(_, label)| *label).count() as u64;
        let down = tie.len() as u64 - up;
        // Twice the wins stay whole numbers, so the value has one rounding only.
        let twice = 2 * negatives_below + down;
        wins += u128::from(up) * u128::from(twice);
        let above = 2 * (positives - positives_below - up) + up;
        (0..up).for_each(|_| of_positives.observe(twice as f64 / (2.0 * n)));
        (0..down).for_each(|_| of_negatives.observe(above as f64 / (2.0 * p)));
        positives_below += up;
        negatives_below += down;
    }
    let standard_error = of_positives
        .sample_variance()
        .zip(of_negatives.sample_variance())
        .map(|(v, w)| (v / p + w / n).sqrt());
    Ok(Some(Estimate {
        value: wins as f64 / (2.0 * p * n),
        standard_error,
        observations: positives + negatives,
    }))
}

/// AUC of a stream of scores in [0, 1] in constant memory: positives and negatives per equal bin. Merges by
/// adding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinnedAuc {
    positives: Vec<u64>,
    negatives: Vec<u64>,
}

impl BinnedAuc {
    /// `bins` equal bins over [0, 1]; 1,000 is a fair choice (16 KB).
    ///
    /// # Errors
    /// `bins` 0 or above 1,000,000.
    pub fn new(bins: usize) -> Result<Self, StatsError> {
        if bins == 0 || bins > 1_000_000 {
            return Err(StatsError::OutOfRange {
                what: "bins",
                value: bins as f64,
                expected: "from 1 to 1,000,000",
            });
        }
        Ok(Self { positives: vec![0; bins], negatives: vec![0; bins] })
    }

    /// Bins that were counted elsewhere, positives and negatives of each.
    ///
    /// # Errors
    /// The lists differ in length or are empty.
    pub fn from_counts(positives: Vec<u64>, negatives: Vec<u64>) -> Result<Self, StatsError> {
        same_length("positives and negatives", positives.len(), negatives.len())?;
        Ok(Self { positives, negatives })
    }

    /// Adds one labelled score. O(1).
    ///
    /// # Errors
    /// `score` outside [0, 1]; nothing is recorded then.
    pub fn observe(&mut self, score: f64, label: bool) -> Result<(), StatsError> {
        let bins = self.positives.len();
        let bin = ((unit("score", score)? * bins as f64) as usize).min(bins - 1);
        let side = if label { &mut self.positives } else { &mut self.negatives };
        side[bin] += 1;
        Ok(())
    }

    /// Adds another's counts.
    ///
    /// # Errors
    /// The bins differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.positives.len() != other.positives.len() {
            return Err(StatsError::Incompatible { what: "AUC bins" });
        }
        self.positives.iter_mut().zip(&other.positives).for_each(|(mine, theirs)| *mine += theirs);
        self.negatives.iter_mut().zip(&other.negatives).for_each(|(mine, theirs)| *mine += theirs);
        Ok(())
    }

    /// (lowest, middle, highest) value that the exact AUC can have given the counts: pairs in one bin count
    /// 0, ½ or 1. The middle treats a bin as a tie; half the width ½Σp_b n_b/(PN) bounds its error. `None`
    /// unless both classes occur.
    #[must_use]
    pub fn bounds(&self) -> Option<(f64, f64, f64)> {
        let (p, n): (u64, u64) = (self.positives.iter().sum(), self.negatives.iter().sum());
        if p == 0 || n == 0 {
            return None;
        }
        let (mut below, mut sure, mut open) = (0.0, 0.0, 0.0);
        for (&up, &down) in self.positives.iter().zip(&self.negatives) {
            sure += up as f64 * below;
            open += up as f64 * down as f64;
            below += down as f64;
        }
        let pairs = p as f64 * n as f64;
        Some((sure / pairs, (sure + 0.5 * open) / pairs, (sure + open) / pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_counting_pairs_and_lies_within_the_binned_bounds(
            rows in prop::collection::vec((0_u8..=20, any::<bool>()), 1..60)
        ) {
            let scores: Vec<f64> = rows.iter().map(|(s, _)| f64::from(*s) / 20.0).collect();
            let labels: Vec<Option<bool>> = rows.iter().map(|(_, l)| Some(*l)).collect();
            let mut pairs = (0.0, 0.0);
            let mut binned = BinnedAuc::new(7).unwrap();
            for (i, a) in rows.iter().enumerate() {
                binned.observe(scores[i], a.1).unwrap();
                for b in rows.iter().filter(|b| a.1 && !b.1) {
                    pairs.0 += if a.0 > b.0 { 1.0 } else if a.0 == b.0 { 0.5 } else { 0.0 };
                    pairs.1 += 1.0;
                }
            }
            let exact = auc(&scores, &labels).unwrap();
            prop_assert_eq!(exact.is_some(), pairs.1 > 0.0);
            if let (Some(exact), Some((low, _, high))) = (exact, binned.bounds()) {
                prop_assert!((exact.value - pairs.0 / pairs.1).abs() < 1e-12);
                prop_assert!(low - 1e-12 <= exact.value && exact.value <= high + 1e-12);
            }
        }
    }

    #[test]
    fn without_both_classes_it_is_unknown() {
        assert_eq!(auc(&[0.1, 0.2], &[Some(true), None]).unwrap(), None);
        assert_eq!(auc(&[0.1, 0.2], &[Some(true), Some(false)]).unwrap().unwrap().standard_error, None);
        assert!(auc(&[f64::NAN], &[Some(true)]).is_err() && auc(&[], &[]).is_err());
        assert_eq!(BinnedAuc::new(10).unwrap().bounds(), None);
    }
}

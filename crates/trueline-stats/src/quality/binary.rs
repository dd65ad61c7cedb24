//! One pass over scores and late labels: log loss, Brier, calibration, and the confusion table at a
//! threshold. What needs the scores in order is in `auc`.

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::error::{StatsError, unit};
use crate::moments::Moments;

/// Scores are clipped to [1e-15, 1 - 1e-15] in the log loss, so that one sure and wrong score costs 34.5, not
/// infinity. (scikit-learn since 1.5 clips at the machine epsilon 2.2e-16 of the scores' type; elsewhere the
/// two agree.)
pub const LOG_LOSS_CLIP: f64 = 1e-15;

/// One bin of the reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Labelled predictions in the bin.
    pub count: u64,
    /// Their mean score.
    pub mean_score: f64,
    /// The share of positives among them.
    pub positive_share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Bin {
    count: u64,
    scores: f64,
    positives: u64,
}

/// Quality of a binary classifier's scores in [0, 1] at a threshold; adds one prediction at a time, merges by
/// adding.
///
/// Predictions whose label has not arrived are counted as unlabelled and enter nothing else. Measures without
/// an observation to rest on are `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinaryQuality {
    threshold: f64,
    unlabelled: u64,
    true_positives: u64,
    false_positives: u64,
    true_negatives: u64,
    false_negatives: u64,
    log_losses: Moments,
    square_errors: Moments,
    bins: Vec<Bin>,
}

impl BinaryQuality {
    /// Predicts "yes" at score >= `threshold`; calibration over `bins` equal bins (10 is customary).
    ///
    /// # Errors
    /// `threshold` outside [0, 1]; `bins` 0 or above 10,000.
    pub fn new(threshold: f64, bins: usize) -> Result<Self, StatsError> {
        unit("threshold", threshold)?;
        if bins == 0 || bins > 10_000 {
            return Err(StatsError::OutOfRange {
                what: "bins",
                value: bins as f64,
                expected: "from 1 to 10,000",
            });
        }
        Ok(Self {
            threshold,
            unlabelled: 0,
            true_positives: 0,
            false_positives: 0,
            true_negatives: 0,
            false_negatives: 0,
            log_losses: Moments::new(),
            square_errors: Moments::new(),
            bins: vec![Bin::default(); bins],
        })
    }

    /// Adds one prediction. O(1).
    ///
    /// # Errors
    /// `score` outside [0, 1]; nothing is recorded then.
    pub fn observe(&mut self, score: f64, label: Option<bool>) -> Result<(), StatsError> {
        unit("score", score)?;
        let Some(label) = label else {
            self.unlabelled += 1;
            return Ok(());
        };
        match (score >= self.threshold, label) {
            (true, true) => self.true_positives += 1,
            (true, false) => self.false_positives += 1,
            (false, true) => self.false_negatives += 1,
            (false, false) => self.true_negatives += 1,
        }
        let clipped = score.clamp(LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP);
        self.log_losses.observe(if label { -clipped.ln() } else { -(-clipped).ln_1p() });
        let error = score - f64::from(u8::from(label));
        self.square_errors.observe(error * error);
        let place = ((score * self.bins.len() as f64) as usize).min(self.bins.len() - 1);
        let bin = &mut self.bins[place];
        bin.count += 1;
        bin.scores += score;
        bin.positives += u64::from(label);
        Ok(())
    }

    /// Adds another's observations.
    ///
    /// # Errors
    /// Threshold or bins differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.threshold.to_bits() != other.threshold.to_bits() || self.bins.len() != other.bins.len() {
            return Err(StatsError::Incompatible { what: "threshold or calibration bins" });
        }
        self.unlabelled += other.unlabelled;
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.true_negatives += other.true_negatives;
        self.false_negatives += other.false_negatives;
        self.log_losses.merge(&other.log_losses);
        self.square_errors.merge(&other.square_errors);
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            mine.count += theirs.count;
            mine.scores += theirs.scores;
            mine.positives += theirs.positives;
        }
        Ok(())
    }

    /// Predictions with a label.
    #[must_use]
    pub fn labelled(&self) -> u64 {
        self.log_losses.count()
    }

    /// Predictions still without one.
    #[must_use]
    pub fn unlabelled(&self) -> u64 {
        self.unlabelled
    }

    /// Mean of -ln(score given to what happened), scores clipped by [`LOG_LOSS_CLIP`], in nats.
    #[must_use]
    pub fn log_loss(&self) -> Option<Estimate> {
        mean(&self.log_losses)
    }

    /// Brier score: mean of (score - label)².
    #[must_use]
    pub fn brier(&self) -> Option<Estimate> {
        mean(&self.square_errors)
    }

    /// (TP + TN)/all. Standard errors of this and the next two are binomial, √(s(1-s)/n), with n their own
    /// denominator.
    #[must_use]
    pub fn accuracy(&self) -> Option<Estimate> {
        share(self.true_positives + self.true_negatives, self.labelled())
    }

    /// TP/(TP + FP); `None` when nothing was predicted positive (scikit-learn: 0 with a warning).
    #[must_use]
    pub fn precision(&self) -> Option<Estimate> {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// TP/(TP + FN); `None` when nothing was positive.
    #[must_use]
    pub fn recall(&self) -> Option<Estimate> {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// (true positives, false positives, true negatives, false negatives).
    #[must_use]
    pub fn confusion(&self) -> (u64, u64, u64, u64) {
        (self.true_positives, self.false_positives, self.true_negatives, self.false_negatives)
    }

    /// The reliability diagram, bins [i/B, (i+1)/B), the last closed; empty bins left out.
    #[must_use]
    pub fn calibration(&self) -> Vec<CalibrationBin> {
        let filled = self.bins.iter().filter(|bin| bin.count > 0);
        filled
            .map(|bin| CalibrationBin {
                count: bin.count,
                mean_score: bin.scores / bin.count as f64,
                positive_share: bin.positives as f64 / bin.count as f64,
            })
            .collect()
    }

    /// Expected calibration error Σ_b (n_b/n)·|mean score - share of positives| (Naeini, Cooper & Hauskrecht
    /// 2015). Biased upward by chance in small bins; the standard error is that of the sum with each bin's
    /// share binomial.
    #[must_use]
    pub fn expected_calibration_error(&self) -> Option<Estimate> {
        let total = self.labelled();
        if total == 0 {
            return None;
        }
        let (mut value, mut variance) = (0.0, 0.0);
        for bin in self.calibration() {
            let weight = bin.count as f64 / total as f64;
            value += weight * (bin.mean_score - bin.positive_share).abs();
            variance += weight * weight * bin.positive_share * (1.0 - bin.positive_share) / bin.count as f64;
        }
        Some(Estimate { value, standard_error: (total > 1).then(|| variance.sqrt()), observations: total })
    }
}

fn mean(moments: &Moments) -> Option<Estimate> {
    let observations = moments.count();
    let standard_error = moments.sample_variance().map(|variance| (variance / observations as f64).sqrt());
    moments.mean().map(|value| Estimate { value, standard_error, observations })
}

fn share(hits: u64, total: u64) -> Option<Estimate> {
    (total > 0).then(|| {
        let value = hits as f64 / total as f64;
        let standard_error = (total > 1).then(|| (value * (1.0 - value) / total as f64).sqrt());
        Estimate { value, standard_error, observations: total }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_labels_everything_is_unknown() {
        let mut quality = BinaryQuality::new(0.5, 10).unwrap();
        quality.observe(0.7, None).unwrap();
        assert_eq!((quality.labelled(), quality.unlabelled()), (0, 1));
        assert_eq!(
            (quality.log_loss(), quality.accuracy(), quality.expected_calibration_error()),
            (None, None, None)
        );
        quality.observe(0.2, Some(false)).unwrap();
        assert_eq!((quality.precision(), quality.recall()), (None, None));
        assert!(quality.accuracy().is_some() && quality.brier().unwrap().standard_error.is_none());
        assert!(quality.observe(1.1, None).is_err() && BinaryQuality::new(0.5, 0).is_err());
    }

    #[test]
    fn a_sure_and_wrong_score_costs_no_more_than_the_clip() {
        let mut quality = BinaryQuality::new(0.5, 10).unwrap();
        quality.observe(0.0, Some(true)).unwrap();
        assert!((quality.log_loss().unwrap().value - 34.538_776_394_910_68).abs() < 1e-9);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let fill = |range: std::ops::Range<u32>| {
            let mut quality = BinaryQuality::new(0.4, 10).unwrap();
            for i in range {
                let label = (i % 7 != 0).then_some(i % 3 == 0);
                quality.observe(f64::from((i * 37) % 101) / 100.0, label).unwrap();
            }
            quality
        };
        let (mut sum, whole) = (fill(0..300), fill(0..1_000));
        sum.merge(&fill(300..1_000)).unwrap();
        assert_eq!((sum.confusion(), sum.unlabelled()), (whole.confusion(), whole.unlabelled()));
        assert!((sum.log_loss().unwrap().value - whole.log_loss().unwrap().value).abs() < 1e-12);
        assert!(sum.merge(&BinaryQuality::new(0.5, 10).unwrap()).is_err());
    }
}

//! How good a window's scores were, from labels that come late and are corrected: whole numbers only, so that what was
//! added can be taken back, and the order in which labels come makes no difference.

use crate::{Metric, MonitoringError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_stats::quality::{BinnedAuc, LOG_LOSS_CLIP};

/// Bins of the scores for AUC.
const BINS: u16 = 1_000;
/// Losses are summed in billionths.
const UNIT: f64 = 1e9;

/// A window's labelled scores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityState {
    /// Predictions with a label that can be compared with a score.
    labelled: i64,
    log_loss: i64,
    brier: i64,
    /// Positives and negatives by the score's bin; bins without any are left out.
    bins: BTreeMap<u16, (i64, i64)>,
}

/// What is known of a window's quality. What no label tells yet is none, which is "unknown".
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Predictions with a label.
    pub labelled: u64,
    /// Share of predictions with a label.
    pub coverage: Option<f64>,
    /// Area under the ROC curve; exact to half the pairs that share a thousandth of the score.
    pub auc: Option<f64>,
    /// Log loss in nats.
    pub log_loss: Option<f64>,
    /// Brier score.
    pub brier: Option<f64>,
}

impl Quality {
    /// One of its measures.
    #[must_use]
    pub fn of(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Auc => self.auc,
            Metric::LogLoss => self.log_loss,
            Metric::Brier => self.brier,
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn billionths(value: f64) -> i64 {
    (value * UNIT).round() as i64
}

impl QualityState {
    /// Adds a labelled score.
    pub fn add(&mut self, score: f64, label: bool) {
        self.change(score, label, 1);
    }

    /// Takes a labelled score back, because its label was corrected.
    pub fn take_back(&mut self, score: f64, label: bool) {
        self.change(score, label, -1);
    }

    fn change(&mut self, score: f64, label: bool, by: i64) {
        if !(0.0..=1.0).contains(&score) {
            return;
        }
        let clipped = score.clamp(LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP);
        let loss = if label { -clipped.ln() } else { -(-clipped).ln_1p() };
        let error = score - f64::from(u8::from(label));
        self.labelled += by;
        self.log_loss += by * billionths(loss);
        self.brier += by * billionths(error * error);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bin = ((score * f64::from(BINS)) as u16).min(BINS - 1);
        self.count(bin, if label { (by, 0) } else { (0, by) });
    }

    fn count(&mut self, bin: u16, by: (i64, i64)) {
        let both = self.bins.entry(bin).or_default();
        *both = (both.0 + by.0, both.1 + by.1);
        if *both == (0, 0) {
            self.bins.remove(&bin);
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.labelled += other.labelled;
        self.log_loss += other.log_loss;
        self.brier += other.brier;
        other.bins.iter().for_each(|(bin, by)| self.count(*bin, *by));
    }

    /// What is known, of so many predictions.
    ///
    /// # Errors
    /// When the bins can't be read.
    #[allow(clippy::cast_precision_loss)]
    pub fn known(&self, predictions: u64) -> Result<Quality, MonitoringError> {
        let labelled = u64::try_from(self.labelled).unwrap_or(0);
        let mean = |sum: i64| (labelled > 0).then(|| sum as f64 / UNIT / labelled as f64);
        let mut positives = vec![0; usize::from(BINS)];
        let mut negatives = positives.clone();
        for (bin, (up, down)) in &self.bins {
            positives[usize::from(*bin)] = u64::try_from(*up).unwrap_or(0);
            negatives[usize::from(*bin)] = u64::try_from(*down).unwrap_or(0);
        }
        Ok(Quality {
            labelled,
            coverage: (predictions > 0).then(|| labelled as f64 / predictions as f64),
            auc: BinnedAuc::from_counts(positives, negatives)?.bounds().map(|(_, middle, _)| middle),
            log_loss: mean(self.log_loss),
            brier: mean(self.brier),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use trueline_stats::quality::{BinaryQuality, auc};

    #[test]
    fn without_labels_everything_is_unknown() {
        let known = QualityState::default().known(10).unwrap();
        assert_eq!(known, Quality { coverage: Some(0.0), ..Quality::default() });
    }

    proptest! {
        #[test]
        fn corrections_in_any_order_come_to_what_the_last_labels_say(
            rows in prop::collection::vec((0_u16..1_000, any::<bool>(), any::<bool>()), 2..80), turn in 0_usize..80
        ) {
            // Scores in the middles of bins: there AUC is exact.
            let score = |bin: u16| (f64::from(bin) + 0.5) / 1_000.0;
            let mut changes = Vec::new();
            for (bin, first, last) in &rows {
                changes.push((score(*bin), *first, true));
                changes.push((score(*bin), *first, false));
                changes.push((score(*bin), *last, true));
            }
            let at = turn % changes.len();
            changes.rotate_left(at);
            let mut state = QualityState::default();
            for (score, label, add) in changes {
                if add { state.add(score, label) } else { state.take_back(score, label) }
            }
            let known = state.known(rows.len() as u64).unwrap();
            let mut oracle = BinaryQuality::new(0.5, 10).unwrap();
            let scores: Vec<f64> = rows.iter().map(|r| score(r.0)).collect();
            let labels: Vec<Option<bool>> = rows.iter().map(|r| Some(r.2)).collect();
            scores.iter().zip(&labels).for_each(|(s, l)| oracle.observe(*s, *l).unwrap());
            prop_assert_eq!(known.labelled, rows.len() as u64);
            prop_assert!((known.log_loss.unwrap() - oracle.log_loss().unwrap().value).abs() < 1e-8);
            prop_assert!((known.brier.unwrap() - oracle.brier().unwrap().value).abs() < 1e-8);
            let exact = auc(&scores, &labels).unwrap().map(|e| e.value);
            prop_assert_eq!(known.auc.is_some(), exact.is_some());
            if let (Some(known), Some(exact)) = (known.auc, exact) {
                prop_assert!((known - exact).abs() < 1e-12);
            }
        }
    }
}

//! What a replay came to.

use serde_json::{Value, json};
use std::time::Duration;

/// Failures that are told in words.
const TOLD: usize = 10;

/// Counts and latencies.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answered: usize,
    predictions_failed: usize,
    feature_rows: u64,
    labels: usize,
    labels_new: u64,
    /// Labels that could not be told, because their question was not answered.
    pub(super) unanswered: usize,
    tellings_failed: usize,
    /// Of questions, from sending to the whole answer, in microseconds; failed ones too.
    latencies_us: Vec<u32>,
    /// The first failures, in words.
    pub(super) failures: Vec<String>,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
}

impl Tally {
    pub(super) fn predicted(&mut self, took: Duration) {
        self.answered += 1;
        self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn prediction_failed(&mut self, took: Duration, told: String) {
        self.predictions_failed += 1;
        self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.tell(told);
    }

    pub(super) fn telling_failed(&mut self, told: String) {
        self.tellings_failed += 1;
        self.tell(told);
    }

    fn tell(&mut self, told: String) {
        if self.failures.len() < TOLD {
            self.failures.push(told);
        }
    }

    pub(super) fn pushed(&mut self, rows: usize, _answer: &Value) {
        self.feature_rows += rows as u64;
    }

    pub(super) fn labelled(&mut self, labels: usize, answer: &Value) {
        self.labels += labels;
        self.labels_new += answer["new"].as_u64().unwrap_or(0);
    }

    /// Requests that failed.
    pub(super) fn failed(&self) -> usize {
        self.predictions_failed + self.tellings_failed
    }

    pub(super) fn first_failure(&self) -> &str {
        self.failures.first().map_or("", |f| f)
    }

    /// Answered questions.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// Labels that were told.
    pub(super) fn labels(&self) -> usize {
        self.labels
    }

    /// Rows of features that were pushed.
    pub(super) fn feature_rows(&self) -> u64 {
        self.feature_rows
    }

    pub(super) fn to_json(&self) -> Value {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let seconds = self.elapsed.as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        let rate = self.answered as f64 / seconds.max(f64::MIN_POSITIVE);
        json!({
            "predictions": {
                "answered": self.answered, "failed": self.predictions_failed, "per_second": rate.round(),
                "p50_ms": quantile_ms(&sorted, 50), "p99_ms": quantile_ms(&sorted, 99), "max_ms": quantile_ms(&sorted, 100),
            },
            "labels": { "told": self.labels, "new": self.labels_new, "without_prediction": self.unanswered },
            "feature_rows": { "pushed": self.feature_rows },
            "pushes_and_labels_failed": self.tellings_failed,
            "failures": self.failures,
            "elapsed_s": (seconds * 10.0).round() / 10.0,
        })
    }
}

/// The smallest value that `percent` of all do not exceed, in milliseconds.
fn quantile_ms(sorted: &[u32], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|us| f64::from(*us) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let sorted: Vec<u32> = (1..=100).map(|i| i * 1000).collect();
        assert_eq!([50, 99, 100].map(|p| quantile_ms(&sorted, p)), [Some(50.0), Some(99.0), Some(100.0)]);
        assert_eq!((quantile_ms(&[7000], 50), quantile_ms(&[], 50)), (Some(7.0), None));
    }

    #[test]
    fn every_failure_counts_and_the_first_are_told() {
        let mut tally = Tally::default();
        tally.predicted(Duration::from_millis(2));
        (0..12).for_each(|i| tally.prediction_failed(Duration::from_millis(9), format!("no {i}")));
        tally.telling_failed("not a label".to_owned());
        assert_eq!((tally.failed(), tally.failures.len(), tally.first_failure()), (13, TOLD, "no 0"));
        assert_eq!(tally.to_json()["predictions"]["max_ms"], 9.0);
    }
}

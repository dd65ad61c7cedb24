//! A rehearsal: logged requests are put to a version that nobody is given answers of, and compared with what was answered. What
//! it counts lives here; reading the log and asking is a flow.

use crate::comparison::{Difference, Tolerance, Worst};
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{LatencyBins, LatencyHistogram};

/// Rows and failures that are named.
const NAMED: usize = 10;
/// Quantiles of the latency that are told.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// What was counted so far.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    tolerance: Tolerance,
    compared: u64,
    differing: u64,
    failed: u64,
    largest: f64,
    worst: Worst,
    failures: Vec<RehearsalFailure>,
    took: LatencyHistogram,
    took_then: LatencyHistogram,
}

/// What a rehearsal came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RehearsalReport {
    /// Logged predictions that were looked at.
    pub read: u64,
    /// Those of them that were refused or failed when they were asked, so that there is nothing to compare with.
    pub without_answer: u64,
    /// Those of them of which the log was not given everything, so that they can't be put again.
    #[serde(default)]
    pub redacted: u64,
    /// Those of them that were put to the version.
    pub asked: u64,
    /// Those that it answered.
    pub compared: u64,
    /// Those that it answers differently.
    pub differing: u64,
    /// Those that it failed or refused.
    pub failed: u64,
    /// How far numbers could lie apart.
    pub tolerance: Tolerance,
    /// The largest distance between two numbers of one row.
    pub largest_difference: f64,
    /// The rows that differ most.
    pub worst: Vec<RehearsedRow>,
    /// The first failures.
    pub failures: Vec<RehearsalFailure>,
    /// The version's own time in milliseconds at the 50th, 95th and 99th percentile; none without an answer.
    pub latency_ms: [Option<f64>; 3],
    /// The same of what answered then.
    pub latency_then_ms: [Option<f64>; 3],
    /// Whether the time was over before all that is wanted had been found in the log, or all that had been read was asked.
    pub cut_short: bool,
}

/// A logged prediction that is answered differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RehearsedRow {
    /// Its id.
    pub prediction_id: String,
    /// The largest distance between two numbers of it; none when it is no matter of numbers.
    pub by: Option<f64>,
}

/// A logged prediction that the version failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RehearsalFailure {
    /// Its id.
    pub prediction_id: String,
    /// Why.
    pub reason: String,
}

impl Rehearsed {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// None that can be met: the bins are fixed.
    pub fn new(tolerance: Tolerance) -> Result<Self, StatsError> {
        // 1 µs to 120 s in steps of 2 %.
        let bins = LatencyBins::new(0.001, 1.02, 940)?;
        Ok(Self {
            tolerance,
            compared: 0,
            differing: 0,
            failed: 0,
            largest: 0.0,
            worst: Worst::default(),
            failures: Vec::new(),
            took: LatencyHistogram::new(bins),
            took_then: LatencyHistogram::new(bins),
        })
    }

    /// Takes in an answer: what was answered then and what is answered now to the prediction of this id, and how long both
    /// took, in milliseconds.
    ///
    /// # Errors
    /// A time that is none.
    pub fn answered(
        &mut self,
        id: &str,
        then: &serde_json::Value,
        now: &serde_json::Value,
        (took_then_ms, took_ms): (Option<f64>, f64),
    ) -> Result<(), StatsError> {
        let difference = Difference::of(then, now, self.tolerance);
        self.compared += 1;
        self.differing += u64::from(difference.differs);
        self.largest = self.largest.max(difference.by);
        if difference.differs {
            self.worst.add(|| id.to_owned(), difference, NAMED);
        }
        self.took.observe(took_ms)?;
        took_then_ms.map_or(Ok(()), |then| self.took_then.observe(then))
    }

    /// Takes in a failure.
    pub fn failed(&mut self, id: &str, reason: &str) {
        self.failed += 1;
        if self.failures.len() < NAMED {
            let reason = reason.chars().take(300).collect();
            self.failures.push(RehearsalFailure { prediction_id: id.to_owned(), reason });
        }
    }

    /// What it came to, of so many predictions that were read and so many of those without an answer.
    #[must_use]
    pub fn report(self, read: u64, without_answer: u64, redacted: u64) -> RehearsalReport {
        let at = |h: &LatencyHistogram| QUANTILES.map(|q| h.quantile(q).filter(|v| v.is_finite()));
        let asked = self.compared + self.failed;
        let row = |(prediction_id, d): (String, Difference)| RehearsedRow {
            prediction_id,
            by: (!d.in_kind).then_some(d.by),
        };
        RehearsalReport {
            read,
            without_answer,
            redacted,
            asked,
            compared: self.compared,
            differing: self.differing,
            failed: self.failed,
            tolerance: self.tolerance,
            largest_difference: self.largest,
            latency_ms: at(&self.took),
            latency_then_ms: at(&self.took_then),
            worst: self.worst.into_largest_first().into_iter().map(row).collect(),
            failures: self.failures,
            cut_short: asked + without_answer + redacted < read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_counted_and_the_worst_are_named() {
        let mut seen = Rehearsed::new(Tolerance { absolute: 0.1, relative: 0.0 }).unwrap();
        for i in 0..100_u32 {
            let now = json!(f64::from(i) / 100.0);
            seen.answered(&i.to_string(), &json!(0.0), &now, (Some(2.0), 4.0)).unwrap();
        }
        seen.answered("class", &json!("a"), &json!("b"), (None, 4.0)).unwrap();
        (0..20).for_each(|i| seen.failed(&i.to_string(), "no"));
        let told = seen.report(130, 5, 0);
        assert_eq!((told.asked, told.compared, told.differing, told.failed), (121, 101, 90, 20));
        assert!((told.largest_difference - 0.99).abs() < 1e-9);
        let worst: Vec<&str> = told.worst.iter().map(|w| w.prediction_id.as_str()).collect();
        assert_eq!((&worst[..3], worst.len(), told.failures.len()), (&["class", "99", "98"][..], 10, 10));
        assert!(told.cut_short, "of 125 with an answer, 121 were asked");
        let [half, ..] = told.latency_ms;
        assert!((3.9..4.2).contains(&half.unwrap()), "{half:?}");
    }
}

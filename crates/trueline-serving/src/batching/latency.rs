//! How long a model takes: a line `a·rows + b` through what was seen lately, and from it whether it pays to wait for more
//! requests. The rule is that of BentoML's dispatcher (CORK, `bentoml/_internal/marshal/dispatcher.py`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Calls that the line is fitted to.
const KEPT: usize = 50;
/// Calls before the first fit: fewer are the model warming up.
const FIRST: usize = 8;
/// The shortest time between two fits.
const REFIT: Duration = Duration::from_secs(5);
/// What a timer is late by: tokio's wheel turns once a millisecond.
const TICK: f64 = 0.001;
/// Makes waiting die out where nobody comes: each wait must be shorter than those before.
const DECAY: f64 = 0.95;

/// A call to the model, in seconds.
#[derive(Clone, Copy, Debug)]
struct Call {
    rows: f64,
    took: f64,
    /// How long the last request of it had waited.
    waited: f64,
}

/// Seconds by rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// For each row.
    pub(super) per_row: f64,
    /// For each call.
    pub(super) fixed: f64,
}

#[derive(Debug, Default)]
pub(super) struct Latency {
    calls: VecDeque<Call>,
    fit: Option<Fit>,
}

#[derive(Clone, Copy, Debug)]
struct Fit {
    at: Instant,
    line: Line,
    /// What the last request of a call waits on average.
    wait: f64,
}

impl Latency {
    /// Takes note of a call that was answered.
    pub(super) fn note(&mut self, now: Instant, rows: usize, took: Duration, waited: Duration) {
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        let (took, waited) = (took.as_secs_f64(), waited.as_secs_f64());
        self.calls.push_back(Call { rows: float(rows), took, waited });
        let due = self.fit.is_none_or(|fit| now.saturating_duration_since(fit.at) >= REFIT);
        if due && self.calls.len() >= FIRST {
            let wait = self.calls.iter().map(|c| c.waited).sum::<f64>() / float(self.calls.len());
            self.fit = Some(Fit { at: now, line: line(&self.calls), wait });
        }
    }

    /// The line, once enough was seen.
    pub(super) fn line(&self) -> Option<Line> {
        self.fit.map(|fit| fit.line)
    }

    /// How long so many rows will take; nothing, as long as that is not known.
    pub(super) fn of(&self, rows: usize) -> Duration {
        let seconds = self.line().map_or(0.0, |line| line.per_row * float(rows) + line.fixed);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// How long after the last of `requests` came others may be waited for: as long as what it costs all of those that are
    /// there, `n·(wn + dt + a)`, stays below `0.95` of what requests wait anyway. And no longer than a call costs without
    /// any rows, since sharing a call can't save more than that.
    pub(super) fn patience(&self, requests: usize, rows: usize) -> Duration {
        let Some(Fit { line, wait, .. }) = self.fit else { return Duration::ZERO };
        let n = float(requests.max(1));
        let own = line.per_row * float(rows) / n;
        let seconds = (DECAY * wait / n - TICK - own).min(line.fixed);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

/// Least squares, with neither part below nothing: noise must not promise that more rows take less time.
fn line(calls: &VecDeque<Call>) -> Line {
    let n = float(calls.len());
    let mean_rows = calls.iter().map(|c| c.rows).sum::<f64>() / n;
    let mean_took = calls.iter().map(|c| c.took).sum::<f64>() / n;
    let spread: f64 = calls.iter().map(|c| (c.rows - mean_rows).powi(2)).sum();
    let joint: f64 = calls.iter().map(|c| (c.rows - mean_rows) * (c.took - mean_took)).sum();
    let slope = if spread > 0.0 { (joint / spread).max(0.0) } else { 0.0 };
    let fixed = mean_took - slope * mean_rows;
    match fixed < 0.0 {
        false => Line { per_row: slope, fixed },
        // Through the origin.
        true => {
            let squares: f64 = calls.iter().map(|c| c.rows * c.rows).sum();
            let products: f64 = calls.iter().map(|c| c.rows * c.took).sum();
            Line { per_row: products / squares, fixed: 0.0 }
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(calls: impl IntoIterator<Item = (usize, f64, f64)>) -> Latency {
        let (mut latency, start) = (Latency::default(), Instant::now());
        for (i, (rows, took, waited)) in calls.into_iter().enumerate() {
            let now = start + REFIT * u32::try_from(i).unwrap();
            latency.note(now, rows, Duration::from_secs_f64(took), Duration::from_secs_f64(waited));
        }
        latency
    }

    #[test]
    fn the_line_converges_to_what_the_model_takes() {
        // Noise of a tenth, of either sign.
        let call = |i: usize| {
            let rows = 1 + i * 7 % 64;
            let noise = if i.is_multiple_of(2) { 0.9 } else { 1.1 };
            (rows, (0.002 * float(rows) + 0.050) * noise, 0.0)
        };
        let line = seen((0..200).map(call)).line().unwrap();
        assert!((line.per_row - 0.002).abs() < 0.000_5, "{line:?}");
        assert!((line.fixed - 0.050).abs() < 0.015, "{line:?}");
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let slow = (0..50).map(|i| (1 + i % 8, 1.0, 0.0));
        let quick = (0..50).map(|i| (1 + i % 8, 0.001, 0.0));
        let latency = seen(slow.chain(quick));
        assert!(latency.of(8) < Duration::from_millis(2), "{latency:?}");
    }

    #[test]
    fn neither_part_of_the_line_is_below_nothing() {
        let falling = seen((1..=20).map(|i| (i, 1.0 / float(i), 0.0))).line().unwrap();
        assert!(falling.per_row == 0.0 && falling.fixed > 0.0, "{falling:?}");
        let steep = seen((1..=20).map(|i| (i, float(i * i), 0.0))).line().unwrap();
        assert!(steep.per_row > 0.0 && steep.fixed == 0.0, "{steep:?}");
        let same = seen((0..20).map(|_| (1, 0.5, 0.0))).line().unwrap();
        assert_eq!(same, Line { per_row: 0.0, fixed: 0.5 });
    }

    #[test]
    fn it_is_fitted_again_only_after_a_while() {
        let (mut latency, start) = (Latency::default(), Instant::now());
        let millis = Duration::from_millis;
        for _ in 0..FIRST {
            assert_eq!(latency.line(), None);
            latency.note(start, 1, millis(10), Duration::ZERO);
        }
        let first = latency.line().unwrap();
        latency.note(start + REFIT - millis(1), 1, millis(90), Duration::ZERO);
        assert_eq!(latency.line(), Some(first));
        latency.note(start + REFIT, 1, millis(90), Duration::ZERO);
        assert!(latency.line().unwrap().fixed > first.fixed);
    }

    #[test]
    fn nobody_is_waited_for_where_nobody_waits_anyway() {
        let idle = seen((0..20).map(|i| (1 + i % 4, 0.1, 0.0)));
        assert_eq!(idle.patience(1, 1), Duration::ZERO);
        assert_eq!(Latency::default().patience(1, 1), Duration::ZERO);
    }

    #[test]
    fn patience_is_shared_by_those_who_wait_and_bounded_by_what_a_call_costs() {
        let busy = seen((0..20).map(|_| (1, 0.1, 0.04)));
        let one = busy.patience(1, 1);
        assert!((one.as_secs_f64() - (0.95 * 0.04 - 0.001)).abs() < 1e-9, "{one:?}");
        assert!(busy.patience(4, 4) < one / 4);
        assert_eq!(busy.patience(64, 64), Duration::ZERO);
        let long = seen((0..20).map(|_| (1, 0.01, 9.0)));
        assert_eq!(long.patience(1, 1), Duration::from_millis(10));
    }
}

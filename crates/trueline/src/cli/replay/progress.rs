//! The line that tells how far a replay is.

use super::super::progress::ProgressLine;
use super::table::text_of_time;
use super::tally::Tally;
use std::time::Duration;

pub(super) struct Progress {
    all: usize,
    line: ProgressLine,
    last: String,
}

impl Progress {
    /// Of a replay of so many questions.
    pub(super) fn new(all: usize) -> Self {
        Self { all, line: ProgressLine::new(), last: String::new() }
    }

    pub(super) fn show(&mut self, event_us: i64, tally: &Tally, elapsed: Duration) {
        self.last = text_of_time(event_us);
        let (last, all) = (&self.last, self.all);
        self.line.show(elapsed, || text(last, all, tally, elapsed));
    }

    pub(super) fn finish(&mut self, tally: &Tally, elapsed: Duration) {
        self.line.finish(&text(&self.last, self.all, tally, elapsed));
    }
}

fn text(last: &str, all: usize, tally: &Tally, elapsed: Duration) -> String {
    #[allow(clippy::cast_precision_loss)]
    let rate = tally.answered() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    format!(
        "{last}  {} of {all} predictions, {rate:.0} a second, {} labels, {} feature rows, {} failed",
        tally.answered(),
        tally.labels(),
        tally.feature_rows(),
        tally.failed(),
    )
}

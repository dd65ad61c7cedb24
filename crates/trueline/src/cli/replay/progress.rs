//! The line that tells how far a replay is: one that changes in place on a terminal, a new one every few seconds elsewhere.

#![allow(clippy::print_stderr)]

use super::table::text_of_time;
use super::tally::Tally;
use std::io::IsTerminal;
use std::time::Duration;

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(2);

pub(super) struct Progress {
    all: usize,
    terminal: bool,
    shown: Option<Duration>,
    last: String,
}

impl Progress {
    /// Of a replay of so many questions.
    pub(super) fn new(all: usize) -> Self {
        Self { all, terminal: std::io::stderr().is_terminal(), shown: None, last: String::new() }
    }

    pub(super) fn show(&mut self, event_us: i64, tally: &Tally, elapsed: Duration) {
        self.last = text_of_time(event_us);
        let every = if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.shown.is_none_or(|shown| elapsed >= shown + every) {
            self.shown = Some(elapsed);
            self.print(tally, elapsed);
        }
    }

    pub(super) fn finish(&mut self, tally: &Tally, elapsed: Duration) {
        self.print(tally, elapsed);
        if self.terminal {
            eprintln!();
        }
    }

    fn print(&self, tally: &Tally, elapsed: Duration) {
        #[allow(clippy::cast_precision_loss)]
        let rate = tally.answered() as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let line = format!(
            "{}  {} of {} predictions, {rate:.0} a second, {} labels, {} feature rows, {} failed",
            self.last,
            tally.answered(),
            self.all,
            tally.labels(),
            tally.feature_rows(),
            tally.failed(),
        );
        if self.terminal { eprint!("\r\x1b[2K{line}") } else { eprintln!("{line}") }
    }
}

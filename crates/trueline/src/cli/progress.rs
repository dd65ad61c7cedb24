//! A line that tells how far something is: one that changes in place on a terminal, a new one every few seconds elsewhere.

#![allow(clippy::print_stderr)]

use std::io::IsTerminal;
use std::time::Duration;

const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(2);

pub(super) struct ProgressLine {
    terminal: bool,
    shown: Option<Duration>,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: None }
    }

    /// Shows a line, unless the last one was shown just now.
    pub(super) fn show(&mut self, elapsed: Duration, line: impl FnOnce() -> String) {
        let every = if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.shown.is_none_or(|shown| elapsed >= shown + every) {
            self.shown = Some(elapsed);
            self.print(&line());
        }
    }

    /// Shows the last line.
    pub(super) fn finish(&mut self, line: &str) {
        self.print(line);
        if self.terminal {
            eprintln!();
        }
    }

    fn print(&self, line: &str) {
        if self.terminal { eprint!("\r\x1b[2K{line}") } else { eprintln!("{line}") }
    }
}

//! What a process writes, line by line: to the log, as far as that is read by anybody, and the last of it for messages.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// The longest line; more of it is another line.
const LONGEST_LINE: usize = 4 << 10;
/// Lines that are kept for messages.
const KEPT_LINES: usize = 50;
/// Lines that go to the log each second. A model that prints a line for each row would fill a disk.
const LOGGED_EACH_SECOND: u32 = 100;

/// The last lines of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The last lines, each on its own; at most so many.
    pub(crate) fn last(&self, most: usize) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = lines.len().saturating_sub(most);
        lines.iter().skip(skipped).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Follows a pipe until it is closed at the other end; to be spawned.
pub(crate) async fn follow(pipe: OwnedFd, whose: String, stream: &'static str, tail: Tail) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let mut lines = Lines::default();
    let mut log = Log { whose, stream, second: Instant::now(), logged: 0, skipped: 0 };
    let mut piece = vec![0; 16 << 10];
    loop {
        let read = pipe.read(&mut piece).await?;
        lines.push(&piece[..read], read == 0, |line| {
            tail.push(line);
            log.line(line, Instant::now());
        });
        if read == 0 {
            return Ok(());
        }
    }
}

struct Log {
    whose: String,
    stream: &'static str,
    second: Instant,
    logged: u32,
    skipped: u64,
}

impl Log {
    fn line(&mut self, line: &str, now: Instant) {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            if self.skipped > 0 {
                tracing::warn!(
                    worker = self.whose,
                    stream = self.stream,
                    skipped = self.skipped,
                    "it writes too much"
                );
            }
            (self.second, self.logged, self.skipped) = (now, 0, 0);
        }
        if self.logged == LOGGED_EACH_SECOND {
            self.skipped += 1;
            return;
        }
        self.logged += 1;
        tracing::info!(worker = self.whose, stream = self.stream, "{line}");
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], last: bool, mut line: impl FnMut(&str)) {
        let mut tell = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let text = text.trim_end();
            if !text.is_empty() {
                line(text);
            }
        };
        for byte in bytes {
            if *byte != b'\n' {
                self.begun.push(*byte);
            }
            if *byte == b'\n' || self.begun.len() == LONGEST_LINE {
                tell(&self.begun);
                self.begun.clear();
            }
        }
        if last {
            tell(&self.begun);
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(bytes: &[u8], cut: usize) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            lines.push(piece, false, |line| found.push(line.to_owned()));
        }
        lines.push(&[], true, |line| found.push(line.to_owned()));
        found
    }

    proptest! {
        #[test]
        fn lines_don_t_depend_on_how_the_bytes_came(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1_usize..50) {
            prop_assert_eq!(lines_of(&bytes, cut), lines_of(&bytes, 1_000));
        }
    }

    #[test]
    fn the_last_lines_are_kept_and_long_ones_cut() {
        assert_eq!(lines_of(&[b'x'; LONGEST_LINE * 2 + 1], 999).len(), 3);
        let tail = Tail::default();
        (0..1_000).for_each(|n| tail.push(&n.to_string()));
        assert_eq!(tail.last(2), "998\n999");
        assert_eq!(tail.last(usize::MAX).lines().count(), KEPT_LINES);
    }
}

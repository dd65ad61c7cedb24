//! Time and randomness, passed in so that a test or a replay is deterministic (rule 11).

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now. A process sees no earlier time than it saw before, but the next one may: nothing that must hold rests
    /// on it.
    fn now(&self) -> Millis;
}

/// Where randomness comes from.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills `out` with bytes that nobody can guess.
    fn fill(&self, out: &mut [u8]);
}

/// The wall clock, held back from jumping backwards while the process lives.
#[derive(Debug, Default)]
struct WallClock {
    latest: AtomicI64,
}

impl Clock for WallClock {
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX);
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// The operating system's generator, which each thread asks for some hundred bytes at a time: an id takes sixteen, and a call
/// for each would cost more than what is done with it.
#[derive(Debug)]
struct SystemEntropy;

/// Random bytes that nobody was given yet, at the end of the list.
struct Unused {
    bytes: [u8; 512],
    left: usize,
}

impl Unused {
    const NONE: Self = Self { bytes: [0; 512], left: 0 };

    /// Hands out bytes and forgets them, so that what was given is not found here afterwards.
    fn take(&mut self, out: &mut [u8]) {
        if out.len() > self.bytes.len() {
            return ask_system(out);
        }
        if out.len() > self.left {
            ask_system(&mut self.bytes);
            self.left = self.bytes.len();
        }
        let own = &mut self.bytes[self.left - out.len()..self.left];
        out.copy_from_slice(own);
        own.fill(0);
        self.left -= out.len();
    }
}

thread_local! {
    static UNUSED: RefCell<Unused> = const { RefCell::new(Unused::NONE) };
}

#[allow(clippy::expect_used)]
fn ask_system(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system gives random bytes");
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // A thread that ends has none left.
        if UNUSED.try_with(|unused| unused.borrow_mut().take(out)).is_err() {
            ask_system(out);
        }
    }
}

/// The clock and the randomness of one server.
#[derive(Clone, Debug)]
pub struct Sources {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Sources {
    /// The real ones.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(WallClock::default()), entropy: Arc::new(SystemEntropy) }
    }

    /// Others, for a test or a replay.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }

    /// A fresh id of 32 hexadecimal digits, the form of MLflow's run ids.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(self.bytes::<16>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_byte_is_given_twice_however_many_are_asked_for() {
        let sources = Sources::system();
        let ids: HashSet<String> = (0..10_000).map(|_| sources.id()).collect();
        assert_eq!(ids.len(), 10_000);
        let mut unused = Unused::NONE;
        let (mut first, mut rest) = ([0; 500], [0; 500]);
        unused.take(&mut first);
        assert_eq!(unused.left, 12, "the rest waits for whoever asks next");
        assert!(unused.bytes[12..].iter().all(|byte| *byte == 0), "what was given is forgotten");
        unused.take(&mut rest);
        assert_ne!(first, rest);
        let mut more = [0; 2_000];
        unused.take(&mut more);
        assert!(more.windows(100).all(|some| some.iter().any(|byte| *byte != 0)));
    }
}

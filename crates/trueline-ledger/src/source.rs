//! Time and randomness, passed in so that a test or a replay is deterministic (rule 11).

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

/// The operating system's generator.
#[derive(Debug)]
struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(clippy::expect_used)]
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random bytes");
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

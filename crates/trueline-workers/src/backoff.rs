//! How long a restart waits: longer after each failure, and not as long as its neighbours.

use std::time::Duration;

/// Waits between restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait after any.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// How long to wait after so many failures: between half and all of `first · 2^(failures - 1)`, as `lot` draws it, so
    /// that workers which died together don't all load at once.
    #[must_use]
    pub fn wait(&self, failures: u32, lot: u64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.first.saturating_mul(doubled).min(self.most);
        let half = longest / 2;
        half + half.mul_f64(lot as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_up_to_the_longest_and_are_never_less_than_half(failures in 1_u32..200, lot in any::<u64>()) {
            let backoff = Backoff::default();
            let wait = backoff.wait(failures, lot);
            prop_assert!(wait >= backoff.first / 2 && wait <= backoff.most);
            prop_assert!(backoff.wait(failures + 1, lot) >= wait);
            prop_assert!(backoff.wait(failures, 0) <= wait && wait <= backoff.wait(failures, u64::MAX));
        }
    }
}

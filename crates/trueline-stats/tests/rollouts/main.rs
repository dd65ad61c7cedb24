//! Ten thousand simulated rollouts, looked at after every request: how often a good canary is rolled back,
//! and how soon a bad one. The short form runs always; `cargo test -p trueline-stats --test rollouts --
//! --ignored --nocapture` is the full one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and shows its rates"
)]

mod delays;
mod null;
mod worlds;

use std::sync::atomic::{AtomicU64, Ordering};

use trueline_stats::special::upper_rate;

/// Runs `rollout` for each seed on two threads and counts how often each flag is raised.
pub(crate) fn count<const N: usize>(rollouts: u64, rollout: impl Fn(u64) -> [bool; N] + Sync) -> [u64; N] {
    let (next, counts) = (AtomicU64::new(0), std::array::from_fn::<AtomicU64, N, _>(|_| AtomicU64::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= rollouts {
                        break;
                    }
                    for (counter, raised) in counts.iter().zip(rollout(seed)) {
                        counter.fetch_add(u64::from(raised), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    counts.map(AtomicU64::into_inner)
}

/// The upper 99 % bound of a rate.
pub(crate) fn upper_99(k: u64, n: u64) -> f64 {
    upper_rate(k, n, 0.01)
}

#[test]
fn the_rule_of_three_holds_for_the_bound() {
    assert!((upper_99(0, 1_000) - 4.6 / 1_000.0).abs() < 1e-4);
    assert!((upper_99(1_000, 1_000) - 1.0).abs() < 1e-12);
}

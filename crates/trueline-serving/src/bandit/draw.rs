//! Which arm of a bandit takes a request: a race between the arms, so that keys stay where they are as far as the shares let
//! them.

use trueline_stats::hash::mix64;

/// The arm that a lot draws, each with a chance in proportion to its weight.
///
/// Each arm has a time of its own for each lot, exponential with the arm's weight as its rate, and the first one takes it.
/// The chance of arm i is w_i/Σw exactly (the least of independent exponentials), and when one weight grows while the others
/// keep their proportions, that arm alone comes in earlier: keys move to it and between no others. When it shrinks, keys
/// leave it and nobody else moves. This is rendezvous hashing with weights.
pub(crate) fn race(weights: impl Iterator<Item = u32>, lot: u64) -> usize {
    let time = |(arm, weight): (usize, u32)| (arm, -uniform(lot, arm).ln() / f64::from(weight));
    let first = weights.enumerate().map(time).min_by(|a, b| a.1.total_cmp(&b.1));
    first.map_or(0, |(arm, _)| arm)
}

/// A number in (0, 1) for an arm of a lot.
fn uniform(lot: u64, arm: usize) -> f64 {
    let bits = mix64(lot ^ mix64(arm as u64 + 1)) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let place = bits as f64;
    (place + 0.5) / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_growing_arm_only_takes_and_a_shrinking_one_only_gives(
            weights in proptest::collection::vec(1_u32..1_000, 2..6),
            arm in 0_usize..6,
            more in 1_u32..1_000,
            lot: u64,
        ) {
            let arm = arm % weights.len();
            let mut larger = weights.clone();
            larger[arm] += more;
            let (small, large) = (race(weights.iter().copied(), lot), race(larger.iter().copied(), lot));
            prop_assert!(large == small || large == arm, "moved from {small} to {large}");
        }

        #[test]
        fn scaled_weights_leave_everybody_in_place(
            weights in proptest::collection::vec(1_u32..1_000, 2..6), by in 1_u32..1_000, lot: u64,
        ) {
            let scaled = weights.iter().map(|w| w * by);
            prop_assert_eq!(race(weights.iter().copied(), lot), race(scaled, lot));
        }
    }

    #[test]
    fn arms_take_their_shares() {
        let weights = [7_000_u32, 2_500, 500];
        let mut counts = [0_u32; 3];
        (0..100_000_u64).for_each(|i| counts[race(weights.into_iter(), mix64(i))] += 1);
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(weight * 10) < 600, "{counts:?}");
        }
    }
}

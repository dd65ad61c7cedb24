//! From probabilities to shares that a router can take: whole parts of ten thousand, none below a floor.

use crate::error::StatsError;

/// The whole of the traffic; shares are parts of it.
pub const WHOLE: u32 = 10_000;

/// Shares of [`WHOLE`] for arms that are best with these probabilities: each arm has the floor, and what is left is divided
/// in proportion. Parts are rounded by the largest remainders, the first arm of equal ones coming first.
///
/// The floor keeps every arm's share away from 0, so that its mean can still be inferred, and a change of the world is
/// noticed.
///
/// # Errors
/// No arm, a floor of 0 or one that the arms can't all have, or probabilities that are none.
pub fn allot(best: &[f64], floor: u32) -> Result<Vec<u32>, StatsError> {
    if best.is_empty() {
        return Err(StatsError::Empty { what: "the arms' probabilities" });
    }
    let floors = u64::from(floor) * best.len() as u64;
    if floor == 0 || floors > u64::from(WHOLE) {
        let expected = "at least 1, and all arms' floors together at most 10000";
        return Err(StatsError::OutOfRange { what: "the floor", value: f64::from(floor), expected });
    }
    let total: f64 = best.iter().sum();
    if let Some(value) = best.iter().copied().find(|p| !(*p >= 0.0 && total.is_finite() && total > 0.0)) {
        let expected = "probabilities of which one is above 0";
        return Err(StatsError::OutOfRange { what: "an arm's probability", value, expected });
    }
    let rest = WHOLE - floor * best.len() as u32;
    let wanted: Vec<f64> = best.iter().map(|p| f64::from(rest) * (p / total)).collect();
    let mut parts: Vec<u32> = wanted.iter().map(|part| *part as u32).collect();
    let mut order: Vec<usize> = (0..best.len()).collect();
    order.sort_by(|i, j| wanted[*j].fract().total_cmp(&wanted[*i].fract()));
    let missing = rest.saturating_sub(parts.iter().sum());
    order.iter().cycle().take(missing as usize).for_each(|i| parts[*i] += 1);
    Ok(parts.iter().map(|part| part + floor).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_are_the_whole_and_none_is_below_the_floor(
            best in proptest::collection::vec(0.0_f64..1.0, 1..16),
            floor in 1_u32..600,
        ) {
            prop_assume!(best.iter().sum::<f64>() > 0.0);
            let shares = allot(&best, floor).unwrap();
            prop_assert_eq!(shares.iter().sum::<u32>(), WHOLE);
            prop_assert!(shares.iter().all(|share| *share >= floor));
            let total: f64 = best.iter().sum();
            for (share, p) in shares.iter().zip(&best) {
                let exact = f64::from(floor) + f64::from(WHOLE - floor * best.len() as u32) * p / total;
                prop_assert!((f64::from(*share) - exact).abs() < 1.0 + 1e-6);
            }
        }
    }

    #[test]
    fn the_better_arm_has_the_more_and_what_makes_no_sense_is_refused() {
        assert_eq!(allot(&[0.9, 0.1], 500).unwrap(), [8_600, 1_400]);
        assert_eq!(allot(&[1.0, 0.0, 0.0], 100).unwrap(), [9_800, 100, 100]);
        assert_eq!(allot(&[1.0 / 3.0; 3], 1).unwrap(), [3_334, 3_333, 3_333]);
        assert!(
            allot(&[], 1).is_err() && allot(&[0.5, 0.5], 0).is_err() && allot(&[0.5, 0.5], 5_001).is_err()
        );
        assert!(allot(&[0.0, 0.0], 1).is_err() && allot(&[f64::NAN, 0.5], 1).is_err());
    }
}

//! Which event is the first of what was assigned as one, a sticky key: filters of fixed size, and what sets those of one rollout
//! apart from those of another.

use trueline_stats::StatsError;
use trueline_stats::hash::mix64;
use trueline_stats::sequential::FirstPerKey;

/// Bits of the filter of keys as a power of 2: 128 KiB, good for some 130,000 keys; beyond, new ones are overlooked more
/// and more, which costs power, not validity.
const FILTER_BITS: u32 = 20;
/// Apart from what routes a key, so that which keys the filter overlooks says nothing of their arm.
const FILTER_SEED: u64 = 0x7275_6e6e_656c_6521;

/// What sets the filters of a rollout apart from those of another: which keys they overlook.
pub(super) fn salt_of(rollout: &str) -> u64 {
    rollout.bytes().fold(0, |salt, byte| mix64(salt ^ u64::from(byte)))
}

/// Whether this is the first of its kind of its key; without a key it always is. A filter that is not there yet is made, with
/// the salt of its rollout.
pub(super) fn admit(
    keys: &mut Option<FirstPerKey>,
    salt: u64,
    key: Option<u64>,
    kind: u64,
) -> Result<bool, StatsError> {
    let Some(key) = key else { return Ok(true) };
    if keys.is_none() {
        *keys = Some(FirstPerKey::new(FILTER_BITS, FILTER_SEED ^ salt)?);
    }
    Ok(keys.as_mut().is_none_or(|keys| keys.admit(mix64(key ^ mix64(kind)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollouts_after_one_another_overlook_different_keys() {
        // So many that both filters overlook some.
        let keys = 0..300_000_u64;
        let overlooked = |rollout: &str| {
            let (mut filter, salt) = (None, salt_of(rollout));
            let own = move |key: u64| !admit(&mut filter, salt, Some(mix64(key)), 1).unwrap();
            keys.clone().map(own).collect::<Vec<bool>>()
        };
        let (one, other) = (overlooked("0198c1f0-1111"), overlooked("0198c1f0-2222"));
        let count = |of: &[bool]| of.iter().filter(|overlooked| **overlooked).count() as f64;
        let both = one.iter().zip(&other).filter(|(a, b)| **a && **b).count() as f64;
        // Keys that came later are overlooked more often by either, so both overlook somewhat more than by chance alone.
        let by_chance = count(&one) * count(&other) / 300_000.0;
        assert!(count(&one) > 5_000.0 && both < 3.0 * by_chance, "{both} where {by_chance} is by chance");
        assert_eq!(one, overlooked("0198c1f0-1111"), "the same again");
    }

    #[test]
    fn a_filter_that_was_kept_goes_on_with_its_own_seed() {
        let mut old = None;
        assert!(admit(&mut old, 0, Some(7), 1).unwrap());
        let kept = serde_json::to_string(&old).unwrap();
        let mut again: Option<FirstPerKey> = serde_json::from_str(&kept).unwrap();
        assert!(!admit(&mut again, salt_of("another"), Some(7), 1).unwrap());
    }
}

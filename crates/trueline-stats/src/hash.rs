//! A 64-bit hash that is the same on every machine and in every release, for sketches and key sampling.
//! It has no key and resists no adversary; do not use it where collisions are an attack.

/// The finaliser of `SplitMix64` (Stafford's Mix13): a bijection on 64 bits with full avalanche.
#[must_use]
pub fn mix64(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hashes bytes: eight at a time through [`mix64`], the length last. Same input and seed, same output, for
/// ever.
#[must_use]
pub fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let mut state = mix64(seed ^ 0x9e37_79b9_7f4a_7c15);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0_u8; 8];
        word.copy_from_slice(chunk);
        state = mix64(state.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    let tail = chunks.remainder();
    let mut word = [0_u8; 8];
    word[..tail.len()].copy_from_slice(tail);
    mix64(mix64(state.rotate_left(5) ^ u64::from_le_bytes(word)) ^ bytes.len() as u64)
}

/// Hashes a number by value: -0.0 counts as 0.0, and all NaN as one.
#[must_use]
pub fn hash_f64(value: f64, seed: u64) -> u64 {
    let canonical = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    };
    mix64(mix64(canonical.to_bits()) ^ mix64(seed ^ 0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn does_not_collide_on_a_million_short_strings_and_numbers() {
        let texts: BTreeSet<u64> =
            (0..500_000_u32).map(|i| hash_bytes(format!("user-{i}").as_bytes(), 1)).collect();
        let numbers: BTreeSet<u64> = (0..500_000_u32).map(|i| hash_f64(f64::from(i) / 7.0, 1)).collect();
        assert_eq!((texts.len(), numbers.len()), (500_000, 500_000));
    }

    #[test]
    fn padding_and_signed_zero_do_not_confuse() {
        assert_ne!(hash_bytes(b"a", 0), hash_bytes(b"a\0", 0));
        assert_ne!(hash_bytes(b"", 0), hash_bytes(b"\0", 0));
        assert_eq!(hash_f64(-0.0, 3), hash_f64(0.0, 3));
        assert_ne!(hash_f64(1.0, 3), hash_f64(1.0, 4));
    }
}

//! From requests to units: the unit of analysis is the unit of assignment, a sticky key.
//! `FirstPerKey` admits one event per key in constant memory; `KeyMeans` closes one mean per key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Arm;
use crate::error::{StatsError, finite, open_unit};
use crate::hash::mix64;

/// Admits the first event of each key and no later one: a Bloom filter of fixed size.
///
/// A false positive drops the first event of a new key. Which keys are dropped depends on the filter's own
/// hash only, so as long as that is independent of the assignment (give it another seed than the router's)
/// the dropped keys fall on both arms in proportion, and tests stay exact; they only lose power. After n keys
/// in m bits with 4 probes the false-positive rate is (1 - e^{-4n/m})^4: 2.4 % at n = m/8 and 16 % at n =
/// m/4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstPerKey {
    seed: u64,
    words: Vec<u64>,
    admitted: u64,
}

impl FirstPerKey {
    const PROBES: u64 = 4;

    /// A filter of 2^`log2_bits` bits (6 to 30; 20 is 128 KiB and good for 130,000 keys that *have an
    /// event*).
    ///
    /// # Errors
    /// `log2_bits` outside 6..=30.
    pub fn new(log2_bits: u32, seed: u64) -> Result<Self, StatsError> {
        if !(6..=30).contains(&log2_bits) {
            let value = f64::from(log2_bits);
            return Err(StatsError::OutOfRange {
                what: "log2_bits",
                value,
                expected: "a whole number from 6 to 30",
            });
        }
        Ok(Self { seed, words: vec![0; 1 << (log2_bits - 6)], admitted: 0 })
    }

    /// True for the first event of this key (its hash), false for every later one. O(1).
    pub fn admit(&mut self, key_hash: u64) -> bool {
        let bits = self.words.len() as u64 * 64;
        let first = mix64(key_hash ^ mix64(self.seed));
        let step = mix64(first ^ 0x9e37_79b9_7f4a_7c15) | 1;
        let mut new = false;
        for probe in 0..Self::PROBES {
            let bit = first.wrapping_add(probe.wrapping_mul(step)) % bits;
            let word = &mut self.words[(bit / 64) as usize];
            let mask = 1_u64 << (bit % 64);
            new |= *word & mask == 0;
            *word |= mask;
        }
        self.admitted += u64::from(new);
        new
    }

    /// How many events were admitted.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.admitted
    }
}

/// The mean of one key's values, closed: one observation for a test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeyMean {
    /// The hash of the key.
    pub key_hash: u64,
    /// The arm the key was assigned to.
    pub arm: Arm,
    /// The canary's share of keys when this key was first seen.
    pub canary_share: f64,
    /// The mean of the key's values.
    pub mean: f64,
    /// How many values it is the mean of.
    pub values: u64,
}

/// Gathers each key's values and closes them once: after `most_values` of them, after `patience` of time, or
/// at [`KeyMeans::drain`]. A closed key is never opened again, so keys are independent observations however
/// skewed.
///
/// When a rollout changes its share, call `drain` first, so that each mean carries the share its key was
/// assigned under. A value that arrives under another arm than the key's first is ignored (the key was
/// assigned once).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyMeans {
    most_values: u64,
    patience: u64,
    most_open: usize,
    open: BTreeMap<u64, OpenKey>,
    seen: FirstPerKey,
    turned_away: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OpenKey {
    arm: Arm,
    canary_share: f64,
    since: u64,
    sum: f64,
    values: u64,
}

impl OpenKey {
    fn close(self, key_hash: u64) -> KeyMean {
        let mean = self.sum / self.values as f64;
        KeyMean { key_hash, arm: self.arm, canary_share: self.canary_share, mean, values: self.values }
    }
}

impl KeyMeans {
    /// At most `most_open` keys at once; `patience` in the unit of the times passed to `observe`; `log2_bits`
    /// and `seed` as for [`FirstPerKey::new`], sized for all keys of the rollout.
    ///
    /// # Errors
    /// `log2_bits` outside 6..=30.
    pub fn new(
        most_values: u64,
        patience: u64,
        most_open: usize,
        log2_bits: u32,
        seed: u64,
    ) -> Result<Self, StatsError> {
        Ok(Self {
            most_values: most_values.max(1),
            patience,
            most_open: most_open.max(1),
            open: BTreeMap::new(),
            seen: FirstPerKey::new(log2_bits, seed)?,
            turned_away: 0,
        })
    }

    /// Adds one value of a key at event time `at`. Returns the key's mean when this value closes it.
    ///
    /// # Errors
    /// `value` not finite or `canary_share` outside (0, 1); nothing is recorded then.
    pub fn observe(
        &mut self,
        key_hash: u64,
        arm: Arm,
        value: f64,
        canary_share: f64,
        at: u64,
    ) -> Result<Option<KeyMean>, StatsError> {
        finite("value", value)?;
        open_unit("canary share", canary_share)?;
        if !self.open.contains_key(&key_hash) {
            if self.open.len() >= self.most_open {
                self.turned_away += 1;
                return Ok(None);
            }
            if !self.seen.admit(key_hash) {
                return Ok(None);
            }
            self.open.insert(key_hash, OpenKey { arm, canary_share, since: at, sum: 0.0, values: 0 });
        }
        let Some(key) = self.open.get_mut(&key_hash) else { return Ok(None) };
        if key.arm != arm {
            return Ok(None);
        }
        key.sum += value;
        key.values += 1;
        if key.values < self.most_values {
            return Ok(None);
        }
        Ok(self.open.remove(&key_hash).map(|key| key.close(key_hash)))
    }

    /// Closes the keys first seen `patience` or longer before `now`, in the order of their hashes. Looks at
    /// every open key.
    pub fn expire(&mut self, now: u64) -> Vec<KeyMean> {
        let patience = self.patience;
        let (old, young) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, key)| now.saturating_sub(key.since) >= patience);
        self.open = young;
        let old: BTreeMap<u64, OpenKey> = old;
        old.into_iter().map(|(hash, key)| key.close(hash)).collect()
    }

    /// Closes every open key, in the order of their hashes.
    pub fn drain(&mut self) -> Vec<KeyMean> {
        std::mem::take(&mut self.open).into_iter().map(|(hash, key)| key.close(hash)).collect()
    }

    /// Values ignored because `most_open` keys were open.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_once_and_false_positives_are_as_rare_as_stated() {
        let mut first = FirstPerKey::new(16, 7).unwrap();
        let admitted = (0..8_192_u64).filter(|&key| first.admit(key)).count();
        assert!((0..8_192_u64).all(|key| !first.admit(key)));
        let dropped = 1.0 - admitted as f64 / 8_192.0;
        assert!(dropped < 0.024, "{dropped}");
        assert_eq!(first.admitted(), admitted as u64);
        assert!(FirstPerKey::new(5, 0).is_err());
    }

    #[test]
    fn a_heavy_key_gives_one_mean_and_is_not_opened_again() {
        let mut keys = KeyMeans::new(3, 60, 10, 12, 0).unwrap();
        let mut closed = Vec::new();
        for at in 0..9 {
            closed.extend(keys.observe(42, Arm::Canary, at as f64, 0.1, at).unwrap());
        }
        assert_eq!(closed.len(), 1);
        assert!((closed[0].mean - 1.0).abs() < 1e-12 && closed[0].values == 3);
        assert!(keys.drain().is_empty());
    }

    #[test]
    fn waiting_keys_expire_and_a_switched_arm_is_ignored() {
        let mut keys = KeyMeans::new(100, 60, 2, 12, 0).unwrap();
        keys.observe(1, Arm::Champion, 1.0, 0.1, 0).unwrap();
        keys.observe(1, Arm::Canary, 9.0, 0.5, 1).unwrap();
        keys.observe(2, Arm::Canary, 5.0, 0.1, 50).unwrap();
        keys.observe(3, Arm::Canary, 5.0, 0.1, 50).unwrap();
        assert_eq!(keys.turned_away(), 1);
        let expired = keys.expire(60);
        assert_eq!(expired.len(), 1);
        assert_eq!((expired[0].key_hash, expired[0].arm, expired[0].values), (1, Arm::Champion, 1));
        assert_eq!(keys.drain().len(), 1);
    }
}

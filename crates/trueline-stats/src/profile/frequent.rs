//! The most frequent strings in bounded memory: Misra-Gries counters with bulk decrements.
//! Counts are bounded from both sides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::StatsError;

/// A value with the bounds of its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequency {
    /// The value, cut to the sketch's longest length.
    pub value: String,
    /// It occurred at least this often.
    pub at_least: u64,
    /// And at most this often.
    pub at_most: u64,
}

/// Misra & Gries (1982), decremented in bulk (as Anderson et al. 2017) and merged after Agarwal et al.
/// (2012).
///
/// With c counters and n values, every count is underestimated by at most `error` <= n/(⌊c/2⌋ + 1), and every
/// value that occurs more often than that is present. Exact while no more than c different values occur.
/// Values longer than 256 bytes are cut at a character boundary, so memory is bounded and long values with
/// one beginning count together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrequentValues {
    capacity: usize,
    counters: BTreeMap<String, u64>,
    error: u64,
    total: u64,
}

const LONGEST: usize = 256;

impl FrequentValues {
    /// An empty sketch with `capacity` counters (2 to 100,000); take about four times the k of a top-k.
    ///
    /// # Errors
    /// `capacity` out of range.
    pub fn new(capacity: usize) -> Result<Self, StatsError> {
        if !(2..=100_000).contains(&capacity) {
            let value = capacity as f64;
            return Err(StatsError::OutOfRange { what: "capacity", value, expected: "from 2 to 100,000" });
        }
        Ok(Self { capacity, counters: BTreeMap::new(), error: 0, total: 0 })
    }

    /// Adds one value. Amortised O(log capacity).
    pub fn observe(&mut self, value: &str) {
        let value = cut(value);
        self.total += 1;
        if let Some(count) = self.counters.get_mut(value) {
            *count += 1;
            return;
        }
        self.counters.insert(value.to_owned(), 1);
        self.shrink();
    }

    /// Adds what another has seen; the errors add, and stay within the bound for all values.
    ///
    /// # Errors
    /// The capacities differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.capacity != other.capacity {
            return Err(StatsError::Incompatible { what: "counter capacities" });
        }
        for (value, count) in &other.counters {
            *self.counters.entry(value.clone()).or_insert(0) += count;
        }
        self.error += other.error;
        self.total += other.total;
        self.shrink();
        Ok(())
    }

    /// Takes the (⌊c/2⌋+1)-th largest count off every counter: at least ⌊c/2⌋+1 times that leaves the sum,
    /// which bounds how large all decrements together can get.
    fn shrink(&mut self) {
        if self.counters.len() <= self.capacity {
            return;
        }
        let mut counts: Vec<u64> = self.counters.values().copied().collect();
        let (_, &mut decrement, _) = counts.select_nth_unstable_by(self.capacity / 2, |a, b| b.cmp(a));
        self.error += decrement;
        self.counters.retain(|_, count| {
            *count = count.saturating_sub(decrement);
            *count > 0
        });
    }

    /// How many values were seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// By how much counts may be too low.
    #[must_use]
    pub fn error(&self) -> u64 {
        self.error
    }

    /// The `k` values with the highest counts, highest first, equal ones in the order of their text.
    #[must_use]
    pub fn top(&self, k: usize) -> Vec<Frequency> {
        let mut all: Vec<(&String, u64)> =
            self.counters.iter().map(|(value, &count)| (value, count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let frequency = |(value, count): (&String, u64)| Frequency {
            value: value.clone(),
            at_least: count,
            at_most: count + self.error,
        };
        all.into_iter().take(k).map(frequency).collect()
    }
}

fn cut(value: &str) -> &str {
    if value.len() <= LONGEST { value } else { &value[..value.floor_char_boundary(LONGEST)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bounds_hold_and_frequent_values_are_present(
            values in prop::collection::vec((0_u32..60, 0_u32..60).prop_map(|(a, b)| a * b / 60), 1..2_000),
            cut in 0_usize..2_000, capacity in 2_usize..20
        ) {
            let cut = cut.min(values.len());
            let (mut a, mut b) = (FrequentValues::new(capacity).unwrap(), FrequentValues::new(capacity).unwrap());
            values[..cut].iter().for_each(|value| a.observe(&value.to_string()));
            values[cut..].iter().for_each(|value| b.observe(&value.to_string()));
            a.merge(&b).unwrap();
            prop_assert_eq!(a.total(), values.len() as u64);
            prop_assert!(a.error() * (capacity as u64 / 2 + 1) <= a.total());
            let top = a.top(usize::MAX);
            prop_assert!(top.len() <= capacity);
            for candidate in 0..60_u32 {
                let true_count = values.iter().filter(|&&value| value == candidate).count() as u64;
                match top.iter().find(|frequency| frequency.value == candidate.to_string()) {
                    Some(found) => prop_assert!(found.at_least <= true_count && true_count <= found.at_most),
                    None => prop_assert!(true_count <= a.error()),
                }
            }
        }
    }

    #[test]
    fn few_values_are_counted_exactly_and_long_ones_are_cut_between_characters() {
        let mut values = FrequentValues::new(4).unwrap();
        ["b", "a", "b", "c", "a", "b"].into_iter().for_each(|value| values.observe(value));
        let top: Vec<(String, u64, u64)> =
            values.top(2).into_iter().map(|f| (f.value, f.at_least, f.at_most)).collect();
        assert_eq!(top, [("b".to_owned(), 3, 3), ("a".to_owned(), 2, 2)]);
        values.observe(&"é".repeat(200));
        assert_eq!(values.top(4)[3].value.len(), 256);
        values.observe(&format!("x{}", "é".repeat(200)));
        assert!(FrequentValues::new(1).is_err());
    }
}

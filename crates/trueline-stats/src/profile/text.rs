//! The profile of a string column: counts, lengths, distinct and frequent values.
//! Numbers and times are profiled by `numeric`.

use serde::{Deserialize, Serialize};

use super::{DistinctCount, FrequentValues};
use crate::error::StatsError;
use crate::hash::hash_bytes;
use crate::moments::Moments;

/// Counts, lengths, distinct and frequent values of a string column in one scan; merges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextProfile {
    rows: u64,
    nulls: u64,
    empty: u64,
    shortest: Option<u64>,
    longest: u64,
    lengths: Moments,
    distinct: DistinctCount,
    frequent: FrequentValues,
    seed: u64,
}

impl TextProfile {
    /// An empty profile that tracks frequent values with `counters` counters (see [`FrequentValues`]);
    /// profiles that merge must share `seed` and `counters`.
    ///
    /// # Errors
    /// `counters` outside 2..=100,000.
    pub fn new(counters: usize, seed: u64) -> Result<Self, StatsError> {
        Ok(Self {
            rows: 0,
            nulls: 0,
            empty: 0,
            shortest: None,
            longest: 0,
            lengths: Moments::new(),
            distinct: DistinctCount::new(),
            frequent: FrequentValues::new(counters)?,
            seed,
        })
    }

    /// Adds one row. Lengths are in characters.
    pub fn observe(&mut self, value: Option<&str>) {
        self.rows += 1;
        let Some(value) = value else {
            self.nulls += 1;
            return;
        };
        let length = value.chars().count() as u64;
        self.empty += u64::from(length == 0);
        self.shortest = Some(self.shortest.map_or(length, |shortest| shortest.min(length)));
        self.longest = self.longest.max(length);
        self.lengths.observe(length as f64);
        self.distinct.observe(hash_bytes(value.as_bytes(), self.seed));
        self.frequent.observe(value);
    }

    /// Adds another profile of the same column.
    ///
    /// # Errors
    /// Seeds or counters differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.seed != other.seed {
            return Err(StatsError::Incompatible { what: "profile seeds" });
        }
        self.frequent.merge(&other.frequent)?;
        self.rows += other.rows;
        self.nulls += other.nulls;
        self.empty += other.empty;
        self.shortest = match (self.shortest, other.shortest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.longest = self.longest.max(other.longest);
        self.lengths.merge(&other.lengths);
        self.distinct.merge(&other.distinct);
        Ok(())
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that are null.
    #[must_use]
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// Rows with the empty string.
    #[must_use]
    pub fn empty(&self) -> u64 {
        self.empty
    }

    /// The shortest and longest length in characters; `None` without a value.
    #[must_use]
    pub fn length_range(&self) -> Option<(u64, u64)> {
        self.shortest.map(|shortest| (shortest, self.longest))
    }

    /// Count, mean and variance of the lengths in characters.
    #[must_use]
    pub fn lengths(&self) -> Moments {
        self.lengths
    }

    /// Distinct values.
    #[must_use]
    pub fn distinct(&self) -> &DistinctCount {
        &self.distinct
    }

    /// Frequent values.
    #[must_use]
    pub fn frequent(&self) -> &FrequentValues {
        &self.frequent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_and_merges() {
        let mut left = TextProfile::new(8, 1).unwrap();
        [Some("né"), Some(""), None].into_iter().for_each(|value| left.observe(value));
        let mut right = TextProfile::new(8, 1).unwrap();
        [Some("né"), Some("long")].into_iter().for_each(|value| right.observe(value));
        left.merge(&right).unwrap();
        assert_eq!((left.rows(), left.nulls(), left.empty(), left.length_range()), (5, 1, 1, Some((0, 4))));
        assert_eq!(left.frequent().top(1)[0].at_least, 2);
        assert!((left.distinct().estimate() - 3.0).abs() < f64::EPSILON);
        assert!(left.merge(&TextProfile::new(8, 2).unwrap()).is_err());
        assert_eq!(TextProfile::new(8, 1).unwrap().length_range(), None);
    }
}

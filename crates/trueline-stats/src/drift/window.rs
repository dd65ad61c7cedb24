//! Windows that add: counts over fixed bins or categories, what is missing, and moments.
//! They measure nothing; the other files of this module do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ReferenceBins;
use crate::error::StatsError;
use crate::moments::Moments;

/// A window of one numeric column over the reference's bins.
///
/// Missing values (null or NaN) are counted apart and take no part in shares. Infinite values are counted in
/// the outer bins but not in the moments. Windows with the same bins add in any order to the same counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    bins: ReferenceBins,
    counts: Vec<u64>,
    missing: u64,
    moments: Moments,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(bins: ReferenceBins) -> Self {
        let counts = vec![0; bins.len()];
        Self { bins, counts, missing: 0, moments: Moments::new() }
    }

    /// A window from counts made elsewhere, one per bin.
    ///
    /// # Errors
    /// The number of counts is not the number of bins.
    pub fn from_counts(
        bins: ReferenceBins,
        counts: Vec<u64>,
        missing: u64,
        moments: Moments,
    ) -> Result<Self, StatsError> {
        if counts.len() != bins.len() {
            let (left, right) = (bins.len(), counts.len());
            return Err(StatsError::LengthMismatch { what: "bins and counts", left, right });
        }
        Ok(Self { bins, counts, missing, moments })
    }

    /// Adds one value; `None` and NaN are missing. O(log bins).
    pub fn observe(&mut self, value: Option<f64>) {
        match value.and_then(|value| self.bins.index(value).map(|bin| (value, bin))) {
            Some((value, bin)) => {
                self.counts[bin] += 1;
                self.moments.observe(value);
            }
            None => self.missing += 1,
        }
    }

    /// Adds another window.
    ///
    /// # Errors
    /// The bins differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.bins != other.bins {
            return Err(StatsError::Incompatible { what: "window bins" });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.missing += other.missing;
        self.moments.merge(&other.moments);
        Ok(())
    }

    /// The bins.
    #[must_use]
    pub fn bins(&self) -> &ReferenceBins {
        &self.bins
    }

    /// Values per bin.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Values that have a bin.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Nulls and NaN.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Count, mean and variance of the finite values.
    #[must_use]
    pub fn moments(&self) -> Moments {
        self.moments
    }
}

/// A window of one categorical column. At most `limit` categories are told apart; later new ones count as
/// "other".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryWindow {
    limit: usize,
    counts: BTreeMap<String, u64>,
    other: u64,
    missing: u64,
}

impl CategoryWindow {
    /// An empty window for at most `limit` categories.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), counts: BTreeMap::new(), other: 0, missing: 0 }
    }

    /// Adds one value; `None` is missing.
    pub fn observe(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.add(value, 1),
            None => self.missing += 1,
        }
    }

    fn add(&mut self, value: &str, times: u64) {
        if let Some(count) = self.counts.get_mut(value) {
            *count += times;
        } else if self.counts.len() < self.limit {
            self.counts.insert(value.to_owned(), times);
        } else {
            self.other += times;
        }
    }

    /// Adds another window. Exact while neither met its limit.
    ///
    /// # Errors
    /// The limits differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.limit != other.limit {
            return Err(StatsError::Incompatible { what: "category limits" });
        }
        other.counts.iter().for_each(|(value, &times)| self.add(value, times));
        self.other += other.other;
        self.missing += other.missing;
        Ok(())
    }

    /// Counts by category.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// Values beyond the limit of categories.
    #[must_use]
    pub fn other(&self) -> u64 {
        self.other
    }

    /// Nulls.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Both windows' counts over the sorted union of their categories, "other" last when either has any.
    #[must_use]
    pub fn aligned(reference: &Self, current: &Self) -> (Vec<u64>, Vec<u64>) {
        let union: BTreeMap<&String, ()> =
            reference.counts.keys().chain(current.counts.keys()).map(|key| (key, ())).collect();
        let of = |window: &Self| -> Vec<u64> {
            union.keys().map(|key| window.counts.get(*key).copied().unwrap_or(0)).collect()
        };
        let (mut left, mut right) = (of(reference), of(current));
        if reference.other + current.other > 0 {
            left.push(reference.other);
            right.push(current.other);
        }
        (left, right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_add_to_the_window_of_all(left in prop::collection::vec(prop::option::of(-5.0..5.0), 0..80),
                                            right in prop::collection::vec(prop::option::of(-5.0..5.0), 0..80)) {
            let bins = ReferenceBins::from_cuts(vec![-2.0, 0.0, 1.5]).unwrap();
            let fill = |values: &[Option<f64>]| {
                let mut window = Window::new(bins.clone());
                values.iter().for_each(|&value| window.observe(value));
                window
            };
            let all: Vec<Option<f64>> = left.iter().chain(&right).copied().collect();
            let mut sum = fill(&left);
            sum.merge(&fill(&right)).unwrap();
            let whole = fill(&all);
            prop_assert_eq!(sum.counts(), whole.counts());
            prop_assert_eq!(sum.missing(), whole.missing());
            prop_assert_eq!(sum.present() + sum.missing(), all.len() as u64);
        }
    }

    #[test]
    fn nan_is_missing_and_infinity_is_present() {
        let mut window = Window::new(ReferenceBins::from_cuts(vec![0.0]).unwrap());
        [Some(f64::NAN), None, Some(f64::INFINITY), Some(1.0)]
            .into_iter()
            .for_each(|value| window.observe(value));
        assert_eq!((window.missing(), window.present(), window.moments().count()), (2, 2, 1));
        assert!(window.merge(&Window::new(ReferenceBins::from_cuts(vec![1.0]).unwrap())).is_err());
    }

    #[test]
    fn categories_align_on_their_union() {
        let (mut a, mut b) = (CategoryWindow::new(2), CategoryWindow::new(2));
        ["x", "y", "z", "z"].iter().for_each(|value| a.observe(Some(value)));
        [Some("y"), Some("w"), None].into_iter().for_each(|value| b.observe(value));
        // w, x, y, other
        assert_eq!(CategoryWindow::aligned(&a, &b), (vec![0, 1, 1, 2], vec![1, 0, 1, 0]));
        assert_eq!((a.other(), b.missing()), (2, 1));
    }
}

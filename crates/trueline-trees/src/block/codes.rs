//! Rows of XGBoost's numbers become codes: how many thresholds of its feature are not above a number. So `x < t` is a
//! comparison of small integers, and where NaN goes is settled here, once per row.

use super::search::Ladder;
use super::{Code, Lane, ROWS, TooLarge};

/// A feature that some tree splits on.
#[derive(Debug, Clone, Copy, Default)]
struct Feature {
    index: u32,
    /// Its first threshold in [`Codes::thresholds`], and their number.
    start: u32,
    thresholds: u32,
    /// Its first column: that in which NaN goes left, if there is one, before that in which it goes right.
    column: u32,
    nan_left: bool,
    nan_right: bool,
}

/// How rows are coded: a column for each feature and side that NaN goes to, where some split needs it.
#[derive(Debug)]
pub(crate) struct Codes {
    /// By index.
    features: Vec<Feature>,
    /// Rising for each feature, without repetition.
    thresholds: Vec<f32>,
    /// The same for each feature as they are searched for many numbers at once; empty where some has too many.
    ladders: Vec<Ladder>,
    width: usize,
}

impl Codes {
    /// Of all splits of a forest: feature, whether NaN goes left, threshold.
    pub(crate) fn of(mut splits: Vec<(u32, bool, f32)>) -> Self {
        splits.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.2.total_cmp(&b.2)));
        let mut codes = Self { features: Vec::new(), thresholds: Vec::new(), ladders: Vec::new(), width: 0 };
        for of_feature in splits.chunk_by(|a, b| a.0 == b.0) {
            codes.add_feature(of_feature);
        }
        // Each takes a kilobyte; a forest of more features than columns can be numbered has no use for them.
        if codes.width <= usize::from(u16::MAX) {
            let ladders = codes.features.iter().map(|feature| Ladder::of(codes.thresholds(feature)));
            codes.ladders = ladders.collect::<Option<Vec<_>>>().unwrap_or_default();
        }
        codes
    }

    fn add_feature(&mut self, splits: &[(u32, bool, f32)]) {
        let start = self.thresholds.len();
        let mut feature = Feature { start: start as u32, column: self.width as u32, ..Feature::default() };
        for &(index, nan_left, threshold) in splits {
            feature.index = index;
            feature.nan_left |= nan_left;
            feature.nan_right |= !nan_left;
            if self.thresholds[start..].last() != Some(&threshold) {
                self.thresholds.push(threshold);
            }
        }
        feature.thresholds = (self.thresholds.len() - start) as u32;
        self.width += usize::from(feature.nan_left) + usize::from(feature.nan_right);
        self.features.push(feature);
    }

    /// Columns of codes.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The column of a split, and the greatest code that goes left.
    pub(crate) fn split(
        &self,
        index: u32,
        nan_left: bool,
        threshold: f32,
    ) -> Result<(usize, usize), TooLarge> {
        let place = self.features.binary_search_by_key(&index, |feature| feature.index);
        let feature = place.ok().and_then(|place| self.features.get(place)).ok_or(TooLarge)?;
        let rank = self.thresholds(feature).partition_point(|t| *t < threshold);
        Ok((feature.column as usize + usize::from(feature.nan_left && !nan_left), rank))
    }

    /// Most thresholds of a feature.
    pub(crate) fn most(&self) -> usize {
        self.features.iter().map(|feature| feature.thresholds as usize).max().unwrap_or(0)
    }

    fn thresholds(&self, feature: &Feature) -> &[f32] {
        &self.thresholds[feature.start as usize..][..feature.thresholds as usize]
    }

    /// Codes at most [`ROWS`] rows of `columns` numbers each, into a lane for each column of codes.
    pub(crate) fn encode<C: Code>(&self, rows: &[f32], columns: usize, codes: &mut [Lane<C>]) {
        for (number, feature) in self.features.iter().enumerate() {
            let thresholds = self.thresholds(feature);
            let mut values = [0.0; ROWS];
            let of_feature = rows.chunks_exact(columns).map(|row| row[feature.index as usize]);
            values.iter_mut().zip(of_feature).for_each(|(value, x)| *value = x);
            let mut lanes = codes[feature.column as usize..].iter_mut();
            let ranks = match self.ladders.get(number) {
                Some(ladder) => ladder.ranks(thresholds, &values),
                None => values.map(|x| thresholds.partition_point(|t| *t <= x) as u32),
            };
            // No threshold is less than NaN or equal to it, so NaN has the least code already.
            if feature.nan_left
                && let Some(lane) = lanes.next()
            {
                lane.0 = ranks.map(|rank| C::of(rank as usize));
            }
            if feature.nan_right
                && let Some(lane) = lanes.next()
            {
                for ((code, rank), x) in lane.0.iter_mut().zip(ranks).zip(values) {
                    *code = C::of(if x.is_nan() { thresholds.len() } else { rank as usize });
                }
            }
        }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Feature>() * self.features.capacity()
            + size_of::<f32>() * self.thresholds.capacity()
            + size_of::<Ladder>() * self.ladders.capacity()
    }
}

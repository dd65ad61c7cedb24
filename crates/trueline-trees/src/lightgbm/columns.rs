//! Rows of numbers become rows of small codes, in which every split of the forest is one comparison of integers.
//! All that LightGBM knows of missing values, of the zero band and of categories is settled here, once per row.

use super::tree::{Missing, Node, Tree, ZERO};
use crate::block::{self, Lane};

/// An unsigned integer that codes are kept in.
pub(super) trait Code: Copy + Ord + Default + std::fmt::Debug {
    /// Greatest code. As a category it stands for one that is in no set.
    const MAX: Self;
    /// The bits of a column that number it; the one above marks a categorical split.
    const COLUMN_BITS: u32;
    fn of(number: usize) -> Self;
    fn number(self) -> usize;
}

impl Code for u16 {
    const MAX: Self = u16::MAX;
    const COLUMN_BITS: u32 = 15;
    fn of(number: usize) -> Self {
        number as u16
    }
    #[inline(always)]
    fn number(self) -> usize {
        usize::from(self)
    }
}

impl Code for u32 {
    const MAX: Self = u32::MAX;
    const COLUMN_BITS: u32 = 31;
    fn of(number: usize) -> Self {
        number as u32
    }
    #[inline(always)]
    fn number(self) -> usize {
        self as usize
    }
}

/// The ways to code a feature, each a column of its own where some split needs it.
const WAYS: usize = 5;
/// The way that takes a value for a category; the others are [`Missing`].
const CATEGORY: usize = 4;

/// A feature that some tree splits on.
#[derive(Debug, Clone, Copy)]
struct Feature {
    index: u32,
    /// Its first threshold in [`Columns::thresholds`], and their number.
    start: u32,
    thresholds: u32,
    first_column: u32,
    /// Bit `way`: some split needs it.
    ways: u8,
}

impl Feature {
    fn column(&self, way: usize) -> usize {
        self.first_column as usize + (self.ways & ((1 << way) - 1)).count_ones() as usize
    }
}

/// How rows are coded.
///
/// The code of a number is how many thresholds of its feature lie below it, so that `x <= t` is `code(x) <= rank(t)`.
/// NaN gets the least code where it goes left, the greatest where it goes right; so does the zero band where it
/// follows NaN. The code of a category is its number.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// By index.
    features: Vec<Feature>,
    /// Rising for each feature, without repetition.
    thresholds: Vec<f64>,
    width: usize,
    /// Greatest category that is in some set, and 1.
    categories: usize,
}

impl Columns {
    /// The columns that these trees need.
    pub(super) fn of(trees: &[Tree]) -> Self {
        let mut splits = Vec::new();
        let mut categories = 0;
        for node in trees.iter().flat_map(|tree| &tree.nodes) {
            match *node {
                Node::Leaf(_) => {}
                Node::Numeric { feature, threshold, missing } => {
                    splits.push((feature, missing as usize, threshold));
                }
                Node::Categorical { feature, begin, end } => {
                    splits.push((feature, CATEGORY, f64::NAN));
                    categories = categories.max(32 * (end - begin));
                }
            }
        }
        // Categorical splits, whose threshold is NaN, come last among those of a feature.
        splits.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.2.total_cmp(&b.2)));
        let mut columns = Self { categories, ..Self::default() };
        for of_feature in splits.chunk_by(|a, b| a.0 == b.0) {
            columns.add_feature(of_feature);
        }
        columns.thresholds.shrink_to_fit();
        columns
    }

    fn add_feature(&mut self, splits: &[(u32, usize, f64)]) {
        let start = self.thresholds.len();
        let mut feature = Feature {
            index: splits[0].0,
            start: start as u32,
            thresholds: 0,
            first_column: self.width as u32,
            ways: 0,
        };
        for &(_, way, threshold) in splits {
            feature.ways |= 1 << way;
            if way != CATEGORY && self.thresholds[start..].last() != Some(&threshold) {
                self.thresholds.push(threshold);
            }
        }
        feature.thresholds = (self.thresholds.len() - start) as u32;
        self.width += feature.ways.count_ones() as usize;
        self.features.push(feature);
    }

    /// Codes per row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether all codes and column numbers fit into `C`.
    pub(super) fn fit<C: Code>(&self) -> bool {
        self.width <= 1 << C::COLUMN_BITS && self.most().max(self.categories) < C::MAX.number()
    }

    /// Most thresholds of a feature.
    pub(super) fn most(&self) -> usize {
        self.features.iter().map(|f| f.thresholds as usize).max().unwrap_or(0)
    }

    /// The column of a numeric split, and the greatest code that goes left.
    pub(super) fn numeric(&self, feature: u32, missing: Missing, threshold: f64) -> (usize, usize) {
        let Some(feature) = self.feature(feature) else { return (0, 0) };
        let rank = self.thresholds(feature).partition_point(|t| *t < threshold);
        (feature.column(missing as usize), rank)
    }

    /// The column of a categorical split.
    pub(super) fn categorical(&self, feature: u32) -> usize {
        self.feature(feature).map_or(0, |feature| feature.column(CATEGORY))
    }

    fn feature(&self, index: u32) -> Option<&Feature> {
        let place = self.features.binary_search_by_key(&index, |feature| feature.index).ok()?;
        self.features.get(place)
    }

    fn thresholds(&self, feature: &Feature) -> &[f64] {
        &self.thresholds[feature.start as usize..][..feature.thresholds as usize]
    }

    /// Codes `rows` of `columns` numbers each into `codes`, [`Columns::width`] per row.
    pub(super) fn encode<C: Code>(&self, rows: &[f64], columns: usize, codes: &mut [C]) {
        for feature in &self.features {
            let thresholds = self.thresholds(feature);
            let first = feature.first_column as usize;
            let rows = rows.chunks_exact(columns).map(|row| row[feature.index as usize]);
            let codes = codes.chunks_exact_mut(self.width).map(|row| &mut row[first..]);
            match feature.ways {
                1 => rows.zip(codes).for_each(|(x, codes)| codes[0] = C::of(rank(thresholds, x))),
                ways => rows.zip(codes).for_each(|(x, codes)| {
                    let rank = rank(thresholds, x);
                    let mut codes = codes.iter_mut();
                    for way in (0..WAYS).filter(|way| ways >> way & 1 != 0) {
                        if let Some(code) = codes.next() {
                            *code = code_of(way, x, rank, thresholds.len());
                        }
                    }
                }),
            }
        }
    }

    /// Codes at most [`block::ROWS`] rows of `columns` numbers each, into a lane for each column of codes. No split may be
    /// categorical.
    pub(super) fn encode_lanes<C: block::Code>(&self, rows: &[f64], columns: usize, codes: &mut [Lane<C>]) {
        for feature in &self.features {
            let thresholds = self.thresholds(feature);
            let mut lanes = codes[feature.first_column as usize..].iter_mut();
            let values = rows.chunks_exact(columns).map(|row| row[feature.index as usize]);
            let mut ranks = [0; block::ROWS];
            ranks.iter_mut().zip(values.clone()).for_each(|(out, x)| *out = rank(thresholds, x));
            for way in (0..CATEGORY).filter(|way| feature.ways >> way & 1 != 0) {
                let Some(lane) = lanes.next() else { return };
                for ((code, rank), x) in lane.codes().iter_mut().zip(ranks).zip(values.clone()) {
                    *code = C::of(number_of(way, x, rank, thresholds.len()));
                }
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Feature>() * self.features.capacity() + size_of::<f64>() * self.thresholds.capacity()
    }
}

/// How many thresholds lie below `x`; none below NaN.
///
/// Always takes the same number of steps for a feature, and no branch on `x`, so that the searches of many values
/// overlap.
#[inline(always)]
fn rank(thresholds: &[f64], x: f64) -> usize {
    thresholds.partition_point(|t| *t < x)
}

#[inline(always)]
fn code_of<C: Code>(way: usize, x: f64, rank: usize, most: usize) -> C {
    if way == CATEGORY { category(x) } else { C::of(number_of(way, x, rank, most)) }
}

/// The code of a number, for one of the ways to take what is missing.
#[inline(always)]
fn number_of(way: usize, x: f64, rank: usize, most: usize) -> usize {
    const NAN_LEFT: usize = Missing::NanLeft as usize;
    const NAN_RIGHT: usize = Missing::NanRight as usize;
    const ZERO_LEFT: usize = Missing::ZeroLeft as usize;
    // `!(… > …)` and not `… <= …`: NaN is missing too.
    let missing = match way {
        NAN_LEFT | NAN_RIGHT => x.is_nan(),
        _ => x.is_nan() || x.abs() <= ZERO,
    };
    match (missing, way) {
        (false, _) => rank,
        (true, NAN_LEFT | ZERO_LEFT) => 0,
        (true, _) => most,
    }
}

/// The category of a value, cut to a whole number as C cuts a double to an int; so -0.9 is category 0. What is
/// negative, NaN, or 2^31 and more (which x86-64 turns into the least int) is in no set, nor is a category that is
/// too great for `C`, for then all sets end before it.
fn category<C: Code>(x: f64) -> C {
    if x > -1.0 && x < 2_147_483_648.0 { C::of((x as usize).min(C::MAX.number())) } else { C::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: Vec<Node>) -> Tree {
        Tree {
            nodes,
            left: Vec::new(),
            depth: 0,
            values: Vec::new(),
            words: Vec::new(),
            formulas: Vec::new(),
            terms: Vec::new(),
        }
    }

    fn numeric(feature: u32, threshold: f64, missing: Missing) -> Node {
        Node::Numeric { feature, threshold, missing }
    }

    #[test]
    fn codes_compare_as_the_numbers_do() {
        let ways = [Missing::NanLeft, Missing::NanRight, Missing::ZeroLeft, Missing::ZeroRight];
        let thresholds = [f64::NEG_INFINITY, -1.5, ZERO, 2.0, f64::INFINITY];
        let splits: Vec<(f64, Missing)> =
            thresholds.iter().flat_map(|&t| ways.map(|missing| (t, missing))).collect();
        let columns =
            Columns::of(&[tree(splits.iter().map(|&(t, missing)| numeric(3, t, missing)).collect())]);
        assert_eq!(columns.width(), 4);
        for x in [f64::NAN, f64::NEG_INFINITY, -2.0, -1.5, -0.0, 1e-36, 1.0, 2.0, 3.0, f64::INFINITY] {
            let mut codes = [0_u16; 4];
            columns.encode(&[9.0, 9.0, 9.0, x], 4, &mut codes);
            for &(threshold, missing) in &splits {
                let expected = match missing {
                    Missing::NanLeft | Missing::NanRight if x.is_nan() => missing == Missing::NanLeft,
                    Missing::ZeroLeft | Missing::ZeroRight if x.is_nan() || x.abs() <= ZERO => {
                        missing == Missing::ZeroLeft
                    }
                    _ => x <= threshold,
                };
                let (column, rank) = columns.numeric(3, missing, threshold);
                let left = codes[column].number() <= rank;
                assert_eq!(left, expected, "{x} against {threshold}, {missing:?}");
            }
        }
    }

    #[test]
    fn categories_are_cut_as_c_cuts_them() {
        for (x, code) in [
            (0.0, 0),
            (-0.9, 0),
            (1e-40, 0),
            (3.99, 3),
            (-1.0, u16::MAX),
            (f64::NAN, u16::MAX),
            (70_000.0, u16::MAX),
            (2_147_483_647.5, u16::MAX),
            (2_147_483_648.0, u16::MAX),
            (f64::INFINITY, u16::MAX),
        ] {
            assert_eq!(category::<u16>(x), code, "{x}");
        }
        assert_eq!(category::<u32>(2_147_483_647.5), 2_147_483_647);
        assert_eq!(category::<u32>(2_147_483_648.0), u32::MAX);
    }

    #[test]
    fn only_columns_that_splits_need_are_made() {
        let set = Node::Categorical { feature: 7, begin: 0, end: 2 };
        let nodes = vec![
            numeric(7, 1.0, Missing::NanRight),
            set,
            numeric(2, 0.5, Missing::NanLeft),
            numeric(7, 1.0, Missing::NanRight),
            Node::Leaf(0),
        ];
        let columns = Columns::of(&[tree(nodes)]);
        assert_eq!((columns.width(), columns.thresholds.as_slice()), (3, [0.5, 1.0].as_slice()));
        assert_eq!(columns.numeric(2, Missing::NanLeft, 0.5), (0, 0));
        assert_eq!(columns.numeric(7, Missing::NanRight, 1.0), (1, 0));
        assert_eq!(columns.categorical(7), 2);
        assert!(columns.fit::<u16>());
    }
}

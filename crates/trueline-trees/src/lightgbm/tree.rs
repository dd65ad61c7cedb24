//! One tree as the file has it: its parallel arrays, and the proof that they form a tree.
//! Facts of LightGBM's `tree.h` and `tree.cpp` about splits live here; how a proven tree is laid out is `forest`'s.

use crate::error::{LoadError, TreeProblem};

use super::text::Section;

/// `kZeroThreshold` of `meta.h`, a float there: values this near to zero are taken for zero, in training and in
/// scoring.
pub(super) const ZERO: f64 = 1e-35_f32 as f64;

/// Every line that a tree may have. Those that only describe the training are not read.
pub(super) const KEYS: [&str; 22] = [
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
    "leaf_const",
    "num_features",
    "leaf_features",
    "leaf_coeff",
    "shrinkage",
];

/// Where a numeric split sends NaN and what is taken for zero.
///
/// LightGBM has three kinds of missing values per split (`None`, `Zero`, `NaN`) and a default side. NaN counts as
/// zero unless the kind is `NaN`; so all of it comes down to these four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// NaN goes left; zero is compared.
    NanLeft,
    /// NaN goes right; zero is compared.
    NanRight,
    /// NaN and zero go left.
    ZeroLeft,
    /// NaN and zero go right.
    ZeroRight,
}

/// What a node does, once proven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Node {
    /// Number of the leaf.
    Leaf(usize),
    /// `value <= threshold` goes left. The threshold is none within the zero band, see [`outside_band`].
    Numeric { feature: u32, threshold: f64, missing: Missing },
    /// A value whose category is in the set goes left: words `begin..end` of [`Tree::words`].
    Categorical { feature: u32, begin: usize, end: usize },
}

/// A leaf with a linear model: `constant + Σ coefficient · feature`, over `terms` of [`Tree::terms`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Formula {
    pub(super) constant: f64,
    pub(super) terms: (usize, usize),
}

/// A proven tree.
#[derive(Debug)]
pub(super) struct Tree {
    /// Breadth first: the root first, the children of a node next to each other.
    pub(super) nodes: Vec<Node>,
    /// Per node: the position of its left child in `nodes`, 0 for a leaf.
    pub(super) left: Vec<u32>,
    /// Edges on the longest path from the root to a leaf.
    pub(super) depth: usize,
    /// Per leaf.
    pub(super) values: Vec<f64>,
    /// Bit sets of categories, one after the other.
    pub(super) words: Vec<u32>,
    /// Per leaf, if the tree is linear; else empty.
    pub(super) formulas: Vec<Formula>,
    pub(super) terms: Vec<(u32, f64)>,
}

/// The parallel arrays, lengths proven equal: one entry per split, save for `sets` and `words`.
struct Arrays {
    feature: Vec<i64>,
    threshold: Vec<f64>,
    decision: Vec<i64>,
    left: Vec<i64>,
    right: Vec<i64>,
    /// Where each bit set begins, and where the last one ends.
    sets: Vec<usize>,
    words: Vec<u32>,
    leaves: usize,
    num_feature: usize,
}

impl Tree {
    /// Reads and proves tree number `id`.
    pub(super) fn read(section: &Section<'_>, id: usize, num_feature: usize) -> Result<Self, LoadError> {
        let refused = |problem| LoadError::Tree { tree: id, problem };
        let leaves = section.count("num_leaves", 0..=i32::MAX as usize)?;
        if leaves == 0 {
            return Err(refused(TreeProblem::Empty));
        }
        let values: Vec<f64> = section.numbers("leaf_value", leaves)?;
        if let Some(leaf) = values.iter().position(|value| !value.is_finite()) {
            return Err(refused(TreeProblem::NonFiniteLeaf { node: leaf, value: values[leaf] }));
        }
        let splits = leaves - 1;
        let (sets, words) = read_sets(section)?;
        let arrays = Arrays {
            feature: section.numbers("split_feature", splits)?,
            threshold: section.numbers("threshold", splits)?,
            decision: match section.find("decision_type") {
                Some(_) => section.numbers("decision_type", splits)?,
                None => vec![0; splits],
            },
            left: section.numbers("left_child", splits)?,
            right: section.numbers("right_child", splits)?,
            sets,
            words,
            leaves,
            num_feature,
        };
        let (nodes, left, depth) = arrays.breadth_first().map_err(refused)?;
        let (formulas, terms) = read_formulas(section, leaves, num_feature)?;
        Ok(Self { nodes, left, depth, values, words: arrays.words, formulas, terms })
    }
}

impl Arrays {
    /// Proves that the arrays form one tree, and gives it breadth first, with the depth.
    fn breadth_first(&self) -> Result<(Vec<Node>, Vec<u32>, usize), TreeProblem> {
        if self.leaves == 1 {
            return Ok((vec![Node::Leaf(0)], vec![0], 0));
        }
        let (mut seen_splits, mut seen_leaves) = (vec![false; self.left.len()], vec![false; self.leaves]);
        seen_splits[0] = true;
        // As in the file: a split by its number, a leaf by the complement of its number.
        let mut order: Vec<i64> = vec![0];
        let (mut nodes, mut left) = (Vec::new(), Vec::new());
        let (mut depth, mut level_end, mut at) = (0, 1, 0);
        while at < order.len() {
            if at == level_end {
                depth += 1;
                level_end = order.len();
            }
            match usize::try_from(order[at]) {
                Err(_) => {
                    nodes.push(Node::Leaf(!order[at] as usize));
                    left.push(0);
                }
                Ok(split) => {
                    nodes.push(self.split(split)?);
                    left.push(order.len() as u32);
                    for child in [self.left[split], self.right[split]] {
                        self.visit(split, child, &mut seen_splits, &mut seen_leaves)?;
                        order.push(child);
                    }
                }
            }
            at += 1;
        }
        // As many leaves as splits and one more, none met twice: if all splits were met, so were all leaves.
        match seen_splits.iter().position(|seen| !seen) {
            Some(node) => Err(TreeProblem::Unreachable { node }),
            None => Ok((nodes, left, depth)),
        }
    }

    fn visit(
        &self,
        node: usize,
        child: i64,
        splits: &mut [bool],
        leaves: &mut [bool],
    ) -> Result<(), TreeProblem> {
        if child < 0 {
            let leaf = !child;
            let seen = usize::try_from(leaf).ok().and_then(|leaf| leaves.get_mut(leaf));
            let seen = seen.ok_or(TreeProblem::LeafOutOfRange { node, leaf, leaves: self.leaves })?;
            return match std::mem::replace(seen, true) {
                true => Err(TreeProblem::SharedLeaf { node, leaf: leaf as usize }),
                false => Ok(()),
            };
        }
        let nodes = splits.len();
        let seen = usize::try_from(child).ok().and_then(|child| splits.get_mut(child));
        let seen = seen.ok_or(TreeProblem::ChildOutOfRange { node, child, nodes })?;
        match std::mem::replace(seen, true) {
            true => Err(TreeProblem::SharedNode { node, child: child as usize }),
            false => Ok(()),
        }
    }

    fn split(&self, node: usize) -> Result<Node, TreeProblem> {
        let feature = self.feature[node];
        let feature = u32::try_from(feature)
            .ok()
            .filter(|&f| (f as usize) < self.num_feature)
            .ok_or(TreeProblem::SplitIndex { node, feature, num_feature: self.num_feature })?;
        let (threshold, decision) = (self.threshold[node], self.decision[node]);
        if threshold.is_nan() {
            return Err(TreeProblem::NanThreshold { node });
        }
        // Bit 0: categorical; bit 1: default left; bits 2 and 3: kind of missing values.
        match (decision & 1, decision >> 2) {
            (0, kind @ 0..=2) => Ok(numeric(feature, threshold, kind, decision & 2 != 0)),
            (1, 0..=2) => self.categorical(node, feature, threshold),
            _ => Err(TreeProblem::DecisionType { node, value: decision }),
        }
    }

    /// The threshold of a categorical split is the number of its set.
    fn categorical(&self, node: usize, feature: u32, threshold: f64) -> Result<Node, TreeProblem> {
        let wrong = TreeProblem::Categories { node, problem: "the set does not exist" };
        if threshold < 0.0 || threshold.fract() != 0.0 {
            return Err(wrong);
        }
        match self.sets.get(threshold as usize..) {
            Some(&[begin, end, ..]) => Ok(Node::Categorical { feature, begin, end }),
            _ => Err(wrong),
        }
    }
}

/// A numeric split. `Tree::NumericalDecision` in `tree.h`, for rows that have come through `LGBM_BoosterPredictForMat`,
/// which takes what is within the zero band for 0.
fn numeric(feature: u32, threshold: f64, kind: i64, default_left: bool) -> Node {
    let zero_goes_left = 0.0 <= threshold;
    let nan = |left| if left { Missing::NanLeft } else { Missing::NanRight };
    let missing = match kind {
        0 => nan(zero_goes_left),
        // Where zero goes to its default side by comparison anyway, only NaN is left to say.
        1 if zero_goes_left == default_left => nan(default_left),
        1 if default_left => Missing::ZeroLeft,
        1 => Missing::ZeroRight,
        _ => nan(default_left),
    };
    Node::Numeric { feature, threshold: outside_band(threshold), missing }
}

/// The threshold that does to a value `x` what the given one does to `x` with the zero band taken for 0.
///
/// All of the band goes where 0 goes, so a threshold within the band moves to the end of it.
fn outside_band(threshold: f64) -> f64 {
    if (0.0..ZERO).contains(&threshold) {
        ZERO
    } else if (-ZERO..0.0).contains(&threshold) {
        (-ZERO).next_down()
    } else {
        threshold
    }
}

/// The bit sets of categories: `cat_boundaries` cuts `cat_threshold` into sets of 32-bit words.
fn read_sets(section: &Section<'_>) -> Result<(Vec<usize>, Vec<u32>), LoadError> {
    const KEY: &str = "cat_boundaries";
    let count = section.count("num_cat", 0..=i32::MAX as usize)?;
    if count == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let sets: Vec<usize> = section.numbers(KEY, count + 1)?;
    let wrong = |problem: &str| LoadError::Inconsistent { path: section.path(KEY), problem: problem.into() };
    if sets.first() != Some(&0) || !sets.is_sorted() {
        return Err(wrong("it must rise from 0"));
    }
    let words = section.numbers("cat_threshold", sets.last().copied().unwrap_or(0))?;
    Ok((sets, words))
}

type Formulas = (Vec<Formula>, Vec<(u32, f64)>);

/// The linear models of the leaves; none when the tree is not linear.
fn read_formulas(section: &Section<'_>, leaves: usize, num_feature: usize) -> Result<Formulas, LoadError> {
    match section.find("is_linear").map(str::trim) {
        // Version 3 lacked the line at first.
        None | Some("0") => return Ok((Vec::new(), Vec::new())),
        Some("1") => {}
        Some(other) => return Err(section.bad("is_linear", other)),
    }
    let constants: Vec<f64> = section.numbers("leaf_const", leaves)?;
    let counts: Vec<u32> = section.numbers("num_features", leaves)?;
    let total = counts.iter().map(|&count| count as usize).sum();
    let features: Vec<u32> = section.numbers("leaf_features", total)?;
    let coefficients: Vec<f64> = section.numbers("leaf_coeff", total)?;
    if let Some(feature) = features.iter().find(|&&feature| feature as usize >= num_feature) {
        return Err(LoadError::Inconsistent {
            path: section.path("leaf_features"),
            problem: format!("feature {feature} of a model with {num_feature}"),
        });
    }
    for (key, numbers) in [("leaf_const", &constants), ("leaf_coeff", &coefficients)] {
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(section.bad(key, &number.to_string()));
        }
    }
    let mut begin = 0;
    let formula = |(constant, count): (f64, u32)| {
        let terms = (begin, begin + count as usize);
        begin = terms.1;
        Formula { constant, terms }
    };
    let formulas = constants.into_iter().zip(counts).map(formula).collect();
    Ok((formulas, features.into_iter().zip(coefficients).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_leave_the_zero_band_without_changing_a_decision() {
        let flushed = |x: f64| if x.abs() <= ZERO { 0.0 } else { x };
        let band = [
            -1.0,
            (-ZERO).next_down(),
            -ZERO,
            (-ZERO).next_up(),
            -1e-40,
            -0.0,
            0.0,
            f64::from_bits(1),
            1e-40,
            ZERO.next_down(),
            ZERO,
            ZERO.next_up(),
            1.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        for threshold in band {
            for x in band {
                let moved = outside_band(threshold);
                assert_eq!(x <= moved, flushed(x) <= threshold, "{x:e} against {threshold:e}");
            }
        }
    }

    #[test]
    fn kinds_of_missing_values_come_down_to_four() {
        let kind = |threshold, kind, default_left| match numeric(0, threshold, kind, default_left) {
            Node::Numeric { missing, .. } => missing,
            other => panic!("{other:?}"),
        };
        // None: NaN is zero, and zero is compared, whatever the default.
        assert_eq!(kind(1.0, 0, false), Missing::NanLeft);
        assert_eq!(kind(-1.0, 0, true), Missing::NanRight);
        // Zero: both go to the default side.
        assert_eq!(kind(1.0, 1, true), Missing::NanLeft);
        assert_eq!(kind(1.0, 1, false), Missing::ZeroRight);
        assert_eq!(kind(-1.0, 1, true), Missing::ZeroLeft);
        assert_eq!(kind(-1.0, 1, false), Missing::NanRight);
        // NaN: only NaN goes there.
        assert_eq!(kind(1.0, 2, false), Missing::NanRight);
        assert_eq!(kind(-1.0, 2, true), Missing::NanLeft);
    }
}

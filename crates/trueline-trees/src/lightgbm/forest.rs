//! All trees of a model in one array of small nodes, for `walk`; and the leaves, constant or linear.
//! Knows nothing of files or links; rows come as numbers and are coded by `columns`.

use crate::walk::{self, Span, Trees};

use super::blocks::Blocks;
use super::columns::{Code, Columns};
use super::tree::{Node, Tree, ZERO};

/// Rows coded and scored together: their codes and sums stay in the first-level cache while the trees pass by.
const BLOCK_ROWS: usize = 64;
/// Codes of a row (or of some) that fit on the stack.
const STACK_CODES: usize = 256;

/// A node as it is walked: `row[column] <= threshold` steps to `child`, else to the one after it. Both children lie
/// side by side.
///
/// A leaf has the greatest threshold and is its own child. A categorical node has the mark in its column and the
/// number of its set for a threshold. 8 bytes with codes of 16 bits, 12 with 32.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Packed<C> {
    threshold: C,
    column: C,
    child: u32,
}

#[derive(Debug)]
enum Nodes {
    Narrow(Vec<Packed<u16>>),
    Wide(Vec<Packed<u32>>),
}

/// Categories that go left: a bit set of 32-bit words.
#[derive(Debug, Clone, Copy)]
struct CategorySet {
    start: u32,
    words: u32,
}

/// The linear models of leaves.
#[derive(Debug, Default)]
struct Linear {
    /// Parallel to the nodes: which formula a leaf has. Empty when no tree is linear.
    of_leaf: Vec<u32>,
    formulas: Vec<PackedFormula>,
    terms: Vec<(u32, f64)>,
}

/// `of_leaf` of what has no formula.
const PLAIN: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct PackedFormula {
    constant: f64,
    start: u32,
    terms: u32,
}

/// The trees of a model.
#[derive(Debug)]
pub(super) struct Forest {
    columns: Columns,
    nodes: Nodes,
    /// Parallel to the nodes: what a leaf adds.
    leaves: Vec<f64>,
    spans: Vec<Span>,
    sets: Vec<CategorySet>,
    words: Vec<u32>,
    linear: Linear,
    /// None where some tree can't be scored so.
    blocks: Option<Blocks>,
}

impl Forest {
    /// Lays out the trees in order; tree `i` adds to output `i % outputs`.
    ///
    /// `None` when there are more nodes than a `u32` can number.
    pub(super) fn plant(trees: &[Tree], outputs: usize) -> Option<Self> {
        let total: usize = trees.iter().map(|tree| tree.nodes.len() + 1).sum();
        u32::try_from(total).ok()?;
        let sets = trees.iter().flat_map(|tree| &tree.nodes);
        let sets = sets.filter(|node| matches!(node, Node::Categorical { .. })).count();
        let columns = Columns::of(trees);
        let mut forest = Self {
            blocks: Blocks::of(trees, &columns, outputs),
            columns,
            nodes: Nodes::Narrow(Vec::new()),
            leaves: Vec::with_capacity(total),
            spans: Vec::with_capacity(trees.len()),
            sets: Vec::with_capacity(sets),
            words: Vec::new(),
            linear: Linear::default(),
        };
        if trees.iter().any(|tree| !tree.formulas.is_empty()) {
            forest.linear.of_leaf.reserve_exact(total);
        }
        forest.nodes = if forest.columns.fit::<u16>() && sets <= usize::from(u16::MAX) {
            Nodes::Narrow(forest.pack_all(trees, outputs, total))
        } else {
            Nodes::Wide(forest.pack_all(trees, outputs, total))
        };
        Some(forest)
    }

    fn pack_all<C: Code>(&mut self, trees: &[Tree], outputs: usize, total: usize) -> Vec<Packed<C>> {
        let mut nodes = Vec::with_capacity(total);
        for (number, tree) in trees.iter().enumerate() {
            let base = nodes.len();
            let depth = tree.depth as u32;
            self.spans.push(Span { base, depth, group: (number % outputs) as u32 });
            let first_word = self.words.len();
            self.words.extend(&tree.words);
            let first_formula = self.linear.formulas.len() as u32;
            self.add_formulas(tree);
            self.push(&mut nodes, (C::MAX, C::default()), base, 0.0, PLAIN);
            for (node, left) in tree.nodes.iter().zip(&tree.left) {
                let (split, child, value, formula) = match *node {
                    Node::Leaf(leaf) => {
                        let formula =
                            if tree.formulas.is_empty() { PLAIN } else { first_formula + leaf as u32 };
                        ((C::MAX, C::default()), nodes.len(), tree.values[leaf], formula)
                    }
                    Node::Numeric { feature, threshold, missing } => {
                        let (column, rank) = self.columns.numeric(feature, missing, threshold);
                        ((C::of(rank), C::of(column)), base + 1 + *left as usize, 0.0, PLAIN)
                    }
                    Node::Categorical { feature, begin, end } => {
                        let column = self.columns.categorical(feature) | 1 << C::COLUMN_BITS;
                        let set =
                            CategorySet { start: (first_word + begin) as u32, words: (end - begin) as u32 };
                        self.sets.push(set);
                        ((C::of(self.sets.len() - 1), C::of(column)), base + 1 + *left as usize, 0.0, PLAIN)
                    }
                };
                self.push(&mut nodes, split, child, value, formula);
            }
        }
        nodes
    }

    fn push<C>(&mut self, nodes: &mut Vec<Packed<C>>, split: (C, C), child: usize, value: f64, formula: u32) {
        nodes.push(Packed { threshold: split.0, column: split.1, child: child as u32 });
        self.leaves.push(value);
        if self.linear.of_leaf.capacity() > 0 {
            self.linear.of_leaf.push(formula);
        }
    }

    fn add_formulas(&mut self, tree: &Tree) {
        let first_term = self.linear.terms.len();
        self.linear.terms.extend(&tree.terms);
        self.linear.formulas.extend(tree.formulas.iter().map(|formula| PackedFormula {
            constant: formula.constant,
            start: (first_term + formula.terms.0) as u32,
            terms: (formula.terms.1 - formula.terms.0) as u32,
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether some leaf holds a linear model.
    pub(super) fn is_linear(&self) -> bool {
        !self.linear.of_leaf.is_empty()
    }

    /// Whether many rows are scored without being walked.
    #[cfg(test)]
    pub(super) fn scores_blocks(&self) -> bool {
        self.blocks.is_some()
    }

    /// The steps that a row takes at most.
    pub(super) fn steps(&self) -> usize {
        walk::steps(&self.spans)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let nodes = match &self.nodes {
            Nodes::Narrow(nodes) => size_of::<Packed<u16>>() * nodes.capacity(),
            Nodes::Wide(nodes) => size_of::<Packed<u32>>() * nodes.capacity(),
        };
        nodes
            + self.columns.heap_bytes()
            + self.blocks.as_ref().map_or(0, Blocks::heap_bytes)
            + size_of::<f64>() * self.leaves.capacity()
            + size_of::<Span>() * self.spans.capacity()
            + size_of::<CategorySet>() * self.sets.capacity()
            + size_of::<u32>() * (self.words.capacity() + self.linear.of_leaf.capacity())
            + size_of::<PackedFormula>() * self.linear.formulas.capacity()
            + size_of::<(u32, f64)>() * self.linear.terms.capacity()
    }

    /// Adds the trees `range` to `sums`, which has `groups` numbers for each row of `rows`, `columns` per row.
    ///
    /// Takes memory for the codes of a block of rows, unless they are few.
    pub(super) fn add(
        &self,
        range: std::ops::Range<usize>,
        rows: &[f64],
        columns: usize,
        sums: &mut [f64],
        groups: usize,
    ) {
        let blocks = self.blocks.as_ref();
        let done =
            blocks.map_or(0, |b| b.add(range.clone(), &self.columns, (rows, columns), (&mut *sums, groups)));
        let (rows, sums) = (&rows[done * columns..], &mut sums[done * groups..]);
        let spans = &self.spans[range];
        match &self.nodes {
            Nodes::Narrow(nodes) => self.add_coded(nodes, spans, rows, columns, sums, groups),
            Nodes::Wide(nodes) => self.add_coded(nodes, spans, rows, columns, sums, groups),
        }
    }

    fn add_coded<C: Code>(
        &self,
        nodes: &[Packed<C>],
        spans: &[Span],
        rows: &[f64],
        columns: usize,
        sums: &mut [f64],
        groups: usize,
    ) {
        // At least one code per row, for a forest of single leaves.
        let width = self.columns.width().max(1);
        let mut stack = [C::default(); STACK_CODES];
        let mut heap = Vec::new();
        let needed = width * BLOCK_ROWS.min(rows.len() / columns);
        let codes = match stack.get_mut(..needed) {
            Some(codes) => codes,
            None => {
                heap.resize(needed, C::default());
                heap.as_mut_slice()
            }
        };
        for (rows, sums) in rows.chunks(BLOCK_ROWS * columns).zip(sums.chunks_mut(BLOCK_ROWS * groups)) {
            let codes = &mut codes[..width * (rows.len() / columns)];
            self.columns.encode(rows, columns, codes);
            match (self.sets.is_empty(), self.is_linear()) {
                (true, false) => {
                    let trees = Coded::<C, false, false> { forest: self, nodes, rows, columns };
                    walk::add(&trees, spans, codes, width, sums, groups);
                }
                (false, false) => {
                    let trees = Coded::<C, true, false> { forest: self, nodes, rows, columns };
                    walk::add(&trees, spans, codes, width, sums, groups);
                }
                (_, true) => {
                    let trees = Coded::<C, true, true> { forest: self, nodes, rows, columns };
                    walk::add(&trees, spans, codes, width, sums, groups);
                }
            }
        }
    }

    /// `Common::FindInBitset`.
    fn is_in_set(&self, set: usize, category: usize) -> bool {
        let CategorySet { start, words } = self.sets[set];
        let set = &self.words[start as usize..][..words as usize];
        set.get(category / 32).is_some_and(|word| word >> (category % 32) & 1 != 0)
    }

    /// The output of the leaf at `at`. `Tree::Predict` for linear trees: terms are added in their order, and a NaN
    /// among the features of the leaf leaves its constant value instead.
    fn linear_leaf(&self, at: usize, row: &[f64]) -> f64 {
        let formula = self.linear.of_leaf[at];
        if formula == PLAIN {
            return self.leaves[at];
        }
        let PackedFormula { constant, start, terms } = self.linear.formulas[formula as usize];
        let mut output = constant;
        for &(feature, coefficient) in &self.linear.terms[start as usize..][..terms as usize] {
            let x = row[feature as usize];
            if x.is_nan() {
                return self.leaves[at];
            }
            let x = if x.abs() <= ZERO { 0.0 } else { x };
            output += coefficient * x;
        }
        output
    }
}

/// A block of rows, and the forest as it is walked over their codes.
struct Coded<'a, C, const CATEGORIES: bool, const LINEAR: bool> {
    forest: &'a Forest,
    nodes: &'a [Packed<C>],
    rows: &'a [f64],
    columns: usize,
}

impl<C: Code, const CATEGORIES: bool, const LINEAR: bool> Trees for Coded<'_, C, CATEGORIES, LINEAR> {
    type Value = C;
    type Sum = f64;

    #[inline(always)]
    fn step(&self, _base: usize, at: usize, codes: &[C]) -> usize {
        let node = self.nodes[at];
        let column = node.column.number();
        let mark = 1 << C::COLUMN_BITS;
        let left = if CATEGORIES && column & mark != 0 {
            self.forest.is_in_set(node.threshold.number(), codes[column ^ mark].number())
        } else {
            codes[column] <= node.threshold
        };
        node.child as usize + usize::from(!left)
    }

    #[inline(always)]
    fn arrive(&self, at: usize, row: usize, group: usize, sums: &mut [f64]) {
        sums[group] += if LINEAR {
            self.forest.linear_leaf(at, &self.rows[row * self.columns..])
        } else {
            self.forest.leaves[at]
        };
    }
}

//! All trees of an XGBoost model in one array of small nodes, for `walk`.
//! Knows nothing of files, intercepts or links; adds leaf values to sums, in the order of the trees.

use crate::block::{self, Code, Codes, Lane, Places, Step, TooLarge};
use crate::tree::{BreadthFirst, CATEGORY_LIMIT, Node};
use crate::walk::{self, Span, Trees};

/// Rows walked together: their values and sums stay in the first-level cache while the trees pass by.
const WALKED_ROWS: usize = 64;

/// A node as it is walked. Both children lie side by side, so a step is `child + (0 or 1)`.
///
/// A leaf compares with NaN and sends missing values right, so that it always steps to `child + 1`, which is
/// itself: lanes that have arrived stay where they are, and the loop needs no branch.
pub(crate) trait Packed: Copy {
    /// Greatest feature index that fits.
    const MAX_FEATURE: usize;
    /// Greatest position within a tree that fits.
    const MAX_POSITION: usize;

    fn pack(value: f32, feature: u32, default_left: bool, categorical: bool, child: u32) -> Self;
    fn value(self) -> f32;
    fn feature(self) -> usize;
    fn default_left(self) -> bool;
    fn is_categorical(self) -> bool;
    fn child(self) -> u32;
}

/// 8 bytes: up to 16,384 features and 65,534 nodes per tree.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Narrow {
    value: f32,
    /// Bit 15: missing goes left; bit 14: categorical; the rest: the feature.
    split: u16,
    child: u16,
}

/// 12 bytes, for models that do not fit into [`Narrow`].
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Wide {
    value: f32,
    /// Bit 31: missing goes left; bit 30: categorical; the rest: the feature.
    split: u32,
    child: u32,
}

impl Packed for Narrow {
    const MAX_FEATURE: usize = (1 << 14) - 1;
    const MAX_POSITION: usize = u16::MAX as usize;

    fn pack(value: f32, feature: u32, default_left: bool, categorical: bool, child: u32) -> Self {
        let split = feature as u16 | u16::from(default_left) << 15 | u16::from(categorical) << 14;
        Self { value, split, child: child as u16 }
    }
    #[inline(always)]
    fn value(self) -> f32 {
        self.value
    }
    #[inline(always)]
    fn feature(self) -> usize {
        usize::from(self.split & 0x3fff)
    }
    #[inline(always)]
    fn default_left(self) -> bool {
        self.split >> 15 != 0
    }
    #[inline(always)]
    fn is_categorical(self) -> bool {
        self.split >> 14 & 1 != 0
    }
    #[inline(always)]
    fn child(self) -> u32 {
        u32::from(self.child)
    }
}

impl Packed for Wide {
    const MAX_FEATURE: usize = (1 << 30) - 1;
    const MAX_POSITION: usize = u32::MAX as usize;

    fn pack(value: f32, feature: u32, default_left: bool, categorical: bool, child: u32) -> Self {
        let split = feature | u32::from(default_left) << 31 | u32::from(categorical) << 30;
        Self { value, split, child }
    }
    #[inline(always)]
    fn value(self) -> f32 {
        self.value
    }
    #[inline(always)]
    fn feature(self) -> usize {
        (self.split & 0x3fff_ffff) as usize
    }
    #[inline(always)]
    fn default_left(self) -> bool {
        self.split >> 31 != 0
    }
    #[inline(always)]
    fn is_categorical(self) -> bool {
        self.split >> 30 & 1 != 0
    }
    #[inline(always)]
    fn child(self) -> u32 {
        self.child
    }
}

/// Most features a model may have.
pub(crate) const MAX_FEATURES: usize = Wide::MAX_FEATURE + 1;

#[derive(Debug)]
enum Nodes {
    Narrow(Vec<Narrow>),
    Wide(Vec<Wide>),
}

/// Categories that go right at a categorical node, in the words `start..start + words`: a bit set, or a rising list
/// where few categories are spread so far that a bit set would waste memory (or let a small file take much).
#[derive(Debug, Clone, Copy)]
struct CategorySet {
    start: usize,
    words: usize,
    listed: bool,
}

/// The trees of a model.
#[derive(Debug)]
pub(crate) struct Forest {
    nodes: Nodes,
    /// Parallel to the nodes: what a leaf adds; where leaves hold vectors, the place of its vector, as bits.
    leaves: Vec<f32>,
    /// One number per output for each leaf. Empty, or all trees have such leaves.
    vectors: Vec<f32>,
    spans: Vec<Span>,
    sets: Vec<CategorySet>,
    words: Vec<u32>,
    /// The same trees for many rows, where that is quicker.
    blocks: Option<Blocks>,
}

/// The forest as blocks of rows are scored with it, with codes as small as its thresholds allow.
#[derive(Debug)]
enum Blocks {
    Small(Coded<i8>),
    Large(Coded<i16>),
}

#[derive(Debug)]
struct Coded<C> {
    codes: Codes,
    trees: block::Trees<C, f32>,
}

/// A proven tree, the output it adds to, and what each leaf adds given its value in the file.
pub(crate) struct Planted<'a, F: Fn(f32) -> f32> {
    pub(crate) tree: BreadthFirst<'a>,
    pub(crate) group: u32,
    pub(crate) leaf: F,
}

impl Forest {
    /// Lays out the trees in order.
    pub(crate) fn plant<F: Fn(f32) -> f32>(trees: &[Planted<'_, F>], num_feature: usize) -> Self {
        let largest = trees.iter().map(|t| t.tree.nodes.len()).max().unwrap_or(0);
        let mut forest = Self {
            nodes: Nodes::Narrow(Vec::new()),
            leaves: Vec::new(),
            vectors: Vec::new(),
            spans: Vec::new(),
            sets: Vec::new(),
            words: Vec::new(),
            blocks: Blocks::of(trees),
        };
        forest.nodes = if largest <= Narrow::MAX_POSITION && num_feature - 1 <= Narrow::MAX_FEATURE {
            Nodes::Narrow(forest.pack_all(trees))
        } else {
            Nodes::Wide(forest.pack_all(trees))
        };
        forest
    }

    fn pack_all<N: Packed, F: Fn(f32) -> f32>(&mut self, trees: &[Planted<'_, F>]) -> Vec<N> {
        let total = trees.iter().map(|t| t.tree.nodes.len() + 1).sum();
        let mut nodes = Vec::with_capacity(total);
        self.leaves.reserve_exact(total);
        self.spans.reserve_exact(trees.len());
        for Planted { tree, group, leaf } in trees {
            self.spans.push(Span { base: nodes.len(), depth: tree.depth as u32, group: *group });
            let first_vector = self.vectors.len();
            self.vectors.extend_from_slice(&tree.vectors);
            nodes.push(N::pack(f32::NAN, 0, false, false, 0));
            self.leaves.push(0.0);
            for (position, (node, left)) in tree.nodes.iter().zip(&tree.left).enumerate() {
                let child = left + 1;
                let (packed, value) = match *node {
                    // Slot `position + 1`; a leaf's child is the slot before it.
                    Node::Leaf(value) => (N::pack(f32::NAN, 0, false, false, position as u32), leaf(value)),
                    Node::Vector(start) => {
                        let place = f32::from_bits((first_vector + start) as u32);
                        (N::pack(f32::NAN, 0, false, false, position as u32), place)
                    }
                    Node::Numeric { feature, default_left, threshold } => {
                        (N::pack(threshold, feature, default_left, false, child), 0.0)
                    }
                    Node::Categorical { feature, default_left, right } => {
                        let set = f32::from_bits(self.add_set(right));
                        (N::pack(set, feature, default_left, true, child), 0.0)
                    }
                };
                nodes.push(packed);
                self.leaves.push(value);
            }
        }
        nodes
    }

    fn add_set(&mut self, categories: &[i64]) -> u32 {
        let start = self.words.len();
        let words = categories.iter().max().map_or(0, |&max| max as usize / 32 + 1);
        let listed = words > 4 * categories.len() + 8;
        if listed {
            self.words.extend(categories.iter().map(|&category| category as u32));
            self.words[start..].sort_unstable();
        } else {
            self.words.resize(start + words, 0);
            for &category in categories {
                self.words[start + category as usize / 32] |= 1 << (category % 32);
            }
        }
        self.sets.push(CategorySet { start, words: self.words.len() - start, listed });
        (self.sets.len() - 1) as u32
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The steps that a row takes at most.
    pub(crate) fn steps(&self) -> usize {
        walk::steps(&self.spans)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let nodes = match &self.nodes {
            Nodes::Narrow(nodes) => size_of::<Narrow>() * nodes.capacity(),
            Nodes::Wide(nodes) => size_of::<Wide>() * nodes.capacity(),
        };
        nodes
            + size_of::<f32>() * (self.leaves.capacity() + self.vectors.capacity())
            + size_of::<Span>() * self.spans.capacity()
            + size_of::<CategorySet>() * self.sets.capacity()
            + size_of::<u32>() * self.words.capacity()
            + self.blocks.as_ref().map_or(0, Blocks::heap_bytes)
    }

    /// Adds the trees `range` to `sums`, which has `groups` numbers for each row of `rows`, `columns` per row.
    ///
    /// The sum of each row and output grows in the order of the trees, as in XGBoost, for f32 addition is not
    /// associative.
    pub(crate) fn add(
        &self,
        range: std::ops::Range<usize>,
        rows: &[f32],
        columns: usize,
        sums: &mut [f32],
        groups: usize,
    ) {
        match &self.blocks {
            Some(_) if rows.len() < block::FEWEST_ROWS * columns => {}
            Some(Blocks::Small(coded)) => return self.add_blocks(coded, range, rows, columns, sums, groups),
            Some(Blocks::Large(coded)) => return self.add_blocks(coded, range, rows, columns, sums, groups),
            None => {}
        }
        self.walk(range, rows, columns, sums, groups);
    }

    fn add_blocks<C: Code>(
        &self,
        coded: &Coded<C>,
        range: std::ops::Range<usize>,
        rows: &[f32],
        columns: usize,
        sums: &mut [f32],
        groups: usize,
    ) {
        let mut places = Places::new();
        let mut codes: Vec<Lane<C>> = vec![Lane::of(C::default()); coded.codes.width()];
        let blocks = rows.chunks(block::ROWS * columns);
        for (rows, sums) in blocks.zip(sums.chunks_mut(block::ROWS * groups)) {
            if rows.len() < block::FEWEST_ROWS * columns {
                return self.walk(range, rows, columns, sums, groups);
            }
            coded.codes.encode(rows, columns, &mut codes);
            coded.trees.add(range.clone(), &codes, &mut places, sums, groups);
        }
    }

    fn walk(
        &self,
        range: std::ops::Range<usize>,
        rows: &[f32],
        columns: usize,
        sums: &mut [f32],
        groups: usize,
    ) {
        let blocks = rows.chunks(WALKED_ROWS * columns);
        for (rows, sums) in blocks.zip(sums.chunks_mut(WALKED_ROWS * groups)) {
            match &self.nodes {
                Nodes::Narrow(nodes) => self.add_packed(nodes, range.clone(), rows, columns, sums, groups),
                Nodes::Wide(nodes) => self.add_packed(nodes, range.clone(), rows, columns, sums, groups),
            }
        }
    }

    fn add_packed<N: Packed>(
        &self,
        nodes: &[N],
        range: std::ops::Range<usize>,
        rows: &[f32],
        columns: usize,
        sums: &mut [f32],
        groups: usize,
    ) {
        let spans = &self.spans[range];
        let missing = rows.iter().any(|x| x.is_nan());
        match (missing, self.sets.is_empty(), self.vectors.is_empty()) {
            (false, true, true) => {
                let trees = Sorted::<N, false, false, false> { forest: self, nodes };
                walk::add(&trees, spans, rows, columns, sums, groups);
            }
            (true, true, true) => {
                let trees = Sorted::<N, true, false, false> { forest: self, nodes };
                walk::add(&trees, spans, rows, columns, sums, groups);
            }
            (_, false, true) => {
                let trees = Sorted::<N, true, true, false> { forest: self, nodes };
                walk::add(&trees, spans, rows, columns, sums, groups);
            }
            (_, _, false) => {
                let trees = Sorted::<N, true, true, true> { forest: self, nodes };
                walk::add(&trees, spans, rows, columns, sums, groups);
            }
        }
    }

    /// Whether `x` is among the categories that go right. XGBoost's `Decision` in `categorical.h`: values that are
    /// negative, 2^24 and up, or beyond the set are in no set; fractions are cut off.
    fn is_in_set(&self, set: usize, x: f32) -> bool {
        if !(0.0..CATEGORY_LIMIT as f32).contains(&x) {
            return false;
        }
        let category = x as u32;
        let CategorySet { start, words, listed } = self.sets[set];
        let set = &self.words[start..start + words];
        if listed {
            set.binary_search(&category).is_ok()
        } else {
            set.get(category as usize / 32).is_some_and(|word| word >> (category % 32) & 1 != 0)
        }
    }
}

impl Blocks {
    /// None where a tree has categories, too many leaves, or leaves of several numbers.
    fn of<F: Fn(f32) -> f32>(trees: &[Planted<'_, F>]) -> Option<Self> {
        let mut splits = Vec::new();
        for node in trees.iter().flat_map(|planted| &planted.tree.nodes) {
            match *node {
                Node::Leaf(_) => {}
                Node::Numeric { feature, default_left, threshold } => {
                    splits.push((feature, default_left, threshold));
                }
                Node::Categorical { .. } | Node::Vector(_) => return None,
            }
        }
        let codes = Codes::of(splits);
        match codes.most() {
            most if most < i8::CODES => Coded::of(codes, trees).ok().map(Self::Small),
            _ => Coded::of(codes, trees).ok().map(Self::Large),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Small(coded) => coded.codes.heap_bytes() + coded.trees.heap_bytes(),
            Self::Large(coded) => coded.codes.heap_bytes() + coded.trees.heap_bytes(),
        }
    }
}

impl<C: Code> Coded<C> {
    fn of<F: Fn(f32) -> f32>(codes: Codes, planted: &[Planted<'_, F>]) -> Result<Self, TooLarge> {
        let mut trees = block::Trees::new();
        for Planted { tree, group, leaf } in planted {
            let step = |(node, left): (&Node<'_>, &u32)| match *node {
                Node::Leaf(value) => Ok(Step::Leaf(leaf(value))),
                Node::Numeric { feature, default_left, threshold } => {
                    let (column, rank) = codes.split(feature, default_left, threshold)?;
                    Ok(Step::Split { column, rank, left: *left as usize })
                }
                Node::Categorical { .. } | Node::Vector(_) => Err(TooLarge),
            };
            let steps = tree.nodes.iter().zip(&tree.left).map(step).collect::<Result<Vec<_>, _>>()?;
            trees.push(&steps, *group as usize)?;
        }
        Ok(Self { codes, trees })
    }
}

/// The forest as it is walked, for rows with or without missing values, for trees with or without categories, and for
/// leaves with one number or one per output.
struct Sorted<'a, N, const MISSING: bool, const CATEGORIES: bool, const VECTORS: bool> {
    forest: &'a Forest,
    nodes: &'a [N],
}

impl<N: Packed, const MISSING: bool, const CATEGORIES: bool, const VECTORS: bool> Trees
    for Sorted<'_, N, MISSING, CATEGORIES, VECTORS>
{
    type Value = f32;
    type Sum = f32;

    #[inline(always)]
    fn step(&self, base: usize, at: usize, row: &[f32]) -> usize {
        let node = self.nodes[at];
        let x = row[node.feature()];
        let left = if CATEGORIES && node.is_categorical() {
            if x.is_nan() {
                node.default_left()
            } else {
                !self.forest.is_in_set(node.value().to_bits() as usize, x)
            }
        } else if MISSING {
            (x < node.value()) | (x.is_nan() & node.default_left())
        } else {
            x < node.value()
        };
        base + (node.child() + u32::from(!left)) as usize
    }

    #[inline(always)]
    fn arrive(&self, at: usize, _row: usize, group: usize, sums: &mut [f32]) {
        if VECTORS {
            let vector = &self.forest.vectors[self.forest.leaves[at].to_bits() as usize..];
            sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        } else {
            sums[group] += self.forest.leaves[at];
        }
    }
}

#[cfg(test)]
mod tests;

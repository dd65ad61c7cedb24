//! All trees of a model in one array of small nodes, and the loops that walk them.
//! Knows nothing of files, intercepts or links; adds leaf values to sums, in the order of the trees.

use crate::tree::{BreadthFirst, CATEGORY_LIMIT, Node};

/// Trees (for one row) or rows (for many) walked at the same time, so that one's cache misses hide the other's.
const LANES: usize = 8;
/// After so many levels, look whether all lanes have come to a leaf.
const PATIENCE: usize = 4;

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

/// Where a tree lies, and which output it adds to.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Position of the tree's unused slot 0; its root is slot 1, so that pairs of children are aligned.
    base: usize,
    depth: u32,
    group: u32,
}

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
    /// Parallel to the nodes: what a leaf adds.
    leaves: Vec<f32>,
    spans: Vec<Span>,
    sets: Vec<CategorySet>,
    words: Vec<u32>,
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
            spans: Vec::new(),
            sets: Vec::new(),
            words: Vec::new(),
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
            nodes.push(N::pack(f32::NAN, 0, false, false, 0));
            self.leaves.push(0.0);
            for (position, (node, left)) in tree.nodes.iter().zip(&tree.left).enumerate() {
                let child = left + 1;
                let (packed, value) = match *node {
                    // Slot `position + 1`; a leaf's child is the slot before it.
                    Node::Leaf(value) => (N::pack(f32::NAN, 0, false, false, position as u32), leaf(value)),
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

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let nodes = match &self.nodes {
            Nodes::Narrow(nodes) => size_of::<Narrow>() * nodes.capacity(),
            Nodes::Wide(nodes) => size_of::<Wide>() * nodes.capacity(),
        };
        nodes
            + size_of::<f32>() * self.leaves.capacity()
            + size_of::<Span>() * self.spans.capacity()
            + size_of::<CategorySet>() * self.sets.capacity()
            + size_of::<u32>() * self.words.capacity()
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
        match &self.nodes {
            Nodes::Narrow(nodes) => self.add_packed(nodes, range, rows, columns, sums, groups),
            Nodes::Wide(nodes) => self.add_packed(nodes, range, rows, columns, sums, groups),
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
        let walk = Walk { forest: self, nodes, spans: &self.spans[range], columns, groups };
        let missing = rows.iter().any(|x| x.is_nan());
        match (missing, self.sets.is_empty()) {
            (false, true) => walk.run::<false, false>(rows, sums),
            (true, true) => walk.run::<true, false>(rows, sums),
            (_, false) => walk.run::<true, true>(rows, sums),
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

/// One call's worth of walking.
struct Walk<'a, N> {
    forest: &'a Forest,
    nodes: &'a [N],
    spans: &'a [Span],
    columns: usize,
    groups: usize,
}

impl<N: Packed> Walk<'_, N> {
    fn run<const MISSING: bool, const CATEGORIES: bool>(&self, rows: &[f32], sums: &mut [f32]) {
        if rows.len() == self.columns {
            self.one_row::<MISSING, CATEGORIES>(rows, sums);
        } else {
            self.many_rows::<MISSING, CATEGORIES>(rows, sums);
        }
    }

    /// Position within the tree after one step from `node`.
    #[inline(always)]
    fn step<const MISSING: bool, const CATEGORIES: bool>(&self, node: N, row: &[f32]) -> usize {
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
        (node.child() + u32::from(!left)) as usize
    }

    /// Several trees at a time over one row.
    fn one_row<const MISSING: bool, const CATEGORIES: bool>(&self, row: &[f32], sums: &mut [f32]) {
        let (chunks, rest) = self.spans.as_chunks::<LANES>();
        for spans in chunks {
            let depth = spans.iter().map(|s| s.depth).max().unwrap_or(0) as usize;
            let mut at: [usize; LANES] = std::array::from_fn(|k| spans[k].base + 1);
            let mut level = 0;
            while level < depth {
                let before = at;
                for _ in 0..PATIENCE.min(depth - level) {
                    at = std::array::from_fn(|k| {
                        spans[k].base + self.step::<MISSING, CATEGORIES>(self.nodes[at[k]], row)
                    });
                }
                level += PATIENCE;
                if before == at {
                    break;
                }
            }
            for k in 0..LANES {
                sums[spans[k].group as usize] += self.forest.leaves[at[k]];
            }
        }
        for span in rest {
            let mut at = span.base + 1;
            for _ in 0..span.depth {
                let next = span.base + self.step::<MISSING, CATEGORIES>(self.nodes[at], row);
                if next == at {
                    break;
                }
                at = next;
            }
            sums[span.group as usize] += self.forest.leaves[at];
        }
    }

    /// One tree at a time over several rows.
    fn many_rows<const MISSING: bool, const CATEGORIES: bool>(&self, rows: &[f32], sums: &mut [f32]) {
        for span in self.spans {
            let nodes = &self.nodes[span.base..];
            let leaves = &self.forest.leaves[span.base..];
            let group = span.group as usize;
            let mut row_chunks = rows.chunks_exact(LANES * self.columns);
            let mut sum_chunks = sums.chunks_exact_mut(LANES * self.groups);
            for (chunk, sums) in (&mut row_chunks).zip(&mut sum_chunks) {
                let at = self.descend::<MISSING, CATEGORIES>(nodes, span.depth as usize, chunk);
                for k in 0..LANES {
                    sums[k * self.groups + group] += leaves[at[k]];
                }
            }
            let rest = row_chunks.remainder().chunks_exact(self.columns);
            for (row, sums) in rest.zip(sum_chunks.into_remainder().chunks_exact_mut(self.groups)) {
                let mut at = 1;
                for _ in 0..span.depth {
                    let next = self.step::<MISSING, CATEGORIES>(nodes[at], row);
                    if next == at {
                        break;
                    }
                    at = next;
                }
                sums[group] += leaves[at];
            }
        }
    }

    #[inline(always)]
    fn descend<const MISSING: bool, const CATEGORIES: bool>(
        &self,
        nodes: &[N],
        depth: usize,
        rows: &[f32],
    ) -> [usize; LANES] {
        let mut at = [1; LANES];
        let mut level = 0;
        while level < depth {
            let before = at;
            for _ in 0..PATIENCE.min(depth - level) {
                at = std::array::from_fn(|k| {
                    self.step::<MISSING, CATEGORIES>(nodes[at[k]], &rows[k * self.columns..])
                });
            }
            level += PATIENCE;
            if before == at {
                break;
            }
        }
        at
    }
}

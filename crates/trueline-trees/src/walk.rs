//! The loops that walk forests: several trees at a time over one row, or each tree over several rows at a time, so
//! that one lane's cache misses hide another's. What a node looks like is the forest's business.

/// Trees (for one row) or rows (for many) walked at the same time.
const LANES: usize = 8;
/// After so many levels, look whether all lanes have come to a leaf.
const PATIENCE: usize = 4;

/// Where a tree lies, and which output it adds to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Position of the tree's unused slot 0; its root is slot 1, so that pairs of children are aligned.
    pub(crate) base: usize,
    pub(crate) depth: u32,
    pub(crate) group: u32,
}

/// The steps that a row takes at most, through all trees.
pub(crate) fn steps(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.depth as usize).sum()
}

/// Trees laid out such that one array holds all nodes, and a leaf steps to itself: lanes that have arrived stay where
/// they are, and the loop needs no branch.
pub(crate) trait Trees {
    /// One number of a row, as it is compared.
    type Value;
    /// What leaves are added to.
    type Sum;

    /// Position after one step from `at`, in the tree that begins at `base`.
    fn step(&self, base: usize, at: usize, row: &[Self::Value]) -> usize;

    /// Adds the leaf at `at` to the sums of the row with that number, counted from the first of the rows being walked:
    /// to that of the tree's group, or to all where leaves hold one number per output.
    fn arrive(&self, at: usize, row: usize, group: usize, sums: &mut [Self::Sum]);
}

/// Adds trees to `sums`, which has `groups` numbers for each row of `rows`, `columns` numbers per row.
///
/// The sum of each row and output grows in the order of the trees, as in the libraries, for the addition of floats is
/// not associative.
pub(crate) fn add<T: Trees>(
    trees: &T,
    spans: &[Span],
    rows: &[T::Value],
    columns: usize,
    sums: &mut [T::Sum],
    groups: usize,
) {
    if rows.len() == columns {
        one_row(trees, spans, rows, sums);
    } else {
        many_rows(trees, spans, rows, columns, sums, groups);
    }
}

/// Several trees at a time over one row.
fn one_row<T: Trees>(trees: &T, spans: &[Span], row: &[T::Value], sums: &mut [T::Sum]) {
    let (chunks, rest) = spans.as_chunks::<LANES>();
    for spans in chunks {
        let depth = spans.iter().map(|s| s.depth).max().unwrap_or(0) as usize;
        let start = std::array::from_fn(|k| spans[k].base + 1);
        let at = descend(depth, start, |k, at| trees.step(spans[k].base, at, row));
        for k in 0..LANES {
            trees.arrive(at[k], 0, spans[k].group as usize, sums);
        }
    }
    for span in rest {
        trees.arrive(alone(trees, span, row), 0, span.group as usize, sums);
    }
}

/// One tree at a time over several rows.
fn many_rows<T: Trees>(
    trees: &T,
    spans: &[Span],
    rows: &[T::Value],
    columns: usize,
    sums: &mut [T::Sum],
    groups: usize,
) {
    for span in spans {
        let (base, group) = (span.base, span.group as usize);
        let mut row_chunks = rows.chunks_exact(LANES * columns);
        let mut sum_chunks = sums.chunks_exact_mut(LANES * groups);
        let mut number = 0;
        for (chunk, sums) in (&mut row_chunks).zip(&mut sum_chunks) {
            let lanes: [&[T::Value]; LANES] = std::array::from_fn(|k| &chunk[k * columns..][..columns]);
            let at = descend(span.depth as usize, [base + 1; LANES], |k, at| trees.step(base, at, lanes[k]));
            for k in 0..LANES {
                trees.arrive(at[k], number + k, group, &mut sums[k * groups..][..groups]);
            }
            number += LANES;
        }
        let rest = row_chunks.remainder().chunks_exact(columns);
        for (row, sums) in rest.zip(sum_chunks.into_remainder().chunks_exact_mut(groups)) {
            trees.arrive(alone(trees, span, row), number, group, sums);
            number += 1;
        }
    }
}

/// All lanes from the root to their leaves.
#[inline(always)]
fn descend(depth: usize, mut at: [usize; LANES], step: impl Fn(usize, usize) -> usize) -> [usize; LANES] {
    let mut level = 0;
    while level < depth {
        let before = at;
        for _ in 0..PATIENCE.min(depth - level) {
            at = std::array::from_fn(|k| step(k, at[k]));
        }
        level += PATIENCE;
        if before == at {
            break;
        }
    }
    at
}

/// One tree over one row.
#[inline(always)]
fn alone<T: Trees>(trees: &T, span: &Span, row: &[T::Value]) -> usize {
    let mut at = span.base + 1;
    for _ in 0..span.depth {
        let next = trees.step(span.base, at, row);
        if next == at {
            break;
        }
        at = next;
    }
    at
}

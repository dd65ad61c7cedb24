//! Many rows at once: every split of a tree is decided for a block of rows by one comparison of small integers, and leaves
//! are chosen from the bottom up, without a branch or a load that waits for another. That beats walking even where all of
//! the leaves that can be numbered are there. How rows become codes is `codes`'s business, what splits mean the forests'.

mod codes;
mod search;

pub(crate) use codes::Codes;

use std::ops::AddAssign;

/// Rows of a block: of one byte each, they fill one of the widest registers there are.
pub(crate) const ROWS: usize = 64;
/// With fewer rows than this, walking takes less time than a block that is mostly empty.
pub(crate) const FEWEST_ROWS: usize = 24;
/// Leaves that a tree may have: their numbers fit into a byte.
pub(crate) const MOST_LEAVES: usize = 256;

/// Leaves and splits that a tree may have.
const PLACES: usize = 2 * MOST_LEAVES;

/// One number of each row of a block. Aligned, for a load that spans two lines of the cache is two.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lane<C>([C; ROWS]);

impl<C: Code> Lane<C> {
    /// The same in each row.
    pub(crate) fn of(code: C) -> Self {
        Self([code; ROWS])
    }

    /// That of each row.
    pub(crate) fn codes(&mut self) -> &mut [C; ROWS] {
        &mut self.0
    }
}

/// A signed integer that codes and numbers of leaves are kept in. Signed, for those are what processors compare at once.
pub(crate) trait Code: Copy + Ord + Default {
    /// Codes that there are; 1 less is the greatest.
    const CODES: usize;
    /// The code of a number below [`Code::CODES`]; codes rise with their numbers.
    fn of(number: usize) -> Self;
    /// The integer with the bits of the number of a leaf.
    fn of_leaf(leaf: usize) -> Self;
    /// The number of a leaf.
    fn leaf(self) -> u8;
    /// This leaf or, where `next`, the one after it.
    fn or_next(self, next: bool) -> Self;
    /// One of two, by bits: asked for with `if`, the compiler chooses between their addresses, one row at a time.
    fn either(first: bool, one: Self, other: Self) -> Self;
}

macro_rules! codes {
    ($($signed:ident $unsigned:ident),*) => {
        $(impl Code for $signed {
            const CODES: usize = $unsigned::MAX as usize + 1;
            #[inline(always)]
            fn of(number: usize) -> Self {
                (number as $unsigned ^ 1 << ($unsigned::BITS - 1)) as $signed
            }
            #[inline(always)]
            fn of_leaf(leaf: usize) -> Self {
                leaf as $signed
            }
            #[inline(always)]
            fn leaf(self) -> u8 {
                self as u8
            }
            #[inline(always)]
            fn or_next(self, next: bool) -> Self {
                self.wrapping_add($signed::from(next))
            }
            #[inline(always)]
            fn either(first: bool, one: Self, other: Self) -> Self {
                other ^ ((one ^ other) & $signed::from(first).wrapping_neg())
            }
        })*
    };
}
codes!(i8 u8, i16 u16);

/// A node of a proven tree, as a block decides it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<L> {
    /// What a leaf adds.
    Leaf(L),
    /// Codes of this column up to and with the rank go left.
    Split {
        /// Number of the column of codes.
        column: usize,
        /// The greatest number that goes left.
        rank: usize,
        /// Position of the left child; the right one is next to it.
        left: usize,
    },
}

/// A split whose children are both leaves, numbered one after the other.
#[derive(Debug, Clone, Copy)]
struct Fork<C> {
    column: u16,
    /// The least code that goes right.
    bound: C,
    left: C,
}

/// A split with some split below it. Children are places: leaves first, then what was decided before.
#[derive(Debug, Clone, Copy)]
struct Join<C> {
    column: u16,
    bound: C,
    left: u16,
    right: u16,
}

/// Where a tree lies in the arrays of its forest: each begins where the tree before it ends.
#[derive(Debug, Clone, Copy)]
struct Ends {
    forks: usize,
    joins: usize,
    leaves: usize,
    /// Which output it adds to.
    group: usize,
}

/// The trees of a model as blocks are scored with them.
#[derive(Debug)]
pub(crate) struct Trees<C, L> {
    forks: Vec<Fork<C>>,
    joins: Vec<Join<C>>,
    /// Padded, so that [`MOST_LEAVES`] numbers follow wherever a tree's leaves begin.
    leaves: Vec<L>,
    /// One more than there are trees; the first has no tree.
    ends: Vec<Ends>,
}

/// A tree that has more leaves than can be numbered here, or a column or code beyond what fits.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl<C: Code, L: Copy + Default + AddAssign> Trees<C, L> {
    pub(crate) fn new() -> Self {
        let none = Ends { forks: 0, joins: 0, leaves: 0, group: 0 };
        Self {
            forks: Vec::new(),
            joins: Vec::new(),
            leaves: vec![L::default(); MOST_LEAVES],
            ends: vec![none],
        }
    }

    /// Adds a tree: breadth first, the root at the front.
    pub(crate) fn push(&mut self, steps: &[Step<L>], group: usize) -> Result<(), TooLarge> {
        let leaf = |step: &Step<L>| if let Step::Leaf(value) = step { Some(*value) } else { None };
        let values: Vec<L> = steps.iter().filter_map(leaf).collect();
        if values.len() > MOST_LEAVES {
            return Err(TooLarge);
        }
        // Breadth first, siblings stand side by side; so two leaves with one parent have numbers side by side.
        let mut number = 0;
        let mut places: Vec<u16> = Vec::with_capacity(steps.len());
        for step in steps {
            places.push(number);
            number += u16::from(leaf(step).is_some());
        }
        let mut next = MOST_LEAVES as u16;
        let is_leaf = |position: usize| leaf(&steps[position]).is_some();
        let splits = || {
            steps.iter().enumerate().rev().filter_map(|(position, step)| match *step {
                Step::Leaf(_) => None,
                Step::Split { column, rank, left } => Some((position, column, rank, left)),
            })
        };
        // Forks first, then, from the bottom up, what has been waiting for others.
        for (position, column, rank, left) in splits().filter(|s| is_leaf(s.3) && is_leaf(s.3 + 1)) {
            let (column, bound) = decided::<C>(column, rank)?;
            self.forks.push(Fork { column, bound, left: C::of_leaf(places[left].into()) });
            places[position] = next;
            next += 1;
        }
        for (position, column, rank, left) in splits().filter(|s| !is_leaf(s.3) || !is_leaf(s.3 + 1)) {
            let (column, bound) = decided::<C>(column, rank)?;
            self.joins.push(Join { column, bound, left: places[left], right: places[left + 1] });
            places[position] = next;
            next += 1;
        }
        self.leaves.truncate(self.leaves.len() - MOST_LEAVES);
        self.leaves.extend(values);
        let ends =
            Ends { forks: self.forks.len(), joins: self.joins.len(), leaves: self.leaves.len(), group };
        self.ends.push(ends);
        self.leaves.resize(self.leaves.len() + MOST_LEAVES, L::default());
        Ok(())
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Fork<C>>() * self.forks.capacity()
            + size_of::<Join<C>>() * self.joins.capacity()
            + size_of::<L>() * self.leaves.capacity()
            + size_of::<Ends>() * self.ends.capacity()
    }

    /// Adds the trees `range` to `sums`, which has `groups` numbers for each of at most [`ROWS`] rows, whose codes are
    /// `codes`, a lane for each column.
    pub(crate) fn add(
        &self,
        range: std::ops::Range<usize>,
        codes: &[Lane<C>],
        places: &mut Places<C>,
        sums: &mut [L],
        groups: usize,
    ) {
        let work = Work { trees: self, range, codes, places, sums, groups };
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for, as was just asked.
            #[allow(unsafe_code)]
            return unsafe { with_avx2(work) };
        }
        work.run();
    }
}

/// The column and the least code that goes right, if they fit.
fn decided<C: Code>(column: usize, rank: usize) -> Result<(u16, C), TooLarge> {
    match u16::try_from(column) {
        Ok(column) if rank + 1 < C::CODES => Ok((column, C::of(rank + 1))),
        _ => Err(TooLarge),
    }
}

/// What the leaves and splits of one tree came to: for each row the number of a leaf. The leaves' own are there from the
/// start and the same for all trees.
pub(crate) struct Places<C>(Box<[Lane<C>; PLACES]>);

impl<C: Code> Places<C> {
    pub(crate) fn new() -> Self {
        let mut lanes = Box::new([Lane::of(C::default()); PLACES]);
        for (leaf, lane) in lanes[..MOST_LEAVES].iter_mut().enumerate() {
            *lane = Lane::of(C::of_leaf(leaf));
        }
        Self(lanes)
    }
}

/// A call of [`Trees::add`].
struct Work<'w, C, L> {
    trees: &'w Trees<C, L>,
    range: std::ops::Range<usize>,
    codes: &'w [Lane<C>],
    places: &'w mut Places<C>,
    sums: &'w mut [L],
    groups: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<C: Code, L: Copy + Default + AddAssign>(work: Work<'_, C, L>) {
    work.run();
}

impl<C: Code, L: Copy + Default + AddAssign> Work<'_, C, L> {
    /// Plain loops over arrays of a fixed length, which the compiler turns into the instructions of its caller.
    #[inline(always)]
    fn run(self) {
        let Self { trees, range, codes, places, sums, groups } = self;
        for ends in trees.ends[range.start..=range.end].windows(2) {
            let (begin, end) = (ends[0], ends[1]);
            let forks = &trees.forks[begin.forks..end.forks];
            let joins = &trees.joins[begin.joins..end.joins];
            let chosen = choose(forks, joins, codes, &mut places.0);
            let Some(leaves) = trees.leaves[begin.leaves..].first_chunk() else { return };
            match groups {
                1 => add_leaves(leaves, chosen, sums.iter_mut()),
                _ => add_leaves(leaves, chosen, sums[end.group..].iter_mut().step_by(groups)),
            }
        }
    }
}

/// The number of the leaf that each row comes to.
#[inline(always)]
fn choose<'p, C: Code>(
    forks: &[Fork<C>],
    joins: &[Join<C>],
    codes: &[Lane<C>],
    places: &'p mut [Lane<C>; PLACES],
) -> &'p Lane<C> {
    let mut next = MOST_LEAVES;
    for (fork, out) in forks.iter().zip(&mut places[MOST_LEAVES..]) {
        let codes = &codes[usize::from(fork.column)].0;
        for (out, code) in out.0.iter_mut().zip(codes) {
            *out = fork.left.or_next(*code >= fork.bound);
        }
    }
    next += forks.len();
    for join in joins {
        let codes = &codes[usize::from(join.column)].0;
        let (left, right) = (usize::from(join.left) % PLACES, usize::from(join.right) % PLACES);
        let (left, right) = (&places[left].0, &places[right].0);
        let mut out = Lane::of(C::default());
        for (((out, code), left), right) in out.0.iter_mut().zip(codes).zip(left).zip(right) {
            *out = C::either(*code < join.bound, *left, *right);
        }
        places[next % PLACES] = out;
        next += 1;
    }
    // The root comes last; a tree of one leaf has none, and all come to that leaf.
    let root = if next > MOST_LEAVES { next - 1 } else { 0 };
    &places[root]
}

#[inline(always)]
fn add_leaves<'s, C: Code, L: Copy + AddAssign + 's>(
    leaves: &[L; MOST_LEAVES],
    chosen: &Lane<C>,
    sums: impl Iterator<Item = &'s mut L>,
) {
    for (sum, leaf) in sums.zip(&chosen.0) {
        *sum += leaves[usize::from(leaf.leaf())];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full tree of six levels over six columns; the leaf that a row comes to is known beforehand.
    fn tree() -> (Trees<i8, f64>, Vec<Lane<i8>>) {
        let split = |i: usize| Step::Split { column: i.ilog2() as usize, rank: 4, left: 2 * i - 1 };
        let steps: Vec<Step<f64>> =
            (1..64).map(split).chain((0..64).map(|i| Step::Leaf(f64::from(i)))).collect();
        let mut trees = Trees::new();
        trees.push(&steps, 0).unwrap();
        // Bit `5 - column` of a row's number says whether it goes right.
        let code = |row: usize, column: usize| i8::of(if row >> (5 - column) & 1 == 0 { 4 } else { 5 });
        let lane = |column| Lane(std::array::from_fn(|row| code(row, column)));
        (trees, (0..6).map(lane).collect())
    }

    #[test]
    fn rows_come_to_their_leaves_with_and_without_instructions_of_the_machine() {
        let (trees, codes) = tree();
        let expected: Vec<f64> = (0..64).map(f64::from).collect();
        let mut sums = vec![0.0; ROWS];
        trees.add(0..1, &codes, &mut Places::new(), &mut sums, 1);
        assert_eq!(sums, expected);
        let mut sums = vec![0.0; ROWS];
        let places = &mut Places::new();
        Work { trees: &trees, range: 0..1, codes: &codes, places, sums: &mut sums, groups: 1 }.run();
        assert_eq!(sums, expected);
    }

    #[test]
    fn what_has_no_number_is_refused() {
        let leaves = |count: usize| vec![Step::Leaf(0.0); count];
        assert!(
            Trees::<i8, f64>::new().push(&leaves(257), 0).is_err(),
            "more leaves than a byte tells apart"
        );
        let split = |column, rank| {
            let steps = [Step::Split { column, rank, left: 1 }, Step::Leaf(1.0), Step::Leaf(2.0)];
            Trees::<i8, f64>::new().push(&steps, 0)
        };
        assert!(split(0, 254).is_ok());
        assert!(split(0, 255).is_err(), "no code is left for what goes right");
        assert!(split(1 << 16, 0).is_err(), "a column beyond the last");
    }
}

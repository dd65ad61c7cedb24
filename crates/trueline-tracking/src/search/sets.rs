//! Sets of runs by their numbers, a bit each: what a filter leaves of an experiment, put together from what each of its
//! comparisons leaves. Each comparison is one scan of one index.

use super::leaf::Leaf;
use crate::TrackingError;
use trueline_db::Tx;
use trueline_search::{Comparison, Expr, Op};

/// Runs that are in, or all but those that are out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Set {
    base: i64,
    bits: Vec<u64>,
    /// The bits tell who is out.
    inverted: bool,
}

/// The numbers of an experiment's runs lie between these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Range {
    /// How many runs there can be.
    pub(super) fn size(self) -> usize {
        usize::try_from(self.last - self.first).unwrap_or(usize::MAX).saturating_add(1)
    }
}

impl Set {
    fn none(range: Range) -> Self {
        let words = usize::try_from((range.last - range.first) / 64 + 1).unwrap_or(0);
        Self { base: range.first, bits: vec![0; words], inverted: false }
    }

    fn all(range: Range) -> Self {
        Self { inverted: true, ..Self::none(range) }
    }

    fn at(&self, n: i64) -> Option<(usize, u64)> {
        let offset = usize::try_from(n.checked_sub(self.base)?).ok()?;
        (offset / 64 < self.bits.len()).then_some((offset / 64, 1 << (offset % 64)))
    }

    fn add(&mut self, n: i64) {
        if let Some((word, bit)) = self.at(n) {
            self.bits[word] |= bit;
        }
    }

    pub(super) fn contains(&self, n: i64) -> bool {
        let marked = self.at(n).is_some_and(|(word, bit)| self.bits[word] & bit != 0);
        marked != self.inverted
    }

    /// How many runs are in it, when it tells who is in.
    pub(super) fn count(&self) -> Option<usize> {
        let marked = || self.bits.iter().map(|w| w.count_ones() as usize).sum();
        (!self.inverted).then(marked)
    }

    /// The runs in it when they are `most` at the most.
    pub(super) fn few(&self, most: usize) -> Option<Vec<i64>> {
        let count = self.count().filter(|count| *count <= most)?;
        let mut found = Vec::with_capacity(count);
        for (word, bits) in (0i64..).zip(&self.bits) {
            let ones = (0..64).filter(|bit| bits & (1 << bit) != 0);
            found.extend(ones.map(|bit| self.base + word * 64 + bit));
        }
        Some(found)
    }

    fn not(mut self) -> Self {
        self.inverted = !self.inverted;
        self
    }

    fn words(&mut self, other: &Self, join: impl Fn(u64, u64) -> u64) {
        for (own, other) in self.bits.iter_mut().zip(&other.bits) {
            *own = join(*own, *other);
        }
    }

    fn and(mut self, other: &Self) -> Self {
        match (self.inverted, other.inverted) {
            (false, false) => self.words(other, |a, b| a & b),
            (false, true) => self.words(other, |a, b| a & !b),
            (true, false) => {
                self.words(other, |a, b| !a & b);
                self.inverted = false;
            }
            (true, true) => self.words(other, |a, b| a | b),
        }
        self
    }

    fn or(self, other: Self) -> Self {
        self.not().and(&other.not()).not()
    }
}

/// The runs of an experiment that meet a filter; those that were deleted among them.
pub(super) fn evaluate(
    tx: &mut Tx<'_>,
    experiment: i64,
    range: Range,
    filter: &Expr,
) -> Result<Set, TrackingError> {
    match filter {
        Expr::And(list) => {
            let mut all = Set::all(range);
            for inner in list {
                all = all.and(&evaluate(tx, experiment, range, inner)?);
                if all.few(0).is_some() {
                    break;
                }
            }
            Ok(all)
        }
        Expr::Or(list) => {
            let mut any = Set::none(range);
            for inner in list {
                any = any.or(evaluate(tx, experiment, range, inner)?);
            }
            Ok(any)
        }
        Expr::Not(inner) => Ok(evaluate(tx, experiment, range, inner)?.not()),
        Expr::Comparison(comparison) => compare(tx, experiment, range, comparison),
    }
}

fn compare(
    tx: &mut Tx<'_>,
    experiment: i64,
    range: Range,
    comparison: &Comparison,
) -> Result<Set, TrackingError> {
    if comparison.op == Op::IsNull {
        let present = Comparison { op: Op::IsNotNull, ..comparison.clone() };
        return Ok(compare(tx, experiment, range, &present)?.not());
    }
    let mut set = Set::none(range);
    Leaf::new(comparison)?.scan(tx, experiment, |n| set.add(n))?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const RANGE: Range = Range { first: 10, last: 200 };

    fn set(of: &BTreeSet<i64>) -> Set {
        let mut set = Set::none(RANGE);
        of.iter().for_each(|n| set.add(*n));
        set
    }

    fn numbers() -> impl Strategy<Value = BTreeSet<i64>> {
        prop::collection::btree_set(RANGE.first..=RANGE.last, 0..60)
    }

    proptest! {
        #[test]
        fn sets_join_as_sets_do(a in numbers(), b in numbers(), not_a: bool, not_b: bool) {
            let turn = |s: Set, not: bool| if not { s.not() } else { s };
            let (x, y) = (turn(set(&a), not_a), turn(set(&b), not_b));
            for n in RANGE.first..=RANGE.last {
                let (in_a, in_b) = (a.contains(&n) != not_a, b.contains(&n) != not_b);
                prop_assert_eq!(x.clone().and(&y).contains(n), in_a && in_b);
                prop_assert_eq!(x.clone().or(y.clone()).contains(n), in_a || in_b);
            }
        }

        #[test]
        fn few_gives_them_in_order_or_nothing(a in numbers()) {
            let few = set(&a).few(20);
            prop_assert_eq!(few.is_some(), a.len() <= 20);
            if let Some(few) = few {
                prop_assert_eq!(few, a.into_iter().collect::<Vec<_>>());
            }
        }
    }
}

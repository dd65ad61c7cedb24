//! Sets of runs by their numbers, a bit each: what a filter leaves of an experiment, put together from what each of its
//! comparisons leaves. Each comparison is one scan of one index.

use super::leaf::Leaf;
use crate::TrackingError;
use trueline_db::Tx;
use trueline_search::{Comparison, Expr, Op};

/// Runs that are in, or all but those that are out.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    /// The place of the first word: runs `64 * first` and on.
    first: i64,
    bits: Vec<u64>,
    /// The bits tell who is out.
    inverted: bool,
}

impl Set {
    /// Just these.
    pub(super) fn of(runs: &[i64]) -> Self {
        let mut set = Self::default();
        let word = |n: i64| n.div_euclid(64);
        let Some((low, high)) = runs.iter().min().zip(runs.iter().max()) else { return set };
        set.cover(word(*low), word(*high));
        for n in runs {
            if let Some(bits) = set.word_mut(word(*n)) {
                *bits |= 1 << n.rem_euclid(64);
            }
        }
        set
    }

    fn all() -> Self {
        Self { inverted: true, ..Self::default() }
    }

    fn end(&self) -> i64 {
        self.first.saturating_add(i64::try_from(self.bits.len()).unwrap_or(i64::MAX))
    }

    /// Makes room for the words from `low` to `high`.
    fn cover(&mut self, low: i64, high: i64) {
        if self.bits.is_empty() {
            self.first = low;
        }
        let before = usize::try_from(self.first - low).unwrap_or(0);
        if before > 0 {
            self.bits.splice(0..0, std::iter::repeat_n(0, before));
            self.first = low;
        }
        let after = usize::try_from(high + 1 - self.end()).unwrap_or(0);
        self.bits.resize(self.bits.len() + after, 0);
    }

    fn word(&self, place: i64) -> u64 {
        let place = usize::try_from(place - self.first).ok();
        place.and_then(|place| self.bits.get(place)).copied().unwrap_or(0)
    }

    fn word_mut(&mut self, place: i64) -> Option<&mut u64> {
        self.bits.get_mut(usize::try_from(place - self.first).ok()?)
    }

    pub(super) fn contains(&self, n: i64) -> bool {
        let marked = self.word(n.div_euclid(64)) & (1 << n.rem_euclid(64)) != 0;
        marked != self.inverted
    }

    /// The runs in it, sorted, when they are `most` at the most.
    pub(super) fn few(&self, most: usize) -> Option<Vec<i64>> {
        let count: usize = self.bits.iter().map(|w| w.count_ones() as usize).sum();
        if self.inverted || count > most {
            return None;
        }
        let mut found = Vec::with_capacity(count);
        for (place, bits) in (self.first..).zip(&self.bits) {
            let ones = (0..64).filter(|bit| bits & (1 << bit) != 0);
            found.extend(ones.map(|bit| place * 64 + bit));
        }
        Some(found)
    }

    fn not(mut self) -> Self {
        self.inverted = !self.inverted;
        self
    }

    /// Joins word by word, over all words of both.
    fn words(&mut self, other: &Self, join: impl Fn(u64, u64) -> u64) {
        if !other.bits.is_empty() {
            self.cover(other.first, other.end() - 1);
        }
        for (place, own) in (self.first..).zip(&mut self.bits) {
            *own = join(*own, other.word(place));
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
pub(super) fn evaluate(tx: &mut Tx<'_>, experiment: i64, filter: &Expr) -> Result<Set, TrackingError> {
    match filter {
        Expr::And(list) => {
            let mut all = Set::all();
            for inner in list {
                all = all.and(&evaluate(tx, experiment, inner)?);
                if all.few(0).is_some() {
                    break;
                }
            }
            Ok(all)
        }
        Expr::Or(list) => {
            let mut any = Set::default();
            for inner in list {
                any = any.or(evaluate(tx, experiment, inner)?);
            }
            Ok(any)
        }
        Expr::Not(inner) => Ok(evaluate(tx, experiment, inner)?.not()),
        Expr::Comparison(comparison) => compare(tx, experiment, comparison),
    }
}

fn compare(tx: &mut Tx<'_>, experiment: i64, comparison: &Comparison) -> Result<Set, TrackingError> {
    if comparison.op == Op::IsNull {
        let present = Comparison { op: Op::IsNotNull, ..comparison.clone() };
        return Ok(compare(tx, experiment, &present)?.not());
    }
    let mut found = Vec::new();
    Leaf::new(comparison)?.scan(tx, experiment, |n| found.push(n))?;
    Ok(Set::of(&found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(of: &BTreeSet<i64>) -> Set {
        Set::of(&of.iter().copied().collect::<Vec<_>>())
    }

    fn numbers() -> impl Strategy<Value = BTreeSet<i64>> {
        (0i64..500).prop_flat_map(|from| prop::collection::btree_set(from..from + 200, 0..60))
    }

    proptest! {
        #[test]
        fn sets_join_as_sets_do(a in numbers(), b in numbers(), not_a: bool, not_b: bool) {
            let turn = |s: Set, not: bool| if not { s.not() } else { s };
            let (x, y) = (turn(set(&a), not_a), turn(set(&b), not_b));
            let (both, either) = (x.clone().and(&y), x.or(y));
            for n in 0..800 {
                let (in_a, in_b) = (a.contains(&n) != not_a, b.contains(&n) != not_b);
                prop_assert_eq!(both.contains(n), in_a && in_b);
                prop_assert_eq!(either.contains(n), in_a || in_b);
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

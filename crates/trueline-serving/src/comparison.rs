//! Two answers to one question, compared row by row with tolerance: what a shadow and a rehearsal count. It judges nothing.

use crate::error::ServingError;
use crate::predictions::Predictions;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// How far two numbers may lie apart and still be the same answer: |a − b| ≤ absolute + relative·|a|, a being what answers
/// now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// In the predictions' own unit.
    pub absolute: f64,
    /// As a share of what answers now.
    pub relative: f64,
}

/// How two answers to one row differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Whether they are different answers.
    pub differs: bool,
    /// Whether they differ in what no tolerance is for: a class, a text, a shape.
    pub in_kind: bool,
    /// The largest distance between two numbers of them.
    pub by: f64,
}

/// How two answers to one request differ.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Rows of the request.
    pub rows: u64,
    /// Rows that are answered differently.
    pub differing: u64,
    /// The largest distance between two numbers of one row.
    pub largest: f64,
    /// The row that differs most, if one does.
    pub worst: Option<(usize, Difference)>,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: 0.05, relative: 0.0 }
    }
}

impl Tolerance {
    /// Checks it.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] for what is no distance.
    pub fn check(self) -> Result<(), ServingError> {
        for (name, value) in [("absolute", self.absolute), ("relative", self.relative)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ServingError::Invalid(format!(
                    "a tolerance is 0 or more: {name} is {value}; give it in the predictions' own unit, or relative as a share"
                )));
            }
        }
        Ok(())
    }

    fn allows(self, now: f64, by: f64) -> bool {
        by <= self.absolute + self.relative * now.abs()
    }
}

impl Difference {
    const KIND: Self = Self { differs: true, in_kind: true, by: 0.0 };

    /// Of two answers to one row. Floats are held to the tolerance; whole numbers, booleans and texts are classes, which are
    /// the same or not; lists and tables have the same shape and are compared value by value.
    #[must_use]
    pub fn of(now: &Json, then: &Json, tolerance: Tolerance) -> Self {
        match (now, then) {
            (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => {
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                let by = (a - b).abs();
                // Farther apart than there are numbers is as far as there are: what is kept of it is a number.
                Self { differs: !tolerance.allows(a, by), in_kind: false, by: by.min(f64::MAX) }
            }
            (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
                a.iter().zip(b).map(|(a, b)| Self::of(a, b, tolerance)).fold(Self::default(), Self::and)
            }
            (Json::Object(a), Json::Object(b)) if a.len() == b.len() => {
                let one = |(name, a)| b.get(name).map_or(Self::KIND, |b| Self::of(a, b, tolerance));
                a.iter().map(one).fold(Self::default(), Self::and)
            }
            (a, b) if a == b => Self::default(),
            _ => Self::KIND,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            differs: self.differs || other.differs,
            in_kind: self.in_kind || other.in_kind,
            by: self.by.max(other.by),
        }
    }

    /// Whether this is the greater difference: in kind before in degree.
    #[must_use]
    pub fn exceeds(&self, other: &Self) -> bool {
        let rank = |d: &Self| (d.differs, d.in_kind, d.by);
        rank(self) > rank(other)
    }
}

impl Comparison {
    /// Of two answers to a request of so many rows. An answer that has not a part for each row is compared as a whole, and
    /// all rows are answered differently, or none.
    #[must_use]
    pub fn of(now: &Predictions, then: &Predictions, rows: usize, tolerance: Tolerance) -> Self {
        let mut found = Self { rows: rows as u64, ..Self::default() };
        if now.has_rows(rows) && then.has_rows(rows) {
            for row in 0..rows {
                found.add(row, Difference::of(&now.row(row, rows), &then.row(row, rows), tolerance));
            }
            return found;
        }
        let whole = Difference::of(&now.json(), &then.json(), tolerance);
        found.add(0, whole);
        found.differing *= found.rows.max(1);
        found
    }

    fn add(&mut self, row: usize, difference: Difference) {
        self.differing += u64::from(difference.differs);
        self.largest = self.largest.max(difference.by);
        if difference.differs && self.worst.is_none_or(|(_, worst)| difference.exceeds(&worst)) {
            self.worst = Some((row, difference));
        }
    }
}

/// The things that differ most, of as many as there were, each with its name: a list that does not grow beyond its length.
#[derive(Clone, Debug, Default)]
pub struct Worst {
    /// The largest difference first.
    kept: Vec<(String, Difference)>,
}

impl Worst {
    /// Considers one, and keeps at most so many. Of equal ones the earlier is kept.
    pub fn add(&mut self, name: impl FnOnce() -> String, difference: Difference, most: usize) {
        let place = self.kept.partition_point(|(_, kept)| !difference.exceeds(kept));
        if place < most {
            self.kept.insert(place, (name(), difference));
            self.kept.truncate(most);
        }
    }

    /// Those that were kept, the largest difference first.
    #[must_use]
    pub fn into_largest_first(self) -> Vec<(String, Difference)> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_tensors::{Tensor, Values};

    const NEAR: Tolerance = Tolerance { absolute: 0.1, relative: 0.01 };

    fn differs(a: &Json, b: &Json) -> bool {
        Difference::of(a, b, NEAR).differs
    }

    #[test]
    fn floats_have_a_tolerance_and_classes_have_none() {
        assert!(!differs(&json!(1.0), &json!(1.1)) && differs(&json!(1.0), &json!(1.2)));
        assert!(!differs(&json!(1_000.0), &json!(1_010.0)), "one percent of what answers now, and a tenth");
        assert!(!differs(&json!(-1_000.0), &json!(-1_010.0)) && differs(&json!(-1_000.0), &json!(-1_011.0)));
        assert!(differs(&json!(1), &json!(2)) && !differs(&json!(2), &json!(2)));
        assert!(!differs(&json!(1), &json!(1.05)), "a number and a float are numbers");
        assert!(differs(&json!("late"), &json!("on time")) && differs(&json!(true), &json!(1)));
        assert!(!differs(&json!(null), &json!(null)) && differs(&json!(null), &json!(0.0)));
    }

    #[test]
    fn numbers_that_are_farther_apart_than_there_are_numbers_have_a_distance() {
        let apart = Difference::of(&json!(1e308), &json!(-1e308), NEAR);
        assert_eq!((apart.differs, apart.by), (true, f64::MAX));
    }

    #[test]
    fn shapes_must_match() {
        assert!(!differs(&json!([0.1, 0.9]), &json!([0.15, 0.85])));
        assert!(differs(&json!([0.1, 0.9]), &json!([0.1, 0.45, 0.45])));
        assert!(differs(&json!({ "a": 1.0 }), &json!({ "b": 1.0 })));
        let apart = Difference::of(&json!({ "a": [1.0, 5.0] }), &json!({ "a": [1.0, 2.0] }), NEAR);
        assert_eq!(apart, Difference { differs: true, in_kind: false, by: 3.0 });
    }

    #[test]
    fn a_request_tells_its_rows_that_differ_and_the_one_that_differs_most() {
        let column = |values: &[f32]| Predictions::column(Values::Fp32(values.to_vec()));
        let found = Comparison::of(&column(&[0.5, 0.5, 0.5]), &column(&[0.5, 1.5, 2.5]), 3, NEAR);
        assert_eq!((found.rows, found.differing, found.largest), (3, 2, 2.0));
        assert_eq!(found.worst.map(|(row, _)| row), Some(2));
        let shorter = Comparison::of(&column(&[0.5, 0.5, 0.5]), &column(&[0.5]), 3, NEAR);
        assert_eq!((shorter.differing, shorter.worst.unwrap().1.in_kind), (3, true));
        let named = Predictions::Named(vec![Tensor::column("p", Values::Fp32(vec![0.5, 0.5, 0.5]))]);
        assert_eq!(Comparison::of(&column(&[0.5, 0.5, 0.5]), &named, 3, NEAR).differing, 3, "another shape");
    }

    #[test]
    fn the_worst_are_kept_and_no_more_of_them() {
        let mut worst = Worst::default();
        for by in [3.0, 1.0, 5.0, 5.0, 2.0] {
            worst.add(|| by.to_string(), Difference { differs: true, in_kind: false, by }, 3);
        }
        worst.add(|| "class".to_owned(), Difference::KIND, 3);
        let names: Vec<String> = worst.into_largest_first().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["class", "5", "5"]);
    }

    #[test]
    fn a_tolerance_is_a_distance() {
        assert!(Tolerance::default().check().is_ok());
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Tolerance { absolute: bad, relative: 0.0 }.check().is_err());
            assert!(Tolerance { absolute: 0.0, relative: bad }.check().is_err());
        }
    }
}

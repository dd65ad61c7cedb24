//! Values gathered one by one, of the narrowest type that holds them all.

use crate::values::Values;
use serde_json::Value as Json;

/// The largest whole number below which every one is a float too.
const EXACT: i64 = 1 << 53;

/// Gathers the values of a column whose type nobody told, as those of JSON: whole numbers stay whole until a fraction
/// comes, a missing value makes a float NaN, and what fits together no more is kept as JSON, exactly as it came.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    values: Gathered,
}

#[derive(Clone, Debug)]
enum Gathered {
    /// Missing values alone, and how many.
    Missing(usize),
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Text(Vec<Option<String>>),
    Json(Vec<Json>),
}

impl Default for Gathered {
    fn default() -> Self {
        Self::Missing(0)
    }
}

#[allow(clippy::cast_precision_loss)]
fn exact(whole: i64) -> Option<f64> {
    (-EXACT..=EXACT).contains(&whole).then_some(whole as f64)
}

impl Builder {
    /// How many there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.values {
            Gathered::Missing(n) => *n,
            Gathered::Bool(list) => list.len(),
            Gathered::Int(list) => list.len(),
            Gathered::Float(list) => list.len(),
            Gathered::Text(list) => list.len(),
            Gathered::Json(list) => list.len(),
        }
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A missing value.
    pub fn push_missing(&mut self) {
        match &mut self.values {
            Gathered::Missing(n) => *n += 1,
            Gathered::Float(list) => list.push(f64::NAN),
            Gathered::Text(list) => list.push(None),
            _ => self.push_odd(Json::Null),
        }
    }

    /// Missing values up to so many values in all.
    pub fn fill_up_to(&mut self, len: usize) {
        while self.len() < len {
            self.push_missing();
        }
    }

    /// A boolean.
    pub fn push_bool(&mut self, on: bool) {
        match &mut self.values {
            Gathered::Bool(list) => list.push(on),
            Gathered::Missing(0) => self.values = Gathered::Bool(vec![on]),
            _ => self.push_odd(on.into()),
        }
    }

    /// A whole number.
    pub fn push_int(&mut self, whole: i64) {
        match (&mut self.values, exact(whole)) {
            (Gathered::Int(list), _) => list.push(whole),
            (Gathered::Missing(0), _) => self.values = Gathered::Int(vec![whole]),
            (Gathered::Float(list), Some(float)) => list.push(float),
            _ => self.push_odd(whole.into()),
        }
    }

    /// A whole number that is larger than an [`i64`].
    pub fn push_large(&mut self, whole: u64) {
        match i64::try_from(whole) {
            Ok(whole) => self.push_int(whole),
            Err(_) => self.push_odd(whole.into()),
        }
    }

    /// A float, finite or not; a NaN is a missing value.
    pub fn push_float(&mut self, float: f64) {
        match &mut self.values {
            Gathered::Float(list) => list.push(float),
            Gathered::Missing(0) => self.values = Gathered::Float(vec![float]),
            Gathered::Missing(n) => {
                let mut list = vec![f64::NAN; *n];
                list.push(float);
                self.values = Gathered::Float(list);
            }
            Gathered::Int(list) => match list.iter().copied().map(exact).collect::<Option<Vec<_>>>() {
                Some(mut floats) => {
                    floats.push(float);
                    self.values = Gathered::Float(floats);
                }
                None => self.push_odd(float.into()),
            },
            _ => self.push_odd(float.into()),
        }
    }

    /// A text.
    pub fn push_text(&mut self, text: String) {
        match &mut self.values {
            Gathered::Text(list) => list.push(Some(text)),
            Gathered::Missing(0) => self.values = Gathered::Text(vec![Some(text)]),
            Gathered::Missing(n) => {
                let mut list = vec![None; *n];
                list.push(Some(text));
                self.values = Gathered::Text(list);
            }
            _ => self.push_odd(text.into()),
        }
    }

    /// Any value.
    pub fn push(&mut self, value: Json) {
        match value {
            Json::Null => self.push_missing(),
            Json::Bool(on) => self.push_bool(on),
            Json::String(text) => self.push_text(text),
            Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(whole), _, _) => self.push_int(whole),
                (None, Some(large), _) => self.push_large(large),
                (None, None, Some(float)) => self.push_float(float),
                (None, None, None) => self.push_odd(Json::Number(n)),
            },
            other => self.push_odd(other),
        }
    }

    /// The values.
    #[must_use]
    pub fn finish(self) -> Values {
        match self.values {
            Gathered::Missing(n) => Values::Json(vec![Json::Null; n]),
            Gathered::Bool(list) => Values::Bool(list),
            Gathered::Int(list) => Values::Int64(list),
            Gathered::Float(list) => Values::Fp64(list),
            Gathered::Text(list) => Values::Text(list),
            Gathered::Json(list) => Values::Json(list),
        }
    }

    /// Adds a value that does not fit to what was gathered so far, which is JSON from then on.
    fn push_odd(&mut self, value: Json) {
        let mut list = match std::mem::take(self).finish() {
            Values::Json(list) => list,
            before => (0..before.len()).map(|i| before.json(i)).collect(),
        };
        list.push(value);
        self.values = Gathered::Json(list);
    }
}

impl FromIterator<Json> for Builder {
    fn from_iter<I: IntoIterator<Item = Json>>(values: I) -> Self {
        let mut builder = Self::default();
        values.into_iter().for_each(|value| builder.push(value));
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gathered(values: &[Json]) -> Values {
        values.iter().cloned().collect::<Builder>().finish()
    }

    #[test]
    fn values_get_the_narrowest_type_that_holds_them_all() {
        assert_eq!(gathered(&[json!(1), json!(2)]), Values::Int64(vec![1, 2]));
        assert_eq!(gathered(&[json!(1), json!(2.5)]), Values::Fp64(vec![1.0, 2.5]));
        assert_eq!(gathered(&[json!(2.5), json!(1)]), Values::Fp64(vec![2.5, 1.0]));
        assert_eq!(gathered(&[json!(true)]), Values::Bool(vec![true]));
        assert_eq!(gathered(&[Json::Null, json!("a")]), Values::Text(vec![None, Some("a".into())]));
        assert_eq!(gathered(&[]), Values::Json(vec![]));
        let Values::Fp64(floats) = gathered(&[Json::Null, json!(1.5), Json::Null]) else { panic!() };
        assert!(floats[0].is_nan() && floats[1] == 1.5 && floats[2].is_nan());
    }

    #[test]
    fn what_does_not_fit_together_is_kept_exactly_as_it_came() {
        for values in [
            vec![json!(1), json!("a")],
            vec![json!(1), Json::Null],
            vec![json!((1_i64 << 53) + 1), json!(0.5)],
            vec![json!(0.5), json!((1_i64 << 53) + 1)],
            vec![json!(u64::MAX)],
            vec![json!(true), json!(1)],
            vec![json!([1]), json!({ "a": null })],
        ] {
            assert_eq!(gathered(&values), Values::Json(values));
        }
    }
}

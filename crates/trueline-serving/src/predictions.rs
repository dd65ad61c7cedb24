//! What a model answers.

use serde_json::Value as Json;
use trueline_tensors::{Tensor, Values};

/// A power of two by which numbers are made so small that there is a sum of all of an answer.
const SMALL: f64 = f64::from_bits((1_023 - 100) << 52);

/// The answer to one request, in the form that the model gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum Predictions {
    /// One array without a name, its first dimension the rows.
    Array(Tensor),
    /// A table: columns with names, one value for each row.
    Table(Vec<Tensor>),
    /// Arrays with names.
    Named(Vec<Tensor>),
    /// What is none of these, of a model that answers as it pleases.
    Json(Json),
}

impl Predictions {
    /// The name that an answer without one has where there must be one.
    pub const UNNAMED: &str = "predict";

    /// One value for each row.
    #[must_use]
    pub fn column(values: Values) -> Self {
        Self::Array(Tensor::column("", values))
    }

    /// Several values for each row, of which the caller knows that they fill the shape.
    pub(crate) fn array(shape: Vec<usize>, values: Values) -> Self {
        match Tensor::new("", shape, values) {
            Ok(tensor) => Self::Array(tensor),
            Err(odd) => Self::Json(Json::from(odd.to_string())),
        }
    }

    /// The arrays of it; none when it is JSON.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        match self {
            Self::Array(one) => std::slice::from_ref(one),
            Self::Table(many) | Self::Named(many) => many,
            Self::Json(_) => &[],
        }
    }

    /// Whether it has more values than `most`, which is how far it is counted.
    #[must_use]
    pub fn is_larger_than(&self, most: usize) -> bool {
        match self {
            Self::Json(any) => !has_room(any, &mut { most }),
            other => other.tensors().iter().map(|t| t.values().len()).sum::<usize>() > most,
        }
    }

    /// The predictions of one row as JSON: a value, a list, or a dictionary of them by name. Of an answer whose rows are
    /// not those of the request, all of it.
    #[must_use]
    pub fn row(&self, row: usize, rows: usize) -> Json {
        let of = |tensor: &Tensor| {
            let width = tensor.width();
            match tensor.is_column() {
                true => tensor.values().json(row),
                false => (row * width..(row + 1) * width).map(|i| tensor.values().json(i)).collect(),
            }
        };
        match self {
            Self::Json(Json::Array(list)) if list.len() == rows => list[row].clone(),
            Self::Json(any) => any.clone(),
            other if other.tensors().iter().any(|t| t.rows() != rows) => other.json(),
            Self::Array(one) => of(one),
            Self::Table(many) | Self::Named(many) => {
                many.iter().map(|t| (t.name().to_owned(), of(t))).collect()
            }
        }
    }

    /// All of it as JSON, as MLflow's scoring server writes it: a table as records, arrays with names as a dictionary.
    #[must_use]
    pub fn json(&self) -> Json {
        match self {
            Self::Array(one) => nested(one),
            Self::Named(many) => many.iter().map(|t| (t.name().to_owned(), nested(t))).collect(),
            Self::Table(many) => {
                let rows = many.first().map_or(0, Tensor::rows);
                (0..rows).map(|row| self.row(row, rows)).collect()
            }
            Self::Json(any) => any.clone(),
        }
    }

    /// Whether it has a part for each of so many rows.
    pub(crate) fn has_rows(&self, rows: usize) -> bool {
        match self {
            Self::Json(Json::Array(list)) => list.len() == rows,
            Self::Json(_) => false,
            other => !other.tensors().is_empty() && other.tensors().iter().all(|t| t.rows() == rows),
        }
    }

    /// Whether every number of it is finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.tensors().iter().all(|t| match t.values() {
            Values::Fp32(list) => list.iter().all(|v| v.is_finite()),
            Values::Fp64(list) => list.iter().all(|v| v.is_finite()),
            _ => true,
        })
    }

    /// The mean over the rows, for models that answer numbers. Where a row has the probabilities of several classes, it
    /// stands for the class that is expected, from 0 for the first to 1 for the last: one number that moves when
    /// probability moves between classes. NaN when there is no number.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn mean(&self) -> f64 {
        let Some(tensor) = self.tensors().iter().find(|t| t.values().number(0).is_some()) else {
            return f64::NAN;
        };
        let width = tensor.width().max(1);
        let of = |scale: f64| {
            let value = |at| tensor.values().number(at).unwrap_or(f64::NAN) * scale;
            let row = |row: usize| match width {
                1 => value(row),
                many => {
                    let weighted = (0..many).map(|class| class as f64 * value(row * many + class));
                    weighted.sum::<f64>() / (many - 1) as f64
                }
            };
            (0..tensor.rows()).map(row).sum::<f64>() / tensor.rows() as f64
        };
        let mean = of(1.0);
        if mean.is_finite() || tensor.rows() == 0 || !self.is_finite() {
            return mean;
        }
        // Numbers near the largest have a mean, though their sum is none.
        (of(SMALL) / SMALL).clamp(f64::MIN, f64::MAX)
    }
}

/// Takes each value off `room`; whether there was enough of it.
fn has_room(json: &Json, room: &mut usize) -> bool {
    match json {
        Json::Array(list) => list.iter().all(|one| has_room(one, room)),
        Json::Object(fields) => fields.values().all(|one| has_room(one, room)),
        _ => {
            let left = room.checked_sub(1);
            *room = left.unwrap_or_default();
            left.is_some()
        }
    }
}

/// A tensor as lists in lists.
fn nested(tensor: &Tensor) -> Json {
    fn level(values: &Values, shape: &[usize], from: usize) -> Json {
        match shape {
            [] => values.json(from),
            [n, inner @ ..] => {
                let step: usize = inner.iter().product();
                (0..*n).map(|i| level(values, inner, from + i * step)).collect()
            }
        }
    }
    level(tensor.values(), tensor.shape(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_written_as_mlflow_does() {
        let probabilities = Predictions::array(vec![2, 2], Values::Fp32(vec![0.5, 0.5, 1.0, 0.0]));
        assert_eq!(probabilities.json(), json!([[0.5, 0.5], [1.0, 0.0]]));
        assert_eq!(probabilities.row(1, 2), json!([1.0, 0.0]));
        let column = |name: &str, values| Tensor::column(name, Values::Int64(values));
        let table = Predictions::Table(vec![column("a", vec![1, 2]), column("b", vec![3, 4])]);
        assert_eq!(table.json(), json!([{ "a": 1, "b": 3 }, { "a": 2, "b": 4 }]));
        let named = Predictions::Named(table.tensors().to_vec());
        assert_eq!(named.json(), json!({ "a": [1, 2], "b": [3, 4] }));
        assert_eq!(named.row(0, 2), json!({ "a": 1, "b": 3 }));
        assert_eq!(named.row(0, 7), named.json(), "rows of its own");
        assert_eq!(Predictions::Json(json!(["x", "y"])).row(1, 2), json!("y"));
    }

    #[test]
    fn the_mean_of_classes_is_the_class_that_is_expected() {
        assert_eq!(Predictions::column(Values::Fp32(vec![1.0, 3.0])).mean(), 2.0);
        assert_eq!(Predictions::column(Values::Bool(vec![true, false])).mean(), 0.5);
        assert_eq!(Predictions::column(Values::Uint8(vec![3, 4])).mean(), 3.5);
        assert_eq!(Predictions::array(vec![1, 3], Values::Fp64(vec![0.0, 0.5, 0.5])).mean(), 0.75);
        let large = |values: [f64; 2]| Predictions::column(Values::Fp64(values.to_vec())).mean();
        assert_eq!((large([1e308, 1e308]), large([f64::MAX, f64::MIN])), (1e308, 0.0));
        assert!(!large([f64::INFINITY, 1.0]).is_finite() && large([f64::NAN, 1.0]).is_nan());
        assert!(Predictions::Json(json!("x")).mean().is_nan());
        assert!(Predictions::column(Values::Fp32(vec![])).mean().is_nan());
    }
}

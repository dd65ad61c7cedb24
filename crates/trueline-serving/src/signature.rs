//! A model's signature, as MLflow records it, and the turning of a request's columns into what the model takes: the
//! right columns in the right order, each value of the right type, or an error that names column, row, what was
//! expected and what came.

use crate::error::InputError;
use crate::frame::{Cells, Frame};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use trueline_tensors::Values;

/// MLflow's column types that a numeric model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// 64-bit floating point; missing is NaN.
    Double,
    /// 32-bit floating point; missing is NaN.
    Float,
    /// 64-bit integer; nothing may be missing.
    Long,
    /// 32-bit integer; nothing may be missing.
    Integer,
    /// True or false, taken as 1 or 0.
    Boolean,
}

impl ColumnType {
    /// MLflow's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Float => "float",
            Self::Long => "long",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "double" => Some(Self::Double),
            "float" => Some(Self::Float),
            "long" => Some(Self::Long),
            "integer" => Some(Self::Integer),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }
}

/// A column that a model takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it must be there.
    pub required: bool,
}

/// What a model takes: columns by name, or rows of so many numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Named columns, in the model's order.
    Columns(Vec<InputColumn>),
    /// Rows of so many numbers without names.
    Tensor {
        /// How many numbers a row has.
        width: usize,
    },
}

impl Signature {
    /// Reads the JSON of `signature.inputs` in an `MLmodel` file.
    ///
    /// # Errors
    /// A sentence that says what of it is not served yet.
    pub fn parse(inputs: &str) -> Result<Self, String> {
        let list: Vec<Json> =
            serde_json::from_str(inputs).map_err(|e| format!("its signature can't be read: {e}"))?;
        let is_tensor = |spec: &Json| spec["type"] == "tensor";
        match list.as_slice() {
            [] => Err("its signature names no inputs".to_owned()),
            [one] if is_tensor(one) => tensor(one),
            many => {
                let columns = many.iter().enumerate().map(|(i, spec)| input_column(i, spec));
                Ok(Self::Columns(columns.collect::<Result<_, _>>()?))
            }
        }
    }

    /// The columns of a model that has names but no recorded signature: numbers, all of them required.
    #[must_use]
    pub fn of_names(names: &[String]) -> Self {
        let column =
            |name: &String| InputColumn { name: name.clone(), kind: ColumnType::Double, required: true };
        Self::Columns(names.iter().map(column).collect())
    }

    /// How many numbers a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.len(),
            Self::Tensor { width } => *width,
        }
    }

    /// Turns a request into rows of numbers, one after the other; a missing value is NaN.
    ///
    /// Columns that the model does not take are left out, as MLflow does.
    ///
    /// # Errors
    /// [`InputError`] with column and row.
    pub(crate) fn rows<T: Number>(&self, frame: &Frame) -> Result<Vec<T>, InputError> {
        let width = self.width();
        let mut out = vec![T::MISSING; frame.rows() * width];
        let columns = match self {
            Self::Columns(columns) if frame.is_named() => return by_name(columns, frame, out),
            Self::Columns(columns) => columns.as_slice(),
            Self::Tensor { .. } => &[],
        };
        if frame.width() != width {
            return Err(InputError::WrongShape {
                expected: format!("rows of {width} values"),
                found: format!("rows of {} values", frame.width()),
            });
        }
        for (i, cells) in frame.cells().enumerate() {
            let kind = columns.get(i).map_or(ColumnType::Double, |c| c.kind);
            fill(&mut out, width, i, cells, kind)?;
        }
        Ok(out)
    }
}

/// The frame's column for each of the model's.
fn by_name<T: Number>(columns: &[InputColumn], frame: &Frame, mut out: Vec<T>) -> Result<Vec<T>, InputError> {
    let names = |columns: &[InputColumn]| columns.iter().map(|c| c.name.clone()).collect();
    for (i, column) in columns.iter().enumerate() {
        let Some(place) = frame.columns().iter().position(|c| c.name() == column.name) else {
            if !column.required {
                continue;
            }
            let absent = |c: &&InputColumn| c.required && frame.column(&c.name).is_none();
            return Err(InputError::MissingColumns {
                missing: columns.iter().filter(absent).map(|c| c.name.clone()).collect(),
                expected: names(columns),
                found: frame.names(),
            });
        };
        let cells = frame.cells_of(place).ok_or_else(|| InputError::WrongShape {
            expected: format!("one value for each row in column '{}'", column.name),
            found: format!("the shape {:?}", frame.columns()[place].shape()),
        })?;
        fill(&mut out, columns.len(), i, cells, column.kind)?;
    }
    Ok(out)
}

/// What a model reckons with.
pub(crate) trait Number: Copy {
    /// A missing value.
    const MISSING: Self;
    /// The nearest to a whole number.
    fn of_int(whole: i64) -> Self;
    /// The nearest to a float.
    fn of_float(float: f64) -> Self;
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
impl Number for f32 {
    const MISSING: Self = Self::NAN;
    fn of_int(whole: i64) -> Self {
        whole as Self
    }
    fn of_float(float: f64) -> Self {
        float as Self
    }
}

fn tensor(spec: &Json) -> Result<Signature, String> {
    let shape = spec["tensor-spec"]["shape"].as_array().map(Vec::as_slice).unwrap_or_default();
    match shape {
        [_, width] if width.as_i64().is_some_and(|w| w > 0) => {
            Ok(Signature::Tensor { width: usize::try_from(width.as_i64().unwrap_or(0)).unwrap_or(0) })
        }
        _ => Err(format!(
            "its signature takes a tensor of shape {}; tree models take rows of a fixed width",
            spec["tensor-spec"]["shape"]
        )),
    }
}

fn input_column(i: usize, spec: &Json) -> Result<InputColumn, String> {
    let name = spec["name"].as_str().map_or_else(|| i.to_string(), ToOwned::to_owned);
    let word = spec["type"].as_str().unwrap_or_default();
    let kind = ColumnType::parse(word).ok_or_else(|| {
        format!(
            "its column '{name}' is of type {word}; tree models take double, float, long, integer or boolean"
        )
    })?;
    Ok(InputColumn { name, kind, required: spec["required"] != false })
}

fn fill<T: Number>(
    out: &mut [T],
    width: usize,
    at: usize,
    cells: Cells<'_>,
    kind: ColumnType,
) -> Result<(), InputError> {
    for row in 0..cells.rows() {
        out[row * width + at] =
            number(cells.values(), cells.index(row), kind).map_err(|problem| problem.at(cells, row, kind))?;
    }
    Ok(())
}

/// Why a value is not one of its column.
enum Problem {
    Missing,
    Wrong,
}

impl Problem {
    fn at(self, cells: Cells<'_>, row: usize, kind: ColumnType) -> InputError {
        let (column, expected) = (cells.name(), kind.as_str().to_owned());
        match self {
            Self::Missing => InputError::MissingValue { column, row, expected },
            Self::Wrong => {
                let found = told(&cells.values().json(cells.index(row)));
                InputError::WrongType { column, row, expected, found }
            }
        }
    }
}

/// A value as the model takes it. MLflow takes a whole number where a fraction is expected, not the other way round.
fn number<T: Number>(values: &Values, at: usize, kind: ColumnType) -> Result<T, Problem> {
    use ColumnType::{Boolean, Double, Float, Integer};
    let whole = |value: i64| match kind {
        Integer if i32::try_from(value).is_err() => Err(Problem::Wrong),
        Boolean => Err(Problem::Wrong),
        _ => Ok(T::of_int(value)),
    };
    let float = |value: f64| match kind {
        Double | Float => Ok(T::of_float(value)),
        _ if value.is_nan() => Err(Problem::Missing),
        _ => Err(Problem::Wrong),
    };
    match values {
        Values::Fp64(list) => float(list[at]),
        Values::Fp32(list) => float(f64::from(list[at])),
        Values::Int64(list) => whole(list[at]),
        Values::Int32(list) => whole(list[at].into()),
        Values::Int16(list) => whole(list[at].into()),
        Values::Int8(list) => whole(list[at].into()),
        Values::Uint64(list) => i64::try_from(list[at]).map_err(|_| Problem::Wrong).and_then(whole),
        Values::Uint32(list) => whole(list[at].into()),
        Values::Uint16(list) => whole(list[at].into()),
        Values::Uint8(list) => whole(list[at].into()),
        Values::Bool(list) if kind == Boolean => Ok(T::of_int(list[at].into())),
        Values::Bool(_) | Values::Bytes(_) => Err(Problem::Wrong),
        Values::Text(list) => match list[at].as_deref() {
            None => float(f64::NAN),
            Some("NaN") => float(f64::NAN),
            Some("Infinity") => float(f64::INFINITY),
            Some("-Infinity") => float(f64::NEG_INFINITY),
            Some(_) => Err(Problem::Wrong),
        },
        Values::Json(list) => {
            let one = std::iter::once(list[at].clone()).collect::<trueline_tensors::Builder>().finish();
            match (&one, &list[at]) {
                (_, Json::Null) => float(f64::NAN),
                (Values::Json(_), Json::Number(large)) if matches!(kind, Double | Float) => {
                    large.as_f64().map(T::of_float).ok_or(Problem::Wrong)
                }
                (Values::Json(_), _) => Err(Problem::Wrong),
                (one, _) => number(one, 0, kind),
            }
        }
    }
}

/// A value as an error tells it: its kind and, when it is short, itself.
fn told(value: &Json) -> String {
    let kind = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_f64() => "a fraction",
        Json::Number(_) => "a whole number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    };
    let shown = value.to_string();
    if shown.len() <= 40 { format!("{kind} {shown}") } else { kind.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_tensors::{Builder, Tensor};

    const INPUTS: &str = r#"[{"type": "double", "name": "distance", "required": true},
        {"type": "long", "name": "hour", "required": true},
        {"type": "boolean", "name": "holiday", "required": false}]"#;

    fn values(given: &[Json]) -> Values {
        given.iter().cloned().collect::<Builder>().finish()
    }

    fn frame(columns: &[(&str, &[Json])]) -> Frame {
        let column = |(name, given): &(&str, &[Json])| Tensor::column(*name, values(given));
        Frame::named(columns.iter().map(column).collect()).unwrap()
    }

    #[test]
    fn columns_are_put_in_order_and_others_left_out() {
        let signature = Signature::parse(INPUTS).unwrap();
        let input = frame(&[
            ("hour", &[json!(7), json!(8)]),
            ("unknown", &[json!("x"), json!("y")]),
            ("distance", &[json!(1.5), Json::Null]),
        ]);
        let rows: Vec<f32> = signature.rows(&input).unwrap();
        assert_eq!(rows[..2], [1.5, 7.0]);
        assert!(rows[2].is_nan() && rows[3].is_nan(), "the optional column and the missing value are NaN");
        assert_eq!(rows[4], 8.0);
    }

    #[test]
    fn errors_name_column_row_expected_and_found() {
        let signature = Signature::parse(INPUTS).unwrap();
        let told =
            |columns: &[(&str, &[Json])]| signature.rows::<f32>(&frame(columns)).unwrap_err().to_string();
        assert_eq!(
            told(&[("hour", &[json!(1)])]),
            r#"Model is missing inputs ["distance"]. It takes ["distance", "hour", "holiday"], the request has ["hour"]."#
        );
        assert_eq!(
            told(&[("distance", &[json!(1), json!("far")]), ("hour", &[json!(1), json!(2)])]),
            r#"Column 'distance', row 1: expected double, got text "far"."#
        );
        assert_eq!(
            told(&[("distance", &[json!(1)]), ("hour", &[json!(1.5)])]),
            "Column 'hour', row 0: expected long, got a fraction 1.5."
        );
        let missing = told(&[("distance", &[json!(1)]), ("hour", &[Json::Null])]);
        assert!(missing.starts_with("Column 'hour', row 0: a value is missing"), "{missing}");
    }

    #[test]
    fn rows_without_names_must_have_the_right_width() {
        let signature = Signature::parse(INPUTS).unwrap();
        let input = Frame::array(Tensor::new("", vec![1, 2], values(&[json!(1), json!(2)])).unwrap());
        let error = signature.rows::<f32>(&input).unwrap_err().to_string();
        assert_eq!(error, "The input has the wrong shape: expected rows of 3 values, got rows of 2 values.");
    }

    #[test]
    fn values_of_every_width_are_taken_where_they_fit() {
        let signature =
            |kind: &str| Signature::parse(&format!(r#"[{{"type": "{kind}", "name": "x"}}]"#)).unwrap();
        let read = |kind: &str, values: Values| {
            let frame = Frame::named(vec![Tensor::column("x", values)]).unwrap();
            signature(kind).rows::<f32>(&frame).map_err(|e| e.to_string())
        };
        assert_eq!(read("double", Values::Uint8(vec![7])), Ok(vec![7.0]));
        assert_eq!(read("float", Values::Fp32(vec![0.1])), Ok(vec![0.1]));
        assert_eq!(read("long", Values::Int32(vec![-7])), Ok(vec![-7.0]));
        assert_eq!(read("boolean", Values::Bool(vec![true])), Ok(vec![1.0]));
        assert_eq!(read("double", values(&[json!(u64::MAX)])), Ok(vec![18_446_744_073_709_551_615.0]));
        assert_eq!(read("double", values(&[json!(1), json!("Infinity")])), Ok(vec![1.0, f32::INFINITY]));
        for (kind, odd) in [
            ("integer", Values::Int64(vec![1 << 40])),
            ("long", Values::Uint64(vec![u64::MAX])),
            ("long", Values::Fp32(vec![1.5])),
            ("double", Values::Bool(vec![true])),
            ("boolean", Values::Int64(vec![1])),
            ("double", Values::Bytes(vec![b"1".to_vec()])),
            ("double", values(&[json!([1])])),
        ] {
            let error = read(kind, odd.clone()).unwrap_err();
            assert!(
                error.starts_with(&format!("Column 'x', row 0: expected {kind}, got ")),
                "{odd:?}: {error}"
            );
        }
    }

    #[test]
    fn what_tree_models_do_not_take_is_refused_by_name() {
        let error = Signature::parse(r#"[{"type": "string", "name": "carrier"}]"#).unwrap_err();
        assert!(error.contains("'carrier' is of type string"), "{error}");
    }
}

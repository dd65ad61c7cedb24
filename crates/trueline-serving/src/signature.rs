//! A model's signature, as MLflow records it, and the turning of a request's columns into what the model takes: the
//! right columns in the right order, each value of the right type, or an error that names column, row, what was
//! expected and what came.

use crate::error::InputError;
use crate::frame::{Column, Frame};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

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
    pub fn rows(&self, frame: &Frame) -> Result<Vec<f32>, InputError> {
        let width = self.width();
        let mut out = vec![f32::NAN; frame.rows() * width];
        match self {
            Self::Tensor { .. } => {
                self.check_width(frame)?;
                for (i, column) in frame.columns().iter().enumerate() {
                    fill(&mut out, width, i, column, ColumnType::Double)?;
                }
            }
            Self::Columns(columns) => {
                let placed = self.place(columns, frame)?;
                for (i, (column, source)) in columns.iter().zip(placed).enumerate() {
                    if let Some(source) = source {
                        fill(&mut out, width, i, source, column.kind)?;
                    }
                }
            }
        }
        Ok(out)
    }

    /// The frame's column for each of the model's.
    fn place<'f>(
        &self,
        columns: &[InputColumn],
        frame: &'f Frame,
    ) -> Result<Vec<Option<&'f Column>>, InputError> {
        if !frame.is_named() {
            self.check_width(frame)?;
            return Ok(frame.columns().iter().map(Some).collect());
        }
        let missing: Vec<String> = columns
            .iter()
            .filter(|c| c.required && frame.column(&c.name).is_none())
            .map(|c| c.name.clone())
            .collect();
        if !missing.is_empty() {
            return Err(InputError::MissingColumns {
                missing,
                expected: columns.iter().map(|c| c.name.clone()).collect(),
                found: frame.columns().iter().map(|c| c.name.clone()).collect(),
            });
        }
        Ok(columns.iter().map(|c| frame.column(&c.name)).collect())
    }

    fn check_width(&self, frame: &Frame) -> Result<(), InputError> {
        let (expected, found) = (self.width(), frame.columns().len());
        if expected == found {
            return Ok(());
        }
        Err(InputError::WrongShape {
            expected: format!("rows of {expected} values"),
            found: format!("rows of {found} values"),
        })
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

fn fill(
    out: &mut [f32],
    width: usize,
    at: usize,
    column: &Column,
    kind: ColumnType,
) -> Result<(), InputError> {
    for (row, value) in column.values.iter().enumerate() {
        out[row * width + at] = number(value, kind).map_err(|problem| problem.at(column, row, kind))?;
    }
    Ok(())
}

/// Why a value is not one of its column.
enum Problem {
    Missing,
    Wrong(String),
}

impl Problem {
    fn at(self, column: &Column, row: usize, kind: ColumnType) -> InputError {
        let (column, expected) = (column.name.clone(), kind.as_str().to_owned());
        match self {
            Self::Missing => InputError::MissingValue { column, row, expected },
            Self::Wrong(found) => InputError::WrongType { column, row, expected, found },
        }
    }
}

/// A value as the model takes it. MLflow takes a whole number where a fraction is expected, not the other way round.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn number(value: &Json, kind: ColumnType) -> Result<f32, Problem> {
    let wrong = || Problem::Wrong(told(value));
    match (kind, value) {
        (ColumnType::Double | ColumnType::Float, Json::Null) => Ok(f32::NAN),
        (_, Json::Null) => Err(Problem::Missing),
        (ColumnType::Double | ColumnType::Float, Json::Number(n)) => {
            n.as_f64().map(|v| v as f32).ok_or_else(wrong)
        }
        (ColumnType::Double | ColumnType::Float, Json::String(text)) => match text.as_str() {
            "NaN" => Ok(f32::NAN),
            "Infinity" => Ok(f32::INFINITY),
            "-Infinity" => Ok(f32::NEG_INFINITY),
            _ => Err(wrong()),
        },
        (ColumnType::Long, Json::Number(n)) => n.as_i64().map(|v| v as f32).ok_or_else(wrong),
        (ColumnType::Integer, Json::Number(n)) => {
            let small = n.as_i64().filter(|v| i32::try_from(*v).is_ok());
            small.map(|v| v as f32).ok_or_else(wrong)
        }
        (ColumnType::Boolean, Json::Bool(on)) => Ok(if *on { 1.0 } else { 0.0 }),
        _ => Err(wrong()),
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

    const INPUTS: &str = r#"[{"type": "double", "name": "distance", "required": true},
        {"type": "long", "name": "hour", "required": true},
        {"type": "boolean", "name": "holiday", "required": false}]"#;

    fn frame(columns: &[(&str, &[Json])]) -> Frame {
        let column =
            |(name, values): &(&str, &[Json])| Column { name: (*name).to_owned(), values: values.to_vec() };
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
        let rows = signature.rows(&input).unwrap();
        assert_eq!(rows[..2], [1.5, 7.0]);
        assert!(rows[2].is_nan() && rows[3].is_nan(), "the optional column and the missing value are NaN");
        assert_eq!(rows[4], 8.0);
    }

    #[test]
    fn errors_name_column_row_expected_and_found() {
        let signature = Signature::parse(INPUTS).unwrap();
        let told = |columns: &[(&str, &[Json])]| signature.rows(&frame(columns)).unwrap_err().to_string();
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
        let input = Frame::unnamed(vec![vec![json!(1)], vec![json!(2)]]).unwrap();
        let error = signature.rows(&input).unwrap_err().to_string();
        assert_eq!(error, "The input has the wrong shape: expected rows of 3 values, got rows of 2 values.");
    }

    #[test]
    fn what_tree_models_do_not_take_is_refused_by_name() {
        let error = Signature::parse(r#"[{"type": "string", "name": "carrier"}]"#).unwrap_err();
        assert!(error.contains("'carrier' is of type string"), "{error}");
    }
}

//! A model's signature, as MLflow records it, and the turning of a request's columns into what the model takes: the
//! right columns in the right order, each value of the right type, or an error that names column, row, what was
//! expected and what came.

use crate::error::InputError;
use crate::frame::{Cells, Frame, Origin};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use trueline_tensors::{DataType, Values};

/// MLflow's column types.
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
    /// True or false; 1 or 0 to a model of numbers.
    Boolean,
    /// A text.
    String,
    /// Bytes, in base64 where they come as text.
    Binary,
    /// A moment.
    Datetime,
    /// Lists, dictionaries, or anything: taken as it comes.
    Any,
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
            Self::String => "string",
            Self::Binary => "binary",
            Self::Datetime => "datetime",
            Self::Any => "any",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "double" => Self::Double,
            "float" => Self::Float,
            "long" => Self::Long,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            "binary" => Self::Binary,
            "datetime" => Self::Datetime,
            "any" | "array" | "object" | "map" | "sparkml_vector" => Self::Any,
            _ => return None,
        })
    }

    /// Whether a model of numbers takes it.
    fn is_number(self) -> bool {
        matches!(self, Self::Double | Self::Float | Self::Long | Self::Integer | Self::Boolean)
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

/// An array that a model takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputTensor {
    /// Its name; none where it is the only one.
    pub name: Option<String>,
    /// The type of its values.
    pub data_type: DataType,
    /// Its dimensions, rows first; -1 for one that varies.
    pub shape: Vec<i64>,
}

/// What a model takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Named columns, in the model's order.
    Columns(Vec<InputColumn>),
    /// Columns that nobody named: the first of a request's, whatever their names. Here they are called by their places.
    Places(Vec<InputColumn>),
    /// Arrays: one without a name, or several with names.
    Tensors(Vec<InputTensor>),
    /// Nobody said.
    Unknown,
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
            tensors if tensors.iter().all(is_tensor) => {
                Ok(Self::Tensors(tensors.iter().map(tensor).collect::<Result<_, _>>()?))
            }
            many => {
                let columns = many.iter().enumerate().map(|(i, spec)| input_column(i, spec));
                let columns = columns.collect::<Result<_, _>>()?;
                let is_named = many.iter().any(|spec| !spec["name"].is_null());
                Ok(if is_named { Self::Columns(columns) } else { Self::Places(columns) })
            }
        }
    }

    /// The names of what it takes; none where something of it has none.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&str>> {
        match self {
            Self::Columns(columns) => Some(columns.iter().map(|column| column.name.as_str()).collect()),
            Self::Tensors(tensors) => tensors.iter().map(|tensor| tensor.name.as_deref()).collect(),
            Self::Places(_) | Self::Unknown => None,
        }
    }

    /// Rows of so many numbers without names.
    #[must_use]
    pub fn matrix(width: usize) -> Self {
        let shape = vec![-1, i64::try_from(width).unwrap_or(i64::MAX)];
        Self::Tensors(vec![InputTensor { name: None, data_type: DataType::Fp32, shape }])
    }

    /// The columns of a model that has names but no recorded signature: numbers, all of them required.
    #[must_use]
    pub fn of_names(names: &[String]) -> Self {
        let column =
            |name: &String| InputColumn { name: name.clone(), kind: ColumnType::Double, required: true };
        Self::Columns(names.iter().map(column).collect())
    }

    /// How many numbers a row has, of a signature of numbers alone.
    ///
    /// # Errors
    /// A sentence that says what a model of numbers does not take.
    pub(crate) fn width(&self) -> Result<usize, String> {
        match self {
            Self::Columns(columns) | Self::Places(columns) => {
                match columns.iter().find(|c| !c.kind.is_number()) {
                    None => Ok(columns.len()),
                    Some(odd) => Err(format!(
                        "its column '{}' is of type {}; tree models take double, float, long, integer or boolean",
                        odd.name,
                        odd.kind.as_str()
                    )),
                }
            }
            Self::Tensors(tensors) => match tensors.as_slice() {
                [InputTensor { shape, .. }] if shape.len() == 2 && shape[1] > 0 => {
                    Ok(usize::try_from(shape[1]).unwrap_or(usize::MAX))
                }
                [one] => Err(format!(
                    "its signature takes a tensor of shape {:?}; tree models take rows of a fixed width",
                    one.shape
                )),
                _ => Err("its signature takes several tensors; tree models take one".to_owned()),
            },
            Self::Unknown => Err("it has no signature".to_owned()),
        }
    }

    /// Turns a request into rows of numbers, one after the other; a missing value is NaN.
    ///
    /// Columns that the model does not take are left out, as MLflow does.
    ///
    /// # Errors
    /// [`InputError`] with column and row.
    pub(crate) fn rows<T: Number>(&self, frame: &Frame) -> Result<Vec<T>, InputError> {
        let (columns, width) = match self {
            Self::Columns(columns) | Self::Places(columns) => (columns.as_slice(), columns.len()),
            _ => (&[][..], self.width().unwrap_or(0)),
        };
        let mut out = vec![T::MISSING; frame.rows() * width];
        let has_places = matches!(self, Self::Places(_));
        if !has_places && !columns.is_empty() && has_names(frame, columns) {
            return by_name(columns, frame, out);
        }
        if frame.width() < width || frame.width() > width && !has_places {
            return Err(InputError::WrongShape {
                expected: format!("rows of {width} values"),
                found: format!("rows of {} values", frame.width()),
            });
        }
        if let [one] = frame.columns()
            && frame.width() == width
            && columns.iter().all(|column| matches!(column.kind, ColumnType::Double | ColumnType::Float))
            && let Some(rows) = floats(one.values())
        {
            return Ok(rows);
        }
        for (i, cells) in frame.cells().take(width).enumerate() {
            match columns.get(i) {
                Some(column) => fill(&mut out, width, i, cells, column.kind, &column.name)?,
                None => fill(&mut out, width, i, cells, ColumnType::Double, &cells.name())?,
            }
        }
        Ok(out)
    }
}

/// Whether a request's columns are told apart by name. The numbers of a table without names are names to a model that has
/// those itself.
pub(crate) fn has_names(frame: &Frame, columns: &[InputColumn]) -> bool {
    let is_there = |column: &InputColumn| frame.columns().iter().any(|given| given.name() == column.name);
    frame.is_named() || frame.origin() == Origin::Numbered && columns.iter().all(is_there)
}

/// Floats as they lie, which an array of them is taken as where nothing but floats is wanted.
fn floats<T: Number>(values: &Values) -> Option<Vec<T>> {
    match values {
        Values::Fp32(list) => Some(list.iter().map(|value| T::of_float(f64::from(*value))).collect()),
        Values::Fp64(list) => Some(list.iter().map(|value| T::of_float(*value)).collect()),
        _ => None,
    }
}

/// The frame's column for each of the model's.
fn by_name<T: Number>(columns: &[InputColumn], frame: &Frame, mut out: Vec<T>) -> Result<Vec<T>, InputError> {
    let names = |columns: &[InputColumn]| columns.iter().map(|c| c.name.clone()).collect();
    for (i, column) in columns.iter().enumerate() {
        let Some(place) = place_of(&column.name, i, frame) else {
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
        fill(&mut out, columns.len(), i, cells, column.kind, &column.name)?;
    }
    Ok(out)
}

/// Where a request has a column: mostly where the model has it too.
fn place_of(name: &str, here: usize, frame: &Frame) -> Option<usize> {
    let columns = frame.columns();
    match columns.get(here).is_some_and(|c| c.name() == name) {
        true => Some(here),
        false => columns.iter().position(|c| c.name() == name),
    }
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

#[allow(clippy::cast_precision_loss)]
impl Number for f64 {
    const MISSING: Self = Self::NAN;
    fn of_int(whole: i64) -> Self {
        whole as Self
    }
    fn of_float(float: f64) -> Self {
        float
    }
}

fn tensor(spec: &Json) -> Result<InputTensor, String> {
    let told = &spec["tensor-spec"];
    let shape = told["shape"].as_array().into_iter().flatten().map(Json::as_i64).collect::<Option<Vec<_>>>();
    let shape = shape.filter(|s| !s.is_empty());
    let word = told["dtype"].as_str().unwrap_or_default();
    let (Some(shape), Some(data_type)) = (shape, dtype(word)) else {
        return Err(format!("its signature takes a tensor of dtype `{word}` and shape {}", told["shape"]));
    };
    Ok(InputTensor { name: spec["name"].as_str().map(ToOwned::to_owned), data_type, shape })
}

/// NumPy's word for a type.
fn dtype(word: &str) -> Option<DataType> {
    Some(match word {
        "bool" => DataType::Bool,
        "uint8" => DataType::Uint8,
        "uint16" => DataType::Uint16,
        "uint32" => DataType::Uint32,
        "uint64" => DataType::Uint64,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float16" | "float32" => DataType::Fp32,
        "float64" => DataType::Fp64,
        "object" => DataType::Json,
        "str" | "string" | "bytes" => DataType::Text,
        other if other.starts_with("<U") || other.starts_with("|S") || other.starts_with("str") => {
            DataType::Text
        }
        _ => return None,
    })
}

fn input_column(i: usize, spec: &Json) -> Result<InputColumn, String> {
    let name = match &spec["name"] {
        Json::Null => i.to_string(),
        Json::String(name) => name.clone(),
        other => other.to_string(),
    };
    let word = spec["type"].as_str().unwrap_or_default();
    let kind = ColumnType::parse(word)
        .ok_or_else(|| format!("its column '{name}' is of a type `{word}`, which is none of MLflow's"))?;
    Ok(InputColumn { name, kind, required: spec["required"] != false })
}

fn fill<T: Number>(
    out: &mut [T],
    width: usize,
    at: usize,
    cells: Cells<'_>,
    kind: ColumnType,
    name: &str,
) -> Result<(), InputError> {
    for row in 0..cells.rows() {
        out[row * width + at] = number(cells.values(), cells.index(row), kind)
            .map_err(|problem| problem.at(cells, row, kind, name))?;
    }
    Ok(())
}

/// Up to here every whole number is a float, and the other way round.
pub(crate) const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a value is not one of its column.
enum Problem {
    Missing,
    Wrong,
}

impl Problem {
    fn at(self, cells: Cells<'_>, row: usize, kind: ColumnType, name: &str) -> InputError {
        let (column, expected) = (name.to_owned(), kind.as_str().to_owned());
        match self {
            Self::Missing => InputError::MissingValue { column, row, expected },
            Self::Wrong => {
                let (found, value) = told(&cells.values().json(cells.index(row)));
                InputError::WrongType { column, row, expected, found, value }
            }
        }
    }
}

/// A value as the model takes it. What means the same is taken however it is written, as MLflow's scoring server does: `1.0`
/// and `"1"` are whole numbers, `true` is 1. What would lose something is refused, which MLflow does not always.
fn number<T: Number>(values: &Values, at: usize, kind: ColumnType) -> Result<T, Problem> {
    use ColumnType::{Boolean, Double, Float, Integer};
    let whole = |value: i64| match kind {
        Integer if i32::try_from(value).is_err() => Err(Problem::Wrong),
        Boolean if !(0..=1).contains(&value) => Err(Problem::Wrong),
        _ => Ok(T::of_int(value)),
    };
    let float = |value: f64| match kind {
        Double | Float => Ok(T::of_float(value)),
        _ if value.is_nan() => Err(Problem::Missing),
        #[allow(clippy::cast_possible_truncation)]
        _ if value.fract() == 0.0 && value.abs() <= MOST_EXACT => whole(value as i64),
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
        Values::Bool(list) => Ok(T::of_int(list[at].into())),
        Values::Bytes(_) => Err(Problem::Wrong),
        Values::Text(list) => match list[at].as_deref() {
            None => float(f64::NAN),
            Some("NaN") => float(f64::NAN),
            Some("Infinity") => float(f64::INFINITY),
            Some("-Infinity") => float(f64::NEG_INFINITY),
            Some(_) if kind == Boolean => Err(Problem::Wrong),
            Some(text) => match (text.trim().parse(), text.trim().parse::<f64>()) {
                (Ok(value), _) => whole(value),
                (_, Ok(value)) if value.is_finite() => float(value),
                _ => Err(Problem::Wrong),
            },
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
pub(crate) fn told(value: &Json) -> (String, Option<String>) {
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
    (kind.to_owned(), (shown.len() <= 40).then_some(shown))
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
    fn an_array_of_floats_is_taken_as_it_lies_where_floats_are_wanted() {
        let array = |values| Frame::array(Tensor::new("", vec![2, 2], values).unwrap());
        let floats =
            Signature::parse(r#"[{"type": "double", "name": "a"}, {"type": "float", "name": "b"}]"#).unwrap();
        for signature in [floats, Signature::matrix(2)] {
            let rows: Vec<f32> =
                signature.rows(&array(Values::Fp64(vec![0.1, 2.0, -0.0, f64::NAN]))).unwrap();
            assert!(rows[..2] == [0.1, 2.0] && rows[2].to_bits() == (-0.0_f32).to_bits() && rows[3].is_nan());
            let rows: Vec<f64> = signature.rows(&array(Values::Fp32(vec![0.1, 1.0, 2.0, 3.0]))).unwrap();
            assert_eq!(rows, [f64::from(0.1_f32), 1.0, 2.0, 3.0]);
            let rows: Vec<f64> = signature.rows(&array(Values::Int64(vec![1, 2, 3, 4]))).unwrap();
            assert_eq!(rows, [1.0, 2.0, 3.0, 4.0]);
        }
        let whole =
            Signature::parse(r#"[{"type": "double", "name": "a"}, {"type": "long", "name": "b"}]"#).unwrap();
        let error =
            whole.rows::<f32>(&array(Values::Fp32(vec![1.0, 2.0, 3.0, 4.5]))).unwrap_err().to_string();
        assert_eq!(error, "Column 'b', row 1: expected long, got a fraction 4.5.");
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
        assert_eq!(read("double", Values::Bool(vec![true])), Ok(vec![1.0]));
        assert_eq!(read("boolean", Values::Int64(vec![1])), Ok(vec![1.0]));
        assert_eq!(read("long", Values::Fp64(vec![-7.0])), Ok(vec![-7.0]));
        assert_eq!(read("long", values(&[json!("12")])), Ok(vec![12.0]));
        assert_eq!(read("double", values(&[json!(u64::MAX)])), Ok(vec![18_446_744_073_709_551_615.0]));
        assert_eq!(read("double", values(&[json!(1), json!("Infinity")])), Ok(vec![1.0, f32::INFINITY]));
        for (kind, odd) in [
            ("integer", Values::Int64(vec![1 << 40])),
            ("long", Values::Uint64(vec![u64::MAX])),
            ("long", Values::Fp32(vec![1.5])),
            ("boolean", Values::Int64(vec![2])),
            ("boolean", values(&[json!("true")])),
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
        let signature = Signature::parse(r#"[{"type": "string", "name": "carrier"}]"#).unwrap();
        let error = signature.width().unwrap_err();
        assert!(error.contains("'carrier' is of type string"), "{error}");
    }
}

//! A request made to fit a signature for models that take more than numbers: the columns that the model names, each of the
//! type that it names; arrays of its types. What MLflow would cast is cast, what it would refuse is refused, by column and
//! row.

use crate::error::InputError;
use crate::frame::{Frame, Origin};
use crate::signature::{ColumnType, InputColumn, InputTensor, MOST_EXACT, Signature, has_names, told};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value as Json;
use trueline_tensors::{DataType, Tensor, Values, python_repr};

impl Signature {
    /// The request as the model takes it.
    ///
    /// # Errors
    /// [`InputError`] with column and row.
    pub(crate) fn typed(&self, frame: &Frame) -> Result<Frame, InputError> {
        match self {
            _ if frame.origin() == Origin::Document => Ok(frame.clone()),
            Self::Unknown => Ok(as_it_came(frame)),
            Self::Columns(columns) => table(columns, frame),
            Self::Places(columns) => by_place(columns, frame),
            Self::Tensors(tensors) => match tensors.as_slice() {
                [one] if one.name.is_none() || !frame.is_named() => single(one, frame),
                many => arrays(many, frame),
            },
        }
    }
}

/// What a model gets that nobody told the signature of: what pandas and NumPy make of the values.
fn as_it_came(frame: &Frame) -> Frame {
    let made = |tensor: &Tensor| match frame.origin() {
        Origin::Table | Origin::Numbered => inferred(tensor),
        Origin::Arrays => stacked(tensor),
        Origin::Array | Origin::Document => tensor.clone(),
    };
    frame.made_into(frame.columns().iter().map(made).collect())
}

/// A column of JSON that pandas has a type for: numbers of which some are missing are floats, those that are too large for a
/// sign are unsigned.
fn inferred(tensor: &Tensor) -> Tensor {
    let Values::Json(list) = tensor.values() else { return tensor.clone() };
    let is_number = |v: &Json| v.is_number() || v.is_null();
    if !tensor.is_column() || !list.iter().all(is_number) || list.iter().all(Json::is_null) {
        return tensor.clone();
    }
    let values = match list.iter().map(Json::as_u64).collect::<Option<_>>() {
        Some(unsigned) => Values::Uint64(unsigned),
        None => Values::Fp64(list.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()),
    };
    Tensor::column(tensor.name(), values)
}

/// The first columns of a request, under its own names, each of the type that its place has.
fn by_place(columns: &[InputColumn], frame: &Frame) -> Result<Frame, InputError> {
    if !frame.is_named() {
        let given = split(columns, frame)?;
        let cast = columns
            .iter()
            .zip(&given)
            .map(|(column, tensor)| Ok(cast_column(column, tensor, frame.origin())?.into_values()));
        let cast = cast.collect::<Result<Vec<_>, InputError>>()?;
        return Frame::numbered(cast).map_err(|found| shape_error("columns of one length", found));
    }
    if frame.columns().len() < columns.len() {
        return Err(shape_error(
            format!("{} columns", columns.len()),
            format!("{} columns", frame.columns().len()),
        ));
    }
    let cast = columns.iter().zip(frame.columns()).map(|(column, tensor)| {
        let column = InputColumn { name: tensor.name().to_owned(), ..column.clone() };
        cast_column(&column, tensor, frame.origin())
    });
    Frame::named(cast.collect::<Result<_, _>>()?).map_err(|found| shape_error("columns of one length", found))
}

fn table(columns: &[InputColumn], frame: &Frame) -> Result<Frame, InputError> {
    let given: Vec<Tensor> = match has_names(frame, columns) {
        true => frame.columns().to_vec(),
        false if frame.width() != columns.len() => return Err(width_error(columns, frame)),
        false => split(columns, frame)?,
    };
    let mut out = Vec::with_capacity(columns.len());
    for column in columns {
        match given.iter().find(|g| g.name() == column.name) {
            Some(tensor) => out.push(cast_column(column, tensor, frame.origin())?),
            None if column.required => {
                let absent = |c: &&InputColumn| c.required && given.iter().all(|g| g.name() != c.name);
                return Err(InputError::MissingColumns {
                    missing: columns.iter().filter(absent).map(|c| c.name.clone()).collect(),
                    expected: columns.iter().map(|c| c.name.clone()).collect(),
                    found: frame.names(),
                });
            }
            None => {}
        }
    }
    Frame::named(out).map_err(|found| shape_error("columns of one length", found))
}

fn shape_error(expected: impl Into<String>, found: impl Into<String>) -> InputError {
    InputError::WrongShape { expected: expected.into(), found: found.into() }
}

fn width_error(columns: &[InputColumn], frame: &Frame) -> InputError {
    let rows = |width: usize| format!("rows of {width} values");
    shape_error(rows(columns.len()), rows(frame.width()))
}

/// The first columns of what came without names, under the names that the model has for them.
fn split(columns: &[InputColumn], frame: &Frame) -> Result<Vec<Tensor>, InputError> {
    if frame.width() < columns.len() {
        return Err(width_error(columns, frame));
    }
    let column = |(cells, column): (crate::Cells<'_>, &InputColumn)| {
        let places: Vec<usize> = (0..cells.rows()).map(|row| cells.index(row)).collect();
        Tensor::column(column.name.clone(), cells.values().pick(&places))
    };
    Ok(frame.cells().zip(columns).map(column).collect())
}

fn cast_column(column: &InputColumn, tensor: &Tensor, origin: Origin) -> Result<Tensor, InputError> {
    let to = match column.kind {
        ColumnType::Double => DataType::Fp64,
        ColumnType::Float => DataType::Fp32,
        ColumnType::Long => DataType::Int64,
        ColumnType::Integer => DataType::Int32,
        ColumnType::Boolean => DataType::Bool,
        ColumnType::String | ColumnType::Datetime => DataType::Text,
        ColumnType::Binary => DataType::Bytes,
        ColumnType::Any => return Ok(inferred(tensor)),
    };
    // pandas has a column of texts hold whatever is put into it; NumPy makes texts of what an array of texts is given.
    let is_table = matches!(origin, Origin::Table | Origin::Numbered);
    let is_text = matches!(tensor.values(), Values::Text(_) | Values::Bytes(_));
    let to = if column.kind == ColumnType::String && is_table && !is_text { DataType::Json } else { to };
    let values = cast(tensor.values(), to).map_err(|at| {
        let row = at / tensor.width().max(1);
        let (column, expected) = (column.name.clone(), column.kind.as_str().to_owned());
        match tensor.values().json(at) {
            Json::Null => InputError::MissingValue { column, row, expected },
            other => {
                let (found, value) = told(&other);
                InputError::WrongType { column, row, expected, found, value }
            }
        }
    })?;
    reshaped(tensor, values)
}

/// The values in the tensor's shape; one of shape (n, 1) is a column of n.
fn reshaped(tensor: &Tensor, values: Values) -> Result<Tensor, InputError> {
    if let [_, 1] = tensor.shape() {
        return Ok(Tensor::column(tensor.name(), values));
    }
    Tensor::new(tensor.name(), tensor.shape().to_vec(), values)
        .map_err(|e| shape_error("values that fill their shape", e.to_string()))
}

/// The one array that a model takes, of an array or of columns side by side.
fn single(spec: &InputTensor, frame: &Frame) -> Result<Frame, InputError> {
    let tensor = match frame.columns() {
        [one] => one.clone(),
        columns => side_by_side(columns, frame.rows(), spec.data_type)?,
    };
    let name = spec.name.clone().unwrap_or_default();
    Ok(Frame::array(cast_tensor(spec, &tensor)?.named(name)))
}

fn side_by_side(columns: &[Tensor], rows: usize, to: DataType) -> Result<Tensor, InputError> {
    let mut all: Option<Values> = None;
    for column in columns {
        if !column.is_column() {
            return Err(shape_error(
                "one array, or columns of one value for each row",
                format!("{:?}", column.shape()),
            ));
        }
        let values = cast(column.values(), to).map_err(|row| wrong_type(column, row, to))?;
        match &mut all {
            None => all = Some(values),
            Some(all) => drop(all.append(values)),
        }
    }
    let by_column = all.unwrap_or(Values::Json(Vec::new()));
    let width = columns.len();
    let places: Vec<usize> = (0..rows).flat_map(|row| (0..width).map(move |c| c * rows + row)).collect();
    Tensor::new("", vec![rows, width], by_column.pick(&places))
        .map_err(|e| shape_error("one array", e.to_string()))
}

fn arrays(specs: &[InputTensor], frame: &Frame) -> Result<Frame, InputError> {
    let names = || specs.iter().filter_map(|s| s.name.clone()).collect::<Vec<_>>();
    let find = |spec: &InputTensor| {
        let name = spec.name.as_deref().unwrap_or_default();
        let found = frame.column(name).ok_or_else(|| InputError::MissingColumns {
            missing: names().into_iter().filter(|n| frame.column(n).is_none()).collect(),
            expected: names(),
            found: frame.names(),
        })?;
        cast_tensor(spec, found)
    };
    let tensors = specs.iter().map(find).collect::<Result<_, _>>()?;
    Frame::named(tensors).map_err(|found| shape_error("arrays of as many rows", found))
}

/// A column of lists of one shape as one array.
fn stacked(tensor: &Tensor) -> Tensor {
    match tensor.values() {
        Values::Json(list) if tensor.is_column() && list.first().is_some_and(Json::is_array) => {
            let array = Tensor::of_json(Json::Array(list.clone()), tensor.name());
            array.map_or_else(|_| tensor.clone(), |array| array.named(tensor.name()))
        }
        _ => tensor.clone(),
    }
}

fn cast_tensor(spec: &InputTensor, tensor: &Tensor) -> Result<Tensor, InputError> {
    let tensor = &stacked(tensor);
    let fits = |(wanted, given): (&i64, &usize)| *wanted < 0 || usize::try_from(*wanted) == Ok(*given);
    // A column stands for an array that is one wide.
    let shape = match (tensor.shape(), spec.shape.len()) {
        ([rows], 2) => vec![*rows, 1],
        (shape, _) => shape.to_vec(),
    };
    if shape.len() != spec.shape.len() || !spec.shape.iter().zip(&shape).all(fits) {
        return Err(shape_error(
            format!("an array of shape {:?}", spec.shape),
            format!("{:?}", tensor.shape()),
        ));
    }
    let values =
        cast(tensor.values(), spec.data_type).map_err(|at| wrong_type(tensor, at, spec.data_type))?;
    Tensor::new(tensor.name(), shape, values).map_err(|e| shape_error("one array", e.to_string()))
}

fn wrong_type(tensor: &Tensor, at: usize, to: DataType) -> InputError {
    let (found, value) = told(&tensor.values().json(at));
    InputError::WrongType {
        column: if tensor.name().is_empty() { "input".to_owned() } else { tensor.name().to_owned() },
        row: at / tensor.width().max(1),
        expected: format!("{to:?}").to_ascii_lowercase(),
        found,
        value,
    }
}

/// Values of another type, where nothing is lost but the precision of floats; else the place of the first that does not fit.
fn cast(values: &Values, to: DataType) -> Result<Values, usize> {
    if values.data_type() == to {
        return Ok(values.clone());
    }
    let each = 0..values.len();
    macro_rules! whole {
        ($variant:ident, $kind:ty) => {
            each.map(|at| whole(values, at).and_then(|v| <$kind>::try_from(v).ok()).ok_or(at))
                .collect::<Result<Vec<$kind>, usize>>()
                .map(Values::$variant)
        };
    }
    match to {
        DataType::Fp64 => {
            each.map(|at| float(values, at).ok_or(at)).collect::<Result<_, _>>().map(Values::Fp64)
        }
        #[allow(clippy::cast_possible_truncation)]
        DataType::Fp32 => each
            .map(|at| float(values, at).map(|v| v as f32).ok_or(at))
            .collect::<Result<_, _>>()
            .map(Values::Fp32),
        DataType::Int64 => whole!(Int64, i64),
        DataType::Int32 => whole!(Int32, i32),
        DataType::Int16 => whole!(Int16, i16),
        DataType::Int8 => whole!(Int8, i8),
        DataType::Uint64 => whole!(Uint64, u64),
        DataType::Uint32 => whole!(Uint32, u32),
        DataType::Uint16 => whole!(Uint16, u16),
        DataType::Uint8 => whole!(Uint8, u8),
        DataType::Bool => each
            .map(|at| match (truth(values, at), whole(values, at)) {
                (Some(on), _) => Ok(on),
                (None, Some(0 | 1)) if !matches!(values, Values::Text(_)) => Ok(whole(values, at) == Some(1)),
                _ => Err(at),
            })
            .collect::<Result<_, _>>()
            .map(Values::Bool),
        DataType::Text => {
            each.map(|at| text(values, at).ok_or(at)).collect::<Result<_, _>>().map(Values::Text)
        }
        DataType::Bytes => {
            each.map(|at| bytes(values, at).ok_or(at)).collect::<Result<_, _>>().map(Values::Bytes)
        }
        DataType::Json => Ok(Values::Json(each.map(|at| values.json(at)).collect())),
    }
}

fn truth(values: &Values, at: usize) -> Option<bool> {
    match values {
        Values::Bool(list) => Some(list[at]),
        Values::Json(list) => list[at].as_bool(),
        _ => None,
    }
}

/// A float that is a whole number, exactly.
#[allow(clippy::cast_possible_truncation)]
fn exact(float: f64) -> Option<i128> {
    (float.fract() == 0.0 && float.abs() <= MOST_EXACT).then_some(float as i128)
}

/// A value that is a whole number, however it is written.
fn whole(values: &Values, at: usize) -> Option<i128> {
    Some(match values {
        Values::Bool(list) => list[at].into(),
        Values::Fp64(list) => exact(list[at])?,
        Values::Fp32(list) => exact(list[at].into())?,
        Values::Text(list) => list[at].as_deref()?.trim().parse().ok()?,
        Values::Int64(list) => list[at].into(),
        Values::Int32(list) => list[at].into(),
        Values::Int16(list) => list[at].into(),
        Values::Int8(list) => list[at].into(),
        Values::Uint64(list) => list[at].into(),
        Values::Uint32(list) => list[at].into(),
        Values::Uint16(list) => list[at].into(),
        Values::Uint8(list) => list[at].into(),
        Values::Json(list) => match &list[at] {
            Json::Bool(on) => (*on).into(),
            Json::String(text) => text.trim().parse().ok()?,
            number => match (number.as_i64(), number.as_u64()) {
                (Some(whole), _) => whole.into(),
                (None, Some(large)) => large.into(),
                (None, None) => exact(number.as_f64()?)?,
            },
        },
        Values::Bytes(_) => return None,
    })
}

#[allow(clippy::cast_precision_loss)]
fn float(values: &Values, at: usize) -> Option<f64> {
    match values {
        Values::Fp64(list) => Some(list[at]),
        Values::Fp32(list) => Some(list[at].into()),
        Values::Text(list) => match list[at].as_deref() {
            None | Some("NaN") => Some(f64::NAN),
            Some("Infinity") => Some(f64::INFINITY),
            Some("-Infinity") => Some(f64::NEG_INFINITY),
            Some(text) => text.trim().parse().ok().filter(|float: &f64| float.is_finite()),
        },
        Values::Json(list) => match &list[at] {
            Json::Null => Some(f64::NAN),
            Json::Bool(on) => Some(f64::from(u8::from(*on))),
            Json::Number(n) => n.as_f64(),
            Json::String(word) => float(&Values::Text(vec![Some(word.clone())]), 0),
            _ => None,
        },
        other => whole(other, at).map(|v| v as f64),
    }
}

/// A text, or that one is missing. What is none becomes the text that Python makes of it.
fn text(values: &Values, at: usize) -> Option<Option<String>> {
    match values {
        Values::Text(list) => Some(list[at].clone()),
        Values::Bool(_) => Some(Some(if truth(values, at)? { "True" } else { "False" }.to_owned())),
        Values::Json(list) => match &list[at] {
            Json::Null => Some(None),
            Json::String(text) => Some(Some(text.clone())),
            Json::Bool(on) => text(&Values::Bool(vec![*on]), 0),
            Json::Number(n) if n.is_f64() => Some(n.as_f64().map(python_repr)),
            Json::Number(whole) => Some(Some(whole.to_string())),
            Json::Array(_) | Json::Object(_) => None,
        },
        Values::Bytes(list) => String::from_utf8(list[at].clone()).ok().map(Some),
        // A column in which every text is missing.
        Values::Fp64(list) if list[at].is_nan() => Some(None),
        Values::Fp64(list) => Some(Some(python_repr(list[at]))),
        Values::Fp32(list) => Some(Some(python_repr(list[at].into()))),
        other => Some(Some(whole(other, at)?.to_string())),
    }
}

fn bytes(values: &Values, at: usize) -> Option<Vec<u8>> {
    match values {
        Values::Text(list) => {
            let mut text = list[at].clone()?;
            // Python's encoder breaks lines and ends the last.
            text.retain(|c| !c.is_ascii_whitespace());
            BASE64_STANDARD.decode(text).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_tensors::Builder;

    fn column(name: &str, given: &[Json]) -> Tensor {
        Tensor::column(name, given.iter().cloned().collect::<Builder>().finish())
    }

    fn typed(signature: &str, frame: &Frame) -> Result<Frame, String> {
        Signature::parse(signature).unwrap().typed(frame).map_err(|e| e.to_string())
    }

    #[test]
    fn columns_get_the_types_of_the_signature_and_others_are_left_out() {
        let signature = r#"[{"type": "string", "name": "s"}, {"type": "double", "name": "d"},
            {"type": "integer", "name": "i", "required": false}, {"type": "binary", "name": "b"},
            {"type": "array", "name": "a", "items": {"type": "long"}}]"#;
        let given = Frame::named(vec![
            column("a", &[json!([1]), json!([2, 3])]),
            column("d", &[json!(1), Json::Null]),
            column("s", &[json!("x"), Json::Null]),
            column("b", &[json!("AAE="), json!("/w==")]),
            column("other", &[json!(1), json!(2)]),
        ])
        .unwrap();
        let typed = typed(signature, &given).unwrap();
        assert_eq!(typed.names(), ["s", "d", "b", "a"]);
        assert_eq!(typed.column("s").unwrap().values(), &Values::Text(vec![Some("x".into()), None]));
        let Values::Fp64(floats) = typed.column("d").unwrap().values() else { panic!() };
        assert!(floats[0] == 1.0 && floats[1].is_nan());
        assert_eq!(typed.column("b").unwrap().values(), &Values::Bytes(vec![vec![0, 1], vec![255]]));
    }

    #[test]
    fn what_does_not_fit_is_told_by_column_and_row() {
        let one = |kind: &str, values: &[Json]| {
            let signature = format!(r#"[{{"type": "{kind}", "name": "x"}}]"#);
            typed(&signature, &Frame::named(vec![column("x", values)]).unwrap()).unwrap_err()
        };
        assert_eq!(one("long", &[json!(1.5)]), "Column 'x', row 0: expected long, got a fraction 1.5.");
        assert!(one("long", &[json!(1), Json::Null]).contains("row 1: a value is missing"));
        assert!(one("integer", &[json!(1_i64 << 40)]).contains("expected integer"));
        assert!(one("boolean", &[json!(2)]).contains("expected boolean"));
        assert!(one("boolean", &[json!("1")]).contains("expected boolean"));
        assert!(one("binary", &[json!("%")]).contains("expected binary"));
    }

    #[test]
    fn a_column_of_texts_holds_what_a_table_has_and_an_array_of_texts_makes_texts_of_it() {
        let signature = r#"[{"type": "string", "name": "x"}]"#;
        let mixed = [json!("a"), json!(7), json!(true), Json::Null];
        let table = Frame::named(vec![column("x", &mixed)]).unwrap();
        assert_eq!(typed(signature, &table).unwrap().columns()[0].values(), &Values::Json(mixed.to_vec()));
        let text = |t: &str| Some(t.to_owned());
        let texts = typed(signature, &table.into_arrays()).unwrap();
        assert_eq!(
            texts.columns()[0].values(),
            &Values::Text(vec![text("a"), text("7"), text("True"), None])
        );
        let floats = [json!(1.5), json!(2e-5), json!(1e300)];
        let words = [text("1.5"), text("2e-05"), text("1e+300")];
        let alone =
            typed(signature, &Frame::named(vec![column("x", &floats)]).unwrap().into_arrays()).unwrap();
        assert_eq!(alone.columns()[0].values(), &Values::Text(words.to_vec()));
        let beside = [&floats[..], &[json!("a")]].concat();
        let beside =
            typed(signature, &Frame::named(vec![column("x", &beside)]).unwrap().into_arrays()).unwrap();
        assert_eq!(beside.columns()[0].values(), &Values::Text([&words[..], &[text("a")]].concat()));
        let lists = Frame::named(vec![column("x", &[json!("a"), json!([1])])]).unwrap().into_arrays();
        let error = typed(signature, &lists).unwrap_err();
        assert!(error.starts_with("Column 'x', row 1: expected string"), "{error}");
    }

    #[test]
    fn columns_without_names_are_taken_by_their_place() {
        let signature = r#"[{"type": "double"}, {"type": "long"}]"#;
        let named = Frame::named(vec![
            column("y", &[json!(1)]),
            column("x", &[json!(2)]),
            column("more", &[json!("z")]),
        ]);
        let table = typed(signature, &named.unwrap()).unwrap();
        assert_eq!(table.names(), ["y", "x"]);
        assert_eq!(table.column("y").unwrap().values(), &Values::Fp64(vec![1.0]));
        let numbered = Frame::numbered([Values::Int64(vec![1]), Values::Int64(vec![2])]).unwrap();
        let table = typed(signature, &numbered).unwrap();
        assert_eq!(
            (table.origin(), table.columns()[1].values()),
            (Origin::Numbered, &Values::Int64(vec![2]))
        );
        let narrow = Frame::named(vec![column("y", &[json!(1)])]).unwrap();
        assert!(typed(signature, &narrow).unwrap_err().contains("expected 2 columns, got 1 columns"));
    }

    #[test]
    fn without_a_signature_values_are_what_pandas_and_numpy_make_of_them() {
        let given = Frame::named(vec![
            column("gaps", &[json!(1), Json::Null]),
            column("large", &[json!(u64::MAX), json!(1)]),
            column("lists", &[json!([1, 2]), json!([3, 4])]),
        ])
        .unwrap();
        let table = Signature::Unknown.typed(&given).unwrap();
        let Values::Fp64(floats) = table.columns()[0].values() else { panic!("{table:?}") };
        assert!(floats[0] == 1.0 && floats[1].is_nan());
        assert_eq!(table.columns()[1].values(), &Values::Uint64(vec![u64::MAX, 1]));
        assert_eq!(table.columns()[2].shape(), [2], "a table has lists in its columns");
        let arrays = Signature::Unknown.typed(&given.into_arrays()).unwrap();
        assert_eq!(arrays.columns()[2].shape(), [2, 2]);
        let fields = serde_json::Map::from_iter([("prompt".to_owned(), json!(7))]);
        let document = Frame::document(fields);
        assert_eq!(
            Signature::parse(r#"[{"type": "string", "name": "prompt"}]"#).unwrap().typed(&document),
            Ok(document)
        );
    }

    #[test]
    fn what_is_written_otherwise_but_means_the_same_is_taken() {
        let one = |kind: &str, values: &[Json]| {
            let signature = format!(r#"[{{"type": "{kind}", "name": "x"}}]"#);
            let typed = typed(&signature, &Frame::named(vec![column("x", values)]).unwrap()).unwrap();
            typed.columns()[0].values().clone()
        };
        assert_eq!(one("long", &[json!(1.0), json!(-2.0)]), Values::Int64(vec![1, -2]));
        assert_eq!(one("long", &[json!("7"), json!(true)]), Values::Int64(vec![7, 1]));
        assert_eq!(one("double", &[json!("1.5"), json!(true)]), Values::Fp64(vec![1.5, 1.0]));
        assert_eq!(one("boolean", &[json!(1), json!(0)]), Values::Bool(vec![true, false]));
        assert_eq!(one("binary", &[json!("AQID\n")]), Values::Bytes(vec![vec![1, 2, 3]]));
    }

    #[test]
    fn lists_in_a_column_are_stacked_where_an_array_is_wanted() {
        let signature = r#"[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}},
            {"type": "tensor", "name": "b", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]"#;
        let given = Frame::named(vec![
            column("a", &[json!([1.5, 2.5]), json!([3, 4])]),
            column("b", &[json!(1), json!(2)]),
        ]);
        let typed = typed(signature, &given.unwrap()).unwrap();
        assert_eq!(typed.column("a").unwrap().shape(), [2, 2]);
        assert_eq!(typed.column("a").unwrap().values(), &Values::Fp64(vec![1.5, 2.5, 3.0, 4.0]));
    }

    #[test]
    fn an_array_is_made_of_columns_and_has_the_shape_that_is_wanted() {
        let signature = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]"#;
        let columns =
            Frame::named(vec![column("a", &[json!(1), json!(2)]), column("b", &[json!(0.5), json!(4)])])
                .unwrap();
        let array = typed(signature, &columns).unwrap();
        assert_eq!(array.columns()[0].shape(), [2, 2]);
        assert_eq!(array.columns()[0].values(), &Values::Fp32(vec![1.0, 0.5, 2.0, 4.0]));
        let wide = Frame::array(Tensor::new("", vec![1, 3], Values::Fp64(vec![0.0; 3])).unwrap());
        assert!(
            typed(signature, &wide).unwrap_err().contains("expected an array of shape [-1, 2], got [1, 3]")
        );
        let two = r#"[{"type": "tensor", "name": "p", "tensor-spec": {"dtype": "int64", "shape": [-1]}},
            {"type": "tensor", "name": "q", "tensor-spec": {"dtype": "bool", "shape": [-1, 1]}}]"#;
        let named = Frame::named(vec![column("q", &[json!(true)]), column("p", &[json!(1)])]).unwrap();
        let named = typed(two, &named).unwrap();
        assert_eq!(
            (named.names(), named.columns()[1].shape()),
            (vec!["p".to_owned(), "q".to_owned()], &[1, 1][..])
        );
        assert!(typed(two, &columns).unwrap_err().contains(r#"missing inputs ["p", "q"]"#));
    }
}

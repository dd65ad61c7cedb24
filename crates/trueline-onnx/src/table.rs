//! A table's columns as a model's inputs, in the way of MLflow's ONNX flavour: a model with one input gets the whole table,
//! one with several a column each.

use crate::error::RunError;
use crate::feed::names;
use crate::types::{ElementType, TensorInfo};
use serde_json::Value as Json;
use trueline_tensors::{Tensor, Values};

/// The tensors to run a model with for these columns, each of which has as many rows as the others.
pub(crate) fn of_table(inputs: &[TensorInfo], columns: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
    if let [input] = inputs {
        return Ok(vec![together(input, columns)?]);
    }
    let find = |input: &TensorInfo| {
        let column = columns.iter().find(|column| column.name() == input.name);
        column.cloned().ok_or_else(|| RunError::Missing { name: input.name.clone(), takes: names(inputs) })
    };
    inputs.iter().map(find).collect()
}

/// All columns side by side, in the order in which they came.
fn together(input: &TensorInfo, columns: &[Tensor]) -> Result<Tensor, RunError> {
    let wrong = |problem: String| RunError::Table { name: input.name.clone(), problem };
    let rows = columns.first().map_or(0, Tensor::rows);
    if let [only] = columns
        && !only.is_column()
    {
        return Ok(only.clone());
    }
    for column in columns {
        if !column.is_column() {
            return Err(wrong(format!(
                "'{}' has the shape {:?} and is no column",
                column.name(),
                column.shape()
            )));
        }
        if column.rows() != rows {
            return Err(wrong(format!("'{}' has {} rows and others {rows}", column.name(), column.rows())));
        }
    }
    let values = match input.element_type {
        ElementType::Text => Values::Text(cells(columns, rows, text).map_err(wrong)?),
        ElementType::Bool => cells(columns, rows, truth).map(Values::Bool).map_err(wrong)?,
        ElementType::Fp32 | ElementType::Fp64 | ElementType::Fp16 | ElementType::Bf16 => {
            floats(columns, rows).map_err(wrong)?
        }
        ElementType::Uint64 => cells(columns, rows, whole::<u64>).map(Values::Uint64).map_err(wrong)?,
        _ => cells(columns, rows, whole::<i64>).map(Values::Int64).map_err(wrong)?,
    };
    Tensor::new(input.name.as_str(), vec![rows, columns.len()], values).map_err(|e| wrong(e.to_string()))
}

/// The cells row by row.
fn cells<T>(
    columns: &[Tensor],
    rows: usize,
    cell: impl Fn(&Values, usize) -> Option<T>,
) -> Result<Vec<T>, String> {
    let mut all = Vec::with_capacity(rows * columns.len());
    for row in 0..rows {
        for column in columns {
            let value = cell(column.values(), row);
            all.push(value.ok_or_else(|| unfit(column, row))?);
        }
    }
    Ok(all)
}

fn unfit(column: &Tensor, row: usize) -> String {
    let value: String = column.values().json(row).to_string().chars().take(40).collect();
    format!(
        "'{}' is of another type ({:?}); row {row} has {value}",
        column.name(),
        column.values().data_type()
    )
}

fn text(values: &Values, row: usize) -> Option<Option<String>> {
    match values {
        Values::Text(list) => Some(list[row].clone()),
        Values::Bytes(list) => std::str::from_utf8(&list[row]).ok().map(|text| Some(text.to_owned())),
        Values::Json(list) => list[row].as_str().map(|text| Some(text.to_owned())),
        _ => None,
    }
}

fn truth(values: &Values, row: usize) -> Option<bool> {
    match values {
        Values::Bool(list) => Some(list[row]),
        Values::Json(list) => list[row].as_bool(),
        _ => None,
    }
}

fn whole<T: TryFrom<i128>>(values: &Values, row: usize) -> Option<T> {
    let value = match values {
        Values::Int64(list) => i128::from(list[row]),
        Values::Uint64(list) => i128::from(list[row]),
        Values::Int32(list) => i128::from(list[row]),
        Values::Uint32(list) => i128::from(list[row]),
        Values::Int16(list) => i128::from(list[row]),
        Values::Uint16(list) => i128::from(list[row]),
        Values::Int8(list) => i128::from(list[row]),
        Values::Uint8(list) => i128::from(list[row]),
        Values::Bool(list) => i128::from(list[row]),
        Values::Json(list) => match &list[row] {
            Json::Bool(truth) => i128::from(*truth),
            Json::Number(number) => {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))?
            }
            _ => return None,
        },
        Values::Text(_) | Values::Bytes(_) | Values::Fp32(_) | Values::Fp64(_) => return None,
    };
    T::try_from(value).ok()
}

/// Floats of all columns: narrow ones where each column is so, else wide ones, which is what numpy makes of a table.
#[allow(clippy::cast_precision_loss)]
fn floats(columns: &[Tensor], rows: usize) -> Result<Values, String> {
    let width = columns.len();
    if columns.iter().all(|column| matches!(column.values(), Values::Fp32(_))) {
        let mut all = vec![0.0; rows * width];
        for (i, column) in columns.iter().enumerate() {
            let Values::Fp32(list) = column.values() else { continue };
            list.iter()
                .zip(all.iter_mut().skip(i).step_by(width.max(1)))
                .for_each(|(value, cell)| *cell = *value);
        }
        return Ok(Values::Fp32(all));
    }
    let mut all = vec![0.0; rows * width];
    for (i, column) in columns.iter().enumerate() {
        let cells = all.iter_mut().skip(i).step_by(width.max(1));
        macro_rules! put {
            ($list:expr, $as_float:expr) => {
                $list.iter().zip(cells).for_each(|(value, cell)| *cell = $as_float(*value))
            };
        }
        match column.values() {
            Values::Fp64(list) => put!(list, f64::from),
            Values::Fp32(list) => put!(list, f64::from),
            Values::Int64(list) => put!(list, |v| v as f64),
            Values::Uint64(list) => put!(list, |v| v as f64),
            Values::Int32(list) => put!(list, f64::from),
            Values::Uint32(list) => put!(list, f64::from),
            Values::Int16(list) => put!(list, f64::from),
            Values::Uint16(list) => put!(list, f64::from),
            Values::Int8(list) => put!(list, f64::from),
            Values::Uint8(list) => put!(list, f64::from),
            Values::Bool(list) => put!(list, |v| f64::from(u8::from(v))),
            Values::Json(list) => {
                for (row, (value, cell)) in list.iter().zip(cells).enumerate() {
                    *cell = match value {
                        Json::Null => f64::NAN,
                        Json::Bool(truth) => f64::from(u8::from(*truth)),
                        other => other.as_f64().ok_or_else(|| unfit(column, row))?,
                    };
                }
            }
            Values::Text(_) | Values::Bytes(_) => return Err(unfit_column(column)),
        }
    }
    Ok(Values::Fp64(all))
}

fn unfit_column(column: &Tensor) -> String {
    format!("'{}' holds texts, and the input takes numbers", column.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn input(name: &str, element_type: ElementType) -> TensorInfo {
        TensorInfo { name: name.into(), element_type, dimensions: None, classes: None }
    }

    #[test]
    fn one_input_gets_the_whole_table_and_mixed_numbers_are_floats() {
        let columns = [
            Tensor::column("a", Values::Int64(vec![1, 2])),
            Tensor::column("b", Values::Fp32(vec![0.5, 1.5])),
            Tensor::column("c", Values::Json(vec![json!(7), Json::Null])),
        ];
        let fed = of_table(&[input("x", ElementType::Fp32)], &columns).unwrap();
        assert_eq!((fed[0].name(), fed[0].shape()), ("x", [2, 3].as_slice()));
        let Values::Fp64(cells) = fed[0].values() else { panic!("{fed:?}") };
        assert_eq!(cells[..5], [1.0, 0.5, 7.0, 2.0, 1.5]);
        assert!(cells[5].is_nan());
        let narrow =
            [Tensor::column("b", Values::Fp32(vec![0.1])), Tensor::column("c", Values::Fp32(vec![0.2]))];
        let fed = of_table(&[input("x", ElementType::Fp32)], &narrow).unwrap();
        assert_eq!(fed[0].values(), &Values::Fp32(vec![0.1, 0.2]));
    }

    #[test]
    fn several_inputs_get_a_column_each_and_further_columns_are_left_out() {
        let inputs = [input("b", ElementType::Text), input("a", ElementType::Int64)];
        let columns = [
            Tensor::column("a", Values::Int64(vec![1])),
            Tensor::column("id", Values::Int64(vec![9])),
            Tensor::column("b", Values::Text(vec![Some("t".into())])),
        ];
        let fed = of_table(&inputs, &columns).unwrap();
        assert_eq!(fed, [columns[2].clone(), columns[0].clone()]);
        let error = of_table(&inputs, &columns[..2]).unwrap_err().to_string();
        assert_eq!(error, "the model's input 'b' did not come; it takes 'b', 'a'");
    }

    #[test]
    fn columns_that_do_not_go_together_are_named() {
        let table =
            |element, columns: &[Tensor]| of_table(&[input("x", element)], columns).unwrap_err().to_string();
        let texts = Tensor::column("town", Values::Text(vec![Some("Ulm".into()), None]));
        let numbers = Tensor::column("age", Values::Int64(vec![1, 2]));
        let error = table(ElementType::Fp32, &[numbers.clone(), texts.clone()]);
        assert!(error.contains("'town' holds texts"), "{error}");
        let error = table(ElementType::Text, &[texts, numbers.clone()]);
        assert!(error.contains("'age' is of another type"), "{error}");
        let short = Tensor::column("short", Values::Int64(vec![1]));
        assert!(table(ElementType::Fp32, &[numbers, short]).contains("'short' has 1 rows and others 2"));
    }
}

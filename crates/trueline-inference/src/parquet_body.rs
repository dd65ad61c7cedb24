//! Bodies of Parquet: a table with types of its own.

use crate::body::unique;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrowPrimitiveType, GenericListArray, OffsetSizeTrait, PrimitiveArray, StructArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType as Arrow;
use axum::body::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value as Json;
use trueline_query::{columns_lie_within, contain};
use trueline_serving::Frame;
use trueline_tensors::{Tensor, Values};

/// The most bytes that a table may have once it is decompressed.
const LARGEST_TABLE: i64 = 512 << 20;
/// The most levels of lists and structs that a column may have.
const DEEPEST: usize = 16;
/// The most rows that a table may have.
const MOST_ROWS: i64 = 1_000_000;

/// The most values that lists of a table may have: a page of a few bytes can say that it has thousands of millions.
const MOST_LISTED: u64 = 10_000_000;

/// Reads a body.
pub(crate) fn frame(body: &Bytes) -> Result<Frame, String> {
    contain(|| read(body)).unwrap_or_else(|e| Err(format!("Failed to parse input as Parquet: {e}")))
}

fn read(body: &Bytes) -> Result<Frame, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("Failed to parse input as Parquet: {e}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(body.clone()).map_err(|e| wrong(&e))?;
    let groups = reader.metadata().row_groups();
    let (rows, bytes) = groups.iter().fold((0_i64, 0_i64), |(rows, bytes), group| {
        (rows.saturating_add(group.num_rows()), bytes.saturating_add(group.total_byte_size()))
    });
    if rows > MOST_ROWS || bytes > LARGEST_TABLE {
        return Err(wrong(&format!(
            "it has {rows} rows and {bytes} bytes when decompressed, which is too much"
        )));
    }
    if !columns_lie_within(reader.metadata()) {
        return Err(wrong(&"a column lies before the beginning of the file"));
    }
    if values_in_lists(body).map_err(|e| wrong(&e))? > MOST_LISTED {
        return Err(wrong(&format!("its lists have more than {MOST_LISTED} values")));
    }
    let schema = reader.schema().clone();
    let mut columns: Vec<Option<Values>> = vec![None; schema.fields().len()];
    for batch in reader.build().map_err(|e| wrong(&e))? {
        let batch = batch.map_err(|e| wrong(&e))?;
        for (column, array) in columns.iter_mut().zip(batch.columns()) {
            let more = values(array, DEEPEST).map_err(|e| wrong(&e))?;
            match column {
                None => *column = Some(more),
                // A batch in which something is missing may have another type than the one before it.
                Some(whole) => {
                    if let Err(more) = whole.append(more) {
                        let list = (0..whole.len()).map(|i| whole.json(i));
                        let list: Vec<Json> = list.chain((0..more.len()).map(|i| more.json(i))).collect();
                        *whole = Values::Json(list);
                    }
                }
            }
        }
    }
    let named = schema.fields().iter().zip(columns).filter(|(field, _)| field.name() != "__index_level_0__");
    let tensor = |(field, values): (&std::sync::Arc<arrow_schema::Field>, Option<Values>)| {
        Tensor::column(field.name().as_str(), values.unwrap_or(Values::Json(Vec::new())))
    };
    unique(named.map(tensor).collect())
}

/// How many values the pages of columns of lists say that they have. The footer need not tell the truth of it.
fn values_in_lists(body: &Bytes) -> Result<u64, ParquetError> {
    let file = SerializedFileReader::new(body.clone())?;
    let schema = file.metadata().file_metadata().schema_descr();
    let lists: Vec<usize> =
        (0..schema.num_columns()).filter(|i| schema.column(*i).max_rep_level() > 0).collect();
    let mut all = 0_u64;
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        for column in &lists {
            let mut pages = group.get_column_page_reader(*column)?;
            while let Some(page) = pages.peek_next_page()? {
                all = all.saturating_add(page.num_levels.map_or(0, |levels| levels as u64));
                pages.skip_next_page()?;
            }
        }
    }
    Ok(all)
}

/// The values of a column; of lists and structs, down to so many levels, as JSON.
fn values(array: &dyn Array, deepest: usize) -> Result<Values, String> {
    macro_rules! whole {
        ($kind:ty, $variant:ident) => {
            whole::<$kind>(array.as_primitive(), Values::$variant)
        };
    }
    Ok(match array.data_type() {
        Arrow::Float32 => {
            Values::Fp32(array.as_primitive::<Float32Type>().iter().map(|v| v.unwrap_or(f32::NAN)).collect())
        }
        Arrow::Float64 => {
            Values::Fp64(array.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN)).collect())
        }
        Arrow::Int8 => whole!(Int8Type, Int8),
        Arrow::Int16 => whole!(Int16Type, Int16),
        Arrow::Int32 => whole!(Int32Type, Int32),
        Arrow::Int64 => whole!(Int64Type, Int64),
        Arrow::UInt8 => whole!(UInt8Type, Uint8),
        Arrow::UInt16 => whole!(UInt16Type, Uint16),
        Arrow::UInt32 => whole!(UInt32Type, Uint32),
        Arrow::UInt64 => whole!(UInt64Type, Uint64),
        Arrow::Boolean if array.null_count() == 0 => {
            Values::Bool(array.as_boolean().iter().map(Option::unwrap_or_default).collect())
        }
        Arrow::Boolean => {
            Values::Json(array.as_boolean().iter().map(|v| v.map_or(Json::Null, Json::from)).collect())
        }
        Arrow::Utf8 => texts(array.as_string::<i32>().iter()),
        Arrow::LargeUtf8 => texts(array.as_string::<i64>().iter()),
        Arrow::Utf8View => texts(array.as_string_view().iter()),
        Arrow::Binary if array.null_count() == 0 => {
            Values::Bytes(array.as_binary::<i32>().iter().map(|v| v.unwrap_or_default().to_vec()).collect())
        }
        Arrow::Null => Values::Json(vec![Json::Null; array.len()]),
        Arrow::Date32 | Arrow::Date64 | Arrow::Timestamp(_, _) => {
            let options = FormatOptions::default();
            let format = ArrayFormatter::try_new(array, &options).map_err(|e| e.to_string())?;
            let text = |i| (!array.is_null(i)).then(|| format.value(i).to_string());
            Values::Text((0..array.len()).map(text).collect())
        }
        Arrow::List(_) => listed(array.as_list::<i32>(), deepest)?,
        Arrow::LargeList(_) => listed(array.as_list::<i64>(), deepest)?,
        Arrow::Struct(_) => structs(array.as_struct(), deepest)?,
        Arrow::Dictionary(_, inner) => {
            values(&arrow_cast::cast(array, inner).map_err(|e| e.to_string())?, inner_of(deepest)?)?
        }
        other => return Err(format!("columns of type {other} are not read; send them as JSON")),
    })
}

fn inner_of(deepest: usize) -> Result<usize, String> {
    deepest.checked_sub(1).ok_or_else(|| format!("a column has more than {DEEPEST} levels"))
}

/// Lists, each as JSON.
fn listed<O: OffsetSizeTrait>(lists: &GenericListArray<O>, deepest: usize) -> Result<Values, String> {
    let inner = values(lists.values(), inner_of(deepest)?)?;
    let list = |row: usize| match lists.is_null(row) {
        true => Json::Null,
        false => {
            let (begin, end) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
            (begin.as_usize()..end.as_usize()).map(|at| inner.json(at)).collect()
        }
    };
    Ok(Values::Json((0..lists.len()).map(list).collect()))
}

/// Structs, each as a dictionary of JSON.
fn structs(array: &StructArray, deepest: usize) -> Result<Values, String> {
    let deepest = inner_of(deepest)?;
    let fields = array.column_names().into_iter().zip(array.columns());
    let fields: Vec<(&str, Values)> =
        fields.map(|(name, column)| Ok((name, values(column, deepest)?))).collect::<Result<_, String>>()?;
    let one = |row: usize| match array.is_null(row) {
        true => Json::Null,
        false => fields.iter().map(|(name, values)| ((*name).to_owned(), values.json(row))).collect(),
    };
    Ok(Values::Json((0..array.len()).map(one).collect()))
}

fn texts<'a>(list: impl Iterator<Item = Option<&'a str>>) -> Values {
    Values::Text(list.map(|text| text.map(ToOwned::to_owned)).collect())
}

/// Whole numbers; where some are missing they are floats, as in pandas.
fn whole<K: ArrowPrimitiveType>(array: &PrimitiveArray<K>, of: impl Fn(Vec<K::Native>) -> Values) -> Values
where
    K::Native: Into<Json>,
{
    if array.null_count() == 0 {
        return of(array.values().to_vec());
    }
    let float = |value: Option<K::Native>| value.and_then(|v| v.into().as_f64()).unwrap_or(f64::NAN);
    Values::Fp64(array.iter().map(float).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch,
        StringArray,
    };
    use parquet::arrow::ArrowWriter;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn written(columns: Vec<(&str, ArrayRef)>) -> Bytes {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    #[test]
    fn a_tables_types_are_kept() {
        let body = written(vec![
            ("i", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
            ("m", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("f", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
            ("s", Arc::new(StringArray::from(vec![Some("x"), None]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false]))),
        ]);
        let frame = frame(&body).unwrap();
        let column = |name| frame.column(name).unwrap().values().clone();
        assert_eq!(column("i"), Values::Int64(vec![1, 2]));
        assert_eq!(column("s"), Values::Text(vec![Some("x".into()), None]));
        assert_eq!(column("b"), Values::Bool(vec![true, false]));
        for (name, first) in [("m", 1.0), ("f", 0.5)] {
            let Values::Fp64(floats) = column(name) else { panic!() };
            assert!(floats[0] == first && floats[1].is_nan(), "{name}");
        }
    }

    #[test]
    fn lists_and_structs_are_json_and_categories_are_what_they_stand_for() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(Vec::new()),
        ]);
        let field = Arc::new(arrow_schema::Field::new("a", Arrow::Int64, true));
        let structs = StructArray::from(vec![(field, Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]);
        let words: DictionaryArray<arrow_array::types::Int32Type> = ["x", "y", "x"].into_iter().collect();
        let body = written(vec![
            ("l", Arc::new(lists) as ArrayRef),
            ("o", Arc::new(structs)),
            ("c", Arc::new(words)),
        ]);
        let frame = frame(&body).unwrap();
        let column = |name| frame.column(name).unwrap().values().clone();
        let Values::Json(lists) = column("l") else { panic!("{frame:?}") };
        assert_eq!((lists[0][0].as_f64(), &lists[0][1], &lists[1]), (Some(1.0), &Json::Null, &Json::Null));
        assert_eq!(lists[2], serde_json::json!([]));
        assert_eq!(column("o").json(2), serde_json::json!({ "a": 3 }));
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(column("c"), Values::Text(vec![text("x"), text("y"), text("x")]));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let whole = written(vec![("i", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]);
        for cut in [0, 4, whole.len() / 2, whole.len() - 1] {
            assert!(frame(&whole.slice(..cut)).unwrap_err().contains("as Parquet"), "{cut}");
        }
    }

    #[test]
    fn whatever_byte_is_damaged_the_file_is_read_or_refused() {
        let whole = written(vec![("i", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).to_vec();
        for at in 0..whole.len() {
            for damage in [0x01, 0x02, 0x40, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= damage;
                drop(frame(&damaged.into()));
            }
        }
    }

    proptest! {
        #[test]
        fn no_damage_panics(at in 0_usize..400, byte in any::<u8>()) {
            let mut whole = written(vec![("i", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).to_vec();
            let at = at % whole.len();
            whole[at] = byte;
            drop(frame(&whole.into()));
        }
    }
}

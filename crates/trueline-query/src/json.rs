//! Columns as JSON values: for the online store and for people, a batch at a time.

use crate::QueryError;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, cast::AsArray};
use arrow_cast::cast;
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Value, json};

/// The values of a column. Times are RFC 3339 text; NaN and the infinities, which JSON lacks, are null.
///
/// # Errors
/// [`QueryError::Type`] for lists, structures and bytes.
pub fn json_column(name: &str, array: &ArrayRef) -> Result<Vec<Value>, QueryError> {
    Ok(match array.data_type() {
        DataType::Boolean => array.as_boolean().iter().map(|v| json!(v)).collect(),
        kind if kind.is_integer() => {
            cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().iter().map(|v| json!(v)).collect()
        }
        kind if kind.is_numeric() => {
            cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().iter().map(|v| json!(v)).collect()
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let times = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let shown =
                |us: i64| jiff::Timestamp::from_microsecond(us).map_or(Value::Null, |t| json!(t.to_string()));
            times.iter().map(|v| v.map_or(Value::Null, shown)).collect()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            cast(array, &DataType::Utf8)?.as_string::<i32>().iter().map(|v| json!(v)).collect()
        }
        other => {
            return Err(QueryError::Type {
                column: name.to_owned(),
                found: crate::schema::word(other),
                what: "a key or feature",
                expected: "a number, text, a time or a truth value",
            });
        }
    })
}

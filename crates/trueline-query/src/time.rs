//! Columns of time as microseconds since 1970 UTC. A time without a zone is taken as UTC, as Feast does.

use crate::QueryError;
use arrow_array::types::{Int64Type, TimestampMicrosecondType, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, cast::AsArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};

/// Reads a column of times: timestamps of any unit, dates, or text as RFC 3339.
///
/// A nanosecond is rounded down to its microsecond, on both sides of a join alike, so that order is never turned.
///
/// # Errors
/// [`QueryError::Type`] for a column that is no time.
pub fn micros(column: &str, array: &ArrayRef) -> Result<Int64Array, QueryError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let is_time = matches!(
        array.data_type(),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::LargeUtf8
    );
    if !is_time {
        return Err(QueryError::Type {
            column: column.to_owned(),
            found: crate::schema::word(array.data_type()),
            what: "a time",
            expected: "a timestamp or a date",
        });
    }
    if let DataType::Timestamp(TimeUnit::Nanosecond, _) = array.data_type() {
        let values = array.as_primitive::<TimestampNanosecondType>();
        return Ok(values.unary::<_, Int64Type>(|ns| ns.div_euclid(1000)));
    }
    let target = DataType::Timestamp(TimeUnit::Microsecond, None);
    let cast = cast_with_options(array, &target, &strict)?;
    let values = cast.as_primitive::<TimestampMicrosecondType>();
    Ok(Int64Array::new(values.values().clone(), values.nulls().cloned()))
}

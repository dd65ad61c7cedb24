//! What columns a table has: Parquet files say it, of CSV files every row is read, so that a type that holds for
//! the first thousand rows is not taken for one that holds.

use crate::QueryError;
use crate::scan::{Format, Part, csv_format, open_csv, parquet_reader};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The columns of a table of one or more files.
///
/// # Errors
/// [`QueryError::Unreadable`], and [`QueryError::Mismatch`] when files differ.
pub fn infer(parts: &[Part]) -> Result<SchemaRef, QueryError> {
    let mut whole: Option<(Schema, &str)> = None;
    for part in parts {
        let found = infer_one(part)?;
        whole = Some(match whole {
            None => (found, &part.name),
            Some((so_far, first)) => (merge(&so_far, first, &found, &part.name)?, first),
        });
    }
    let schema = whole.map_or_else(Schema::empty, |(schema, _)| schema);
    let settled = schema.fields().iter().map(|f| match f.data_type() {
        DataType::Null => Arc::new(Field::new(f.name(), DataType::Utf8, true)),
        _ => f.clone(),
    });
    Ok(Arc::new(Schema::new(settled.collect::<Vec<_>>())))
}

fn infer_one(part: &Part) -> Result<Schema, QueryError> {
    if part.format == Format::Parquet {
        let reader = parquet_reader(part)?;
        return Ok(reader.schema().as_ref().clone());
    }
    let (schema, _) = csv_format()
        .infer_schema(open_csv(part)?, None)
        .map_err(|e| QueryError::unreadable(&part.name, part.format.word(), e))?;
    let mut seen = std::collections::BTreeSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name()) {
            let told = format!("two columns are called `{}`", field.name());
            return Err(QueryError::unreadable(&part.name, part.format.word(), told));
        }
    }
    if schema.fields().is_empty() {
        return Err(QueryError::unreadable(&part.name, part.format.word(), "it has no header"));
    }
    Ok(schema)
}

fn merge(so_far: &Schema, first: &str, found: &Schema, file: &str) -> Result<Schema, QueryError> {
    let mismatch =
        |difference| QueryError::Mismatch { file: file.to_owned(), first: first.to_owned(), difference };
    if so_far.fields().len() != found.fields().len() {
        return Err(mismatch(format!(
            "it has {} columns, not {}",
            found.fields().len(),
            so_far.fields().len()
        )));
    }
    let pairs = so_far.fields().iter().zip(found.fields());
    let merged = pairs.map(|(a, b)| {
        if a.name() != b.name() {
            return Err(mismatch(format!("its column `{}` stands where `{}` should", b.name(), a.name())));
        }
        let kind = common(a.data_type(), b.data_type());
        Ok(Field::new(a.name(), kind, true))
    });
    Ok(Schema::new(merged.collect::<Result<Vec<_>, _>>()?))
}

/// The narrowest type that holds both.
fn common(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (a, b) if a.is_integer() && b.is_integer() => DataType::Int64,
        (a, b) if a.is_numeric() && b.is_numeric() => DataType::Float64,
        (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) => DataType::Timestamp((*a).max(*b), None),
        (DataType::Timestamp(unit, _), DataType::Date32)
        | (DataType::Date32, DataType::Timestamp(unit, _)) => DataType::Timestamp(*unit, None),
        _ => DataType::Utf8,
    }
}

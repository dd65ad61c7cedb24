//! A table's columns in words that people and JSON share, and back to Arrow.

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A column: its name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type: `int64`, `float64`, `bool`, `string`, `date32`, `timestamp[us]` and so on.
    #[serde(rename = "type")]
    pub kind: String,
}

const PLAIN: &[(&str, DataType)] = &[
    ("bool", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("string", DataType::Utf8),
    ("date32", DataType::Date32),
    ("null", DataType::Null),
];

const UNITS: &[(&str, TimeUnit)] = &[
    ("s", TimeUnit::Second),
    ("ms", TimeUnit::Millisecond),
    ("us", TimeUnit::Microsecond),
    ("ns", TimeUnit::Nanosecond),
];

/// The word for a type.
pub(crate) fn word(kind: &DataType) -> String {
    if let DataType::Timestamp(unit, _) = kind {
        let unit = UNITS.iter().find(|(_, u)| u == unit).map_or("us", |(name, _)| name);
        return format!("timestamp[{unit}]");
    }
    if matches!(kind, DataType::LargeUtf8 | DataType::Utf8View) {
        return "string".to_owned();
    }
    let plain = PLAIN.iter().find(|(_, k)| k == kind).map(|(name, _)| (*name).to_owned());
    plain.unwrap_or_else(|| kind.to_string().to_lowercase())
}

fn kind(word: &str) -> Option<DataType> {
    if let Some(unit) = word.strip_prefix("timestamp[").and_then(|w| w.strip_suffix(']')) {
        let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        return Some(DataType::Timestamp(unit, None));
    }
    PLAIN.iter().find(|(name, _)| *name == word).map(|(_, k)| k.clone())
}

/// The columns of an Arrow schema.
#[must_use]
pub fn columns_of(schema: &Schema) -> Vec<Column> {
    schema.fields().iter().map(|f| Column { name: f.name().clone(), kind: word(f.data_type()) }).collect()
}

/// The Arrow schema that columns of a CSV file are read with. A type that no CSV file has is read as text.
#[must_use]
pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let field = |c: &Column| Field::new(&c.name, kind(&c.kind).unwrap_or(DataType::Utf8), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_survive_the_way_to_words_and_back() {
        let fields = [
            Field::new("a", DataType::Int64, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Second, None), true),
            Field::new("d", DataType::Date32, true),
            Field::new("s", DataType::Utf8, true),
        ];
        let schema = Schema::new(fields.to_vec());
        let columns = columns_of(&schema);
        assert_eq!(columns[1].kind, "timestamp[s]");
        assert_eq!(*arrow_schema(&columns), schema);
    }
}

//! Small tables as Parquet files, written in the ways that differ for a reader.

use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    types::{Int32Type, Int64Type},
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, GzipLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterVersion};
use std::sync::Arc;

/// A file for each way of writing.
pub(crate) fn parquet_files() -> Vec<Vec<u8>> {
    let old = || WriterProperties::builder().set_writer_version(WriterVersion::PARQUET_1_0);
    let new = || WriterProperties::builder().set_writer_version(WriterVersion::PARQUET_2_0);
    let numbers = vec![
        ("amount", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-2.0), Some(7.25)])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 300, -4]))),
    ];
    let ints = vec![("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 40)])) as ArrayRef)];
    let all = of_every_kind();
    let ways = [
        (&numbers, old()),
        (&numbers, old().set_compression(Compression::SNAPPY).set_dictionary_enabled(false)),
        (&numbers, new().set_compression(Compression::GZIP(GzipLevel::default()))),
        (&numbers, new().set_compression(Compression::LZ4_RAW).set_data_page_row_count_limit(2)),
        (&ints, new().set_dictionary_enabled(false).set_encoding(Encoding::DELTA_BINARY_PACKED)),
        (&all, old()),
        (&all, new()),
    ];
    let files = ways.into_iter().map(|(table, way)| written(table, way.build()));
    files.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("a table can't be written: {e}"))
}

fn of_every_kind() -> Vec<(&'static str, ArrayRef)> {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(Vec::new()),
    ]);
    let words: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
    vec![
        ("s", Arc::new(StringArray::from(vec![Some("x"), None, Some("")])) as ArrayRef),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("l", Arc::new(lists)),
        ("c", Arc::new(words)),
    ]
}

fn written(columns: &[(&str, ArrayRef)], properties: WriterProperties) -> Result<Vec<u8>, ParquetError> {
    let batch = RecordBatch::try_from_iter(columns.iter().cloned())?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.into_inner()
}

//! Reading the files of a table batch by batch: memory depends on the batch, not on the file.

use crate::QueryError;
use crate::parquet_guard::{columns_lie_within, contain};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{Schema, SchemaRef};
use flate2::read::MultiGzDecoder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// Rows of a batch.
const BATCH: usize = 8192;
/// What means "missing" in a CSV file, as pandas and R write it.
const NULLS: &str = "^(NA|N/A|NULL|null|None|NaN|nan)?$";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// The same, compressed with gzip.
    CsvGz,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that a file's name tells.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = [(".csv", Self::Csv), (".csv.gz", Self::CsvGz), (".parquet", Self::Parquet)];
        ends.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| format)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::CsvGz => "gzipped CSV",
            Self::Parquet => "Parquet",
        }
    }
}

/// A file of a table, on this machine's disk.
#[derive(Clone, Debug)]
pub struct Part {
    /// What people call it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
}

pub(crate) fn csv_format() -> arrow_csv::reader::Format {
    let format = arrow_csv::reader::Format::default().with_header(true);
    // The pattern is a constant that compiles.
    match regex::Regex::new(NULLS) {
        Ok(nulls) => format.with_null_regex(nulls),
        Err(_) => format,
    }
}

pub(crate) fn open_csv(part: &Part) -> Result<Box<dyn Read + Send>, QueryError> {
    let file = BufReader::with_capacity(1 << 18, File::open(&part.path)?);
    Ok(match part.format {
        Format::CsvGz => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    })
}

pub(crate) fn parquet_reader(part: &Part) -> Result<ParquetRecordBatchReaderBuilder<File>, QueryError> {
    let wrong = |why: &dyn std::fmt::Display| QueryError::unreadable(&part.name, "Parquet", why);
    let file = File::open(&part.path)?;
    let reader = contain(|| ParquetRecordBatchReaderBuilder::try_new(file));
    let reader = reader.map_err(|e| wrong(&e))?.map_err(|e| wrong(&e))?;
    if !columns_lie_within(reader.metadata()) {
        return Err(wrong(&"a column lies before the beginning of the file"));
    }
    Ok(reader)
}

/// The batches of a Parquet file, up to the first that can't be read.
fn parquet_batches(
    reader: ParquetRecordBatchReader,
    name: String,
) -> impl Iterator<Item = Result<RecordBatch, QueryError>> + Send {
    let mut reader = Some(reader);
    std::iter::from_fn(move || {
        let read = contain(|| reader.as_mut().and_then(Iterator::next));
        let batch = match read {
            Ok(batch) => batch?.map_err(|e| QueryError::unreadable(&name, "Parquet", e)),
            Err(contradiction) => Err(QueryError::unreadable(&name, "Parquet", contradiction)),
        };
        if batch.is_err() {
            reader = None;
        }
        Some(batch)
    })
}

/// The rows of a Parquet file as its footer tells them; of others nothing is known before the scan.
///
/// # Errors
/// [`QueryError::Unreadable`].
pub fn rows_of(part: &Part) -> Result<Option<u64>, QueryError> {
    if part.format != Format::Parquet {
        return Ok(None);
    }
    let rows = parquet_reader(part)?.metadata().file_metadata().num_rows();
    Ok(Some(rows.unsigned_abs()))
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, QueryError>> + Send>;

/// The batches of a table, in the order of its files and rows.
pub struct Scan {
    schema: SchemaRef,
    whole: SchemaRef,
    parts: std::vec::IntoIter<Part>,
    current: Option<Batches>,
}

/// Reads `columns` of a table (all when `None`), whose schema is known.
///
/// # Errors
/// [`QueryError::NoColumn`].
pub fn scan(parts: Vec<Part>, schema: &SchemaRef, columns: Option<&[String]>) -> Result<Scan, QueryError> {
    let narrowed = match columns {
        None => schema.clone(),
        Some(names) => {
            let find = |name: &String| {
                let found = schema.field_with_name(name);
                found.cloned().map_err(|_| QueryError::no_column(name, schema))
            };
            Arc::new(Schema::new(names.iter().map(find).collect::<Result<Vec<_>, _>>()?))
        }
    };
    Ok(Scan { schema: narrowed, whole: schema.clone(), parts: parts.into_iter(), current: None })
}

impl Scan {
    /// The schema of the batches.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn open(&self, part: &Part) -> Result<Batches, QueryError> {
        let name = part.name.clone();
        let word = part.format.word();
        if part.format == Format::Parquet {
            let reader = parquet_reader(part)?.with_batch_size(BATCH);
            let wanted = self.schema.fields().iter().map(|f| f.name().as_str());
            let mask = ProjectionMask::columns(reader.parquet_schema(), wanted);
            let wrong = |why: &dyn std::fmt::Display| QueryError::unreadable(&part.name, word, why);
            let reader = contain(|| reader.with_projection(mask).build());
            let reader = reader.map_err(|e| wrong(&e))?.map_err(|e| wrong(&e))?;
            return Ok(Box::new(parquet_batches(reader, name)));
        }
        let find = |f: &Arc<arrow_schema::Field>| self.whole.index_of(f.name());
        let places = self.schema.fields().iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let nulls = regex::Regex::new(NULLS).map_err(|e| QueryError::unreadable(&part.name, word, e))?;
        let reader = arrow_csv::ReaderBuilder::new(self.whole.clone())
            .with_header(true)
            .with_batch_size(BATCH)
            .with_null_regex(nulls)
            .with_projection(places)
            .build(open_csv(part)?)?;
        Ok(Box::new(reader.map(move |b| b.map_err(|e| QueryError::unreadable(&name, word, e)))))
    }
}

/// Brings a batch of one file to the order and types of the whole table.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
    let column = |field: &Arc<arrow_schema::Field>| {
        let found = batch.column_by_name(field.name());
        let found = found.ok_or_else(|| QueryError::no_column(field.name(), batch.schema_ref()))?;
        Ok(if found.data_type() == field.data_type() {
            found.clone()
        } else {
            cast(found, field.data_type())?
        })
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, QueryError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batches) = &mut self.current {
                match batches.next() {
                    Some(batch) => return Some(batch.and_then(|b| conform(&b, &self.schema))),
                    None => self.current = None,
                }
            }
            let part = self.parts.next()?;
            match self.open(&part) {
                Ok(batches) => self.current = Some(batches),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

//! Writing a table as Parquet: the same rows give the same bytes.

use crate::{QueryError, RecordBatch, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::io::Write;

/// A Parquet file in the making.
pub struct ParquetFile<W: Write + Send> {
    writer: ArrowWriter<W>,
    rows: u64,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// What the writer says of the schema.
    pub fn begin(to: W, schema: SchemaRef) -> Result<Self, QueryError> {
        // The library's version stays out, or an update of it would change the bytes of equal tables.
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("trueline".to_owned())
            .build();
        Ok(Self { writer: ArrowWriter::try_new(to, schema, Some(properties))?, rows: 0 })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// What the disk says.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        self.writer.write(batch)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the file; answers where it was written to and its rows.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(self) -> Result<(W, u64), QueryError> {
        Ok((self.writer.into_inner()?, self.rows))
    }
}

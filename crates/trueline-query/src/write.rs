//! Writing a table: as Parquet, where the same rows give the same bytes, and as CSV for tools that read no Parquet.

use crate::scan::Part;
use crate::{QueryError, RecordBatch, SchemaRef, infer, scan};
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

/// Writes a file of a table as CSV with a header: missing values are empty fields, times RFC 3339.
///
/// # Errors
/// What the reader says of the file, or the disk.
pub fn write_csv(part: &Part, to: impl Write) -> Result<(), QueryError> {
    let schema = infer(std::slice::from_ref(part))?;
    let mut writer = arrow_csv::Writer::new(to);
    // The header of a table without rows.
    writer.write(&RecordBatch::new_empty(schema.clone()))?;
    for batch in scan(vec![part.clone()], &schema, None)? {
        writer.write(&batch?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn parquet_written_as_csv_is_the_table_that_it_was_made_from() {
        let folder = tempfile::tempdir().unwrap();
        let part =
            |name: &str, format| Part { name: name.to_owned(), path: folder.path().join(name), format };
        let csv = part("a.csv", Format::Csv);
        let text = "key,at,n,x\nEWR,2013-01-01T06:00:00Z,1,0.1\n\"a,b\",,,\n";
        std::fs::write(&csv.path, text).unwrap();
        let parquet = part("a.parquet", Format::Parquet);
        let schema = infer(std::slice::from_ref(&csv)).unwrap();
        let mut file =
            ParquetFile::begin(std::fs::File::create(&parquet.path).unwrap(), schema.clone()).unwrap();
        for batch in scan(vec![csv], &schema, None).unwrap() {
            file.append(&batch.unwrap()).unwrap();
        }
        file.finish().unwrap();
        let mut again = Vec::new();
        write_csv(&parquet, &mut again).unwrap();
        assert_eq!(String::from_utf8(again).unwrap().replace("T06:00:00,", "T06:00:00Z,"), text);
    }
}

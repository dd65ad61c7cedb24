//! What can go wrong with a table.

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// A table that can't be read, joined or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A file that is no table.
    #[error("{file} can't be read as {format}: {message}")]
    Unreadable {
        /// The file's name.
        file: String,
        /// What it was taken for.
        format: &'static str,
        /// What its reader says.
        message: String,
    },
    /// Files of one dataset that don't fit together.
    #[error("{file} does not fit {first}: {difference}; the files of a dataset share their columns")]
    Mismatch {
        /// The file that differs.
        file: String,
        /// The file that came first.
        first: String,
        /// In what.
        difference: String,
    },
    /// A column that is not there.
    #[error("there is no column `{column}`; there are {present}")]
    NoColumn {
        /// The name that was asked for.
        column: String,
        /// The names that exist.
        present: String,
    },
    /// A column of a type that does not do.
    #[error("column `{column}` is {found}, but {what} must be {expected}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What it is used as.
        what: &'static str,
        /// What that needs.
        expected: &'static str,
    },
    /// A value that does not do.
    #[error("row {row} of column `{column}`: {problem}")]
    Value {
        /// The row, from 1.
        row: u64,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More rows than an index of 32 bits can count.
    #[error("{what} has more than {limit} rows; split it")]
    TooManyRows {
        /// Which table.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// What is wrong with a question in SQL.
    #[error("the question can't be answered: {0}")]
    Sql(String),
    /// A question that takes too much memory or disk.
    #[error("{0}")]
    TooMuch(String),
    /// A question that takes too long.
    #[error("{0}")]
    TooLong(String),
    /// The disk.
    #[error("the disk says: {0}")]
    Io(#[from] std::io::Error),
    /// Arrow.
    #[error("the table can't be processed: {0}")]
    Arrow(#[from] ArrowError),
    /// Parquet.
    #[error("the Parquet file can't be written: {0}")]
    Parquet(#[from] ParquetError),
}

impl QueryError {
    pub(crate) fn unreadable(file: &str, format: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Unreadable { file: file.to_owned(), format, message: error.to_string() }
    }

    pub(crate) fn no_column(column: &str, schema: &arrow_schema::Schema) -> Self {
        let present: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        Self::NoColumn { column: column.to_owned(), present: present.join(", ") }
    }
}

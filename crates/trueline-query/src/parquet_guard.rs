//! The reader of Parquet panics at some of what a damaged file can say. Whoever reads files of others has that be no more than a
//! refusal.

use parquet::file::metadata::ParquetMetaData;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A file that says two things that can't both be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file contradicts itself")
    }
}

impl std::error::Error for Contradiction {}

/// Does what reads a Parquet file. What it held of the file is not to be used again after a refusal.
///
/// # Errors
/// [`Contradiction`] when the reader panicked.
pub fn contain<T>(read: impl FnOnce() -> T) -> Result<T, Contradiction> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| Contradiction)
}

/// Whether every column begins within the file, as far as its footer tells. The reader takes for granted that places and sizes
/// are not negative.
#[must_use]
pub fn columns_lie_within(metadata: &ParquetMetaData) -> bool {
    metadata.row_groups().iter().flat_map(|group| group.columns()).all(|column| {
        column.compressed_size() >= 0
            && column.data_page_offset() >= 0
            && column.dictionary_page_offset().is_none_or(|at| at >= 0)
    })
}

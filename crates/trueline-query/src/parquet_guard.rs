//! The reader of Parquet panics at some of what a damaged file can say. Whoever reads files of others has that be no more than a
//! refusal, and has nothing said of it that would fill a log.

use parquet::file::metadata::ParquetMetaData;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many readers this thread is in, one within the other.
    static CONTAINING: Cell<usize> = const { Cell::new(0) };
}

/// That this thread is in a reader, until it is dropped.
struct Containing;

impl Containing {
    fn begin() -> Self {
        CONTAINING.set(CONTAINING.get() + 1);
        Self
    }
}

impl Drop for Containing {
    fn drop(&mut self) {
        CONTAINING.set(CONTAINING.get() - 1);
    }
}

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
    let _containing = Containing::begin();
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| Contradiction)
}

/// Whether a panic of this thread would be no more than a refusal now.
#[must_use]
pub fn is_contained() -> bool {
    CONTAINING.get() > 0
}

/// Has the program's panic hook be asked of other panics only. One that is contained is told at the level `debug`: whoever
/// sends damaged files would fill the log otherwise.
pub fn keep_contained_panics_quiet() {
    let of_others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match is_contained() {
        true => tracing::debug!(%panic, "a Parquet file contradicts itself"),
        false => of_others(panic),
    }));
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

//! Tables on Arrow: CSV and Parquet files scanned in constant memory and profiled, Parquet written, and the as-of join;
//! and SQL over rows that are put together for one question.
//! Where files lie and what a dataset is, the floors above know.

pub mod asof;
mod error;
mod infer;
mod json;
mod parquet_guard;
mod profile;
mod scan;
mod schema;
mod sql;
mod time;
mod training;
mod write;

pub use arrow_array::{self, RecordBatch};
pub use arrow_schema::{Schema, SchemaRef};
pub use error::QueryError;
pub use infer::infer;
pub use json::json_column;
pub use parquet_guard::{
    Contradiction, columns_lie_within, contain, is_contained, keep_contained_panics_quiet,
};
pub use profile::{ColumnProfile, ColumnState, Frequent, HistogramBin, Profiler, Quantile, TableProfile};
pub use scan::{Format, Part, Scan, rows_of, scan};
pub use schema::{Column, arrow_schema, columns_of};
pub use sql::{Sql, SqlAnswer, SqlMost, SqlValue};
pub use time::micros;
pub use training::{Matched, RightTable, point_in_time_join};
pub use write::{ParquetFile, write_csv};

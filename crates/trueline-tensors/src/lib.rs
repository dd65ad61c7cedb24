//! Typed values of many rows: what models take and give, whatever wire they came by and whichever runtime answers.
//!
//! A [`Tensor`] is row-major and its first dimension is the rows of a request, so a column of a table is a tensor of
//! shape `[rows]` and a matrix of numbers one of shape `[rows, width]`. Pure values: nothing here knows a protocol.

mod builder;
mod nested;
mod repr;
mod tensor;
mod values;

pub use builder::Builder;
pub use nested::kind;
pub use repr::python_repr;
pub use tensor::{ShapeError, Tensor};
pub use values::{DataType, Values};

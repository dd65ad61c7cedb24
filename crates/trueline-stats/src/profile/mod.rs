//! A column's profile in one scan, mergeable across files and workers: `numeric` and `text`.
//! Built from three sketches, each exact while small: `distinct`, `quantiles`, `frequent`.

mod distinct;
mod frequent;
mod numeric;
mod quantiles;
mod text;

pub use distinct::DistinctCount;
pub use frequent::{Frequency, FrequentValues};
pub use numeric::NumericProfile;
pub use quantiles::QuantileSketch;
pub use text::TextProfile;

//! LightGBM: bytes of a text model (`model.txt`, version 3 or 4) in, predictions out, bit for bit those of the library.
//!
//! ```
//! # fn score(bytes: &[u8], row: &[f64]) -> Result<f64, Box<dyn std::error::Error>> {
//! use trueline_trees::{Rows, lightgbm::Model};
//!
//! let model = Model::from_bytes(bytes)?;
//! let mut prediction = [0.0];
//! model.predict(Rows::new(row, model.num_feature())?, &mut prediction)?;
//! # Ok(prediction[0])
//! # }
//! ```
//!
//! # Identity with the library
//!
//! Scores equal those of `Booster(model_file=…).predict` of LightGBM 4.6.0 and 4.7.0 on a CPU, to the bit, on the same
//! machine, with prediction early stopping off: sums are f64 in the order of the trees, and `exp` and `log1p` are
//! those of the C library that both link. The formulas are those of `tree.h`, `gbdt_prediction.cpp` and
//! `src/objective`, tag v4.6.0. `tests/lightgbm_identity.rs` compares. Files of version 3 score as LightGBM 4 scores
//! them.
//!
//! Two things could break the identity, as for XGBoost: another C library, and, for linear trees only, a compiler of
//! LightGBM that fuses multiply and add, as GCC may on aarch64. Proven on x86-64 with glibc.
//!
//! # Layout
//!
//! Rows are coded before they are walked: a number becomes the count of thresholds of its feature that lie below it,
//! so that a split compares two small integers. NaN and the zero band are settled by the code, see `columns`. Nodes take
//! 8 bytes and no bit for missing values, and the walk does not care whether any are missing.
//!
//! From some two dozen rows on nothing is walked, unless a tree has over 256 leaves, categories or linear leaves: 64 rows of
//! codes are compared with each split at once, as XGBoost's are.

mod blocks;
mod columns;
mod forest;
mod load;
mod model;
mod objective;
mod score;
mod text;
mod trailer;
mod tree;

pub use model::{Category, FeatureInfo, Model, Version};
pub use objective::Objective;
pub use score::Scorer;

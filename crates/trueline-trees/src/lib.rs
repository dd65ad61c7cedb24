//! Gradient-boosted tree scorer: bytes of an XGBoost or LightGBM model in, scores out, bit for bit those of the
//! library. XGBoost is at the root, LightGBM in [`lightgbm`]; rows, errors and meanings are shared.
//! Pure functions: no files, no threads, no global state. What a prediction means to an endpoint is not known here.
//!
//! ```
//! # fn score(bytes: &[u8], row: &[f32]) -> Result<f32, Box<dyn std::error::Error>> {
//! use trueline_trees::{Model, Rows};
//!
//! let model = Model::from_bytes(bytes)?; // JSON or UBJSON
//! let mut probability = [0.0];
//! model.predict(Rows::new(row, model.num_feature())?, &mut probability)?;
//! # Ok(probability[0])
//! # }
//! ```
//!
//! # Identity with the library
//!
//! Scores equal those of `Booster.inplace_predict` of XGBoost 3.2.0 on a CPU, to the bit, on the same machine:
//! sums are f32 in the order of the trees, and `expf` and `logf` are those of the C library that both link. The
//! formulas are XGBoost's `cpu_predictor.cc`, `gbtree.cc`, `math.h`, `categorical.h` and `regression_loss.h`, tag
//! v3.2.0. `tests/xgboost_identity.rs` compares. Files of older versions score as 3.2.0 scores them.
//!
//! Two things could break the identity: another C library than the one XGBoost links (musl's `expf` differs from
//! glibc's), and, for dart only, a compiler of XGBoost that fuses multiply and add, as GCC may on aarch64. Proven on
//! x86-64 with glibc.
//!
//! # Layout
//!
//! ```text
//! tree 0                                tree 1
//! [unused|root|L R|LL LR|RL RR|…]       [unused|root|L R|…]     nodes: threshold, feature, place of left child
//! [   -  |  - |- -| v  v| - v |…]       …                       leaves: what to add
//! ```
//!
//! Siblings stand side by side, so a step is `child + (x < threshold ? 0 : 1)`; a leaf steps to itself. One row walks
//! eight trees at once, a few rows walk each tree eight rows at once, so that loads overlap.
//!
//! From some two dozen rows on nothing is walked, unless a tree has over 256 leaves, categories, or leaves of several numbers
//! or with linear models. Numbers become the counts of the thresholds that they are not below (LightGBM's: that they are
//! above), and 64 rows are compared with each split of a tree at once, see `block`. Both ways add the same leaves in the
//! same order.

mod block;
mod document;
mod error;
mod forest;
mod json;
pub mod lightgbm;
mod load;
mod model;
mod objective;
mod score;
mod tree;
mod ubjson;
mod walk;

pub use error::{LoadError, ScoreError, TreeProblem};
pub use model::{Booster, Categories, FeatureType, Model};
pub use objective::{Meaning, Objective};
pub use score::{Rows, Scorer};

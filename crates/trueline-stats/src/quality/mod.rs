//! How good a classifier's scores were, once labels arrive; what has none is unknown, not wrong and not
//! right. `binary` accumulates per prediction; `auc` ranks batches, or bins when memory must stay constant.

mod auc;
mod binary;

use serde::{Deserialize, Serialize};

pub use auc::{BinnedAuc, auc};
pub use binary::{BinaryQuality, CalibrationBin, LOG_LOSS_CLIP};

/// A measured value with how sure it is. Where nothing can be measured (no label, one class only), functions
/// return `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its standard error; `None` when there are too few observations to tell.
    pub standard_error: Option<f64>,
    /// Observations it rests on.
    pub observations: u64,
}

//! The one error type of this crate: what was wrong with the input, with the numbers.
//! The checks that raise it live here too.

use thiserror::Error;

/// Why a statistic was not computed. Inputs are checked; results are never NaN.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// A parameter or an observation lies outside its domain.
    #[error("{what} is {value}, expected {expected}")]
    OutOfRange {
        /// The parameter's name.
        what: &'static str,
        /// The value given.
        value: f64,
        /// The domain, in words.
        expected: &'static str,
    },
    /// A sample that must hold something is empty.
    #[error("{what} is empty: pass at least one finite value")]
    Empty {
        /// The sample's name.
        what: &'static str,
    },
    /// Two inputs that belong together differ in length.
    #[error("{what}: lengths differ, {left} and {right}")]
    LengthMismatch {
        /// The inputs' names.
        what: &'static str,
        /// Length of the first.
        left: usize,
        /// Length of the second.
        right: usize,
    },
    /// Two states were made with different parameters, so they do not add up.
    #[error("cannot combine: {what} differ; use states made from the same configuration")]
    Incompatible {
        /// What differs.
        what: &'static str,
    },
    /// A fixed limit that keeps memory constant was reached.
    #[error("more than {limit} {what}")]
    LimitReached {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A name that was not declared.
    #[error("metric '{name}' was not declared for this rollout")]
    UnknownMetric {
        /// The name given.
        name: String,
    },
}

/// Checks that `value` is strictly inside (0, 1).
pub(crate) fn open_unit(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { what, value, expected: "a number strictly between 0 and 1" })
    }
}

/// Checks that `value` is inside [0, 1].
pub(crate) fn unit(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { what, value, expected: "a number from 0 to 1" })
    }
}

/// Checks that `value` is finite and greater than zero.
pub(crate) fn positive(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { what, value, expected: "a finite number above 0" })
    }
}

/// Checks that `value` is finite and at least zero.
pub(crate) fn non_negative(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value >= 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { what, value, expected: "a finite number of at least 0" })
    }
}

/// Checks that `value` is finite.
pub(crate) fn finite(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { what, value, expected: "a finite number" })
    }
}

/// Checks that two slices have the same, non-zero length.
pub(crate) fn same_length(what: &'static str, left: usize, right: usize) -> Result<(), StatsError> {
    if left != right {
        return Err(StatsError::LengthMismatch { what, left, right });
    }
    if left == 0 { Err(StatsError::Empty { what }) } else { Ok(()) }
}

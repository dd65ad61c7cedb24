//! Shapes: whether what came fits what a model takes, and the few ways in which it may be read so that it does.

use crate::error::RunError;
use crate::types::{Dimension, TensorInfo};

/// The shape under which values of the shape `given` go into an input.
///
/// A column may stand for a table that is one wide, and such a table for a column: nothing moves in memory by that, and
/// exporters differ in which of the two they write down. A scalar is taken from one value.
pub(crate) fn fit(input: &TensorInfo, given: &[usize]) -> Result<Vec<usize>, RunError> {
    let Some(expected) = &input.dimensions else { return Ok(given.to_vec()) };
    if fits(expected, given) {
        return Ok(given.to_vec());
    }
    let other = match (expected.len(), given) {
        (2, [rows]) => vec![*rows, 1],
        (1, [rows, 1]) => vec![*rows],
        (0, [1]) => vec![],
        _ => return Err(mismatch(input, expected, given)),
    };
    if fits(expected, &other) { Ok(other) } else { Err(mismatch(input, expected, given)) }
}

fn fits(expected: &[Dimension], given: &[usize]) -> bool {
    let fits = |(expected, given): (&Dimension, &usize)| match expected {
        Dimension::Fixed(size) => size == given,
        Dimension::Variable(_) => true,
    };
    expected.len() == given.len() && expected.iter().zip(given).all(fits)
}

fn mismatch(input: &TensorInfo, expected: &[Dimension], given: &[usize]) -> RunError {
    let words: Vec<String> = expected.iter().map(ToString::to_string).collect();
    let expected = format!("[{}]", words.join(", "));
    RunError::Shape { name: input.name.clone(), expected, given: given.to_vec() }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ElementType;
    use proptest::prelude::*;

    fn input(dimensions: Option<Vec<Dimension>>) -> TensorInfo {
        TensorInfo { name: "x".into(), element_type: ElementType::Fp32, dimensions, classes: None }
    }

    fn dimension() -> impl Strategy<Value = Dimension> {
        prop_oneof![
            (0..4_usize).prop_map(Dimension::Fixed),
            Just(Dimension::Variable(None)),
            Just(Dimension::Variable(Some("n".into())))
        ]
    }

    proptest! {
        #[test]
        fn what_fits_has_as_many_values_and_the_sizes_that_are_fixed(
            dimensions in prop::collection::vec(dimension(), 0..4),
            given in prop::collection::vec(0..4_usize, 1..4),
        ) {
            let input = input(Some(dimensions.clone()));
            match fit(&input, &given) {
                Ok(shape) => {
                    prop_assert_eq!(shape.iter().product::<usize>(), given.iter().product::<usize>());
                    prop_assert!(fits(&dimensions, &shape));
                }
                Err(error) => {
                    prop_assert!(!fits(&dimensions, &given));
                    prop_assert!(error.to_string().contains("'x'"), "{}", error);
                }
            }
        }

        #[test]
        fn a_shape_that_is_what_the_model_takes_is_left_as_it_is(given in prop::collection::vec(0..9_usize, 1..5)) {
            let fixed = given.iter().copied().map(Dimension::Fixed).collect();
            prop_assert_eq!(fit(&input(Some(fixed)), &given), Ok(given.clone()));
            prop_assert_eq!(fit(&input(None), &given), Ok(given));
        }
    }

    #[test]
    fn a_column_and_a_table_that_is_one_wide_stand_for_each_other() {
        let rows = || Dimension::Variable(None);
        let table = input(Some(vec![rows(), Dimension::Fixed(1)]));
        assert_eq!(fit(&table, &[5]), Ok(vec![5, 1]));
        assert_eq!(fit(&input(Some(vec![rows()])), &[5, 1]), Ok(vec![5]));
        assert_eq!(fit(&input(Some(vec![])), &[1]), Ok(vec![]));
        assert!(fit(&input(Some(vec![rows(), Dimension::Fixed(4)])), &[5]).is_err());
        assert!(fit(&input(Some(vec![rows()])), &[5, 2]).is_err());
    }
}

//! Values with a shape.

use crate::values::Values;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Values in rows: row-major, the first dimension is the rows. A request of one row has as many of them as columns, so a
/// name is shared by all requests that use it, and a shape is where the rest is.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    name: Arc<str>,
    shape: SmallVec<[usize; 2]>,
    values: Values,
}

/// A shape that does not hold the values that came with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shape of {shape:?} does not hold {values} values")]
pub struct ShapeError {
    /// The shape.
    pub shape: Vec<usize>,
    /// How many values came.
    pub values: usize,
}

impl Tensor {
    /// Values with a shape.
    ///
    /// # Errors
    /// [`ShapeError`] when the shape has no dimension or holds another number of values.
    pub fn new(name: impl Into<Arc<str>>, shape: Vec<usize>, values: Values) -> Result<Self, ShapeError> {
        let holds = shape.iter().try_fold(1_usize, |held, n| held.checked_mul(*n));
        if shape.is_empty() || holds != Some(values.len()) {
            return Err(ShapeError { values: values.len(), shape });
        }
        Ok(Self { name: name.into(), shape: SmallVec::from_slice(&shape), values })
    }

    /// A column of a table: one value for each row.
    #[must_use]
    pub fn column(name: impl Into<Arc<str>>, values: Values) -> Self {
        Self { name: name.into(), shape: smallvec![values.len()], values }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Its dimensions, rows first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Values for each row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Whether it has one value for each row and no further dimension.
    #[must_use]
    pub fn is_column(&self) -> bool {
        self.shape.len() == 1
    }

    /// Its values.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Its values, without the rest.
    #[must_use]
    pub fn into_values(self) -> Values {
        self.values
    }

    /// Puts the rows of another behind these; gives it back when its values or its further dimensions are others. Its name
    /// does not matter.
    ///
    /// # Errors
    /// The other, untouched.
    pub fn append(&mut self, other: Self) -> Result<(), Self> {
        if self.shape[1..] != other.shape[1..] {
            return Err(other);
        }
        let Self { name, shape, values } = other;
        match self.values.append(values) {
            Ok(()) => {
                self.shape[0] += shape[0];
                Ok(())
            }
            Err(values) => Err(Self { name, shape, values }),
        }
    }

    /// The rows from `begin` to before `end`.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn slice(&self, begin: usize, end: usize) -> Self {
        let width = self.width();
        let mut shape = self.shape.clone();
        shape[0] = end - begin;
        Self { name: Arc::clone(&self.name), shape, values: self.values.slice(begin * width, end * width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_holds_its_values_or_is_refused() {
        let six = || Values::Fp32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let tensor = Tensor::new("x", vec![3, 2], six()).unwrap();
        assert_eq!((tensor.rows(), tensor.width()), (3, 2));
        assert_eq!(tensor.slice(1, 2).values(), &Values::Fp32(vec![3.0, 4.0]));
        assert!(Tensor::new("x", vec![3, 3], six()).is_err());
        assert!(Tensor::new("x", vec![], Values::Fp32(vec![1.0])).is_err());
        assert!(Tensor::new("x", vec![usize::MAX, 2], six()).is_err(), "too large to be counted");
        assert_eq!(Tensor::new("x", vec![0, 7], Values::Fp32(vec![])).unwrap().rows(), 0);
    }

    #[test]
    fn rows_are_appended_where_they_are_alike_and_given_back_where_not() {
        let of = |shape: &[usize]| {
            let count = shape.iter().product();
            Tensor::new("x", shape.to_vec(), Values::Int64(vec![7; count])).unwrap()
        };
        let mut tensor = of(&[1, 2]);
        tensor.append(of(&[3, 2])).unwrap();
        assert_eq!(tensor, of(&[4, 2]));
        assert_eq!(tensor.append(of(&[2, 1])), Err(of(&[2, 1])));
        let floats = Tensor::new("y", vec![1, 2], Values::Fp64(vec![1.0, 2.0])).unwrap();
        assert_eq!(tensor.append(floats.clone()), Err(floats));
        assert_eq!(tensor, of(&[4, 2]));
    }
}

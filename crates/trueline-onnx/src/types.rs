//! What a model takes and gives: names, types and shapes of its inputs and outputs.

use ort::value::{Outlet, TensorElementType, ValueType};
use std::fmt;
use trueline_tensors::{DataType, Values};

/// The types of elements that models take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// True or false.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754 binary16. Tensors have no such type: it is taken from wider floats, rounded, and given as `Fp32`.
    Fp16,
    /// The upper half of a binary32, likewise.
    Bf16,
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary64.
    Fp64,
    /// Texts.
    Text,
}

impl ElementType {
    pub(crate) fn of(ort: TensorElementType) -> Option<Self> {
        Some(match ort {
            TensorElementType::Bool => Self::Bool,
            TensorElementType::Uint8 => Self::Uint8,
            TensorElementType::Uint16 => Self::Uint16,
            TensorElementType::Uint32 => Self::Uint32,
            TensorElementType::Uint64 => Self::Uint64,
            TensorElementType::Int8 => Self::Int8,
            TensorElementType::Int16 => Self::Int16,
            TensorElementType::Int32 => Self::Int32,
            TensorElementType::Int64 => Self::Int64,
            TensorElementType::Float16 => Self::Fp16,
            TensorElementType::Bfloat16 => Self::Bf16,
            TensorElementType::Float32 => Self::Fp32,
            TensorElementType::Float64 => Self::Fp64,
            TensorElementType::String => Self::Text,
            _ => return None,
        })
    }

    /// The type of the tensors that an output of this type comes in.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Bool,
            Self::Uint8 => DataType::Uint8,
            Self::Uint16 => DataType::Uint16,
            Self::Uint32 => DataType::Uint32,
            Self::Uint64 => DataType::Uint64,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Fp16 | Self::Bf16 | Self::Fp32 => DataType::Fp32,
            Self::Fp64 => DataType::Fp64,
            Self::Text => DataType::Text,
        }
    }
}

/// One dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Always so many.
    Fixed(usize),
    /// As many as come, with the model's name for it where it has one.
    Variable(Option<String>),
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Variable(Some(name)) => f.write_str(name),
            Self::Variable(None) => f.write_str("?"),
        }
    }
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Its dimensions, rows first as a rule; an empty list for a scalar. `None` when the model does not even say how many
    /// there are.
    pub dimensions: Option<Vec<Dimension>>,
    /// The classes that its columns stand for, one each, of an output that was a list of dictionaries in the file
    /// (sklearn's classifiers with `ZipMap`): [`Values::Int64`] or [`Values::Text`].
    pub classes: Option<Values>,
}

impl TensorInfo {
    /// Its shape, with -1 for what is variable; `None` when the model does not say it.
    #[must_use]
    pub fn shape(&self) -> Option<Vec<i64>> {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dimension::Variable(_) => -1,
        };
        Some(self.dimensions.as_ref()?.iter().map(size).collect())
    }

    /// Reads what the library says; the error is the type in words. `unranked` is whether the file says nothing of a shape,
    /// which the library tells like a scalar's.
    pub(crate) fn of(outlet: &Outlet, unranked: bool) -> Result<Self, String> {
        let found = || outlet.dtype().to_string();
        let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else { return Err(found()) };
        let element_type = ElementType::of(*ty).ok_or_else(found)?;
        let dimension = |(i, size): (usize, &i64)| match usize::try_from(*size) {
            Ok(size) => Dimension::Fixed(size),
            Err(_) => Dimension::Variable(dimension_symbols.get(i).filter(|s| !s.is_empty()).cloned()),
        };
        let dimensions = shape.iter().enumerate().map(dimension).collect();
        let dimensions = (!unranked || !shape.is_empty()).then_some(dimensions);
        Ok(Self { name: outlet.name().to_owned(), element_type, dimensions, classes: None })
    }
}

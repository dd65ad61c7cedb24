//! What the library gives, as tensors of the house.

use half::{bf16, f16};
use ort::value::{DynValue, TensorElementType, ValueType};
use trueline_tensors::{Tensor, Values};

/// A value of the library as a tensor. A scalar becomes one of the shape `[1]`; 16-bit floats become `Fp32`, exactly.
///
/// The error says what is wrong with it.
pub(crate) fn tensor(name: &str, value: &DynValue) -> Result<Tensor, String> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(format!("the output '{name}' is {} and no tensor", value.dtype()));
    };
    let dimension =
        |size: &i64| usize::try_from(*size).map_err(|_| format!("the output '{name}' has the shape {shape}"));
    let mut sizes = shape.iter().map(dimension).collect::<Result<Vec<_>, _>>()?;
    if sizes.is_empty() {
        sizes.push(1);
    }
    let values = values(value, *ty).map_err(|e| format!("the output '{name}' can't be taken: {e}"))?;
    Tensor::new(name, sizes, values).map_err(|e| format!("the output '{name}': {e}"))
}

fn values(value: &DynValue, element: TensorElementType) -> ort::Result<Values> {
    macro_rules! list {
        ($kind:ident, $of:ty) => {
            Values::$kind(value.try_extract_tensor::<$of>()?.1.to_vec())
        };
    }
    Ok(match element {
        TensorElementType::Bool => list!(Bool, bool),
        TensorElementType::Uint8 => list!(Uint8, u8),
        TensorElementType::Uint16 => list!(Uint16, u16),
        TensorElementType::Uint32 => list!(Uint32, u32),
        TensorElementType::Uint64 => list!(Uint64, u64),
        TensorElementType::Int8 => list!(Int8, i8),
        TensorElementType::Int16 => list!(Int16, i16),
        TensorElementType::Int32 => list!(Int32, i32),
        TensorElementType::Int64 => list!(Int64, i64),
        TensorElementType::Float32 => list!(Fp32, f32),
        TensorElementType::Float64 => list!(Fp64, f64),
        TensorElementType::Float16 => {
            Values::Fp32(value.try_extract_tensor::<f16>()?.1.iter().map(|v| v.to_f32()).collect())
        }
        TensorElementType::Bfloat16 => {
            Values::Fp32(value.try_extract_tensor::<bf16>()?.1.iter().map(|v| v.to_f32()).collect())
        }
        TensorElementType::String => {
            Values::Text(value.try_extract_strings()?.1.into_iter().map(Some).collect())
        }
        other => return Err(ort::Error::new(format!("its type is {other}"))),
    })
}

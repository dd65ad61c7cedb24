//! What came, as what a model takes: the same memory where the types agree, else a copy in the model's type.
//!
//! Floats become narrower floats by rounding, as MLflow has numpy do it for `float64` and `float32`; integers become
//! floats the same way, since a table of mixed columns is one of floats there; integers become other integers where each
//! value fits. Nothing else is turned into anything.

use crate::error::RunError;
use crate::types::{ElementType, TensorInfo};
use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{PrimitiveTensorElementType, Tensor as OrtTensor, TensorRef};
use serde_json::Value as Json;
use std::fmt::Debug;
use trueline_tensors::{Tensor, Values};

/// The values of `given` for an input of the library, under a shape that was found to fit.
pub(crate) fn value<'t>(
    input: &TensorInfo,
    shape: Vec<usize>,
    given: &'t Tensor,
) -> Result<SessionInputValue<'t>, RunError> {
    macro_rules! as_they_are_or {
        ($($element:ident: $cast:ident $of:ty),*) => {
            match (input.element_type, given.values()) {
                $((ElementType::$element, Values::$element(list)) => view(input, shape, list),)*
                $((ElementType::$element, other) => owned::<$of>(input, shape, $cast(input, other)?),)*
                (ElementType::Fp16, other) => owned(input, shape, floats::<f16>(input, other)?),
                (ElementType::Bf16, other) => owned(input, shape, floats::<bf16>(input, other)?),
                (ElementType::Text, other) => texts(input, shape, other),
            }
        };
    }
    as_they_are_or!(
        Bool: truths bool, Uint8: integers u8, Uint16: integers u16, Uint32: integers u32, Uint64: integers u64,
        Int8: integers i8, Int16: integers i16, Int32: integers i32, Int64: integers i64, Fp32: floats f32,
        Fp64: floats f64
    )
}

fn failed(input: &TensorInfo, error: &ort::Error) -> RunError {
    RunError::Failed { reason: format!("the input '{}' can't be given: {error}", input.name) }
}

fn view<'t, T>(
    input: &TensorInfo,
    shape: Vec<usize>,
    list: &'t [T],
) -> Result<SessionInputValue<'t>, RunError>
where
    T: PrimitiveTensorElementType + Clone + Debug + 'static,
{
    let tensor = TensorRef::from_array_view((shape, list)).map_err(|e| failed(input, &e))?;
    Ok(tensor.into())
}

fn owned<T>(
    input: &TensorInfo,
    shape: Vec<usize>,
    list: Vec<T>,
) -> Result<SessionInputValue<'static>, RunError>
where
    T: PrimitiveTensorElementType + Clone + Debug + 'static,
{
    let tensor = OrtTensor::from_array((shape, list)).map_err(|e| failed(input, &e))?;
    Ok(tensor.into())
}

fn wrong_type(input: &TensorInfo, given: &Values) -> RunError {
    RunError::Type { name: input.name.clone(), expected: input.element_type, given: given.data_type() }
}

fn wrong_value(input: &TensorInfo, at: usize, value: impl ToString) -> RunError {
    let value: String = value.to_string().chars().take(40).collect();
    RunError::Value { name: input.name.clone(), expected: input.element_type, at, value }
}

/// A float that others are rounded to.
trait Float: Sized {
    fn of(value: f64) -> Self;
}

impl Float for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

impl Float for f32 {
    #[allow(clippy::cast_possible_truncation)]
    fn of(value: f64) -> Self {
        value as Self
    }
}

impl Float for f16 {
    fn of(value: f64) -> Self {
        Self::from_f32(to_odd(value))
    }
}

impl Float for bf16 {
    fn of(value: f64) -> Self {
        Self::from_f32(to_odd(value))
    }
}

/// Rounds to a binary32 in such a way that rounding it once more to fewer bits gives what one rounding would: what is not
/// exact is cut and its last bit set (round to odd). `half` itself does not keep that promise for `f64`.
#[allow(clippy::cast_possible_truncation)]
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) == value || value.is_nan() {
        return near;
    }
    let cut = if f64::from(near).abs() > value.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(cut | 1)
}

#[allow(clippy::cast_precision_loss)]
fn floats<T: Float>(input: &TensorInfo, given: &Values) -> Result<Vec<T>, RunError> {
    macro_rules! each {
        ($list:expr, $as_float:expr) => {
            Ok($list.iter().map(|v| T::of($as_float(*v))).collect())
        };
    }
    match given {
        Values::Fp64(list) => each!(list, f64::from),
        Values::Fp32(list) => each!(list, f64::from),
        Values::Int64(list) => each!(list, |v| v as f64),
        Values::Uint64(list) => each!(list, |v| v as f64),
        Values::Int32(list) => each!(list, f64::from),
        Values::Uint32(list) => each!(list, f64::from),
        Values::Int16(list) => each!(list, f64::from),
        Values::Uint16(list) => each!(list, f64::from),
        Values::Int8(list) => each!(list, f64::from),
        Values::Uint8(list) => each!(list, f64::from),
        Values::Bool(list) => each!(list, |v| f64::from(u8::from(v))),
        Values::Json(list) => {
            let number = |(at, value): (usize, &Json)| match value {
                Json::Null => Ok(T::of(f64::NAN)),
                Json::Bool(truth) => Ok(T::of(f64::from(u8::from(*truth)))),
                other => other.as_f64().map(T::of).ok_or_else(|| wrong_value(input, at, other)),
            };
            list.iter().enumerate().map(number).collect()
        }
        Values::Bytes(_) | Values::Text(_) => Err(wrong_type(input, given)),
    }
}

fn integers<T: TryFrom<i128>>(input: &TensorInfo, given: &Values) -> Result<Vec<T>, RunError> {
    macro_rules! each {
        ($list:expr) => {{
            let fits =
                |(at, v): (usize, _)| T::try_from(i128::from(v)).map_err(|_| wrong_value(input, at, v));
            $list.iter().copied().enumerate().map(fits).collect()
        }};
    }
    match given {
        Values::Int64(list) => each!(list),
        Values::Uint64(list) => each!(list),
        Values::Int32(list) => each!(list),
        Values::Uint32(list) => each!(list),
        Values::Int16(list) => each!(list),
        Values::Uint16(list) => each!(list),
        Values::Int8(list) => each!(list),
        Values::Uint8(list) => each!(list),
        Values::Bool(list) => each!(list),
        Values::Json(list) => {
            let number = |(at, value): (usize, &Json)| {
                let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
                let fits =
                    whole.or_else(|| value.as_bool().map(i128::from)).and_then(|v| T::try_from(v).ok());
                fits.ok_or_else(|| wrong_value(input, at, value))
            };
            list.iter().enumerate().map(number).collect()
        }
        Values::Fp32(_) | Values::Fp64(_) | Values::Bytes(_) | Values::Text(_) => {
            Err(wrong_type(input, given))
        }
    }
}

fn truths(input: &TensorInfo, given: &Values) -> Result<Vec<bool>, RunError> {
    let Values::Json(list) = given else { return Err(wrong_type(input, given)) };
    let truth = |(at, value): (usize, &Json)| value.as_bool().ok_or_else(|| wrong_value(input, at, value));
    list.iter().enumerate().map(truth).collect()
}

fn texts(
    input: &TensorInfo,
    shape: Vec<usize>,
    given: &Values,
) -> Result<SessionInputValue<'static>, RunError> {
    let text: Vec<Option<&str>> = match given {
        Values::Text(list) => list.iter().map(Option::as_deref).collect(),
        Values::Bytes(list) => list.iter().map(|bytes| std::str::from_utf8(bytes).ok()).collect(),
        Values::Json(list) => list.iter().map(Json::as_str).collect(),
        _ => return Err(wrong_type(input, given)),
    };
    let told = |(at, text): (usize, Option<&'_ str>)| match text {
        // The library takes texts as C does.
        Some(text) if text.contains('\0') => Err(wrong_value(input, at, "a text with a zero byte")),
        Some(text) => Ok(text.to_owned()),
        None if matches!(given, Values::Bytes(_)) => Err(wrong_value(input, at, "no text in UTF-8")),
        None => Err(wrong_value(input, at, given.json(at))),
    };
    let list = text.into_iter().enumerate().map(told).collect::<Result<Vec<String>, _>>()?;
    let tensor = OrtTensor::from_string_array((shape, list.as_slice())).map_err(|e| failed(input, &e))?;
    Ok(tensor.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn input(element_type: ElementType) -> TensorInfo {
        TensorInfo { name: "x".into(), element_type, dimensions: None, classes: None }
    }

    fn narrow(values: Values) -> Result<Vec<i8>, RunError> {
        integers(&input(ElementType::Int8), &values)
    }

    #[test]
    fn integers_become_narrower_ones_where_each_fits() {
        assert_eq!(narrow(Values::Int64(vec![-128, 127])), Ok(vec![-128, 127]));
        let error = narrow(Values::Uint64(vec![1, 128])).unwrap_err();
        assert_eq!(error.to_string(), "the input 'x' takes Int8, and its value 1 is 128");
        assert_eq!(narrow(Values::Json(vec![json!(3), json!(true)])), Ok(vec![3, 1]));
        for wrong in [json!(1.5), json!(1.0), json!("1"), Json::Null, json!(300)] {
            assert!(narrow(Values::Json(vec![wrong])).is_err());
        }
        assert!(matches!(narrow(Values::Fp64(vec![1.0])), Err(RunError::Type { .. })));
    }

    #[test]
    fn what_is_missing_among_floats_is_not_a_number() {
        let list = Values::Json(vec![json!(1), Json::Null, json!(0.25)]);
        let floats = floats::<f32>(&input(ElementType::Fp32), &list).unwrap();
        assert_eq!((floats[0], floats[1].is_nan(), floats[2]), (1.0, true, 0.25));
        let error =
            super::floats::<f32>(&input(ElementType::Fp32), &Values::Json(vec![json!("1")])).unwrap_err();
        assert_eq!(error.to_string(), "the input 'x' takes Fp32, and its value 0 is \"1\"");
    }

    /// The nearest of all 16-bit floats, of two equally near ones the even, found by looking at each.
    fn nearest(value: f64, of: impl Fn(u16) -> f64) -> f64 {
        let better = |a: u16, b: u16| {
            let (far, near) = ((of(a) - value).abs(), (of(b) - value).abs());
            if near < far || (near == far && b.is_multiple_of(2)) { b } else { a }
        };
        of((0..=u16::MAX).filter(|bits| of(*bits).is_finite()).reduce(better).unwrap_or(0))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sixteen_bits_are_rounded_once(bits: u16, other in 0..4_u16, off in prop_oneof![Just(0.0), Just(1e-12), Just(-1e-12)]) {
            // Near the middle of two neighbours, where rounding twice goes wrong.
            let half = |bits: u16| f64::from(f16::from_bits(bits));
            let value = (half(bits) + half(bits.wrapping_add(other))) / 2.0 * (1.0 + off);
            if value.is_finite() && value.abs() < 65504.0 {
                prop_assert_eq!(f64::from(<f16 as Float>::of(value)), nearest(value, half));
            }
            let brain = |bits: u16| f64::from(bf16::from_bits(bits));
            let value = (brain(bits) + brain(bits.wrapping_add(other))) / 2.0 * (1.0 + off);
            if value.is_finite() && value.abs() < 1e38 && value.abs() > 1e-36 {
                prop_assert_eq!(f64::from(<bf16 as Float>::of(value)), nearest(value, brain));
            }
        }

        #[test]
        fn integers_are_kept_or_refused(values: Vec<i64>) {
            match narrow(Values::Int64(values.clone())) {
                Ok(kept) => prop_assert!(kept.iter().map(|v| i64::from(*v)).eq(values)),
                Err(RunError::Value { at, .. }) => prop_assert!(i8::try_from(values[at]).is_err()),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

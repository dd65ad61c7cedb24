//! One value of a column or label, and its bytes:
//! `0 null | 1 false | 2 true | 3 zigzag integer | 4 f64, little-endian | 5 text`.

use crate::DecodeError;
use crate::wire::{Reader, put_float, put_signed, put_text};

/// One value of a column or label.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Missing.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float; NaN's bits are kept.
    Float(f64),
    /// A text.
    Text(String),
}

impl Scalar {
    /// Do both say the same? Numbers are compared as numbers, and one NaN is like another.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::Int(int), Self::Float(float)) | (Self::Float(float), Self::Int(int)) => {
                // Beyond 2^53 a float names several integers.
                int.unsigned_abs() <= 1 << 53 && *float == *int as f64
            }
            (a, b) => a == b,
        }
    }
}

pub(crate) fn put_scalar(out: &mut Vec<u8>, scalar: &Scalar) {
    match scalar {
        Scalar::Null => out.push(0),
        Scalar::Bool(value) => out.push(1 + u8::from(*value)),
        Scalar::Int(value) => {
            out.push(3);
            put_signed(out, *value);
        }
        Scalar::Float(value) => {
            out.push(4);
            put_float(out, *value);
        }
        Scalar::Text(text) => {
            out.push(5);
            put_text(out, text);
        }
    }
}

pub(crate) fn take_scalar(reader: &mut Reader<'_>) -> Result<Scalar, DecodeError> {
    Ok(match reader.byte()? {
        0 => Scalar::Null,
        1 => Scalar::Bool(false),
        2 => Scalar::Bool(true),
        3 => Scalar::Int(reader.signed()?),
        4 => Scalar::Float(reader.float()?),
        5 => Scalar::Text(reader.text()?),
        _ => return Err(DecodeError("a value has a type that is none")),
    })
}

//! The protocol's types of values: their names, and their bytes, little-endian, one after the other.

use trueline_tensors::{DataType, Values};

/// The protocol's name of a type. Texts are bytes to it; so is what is mixed, each value as JSON.
pub(super) fn name(kind: DataType) -> &'static str {
    match kind {
        DataType::Bool => "BOOL",
        DataType::Uint8 => "UINT8",
        DataType::Uint16 => "UINT16",
        DataType::Uint32 => "UINT32",
        DataType::Uint64 => "UINT64",
        DataType::Int8 => "INT8",
        DataType::Int16 => "INT16",
        DataType::Int32 => "INT32",
        DataType::Int64 => "INT64",
        DataType::Fp32 => "FP32",
        DataType::Fp64 => "FP64",
        DataType::Bytes | DataType::Text | DataType::Json => "BYTES",
    }
}

/// A type by the protocol's name; `FP16` is read into 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// One that values have here too.
    Same(DataType),
    /// IEEE 754 binary16.
    Fp16,
}

impl Wire {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        Ok(Self::Same(match name {
            "BOOL" => DataType::Bool,
            "UINT8" => DataType::Uint8,
            "UINT16" => DataType::Uint16,
            "UINT32" => DataType::Uint32,
            "UINT64" => DataType::Uint64,
            "INT8" => DataType::Int8,
            "INT16" => DataType::Int16,
            "INT32" => DataType::Int32,
            "INT64" => DataType::Int64,
            "FP16" => return Ok(Self::Fp16),
            "FP32" => DataType::Fp32,
            "FP64" => DataType::Fp64,
            "BYTES" => DataType::Bytes,
            other => {
                return Err(format!(
                    "there is no datatype `{other}`: use BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64 or BYTES"
                ));
            }
        }))
    }

    /// Reads so many values, which must be all that the bytes hold.
    pub(super) fn read(self, bytes: &[u8], count: usize) -> Result<Values, String> {
        macro_rules! numbers {
            ($variant:ident, $number:ty) => {{
                let (chunks, rest) = bytes.as_chunks::<{ size_of::<$number>() }>();
                if chunks.len() != count || !rest.is_empty() {
                    return Err(wrong_length(bytes.len(), count, size_of::<$number>()));
                }
                Values::$variant(chunks.iter().map(|b| <$number>::from_le_bytes(*b)).collect())
            }};
        }
        Ok(match self {
            Self::Fp16 => {
                let (chunks, rest) = bytes.as_chunks::<2>();
                if chunks.len() != count || !rest.is_empty() {
                    return Err(wrong_length(bytes.len(), count, 2));
                }
                Values::Fp32(chunks.iter().map(|b| of_half(u16::from_le_bytes(*b))).collect())
            }
            Self::Same(DataType::Bool) => {
                if bytes.len() != count {
                    return Err(wrong_length(bytes.len(), count, 1));
                }
                Values::Bool(bytes.iter().map(|b| *b != 0).collect())
            }
            Self::Same(DataType::Uint8) => numbers!(Uint8, u8),
            Self::Same(DataType::Uint16) => numbers!(Uint16, u16),
            Self::Same(DataType::Uint32) => numbers!(Uint32, u32),
            Self::Same(DataType::Uint64) => numbers!(Uint64, u64),
            Self::Same(DataType::Int8) => numbers!(Int8, i8),
            Self::Same(DataType::Int16) => numbers!(Int16, i16),
            Self::Same(DataType::Int32) => numbers!(Int32, i32),
            Self::Same(DataType::Int64) => numbers!(Int64, i64),
            Self::Same(DataType::Fp32) => numbers!(Fp32, f32),
            Self::Same(DataType::Fp64) => numbers!(Fp64, f64),
            Self::Same(DataType::Bytes | DataType::Text | DataType::Json) => texts(strings(bytes, count)?),
        })
    }
}

fn wrong_length(bytes: usize, count: usize, size: usize) -> String {
    format!("{bytes} bytes came for {count} values of {size} each")
}

/// Each value a length of 32 bits, then so many bytes.
fn strings(mut bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>, String> {
    let short = || format!("its bytes end before its {count} values do");
    // A length takes four bytes, so no more values are believed in than there can be.
    let mut list = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (value, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        list.push(value.to_vec());
        bytes = rest;
    }
    match bytes {
        [] => Ok(list),
        more => Err(format!("{} bytes are left after its {count} values", more.len())),
    }
}

/// Bytes that are all UTF-8 are texts, as models take them.
pub(super) fn texts(list: Vec<Vec<u8>>) -> Values {
    match list.iter().all(|value| std::str::from_utf8(value).is_ok()) {
        true => Values::Text(list.into_iter().map(|value| String::from_utf8(value).ok()).collect()),
        false => Values::Bytes(list),
    }
}

/// The bytes of values.
pub(super) fn write(values: &Values) -> Vec<u8> {
    macro_rules! numbers {
        ($list:expr) => {
            $list.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
    }
    match values {
        Values::Bool(list) => list.iter().map(|on| u8::from(*on)).collect(),
        Values::Uint8(list) => list.clone(),
        Values::Uint16(list) => numbers!(list),
        Values::Uint32(list) => numbers!(list),
        Values::Uint64(list) => numbers!(list),
        Values::Int8(list) => numbers!(list),
        Values::Int16(list) => numbers!(list),
        Values::Int32(list) => numbers!(list),
        Values::Int64(list) => numbers!(list),
        Values::Fp32(list) => numbers!(list),
        Values::Fp64(list) => numbers!(list),
        Values::Bytes(_) | Values::Text(_) | Values::Json(_) => {
            let mut out = Vec::new();
            for value in strings_of(values) {
                out.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
                out.extend(value);
            }
            out
        }
    }
}

/// Values that are bytes to the protocol; a missing text is empty, what is mixed is JSON.
pub(super) fn strings_of(values: &Values) -> Vec<Vec<u8>> {
    match values {
        Values::Bytes(list) => list.clone(),
        Values::Text(list) => list.iter().map(|v| v.clone().unwrap_or_default().into_bytes()).collect(),
        other => (0..other.len()).map(|i| other.json(i).to_string().into_bytes()).collect(),
    }
}

/// IEEE 754 binary16 to binary32, exactly.
fn of_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    let rest = match (exponent, fraction) {
        (0, 0) => 0,
        // A subnormal: its value is fraction × 2⁻²⁴, which is normal in 32 bits.
        (0, fraction) => {
            let shift = fraction.leading_zeros() - 21;
            ((113 - shift) << 23) | ((fraction << (13 + shift)) & 0x7f_ffff)
        }
        (0x1f, fraction) => 0x7f80_0000 | (fraction << 13),
        (exponent, fraction) => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_are_read_exactly() {
        for (half, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2.0_f32.powi(-24)),
            (0x03ff, 1023.0 * 2.0_f32.powi(-24)),
            (0x0400, 2.0_f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(of_half(half), value, "{half:#06x}");
        }
        assert!(of_half(0x7e00).is_nan());
    }

    #[test]
    fn what_is_too_short_or_too_long_is_refused() {
        let fp32 = Wire::parse("FP32").unwrap();
        assert!(fp32.read(&[0; 7], 2).is_err() && fp32.read(&[0; 12], 2).is_err());
        let bytes = Wire::parse("BYTES").unwrap();
        assert!(bytes.read(&[255, 255, 255, 255, 1], 1).unwrap_err().contains("end before"));
        assert!(bytes.read(&[0, 0, 0, 0, 1], 1).unwrap_err().contains("are left"));
        assert!(bytes.read(&[], usize::MAX).is_err(), "what is claimed is not allocated");
        assert!(Wire::parse("STRING").unwrap_err().contains("BYTES"));
    }

    proptest! {
        #[test]
        fn values_come_back_from_their_bytes(
            floats in prop::collection::vec(any::<i64>(), 0..20),
            texts in prop::collection::vec(".{0,8}", 0..5),
        ) {
            let count = floats.len();
            let values = Values::Int64(floats);
            prop_assert_eq!(Wire::parse("INT64").unwrap().read(&write(&values), count), Ok(values));
            let count = texts.len();
            let values = Values::Text(texts.into_iter().map(Some).collect());
            prop_assert_eq!(Wire::parse("BYTES").unwrap().read(&write(&values), count), Ok(values));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0_usize..20) {
            for kind in ["BOOL", "FP16", "FP64", "BYTES", "UINT16"] {
                drop(Wire::parse(kind).unwrap().read(&bytes, count));
            }
        }
    }
}

//! Values of one type, one after the other.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The types of values, by the names of the Open Inference Protocol; [`DataType::Json`] has none there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DataType {
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
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary64.
    Fp64,
    /// Bytes, which a text is.
    Bytes,
    /// Texts, of which some may be missing.
    Text,
    /// Values of several types, missing ones among them.
    Json,
}

/// Values of one type. A missing float is NaN; where other values are missing they are [`Values::Text`] or
/// [`Values::Json`].
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// [`DataType::Bool`]
    Bool(Vec<bool>),
    /// [`DataType::Uint8`]
    Uint8(Vec<u8>),
    /// [`DataType::Uint16`]
    Uint16(Vec<u16>),
    /// [`DataType::Uint32`]
    Uint32(Vec<u32>),
    /// [`DataType::Uint64`]
    Uint64(Vec<u64>),
    /// [`DataType::Int8`]
    Int8(Vec<i8>),
    /// [`DataType::Int16`]
    Int16(Vec<i16>),
    /// [`DataType::Int32`]
    Int32(Vec<i32>),
    /// [`DataType::Int64`]
    Int64(Vec<i64>),
    /// [`DataType::Fp32`]
    Fp32(Vec<f32>),
    /// [`DataType::Fp64`]
    Fp64(Vec<f64>),
    /// [`DataType::Bytes`]
    Bytes(Vec<Vec<u8>>),
    /// [`DataType::Text`]
    Text(Vec<Option<String>>),
    /// [`DataType::Json`]
    Json(Vec<Json>),
}

/// Does the same with the vector of each type.
macro_rules! each {
    ($values:expr, $list:ident => $do:expr) => {
        match $values {
            Values::Bool($list) => $do,
            Values::Uint8($list) => $do,
            Values::Uint16($list) => $do,
            Values::Uint32($list) => $do,
            Values::Uint64($list) => $do,
            Values::Int8($list) => $do,
            Values::Int16($list) => $do,
            Values::Int32($list) => $do,
            Values::Int64($list) => $do,
            Values::Fp32($list) => $do,
            Values::Fp64($list) => $do,
            Values::Bytes($list) => $do,
            Values::Text($list) => $do,
            Values::Json($list) => $do,
        }
    };
}

impl Values {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        each!(self, list => list.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bool(_) => DataType::Bool,
            Self::Uint8(_) => DataType::Uint8,
            Self::Uint16(_) => DataType::Uint16,
            Self::Uint32(_) => DataType::Uint32,
            Self::Uint64(_) => DataType::Uint64,
            Self::Int8(_) => DataType::Int8,
            Self::Int16(_) => DataType::Int16,
            Self::Int32(_) => DataType::Int32,
            Self::Int64(_) => DataType::Int64,
            Self::Fp32(_) => DataType::Fp32,
            Self::Fp64(_) => DataType::Fp64,
            Self::Bytes(_) => DataType::Bytes,
            Self::Text(_) => DataType::Text,
            Self::Json(_) => DataType::Json,
        }
    }

    /// Those from `begin` to before `end`.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn slice(&self, begin: usize, end: usize) -> Self {
        macro_rules! cut {
            ($($kind:ident),*) => {
                match self { $(Self::$kind(list) => Self::$kind(list[begin..end].to_vec()),)* }
            };
        }
        cut!(Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp32, Fp64, Bytes, Text, Json)
    }

    /// Those at these places, in this order.
    ///
    /// # Panics
    /// When there is no such place.
    #[must_use]
    pub fn pick(&self, places: &[usize]) -> Self {
        macro_rules! pick {
            ($($kind:ident),*) => {
                match self { $(Self::$kind(list) => Self::$kind(places.iter().map(|at| list[*at].clone()).collect()),)* }
            };
        }
        pick!(Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp32, Fp64, Bytes, Text, Json)
    }

    /// Puts others of the same type behind these; gives them back when they are of another.
    ///
    /// # Errors
    /// The others, untouched.
    pub fn append(&mut self, others: Self) -> Result<(), Self> {
        macro_rules! join {
            ($($kind:ident),*) => {
                match (self, others) {
                    $((Self::$kind(list), Self::$kind(mut more)) => list.append(&mut more),)*
                    (_, others) => return Err(others),
                }
            };
        }
        join!(Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp32, Fp64, Bytes, Text, Json);
        Ok(())
    }

    /// One of them as JSON: `null` for a float that is not finite and for a missing text; bytes as the text that they are,
    /// or in base64 when they are none.
    ///
    /// # Panics
    /// When there is no such one.
    #[must_use]
    pub fn json(&self, at: usize) -> Json {
        match self {
            Self::Text(list) => list[at].as_deref().map_or(Json::Null, Json::from),
            Self::Bytes(list) => std::str::from_utf8(&list[at])
                .map_or_else(|_| BASE64_STANDARD.encode(&list[at]).into(), Json::from),
            Self::Json(list) => list[at].clone(),
            Self::Bool(list) => list[at].into(),
            Self::Uint8(list) => list[at].into(),
            Self::Uint16(list) => list[at].into(),
            Self::Uint32(list) => list[at].into(),
            Self::Uint64(list) => list[at].into(),
            Self::Int8(list) => list[at].into(),
            Self::Int16(list) => list[at].into(),
            Self::Int32(list) => list[at].into(),
            Self::Int64(list) => list[at].into(),
            Self::Fp32(list) => f64::from(list[at]).into(),
            Self::Fp64(list) => list[at].into(),
        }
    }

    /// One of them as a number: a boolean is 0 or 1, as Python and NumPy have it. None for texts, bytes, JSON, and where there
    /// is no such one.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn number(&self, at: usize) -> Option<f64> {
        Some(match self {
            Self::Bool(list) => f64::from(u8::from(*list.get(at)?)),
            Self::Uint8(list) => (*list.get(at)?).into(),
            Self::Uint16(list) => (*list.get(at)?).into(),
            Self::Uint32(list) => (*list.get(at)?).into(),
            Self::Uint64(list) => *list.get(at)? as f64,
            Self::Int8(list) => (*list.get(at)?).into(),
            Self::Int16(list) => (*list.get(at)?).into(),
            Self::Int32(list) => (*list.get(at)?).into(),
            Self::Int64(list) => *list.get(at)? as f64,
            Self::Fp32(list) => (*list.get(at)?).into(),
            Self::Fp64(list) => *list.get(at)?,
            Self::Bytes(_) | Self::Text(_) | Self::Json(_) => return None,
        })
    }

    /// Bytes that they take on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Bytes(list) => list.iter().map(|v| v.capacity() + size_of::<Vec<u8>>()).sum(),
            Self::Text(list) => list
                .iter()
                .map(|v| v.as_ref().map_or(0, String::capacity) + size_of::<Option<String>>())
                .sum(),
            other => each!(other, list => list.capacity() * size_of_first(list)),
        }
    }
}

fn size_of_first<T>(_: &[T]) -> usize {
    size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_one_type_are_joined_and_cut_and_others_are_given_back() {
        let mut some = Values::Int64(vec![1, 2]);
        some.append(Values::Int64(vec![3])).unwrap();
        assert_eq!(some.slice(1, 3), Values::Int64(vec![2, 3]));
        assert_eq!(some.append(Values::Bool(vec![true])), Err(Values::Bool(vec![true])));
        assert_eq!(some.len(), 3);
    }

    #[test]
    fn whatever_counts_is_a_number() {
        assert_eq!(Values::Bool(vec![false, true]).number(1), Some(1.0));
        assert_eq!(Values::Uint8(vec![7]).number(0), Some(7.0));
        assert_eq!(Values::Int64(vec![-7]).number(0), Some(-7.0));
        assert_eq!(Values::Fp32(vec![0.5]).number(1), None);
        assert_eq!(Values::Text(vec![Some("1".into())]).number(0), None);
    }

    #[test]
    fn json_has_no_word_for_a_float_that_is_not_finite() {
        assert_eq!(Values::Fp64(vec![f64::NAN]).json(0), Json::Null);
        assert_eq!(Values::Fp32(vec![0.5]).json(0), json!(0.5));
        assert_eq!(Values::Text(vec![None, Some("a".into())]).json(1), json!("a"));
    }
}

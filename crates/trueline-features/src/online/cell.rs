//! Values and keys as the online store holds them, and their bytes.

use super::{OnlineError, OnlineRow};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A feature's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Missing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
}

impl Cell {
    /// A value of JSON; lists and objects are none.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => n.as_i64().map(Self::Int).or_else(|| n.as_f64().map(Self::Float))?,
            Value::String(s) => Self::Text(s.clone()),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    /// The value as a model's input; text is none.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Null | Self::Text(_) => None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Bool(b) => out.push(1 + u8::from(*b)),
            Self::Int(i) => {
                out.push(3);
                out.extend(i.to_le_bytes());
            }
            Self::Float(f) => {
                out.push(4);
                out.extend(f.to_le_bytes());
            }
            Self::Text(s) => {
                out.push(5);
                out.extend((s.len() as u64).to_le_bytes());
                out.extend(s.as_bytes());
            }
        }
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let (tag, rest) = from.split_first()?;
        *from = rest;
        Some(match tag {
            0 => Self::Null,
            1 => Self::Bool(false),
            2 => Self::Bool(true),
            3 => Self::Int(i64::from_le_bytes(eight(from)?)),
            4 => Self::Float(f64::from_le_bytes(eight(from)?)),
            5 => {
                let length = usize::try_from(u64::from_le_bytes(eight(from)?)).ok()?;
                let (text, rest) = from.split_at_checked(length)?;
                *from = rest;
                Self::Text(std::str::from_utf8(text).ok()?.to_owned())
            }
            _ => return None,
        })
    }
}

fn eight(from: &mut &[u8]) -> Option<[u8; 8]> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*bytes)
}

impl OnlineRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (event, created) = self.age();
        let mut out = Vec::with_capacity(16 + 9 * self.values.len());
        out.extend(event.to_le_bytes());
        out.extend(created.to_le_bytes());
        self.values.iter().for_each(|v| v.encode(&mut out));
        out
    }

    pub(super) fn decode(mut from: &[u8]) -> Option<Self> {
        let from = &mut from;
        let event_us = i64::from_le_bytes(eight(from)?);
        let created = i64::from_le_bytes(eight(from)?);
        let mut values = Vec::new();
        while !from.is_empty() {
            values.push(Cell::decode(from)?);
        }
        Some(Self { event_us, created_us: (created != i64::MIN).then_some(created), values })
    }
}

/// One column of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum KeyPart {
    /// A truth value.
    Bool(bool),
    /// A whole number, of whatever width it came in.
    Int(i64),
    /// Text.
    Text(String),
}

impl KeyPart {
    /// A value of JSON; a whole number may be written with a point, as clients that know only floats do.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(Self::Bool(*b)),
            Value::String(s) => Some(Self::Text(s.clone())),
            Value::Number(n) => n.as_i64().map(Self::Int).or_else(|| {
                let float = n.as_f64()?;
                // Up to 2^53 every whole number is a float of its own.
                let whole = float.fract() == 0.0 && float.abs() <= (1_i64 << 53) as f64;
                whole.then_some(Self::Int(float as i64))
            }),
            _ => None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(b) => out.extend([0, u8::from(*b)]),
            Self::Int(i) => {
                out.push(1);
                out.extend(i.to_be_bytes());
            }
            Self::Text(s) => {
                out.push(2);
                text(s, out);
            }
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_be_bytes());
    out.extend(text.as_bytes());
}

/// The key of a row: a value for each of the view's join keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Keys(BTreeMap<String, KeyPart>);

impl Keys {
    /// Of columns and their values.
    pub fn new(parts: impl IntoIterator<Item = (String, KeyPart)>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// Of a JSON object.
    ///
    /// # Errors
    /// [`OnlineError::Invalid`] for a value that is no key.
    pub fn from_json(object: &Map<String, Value>) -> Result<Self, OnlineError> {
        let part = |(name, value): (&String, &Value)| match KeyPart::from_json(value) {
            Some(part) => Ok((name.clone(), part)),
            None => Err(OnlineError::Invalid(format!(
                "{value} can't be the key `{name}`: keys are text, whole numbers and truth values"
            ))),
        };
        Ok(Self(object.iter().map(part).collect::<Result<_, _>>()?))
    }

    /// The value of one column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&KeyPart> {
        self.0.get(column)
    }

    /// The columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The bytes under which a row of a view lies: project, view and version first, so that those of one view lie
    /// together; every part tells its own length, so that no two keys share bytes.
    pub(super) fn encode(&self, project: &str, view: &str, version: i64) -> Box<[u8]> {
        let mut out = Vec::with_capacity(64);
        text(project, &mut out);
        text(view, &mut out);
        out.extend(version.to_be_bytes());
        for (name, part) in &self.0 {
            text(name, &mut out);
            part.encode(&mut out);
        }
        out.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<bool>().prop_map(Cell::Bool),
            any::<i64>().prop_map(Cell::Int),
            (-1e300..1e300).prop_map(Cell::Float),
            ".*".prop_map(Cell::Text),
        ]
    }

    proptest! {
        #[test]
        fn a_row_survives_its_bytes_and_broken_bytes_are_none(
            event_us in any::<i64>(), created_us in prop::option::of(0_i64..), values in prop::collection::vec(cell(), 0..6), cut in 1_usize..9
        ) {
            let row = OnlineRow { event_us, created_us, values };
            let bytes = row.encode();
            if let Some(Cell::Int(_) | Cell::Float(_)) = row.values.last() {
                prop_assert_eq!(OnlineRow::decode(&bytes[..bytes.len() - cut.min(8)]), None);
            }
            prop_assert_eq!(OnlineRow::decode(&bytes), Some(row));
        }

        #[test]
        fn different_keys_have_different_bytes(
            a in prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3), b in prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3)
        ) {
            let keys = |m: &BTreeMap<String, String>| Keys::new(m.iter().map(|(k, v)| (k.clone(), KeyPart::Text(v.clone()))));
            let (x, y) = (keys(&a).encode("p", "v", 1), keys(&b).encode("p", "v", 1));
            prop_assert_eq!(a == b, x == y);
        }
    }

    #[test]
    fn whole_numbers_are_one_key_however_they_are_written() {
        assert_eq!(KeyPart::from_json(&json!(7.0)), KeyPart::from_json(&json!(7)));
        assert_ne!(KeyPart::from_json(&json!("7")), KeyPart::from_json(&json!(7)));
        assert_eq!(KeyPart::from_json(&json!(7.5)), None);
        assert_eq!(KeyPart::from_json(&json!(null)), None);
    }
}

//! Protobuf's wire format: the fields of a message one after the other, and fields written. What they mean is not known
//! here.

use std::ops::Range;

/// What one field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    /// A message, a text, bytes, or many numbers packed.
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Where a message stops to be one, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) usize);

/// The fields of a message: number, what it holds, and where it stands, its tag included.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0 }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.get(self.at)?;
            self.at += 1;
            // Bits above the 64th are dropped, as protobuf does.
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.bytes(8)?.try_into().ok()?),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.bytes(length)?)
            }
            5 => Field::Fixed32(self.bytes(4)?.try_into().ok()?),
            // Groups are of an age before ONNX.
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>, Range<usize>), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        if start >= self.message.len() {
            return None;
        }
        let Some((number, field)) = self.field() else {
            self.at = self.message.len();
            return Some(Err(Damaged(start)));
        };
        Some(Ok((number, field, start..self.at)))
    }
}

/// Numbers that stand one by one or packed.
pub(crate) fn varints(field: Field<'_>, into: &mut Vec<u64>) -> Result<(), Damaged> {
    match field {
        Field::Varint(value) => into.push(value),
        Field::Bytes(packed) => {
            let mut reader = fields(packed);
            while reader.at < packed.len() {
                let at = reader.at;
                into.push(reader.varint().ok_or(Damaged(at))?);
            }
        }
        _ => return Err(Damaged(0)),
    }
    Ok(())
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Writes a field that holds a number.
pub(crate) fn put_number(into: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(into, number << 3);
    put_varint(into, value);
}

/// Writes a field that holds bytes, a text or a message.
pub(crate) fn put_bytes(into: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(into, number << 3 | 2);
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(numbers: Vec<(u32, u64)>, texts: Vec<(u16, Vec<u8>)>) {
            let mut message = Vec::new();
            for (number, value) in &numbers {
                put_number(&mut message, u64::from(*number) + 1, *value);
            }
            for (number, bytes) in &texts {
                put_bytes(&mut message, u64::from(*number) + 1, bytes);
            }
            let read: Vec<_> = fields(&message).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), numbers.len() + texts.len());
            for ((number, value), (n, field, _)) in numbers.iter().zip(&read) {
                prop_assert_eq!((u64::from(*number) + 1, Field::Varint(*value)), (*n, *field));
            }
            for ((number, bytes), (n, field, _)) in texts.iter().zip(&read[numbers.len()..]) {
                prop_assert_eq!((u64::from(*number) + 1, Field::Bytes(bytes)), (*n, *field));
            }
        }

        #[test]
        fn anything_is_read_or_damaged_and_the_places_cover_it(message: Vec<u8>) {
            let mut at = 0;
            for field in fields(&message) {
                let Ok((_, _, place)) = field else { return Ok(()) };
                prop_assert_eq!(place.start, at);
                at = place.end;
            }
            prop_assert_eq!(at, message.len());
        }
    }

    #[test]
    fn a_length_beyond_the_end_and_a_group_are_damage() {
        assert_eq!(fields(&[0x0a, 0x05, 1]).next(), Some(Err(Damaged(0))));
        assert_eq!(fields(&[0x08, 1, 0x0b]).nth(1), Some(Err(Damaged(2))));
        assert_eq!(fields(&[0xff; 20]).next(), Some(Err(Damaged(0))));
    }
}

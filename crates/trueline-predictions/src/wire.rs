//! Varints, texts and the head that records and labels share. Reading never allocates more than the bytes it was given.

use crate::{DecodeError, PredictionId};

/// What the log's files need to know of an item, whatever else it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: PredictionId,
    pub(crate) event_ms: i64,
    pub(crate) received_ms: i64,
}

impl Head {
    /// `version | id, 16 bytes big-endian | event time, zigzag | received − event, zigzag`
    pub(crate) fn put(&self, version: u8, out: &mut Vec<u8>) {
        out.push(version);
        out.extend_from_slice(&self.id.to_bytes());
        put_signed(out, self.event_ms);
        put_signed(out, self.received_ms.wrapping_sub(self.event_ms));
    }

    /// Reads the head of an item of one of the versions from the first to `newest`; its version, too.
    pub(crate) fn take(newest: u8, reader: &mut Reader<'_>) -> Result<(u8, Self), DecodeError> {
        let version = reader.byte()?;
        if !(1..=newest).contains(&version) {
            return Err(DecodeError("it has a version that this Trueline does not know"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(reader.bytes(16)?);
        let event_ms = reader.signed()?;
        let received_ms = event_ms.wrapping_add(reader.signed()?);
        Ok((version, Self { id: PredictionId::from_bytes(id), event_ms, received_ms }))
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Reads from a slice, and fails at its end.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError("it ends too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(DecodeError("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError("a number has more than 64 bits"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A count of things that take at least `least` bytes each; one that can't fit into the rest is refused, so that
    /// room may be reserved for it.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.rest.len() / least {
            return Err(DecodeError("a count is larger than what follows"));
        }
        Ok(count)
    }

    pub(crate) fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count(1)?;
        self.bytes(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let text = std::str::from_utf8(self.sized()?).map_err(|_| DecodeError("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    pub(crate) fn float(&mut self) -> Result<f64, DecodeError> {
        let mut bits = [0; 8];
        bits.copy_from_slice(self.bytes(8)?);
        Ok(f64::from_bits(u64::from_le_bytes(bits)))
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError("bytes follow its end")) }
    }
}

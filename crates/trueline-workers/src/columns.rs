//! Tensors in the body of a frame, and their places in its head.
//!
//! Numbers are little-endian, one after the other, and begin at a multiple of 64 bytes, so that NumPy takes them where they
//! are. Texts and bytes are their lengths as 32-bit numbers (-1 for a missing text), then all of them; JSON is one array.

use crate::body::{Body, PIECE, Writer};
use serde::{Deserialize, Serialize};
use std::io;
use trueline_tensors::{DataType, Tensor, Values};

const ALIGNMENT: u64 = 64;

/// Where a tensor is in a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<usize>,
    /// Its first byte.
    pub(crate) at: u64,
    /// Its bytes.
    pub(crate) len: u64,
}

/// The type of a tensor, as heads name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub(crate) enum Kind {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp32,
    Fp64,
    Bytes,
    Text,
    Json,
}

/// Why tensors can't be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("tensor `{name}` is not where the head says, or not what it says: {why}")]
    Place { name: String, why: String },
    #[error("tensor `{name}` can't be written: {why}")]
    Write { name: String, why: String },
    #[error("the memory of a body: {0}")]
    Memory(#[from] io::Error),
}

/// Tensors that have their places, with what had to be made of them to know how long they are.
pub(crate) struct LaidOut<'a> {
    pub(crate) places: Vec<Place>,
    pub(crate) length: u64,
    written: Vec<(&'a Values, Vec<u8>)>,
}

/// Finds places for tensors.
pub(crate) fn lay_out(tensors: &[Tensor]) -> Result<LaidOut<'_>, LayoutError> {
    let mut out = LaidOut { places: Vec::with_capacity(tensors.len()), length: 0, written: Vec::new() };
    for tensor in tensors {
        let values = tensor.values();
        let before = before(values)
            .map_err(|why| LayoutError::Write { name: tensor.name().to_owned(), why: why.to_string() })?;
        let at = out.length.next_multiple_of(ALIGNMENT);
        let len = before.len() as u64 + content(values);
        let (name, kind, shape) = (tensor.name().to_owned(), kind_of(values), tensor.shape().to_vec());
        out.places.push(Place { name, kind, shape, at, len });
        out.written.push((values, before));
        out.length = at + len;
    }
    Ok(out)
}

/// What stands before the values themselves: the lengths of texts; and all of JSON, since its length is not known otherwise.
fn before(values: &Values) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut lengths = Vec::new();
    let mut add = |length: Option<usize>| -> Result<(), std::num::TryFromIntError> {
        let length = length.map_or(Ok(-1), i32::try_from)?;
        lengths.extend_from_slice(&length.to_le_bytes());
        Ok(())
    };
    match values {
        Values::Text(list) => list.iter().try_for_each(|text| add(text.as_ref().map(String::len)))?,
        Values::Bytes(list) => list.iter().try_for_each(|bytes| add(Some(bytes.len())))?,
        Values::Json(list) => return Ok(serde_json::to_vec(list)?),
        _ => {}
    }
    Ok(lengths)
}

fn content(values: &Values) -> u64 {
    match values {
        Values::Text(list) => list.iter().flatten().map(|text| text.len() as u64).sum(),
        Values::Bytes(list) => list.iter().map(|bytes| bytes.len() as u64).sum(),
        numbers => numbers.len() as u64 * width(kind_of(numbers)),
    }
}

/// Bytes of one number; 0 for what is none.
fn width(kind: Kind) -> u64 {
    match kind {
        Kind::Bool | Kind::Uint8 | Kind::Int8 => 1,
        Kind::Uint16 | Kind::Int16 => 2,
        Kind::Uint32 | Kind::Int32 | Kind::Fp32 => 4,
        Kind::Uint64 | Kind::Int64 | Kind::Fp64 => 8,
        Kind::Bytes | Kind::Text | Kind::Json => 0,
    }
}

fn kind_of(values: &Values) -> Kind {
    match values.data_type() {
        DataType::Bool => Kind::Bool,
        DataType::Uint8 => Kind::Uint8,
        DataType::Uint16 => Kind::Uint16,
        DataType::Uint32 => Kind::Uint32,
        DataType::Uint64 => Kind::Uint64,
        DataType::Int8 => Kind::Int8,
        DataType::Int16 => Kind::Int16,
        DataType::Int32 => Kind::Int32,
        DataType::Int64 => Kind::Int64,
        DataType::Fp32 => Kind::Fp32,
        DataType::Fp64 => Kind::Fp64,
        DataType::Bytes => Kind::Bytes,
        DataType::Text => Kind::Text,
        DataType::Json => Kind::Json,
    }
}

impl LaidOut<'_> {
    /// Writes all tensors to their places.
    pub(crate) fn write(&self, writer: &mut Writer) -> io::Result<()> {
        let mut piece = Vec::new();
        for (place, (values, before)) in self.places.iter().zip(&self.written) {
            writer.pad_to(place.at);
            writer.write(before)?;
            write_values(values, writer, &mut piece)?;
        }
        Ok(())
    }
}

fn write_values(values: &Values, writer: &mut Writer, piece: &mut Vec<u8>) -> io::Result<()> {
    macro_rules! numbers {
        ($list:expr, $to:expr, $bytes:literal) => {
            for part in $list.chunks(PIECE / $bytes) {
                piece.resize(part.len() * $bytes, 0);
                for (slot, value) in piece.as_chunks_mut::<$bytes>().0.iter_mut().zip(part) {
                    *slot = $to(*value);
                }
                writer.write(piece)?;
            }
        };
    }
    match values {
        Values::Bool(list) => numbers!(list, |v: bool| [u8::from(v)], 1),
        Values::Uint8(list) => writer.write(list)?,
        Values::Uint16(list) => numbers!(list, u16::to_le_bytes, 2),
        Values::Uint32(list) => numbers!(list, u32::to_le_bytes, 4),
        Values::Uint64(list) => numbers!(list, u64::to_le_bytes, 8),
        Values::Int8(list) => numbers!(list, i8::to_le_bytes, 1),
        Values::Int16(list) => numbers!(list, i16::to_le_bytes, 2),
        Values::Int32(list) => numbers!(list, i32::to_le_bytes, 4),
        Values::Int64(list) => numbers!(list, i64::to_le_bytes, 8),
        Values::Fp32(list) => numbers!(list, f32::to_le_bytes, 4),
        Values::Fp64(list) => numbers!(list, f64::to_le_bytes, 8),
        Values::Text(list) => write_bytes(list.iter().flatten().map(String::as_bytes), writer, piece)?,
        Values::Bytes(list) => write_bytes(list.iter().map(Vec::as_slice), writer, piece)?,
        Values::Json(_) => {}
    }
    Ok(())
}

fn write_bytes<'a>(
    list: impl Iterator<Item = &'a [u8]>,
    writer: &mut Writer,
    piece: &mut Vec<u8>,
) -> io::Result<()> {
    piece.clear();
    for bytes in list {
        piece.extend_from_slice(bytes);
        if piece.len() >= PIECE {
            writer.write(piece)?;
            piece.clear();
        }
    }
    writer.write(piece)
}

/// Reads the tensor of a place.
pub(crate) fn read(place: Place, body: &Body) -> Result<Tensor, LayoutError> {
    let wrong = |why: &str| LayoutError::Place { name: place.name.clone(), why: why.to_owned() };
    let count = place.shape.iter().try_fold(1_usize, |held, n| held.checked_mul(*n));
    let count = count.ok_or_else(|| wrong("its shape holds too many values"))?;
    let end = place.at.checked_add(place.len);
    if end.is_none_or(|end| end > body.len()) {
        return Err(wrong("it ends behind the body"));
    }
    let width = width(place.kind);
    // Before any memory is taken: what is taken below is no more than the body has.
    let fits = match place.kind {
        Kind::Text | Kind::Bytes => (count as u64).checked_mul(4).is_some_and(|n| n <= place.len),
        Kind::Json => true,
        _ => (count as u64).checked_mul(width) == Some(place.len),
    };
    if !fits {
        return Err(wrong("its length is not that of its shape"));
    }
    let values = read_values(&place, count, body)?.ok_or_else(|| wrong("its values are not of its type"))?;
    let (name, shape) = (place.name.clone(), place.shape.clone());
    Tensor::new(name, shape, values).map_err(|e| wrong(&e.to_string()))
}

fn read_values(place: &Place, count: usize, body: &Body) -> io::Result<Option<Values>> {
    macro_rules! numbers {
        ($variant:ident, $from:expr, $bytes:literal) => {{
            let mut list = Vec::with_capacity(count);
            let mut piece = vec![0; PIECE.min(count * $bytes)];
            let mut at = place.at;
            while list.len() < count {
                let part = (count - list.len()).min(PIECE / $bytes) * $bytes;
                body.read_at(at, &mut piece[..part])?;
                list.extend(piece[..part].as_chunks::<$bytes>().0.iter().map(|b| $from(*b)));
                at += part as u64;
            }
            Some(Values::$variant(list))
        }};
    }
    Ok(match place.kind {
        Kind::Bool => numbers!(Bool, |b: [u8; 1]| b[0] != 0, 1),
        Kind::Uint8 => numbers!(Uint8, u8::from_le_bytes, 1),
        Kind::Uint16 => numbers!(Uint16, u16::from_le_bytes, 2),
        Kind::Uint32 => numbers!(Uint32, u32::from_le_bytes, 4),
        Kind::Uint64 => numbers!(Uint64, u64::from_le_bytes, 8),
        Kind::Int8 => numbers!(Int8, i8::from_le_bytes, 1),
        Kind::Int16 => numbers!(Int16, i16::from_le_bytes, 2),
        Kind::Int32 => numbers!(Int32, i32::from_le_bytes, 4),
        Kind::Int64 => numbers!(Int64, i64::from_le_bytes, 8),
        Kind::Fp32 => numbers!(Fp32, f32::from_le_bytes, 4),
        Kind::Fp64 => numbers!(Fp64, f64::from_le_bytes, 8),
        Kind::Text | Kind::Bytes | Kind::Json => {
            let mut bytes = vec![0; usize::try_from(place.len).map_err(io::Error::other)?];
            body.read_at(place.at, &mut bytes)?;
            match place.kind {
                Kind::Json => serde_json::from_slice(&bytes).ok().map(Values::Json),
                Kind::Text => {
                    let text = |piece: &[u8]| String::from_utf8(piece.to_vec()).ok().map(Some);
                    pieces(&bytes, count, text, || Some(None)).map(Values::Text)
                }
                _ => pieces(&bytes, count, |piece| Some(piece.to_vec()), || None).map(Values::Bytes),
            }
        }
    })
}

/// Cuts lengths and what follows them into pieces.
fn pieces<T>(
    bytes: &[u8],
    count: usize,
    make: impl Fn(&[u8]) -> Option<T>,
    missing: impl Fn() -> Option<T>,
) -> Option<Vec<T>> {
    let (lengths, mut rest) = bytes.split_at_checked(count.checked_mul(4)?)?;
    let mut list = Vec::with_capacity(count);
    for length in lengths.as_chunks::<4>().0 {
        let length = i32::from_le_bytes(*length);
        if length < 0 {
            list.push(missing()?);
            continue;
        }
        let (piece, others) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        list.push(make(piece)?);
        rest = others;
    }
    rest.is_empty().then_some(list)
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;

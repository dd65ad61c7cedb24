//! Frames: `u32 length | u32 CRC-32 | kind | flags | items`, numbers little-endian, the CRC over all that follows it.
//!
//! An item is `varint length | bytes`. A batch that does not fit into one frame of [`SOFT_FRAME`] goes on in the next; the
//! flag [`MORE`] says so. Recovery keeps whole batches only, and a lookup reads one frame however large the batch was.

use crate::wire::{Head, Reader, put_varint};
use crate::{DecodeError, LogError, MAX_RECORD, record};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length and checksum.
pub(crate) const HEADER: usize = 8;
/// A frame takes no further item beyond this.
const SOFT_FRAME: usize = 32 << 10;
/// No frame is longer: one record of the largest size after a frame that was almost full.
pub(crate) const MAX_FRAME: usize = SOFT_FRAME + MAX_RECORD + 16;
/// The batch goes on in the next frame.
const MORE: u8 = 1;

/// What the items are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Predictions = 1,
    Labels = 2,
}

/// An item's head and the place of its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) head: Head,
    pub(crate) offset: u32,
}

/// Frames ready to be written; places count from their start.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    pub(crate) placed: Vec<Placed>,
}

impl Frames {
    /// Frames a batch. Items that are not `whole` need not survive a crash together.
    pub(crate) fn build(kind: Kind, whole: bool, items: &[(Head, Vec<u8>)]) -> Self {
        let mut frames = Self::default();
        let mut start = 0;
        for (at, (head, item)) in items.iter().enumerate() {
            if at > 0 && frames.bytes.len() - start > SOFT_FRAME {
                frames.finish(start);
                start = frames.bytes.len();
            }
            if frames.bytes.len() == start {
                frames.bytes.extend_from_slice(&[0; HEADER]);
                frames.bytes.extend_from_slice(&[kind as u8, u8::from(whole) * MORE]);
            }
            put_varint(&mut frames.bytes, item.len() as u64);
            frames.bytes.extend_from_slice(item);
            frames.placed.push(Placed { head: *head, offset: start as u32 });
        }
        if !items.is_empty() {
            frames.bytes[start + HEADER + 1] = 0;
            frames.finish(start);
        }
        frames
    }

    fn finish(&mut self, start: usize) {
        let length = (self.bytes.len() - start - HEADER) as u32;
        let crc = crc32fast::hash(&self.bytes[start + HEADER..]);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A frame whose checksum was right.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    payload: Vec<u8>,
}

impl Frame {
    fn check(offset: u64, crc: u32, payload: Vec<u8>) -> Result<Self, FrameFault> {
        if crc32fast::hash(&payload) != crc {
            return Err(FrameFault::Bad { offset, why: "its checksum is wrong" });
        }
        Ok(Self { offset, payload })
    }

    pub(crate) fn end(&self) -> u64 {
        self.offset + (HEADER + self.payload.len()) as u64
    }

    /// The last of its batch?
    pub(crate) fn ends_batch(&self) -> bool {
        self.payload[1] & MORE == 0
    }

    pub(crate) fn items(&self) -> Items<'_> {
        Items { reader: Reader::new(&self.payload[2..]) }
    }

    /// The heads of its items, with their places.
    pub(crate) fn heads(&self, path: &Path) -> Result<Vec<Placed>, LogError> {
        let offset = u32::try_from(self.offset).map_err(|_| self.damaged(path, "it lies beyond 4 GiB"))?;
        let head = |item: &[u8]| Ok::<_, DecodeError>(Head::take(record::VERSION, &mut Reader::new(item))?.1);
        let items = self.items().map(|item| Ok(Placed { head: head(item?)?, offset }));
        items.collect::<Result<_, DecodeError>>().map_err(|e| self.damaged(path, e))
    }

    pub(crate) fn damaged(&self, path: &Path, error: impl ToString) -> LogError {
        LogError::damaged(path, self.offset, error)
    }
}

/// The items of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let item = self.reader.sized();
        if item.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(item)
    }
}

/// Why the next frame can't be read.
#[derive(Debug)]
pub(crate) enum FrameFault {
    /// The file ends inside of it.
    Torn {
        offset: u64,
    },
    /// It is not what was written.
    Bad {
        offset: u64,
        why: &'static str,
    },
    Io(std::io::Error),
}

impl FrameFault {
    pub(crate) fn into_error(self, path: &Path) -> LogError {
        match self {
            Self::Torn { offset } => LogError::damaged(path, offset, "a frame ends too early"),
            Self::Bad { offset, why } => LogError::damaged(path, offset, why),
            Self::Io(error) => LogError::io(path, &error),
        }
    }
}

/// Reads frame after frame, up to `limit`; memory holds one.
#[derive(Debug)]
pub(crate) struct FrameReader {
    input: BufReader<File>,
    offset: u64,
    limit: u64,
}

impl FrameReader {
    /// Starts at a frame's place.
    pub(crate) fn open(path: &Path, from: u64, limit: u64) -> Result<Self, LogError> {
        let start = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(BufReader::with_capacity(64 << 10, file))
        };
        let input = start().map_err(|e| LogError::io(path, &e))?;
        Ok(Self { input, offset: from, limit })
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; none at the limit.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameFault> {
        let offset = self.offset;
        let Some((length, crc)) = self.header()? else { return Ok(None) };
        let mut payload = vec![0; length];
        read(&mut self.input, offset, &mut payload)?;
        let frame = Frame::check(offset, crc, payload)?;
        self.offset = frame.end();
        Ok(Some(frame))
    }

    /// Passes over the next frame without looking at what it holds; `false` at the limit.
    pub(crate) fn skip(&mut self) -> Result<bool, FrameFault> {
        let Some((length, _)) = self.header()? else { return Ok(false) };
        self.input.seek_relative(length as i64).map_err(FrameFault::Io)?;
        self.offset += (HEADER + length) as u64;
        Ok(true)
    }

    /// Length and checksum of the next frame, which lies within the limit as a whole; none at the limit.
    fn header(&mut self) -> Result<Option<(usize, u32)>, FrameFault> {
        let offset = self.offset;
        if offset == self.limit {
            return Ok(None);
        }
        if offset + HEADER as u64 > self.limit {
            return Err(FrameFault::Torn { offset });
        }
        let mut header = [0; HEADER];
        read(&mut self.input, offset, &mut header)?;
        let (length, crc) = split(offset, &header)?;
        if offset + (HEADER + length) as u64 > self.limit {
            return Err(FrameFault::Torn { offset });
        }
        Ok(Some((length, crc)))
    }
}

fn read(input: &mut impl Read, offset: u64, into: &mut [u8]) -> Result<(), FrameFault> {
    input.read_exact(into).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameFault::Torn { offset },
        _ => FrameFault::Io(e),
    })
}

/// Length and checksum. A run of zeros, as a power cut leaves it, is no frame.
fn split(offset: u64, header: &[u8; HEADER]) -> Result<(usize, u32), FrameFault> {
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = number(0) as usize;
    if !(2..=MAX_FRAME).contains(&length) {
        return Err(FrameFault::Bad { offset, why: "its length is none that the log writes" });
    }
    Ok((length, number(4)))
}

/// The frame that starts at `offset`.
pub(crate) fn read_frame(file: &File, path: &Path, offset: u32) -> Result<Frame, LogError> {
    let offset = u64::from(offset);
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameFault::Torn { offset }.into_error(path),
        _ => LogError::io(path, &e),
    };
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, offset).map_err(io)?;
    let (length, crc) = split(offset, &header).map_err(|e| e.into_error(path))?;
    let mut payload = vec![0; length];
    file.read_exact_at(&mut payload, offset + HEADER as u64).map_err(io)?;
    Frame::check(offset, crc, payload).map_err(|e| e.into_error(path))
}

/// Is everything from `offset` to the end zero?
pub(crate) fn is_zero_from(file: &File, offset: u64) -> std::io::Result<bool> {
    let mut file = BufReader::new(file);
    file.seek(SeekFrom::Start(offset))?;
    for byte in file.bytes() {
        if byte? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PredictionId;
    use proptest::prelude::*;

    fn items(sizes: &[usize]) -> Vec<(Head, Vec<u8>)> {
        let item = |(n, size): (u64, &usize)| {
            let head = Head { id: PredictionId::new(n, 3), event_ms: n as i64, received_ms: 0 };
            let mut bytes = Vec::new();
            head.put(1, &mut bytes);
            bytes.resize(bytes.len() + size, 7);
            (head, bytes)
        };
        (0..).zip(sizes).map(item).collect()
    }

    fn read_all(path: &Path, limit: u64) -> Result<Vec<Frame>, LogError> {
        let mut frames = FrameReader::open(path, 0, limit)?;
        std::iter::from_fn(|| frames.next().map_err(|e| e.into_error(path)).transpose()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_batch_is_read_back_from_its_frames_and_each_item_from_its_place(
            sizes in prop::collection::vec(prop_oneof![0usize..100, 0usize..40_000], 1..30),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("1.log");
            let items = items(&sizes);
            let built = Frames::build(Kind::Labels, true, &items);
            std::fs::write(&path, &built.bytes).unwrap();
            let frames = read_all(&path, built.bytes.len() as u64).unwrap();
            let read: Vec<_> = frames.iter().flat_map(|f| f.items().map(|i| i.unwrap().to_vec())).collect();
            prop_assert_eq!(read, items.iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>());
            let last = frames.len() - 1;
            prop_assert!(frames.iter().enumerate().all(|(at, f)| f.ends_batch() == (at == last)));
            let file = File::open(&path).unwrap();
            for (placed, (head, bytes)) in built.placed.iter().zip(&items) {
                prop_assert_eq!(placed.head, *head);
                let frame = read_frame(&file, &path, placed.offset).unwrap();
                prop_assert!(frame.items().any(|item| item.unwrap() == bytes));
            }
        }

        #[test]
        fn hostile_bytes_give_frames_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0u32..80, honest: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("1.log");
            let mut file = length.to_le_bytes().to_vec();
            let payload = &bytes[..bytes.len().min(length as usize)];
            file.extend(if honest { crc32fast::hash(payload) } else { 5 }.to_le_bytes());
            file.extend(&bytes);
            std::fs::write(&path, &file).unwrap();
            let readable = read_all(&path, file.len() as u64);
            for frame in readable.iter().flatten() {
                let _ = (frame.ends_batch(), frame.heads(&path));
                prop_assert!(frame.items().count() <= bytes.len() + 1);
            }
            prop_assert!(honest || bytes.is_empty() || readable.is_err() || crc32fast::hash(payload) == 5);
        }
    }
}

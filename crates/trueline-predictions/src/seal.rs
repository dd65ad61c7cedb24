//! Sealing: the digest over a segment, and its index.

use crate::LogError;
use crate::frame::FrameReader;
use crate::index::{self, Entries, Spans, Summary};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Writes the index of a segment that nobody appends to beside it. Doing it again gives the same bytes.
///
/// Here Parquet will be written beside the segment too, once Arrow is in the house.
pub(crate) fn seal_segment(path: &Path, bytes: u64) -> Result<Summary, LogError> {
    let (summary, entries) = read_segment(path, bytes)?;
    index::write(path, &summary, entries)?;
    Ok(summary)
}

/// Reads the first bytes of a segment, each of which must be in a whole frame.
pub(crate) fn read_segment(path: &Path, bytes: u64) -> Result<(Summary, Entries), LogError> {
    let mut frames = FrameReader::open(path, 0, bytes)?;
    let mut entries = Entries::new();
    let mut spans = Spans::empty();
    while let Some(frame) = frames.next().map_err(|e| e.into_error(path))? {
        for placed in frame.heads(path)? {
            spans.take_in(&placed);
            entries.push((placed.head.id, placed.offset));
        }
    }
    let records = entries.len() as u64;
    Ok((Summary { bytes, records, sha256: digest(path, bytes)?, spans }, entries))
}

/// SHA-256 over the first bytes of a segment.
fn digest(path: &Path, bytes: u64) -> Result<[u8; 32], LogError> {
    let io = |e| LogError::io(path, &e);
    let mut input = File::open(path).map_err(io)?.take(bytes);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer).map_err(io)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

//! Verification: reads every sealed segment and its index again. It needs no lock and changes nothing, so it also works
//! on a copy, and beside a running server.

use crate::files::{folder_of, numbered, segment_path, streams};
use crate::index::{self, Summary};
use crate::seal::read_segment;
use crate::{LogError, PredictionId, StreamName};
use std::fs;
use std::path::{Path, PathBuf};

/// A sealed segment: what the ledger records of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Whose it is.
    pub stream: StreamName,
    /// Its number; numbers grow within a stream and may leave gaps.
    pub segment: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Least and greatest event time, in milliseconds since 1970.
    pub event_time_ms: (i64, i64),
    /// Least and greatest time of receipt, in milliseconds since 1970.
    pub received_at_ms: (i64, i64),
    /// Least and greatest id.
    pub ids: (PredictionId, PredictionId),
}

impl Sealed {
    pub(crate) fn new(stream: &StreamName, segment: u64, path: &Path, summary: &Summary) -> Self {
        Self {
            stream: stream.clone(),
            segment,
            path: path.to_owned(),
            bytes: summary.bytes,
            records: summary.records,
            sha256: summary.sha256,
            event_time_ms: summary.spans.event_ms,
            received_at_ms: summary.spans.received_ms,
            ids: summary.spans.ids,
        }
    }
}

/// The sealed segments under `root`, by stream and number.
///
/// # Errors
/// When a folder can't be read.
pub fn sealed_segments(root: &Path) -> Result<Vec<(StreamName, u64)>, LogError> {
    let mut found = Vec::new();
    for stream in streams(root)? {
        let numbers = numbered(&folder_of(root, &stream)?, "idx")?;
        found.extend(numbers.into_iter().map(|(number, _)| (stream.clone(), number)));
    }
    Ok(found)
}

/// Reads a sealed segment and its index again. That its bytes are those that were sealed is certain only when the ledger
/// says the same of them: files that were changed together with their indexes are found only there.
///
/// # Errors
/// [`LogError::Damaged`] names the file that is missing or not what was written.
pub fn verify_segment(root: &Path, stream: &StreamName, number: u64) -> Result<Sealed, LogError> {
    let segment = segment_path(&folder_of(root, stream)?, number);
    let summary = read_again(&segment, &index::path_of(&segment))?;
    Ok(Sealed::new(stream, number, &segment, &summary))
}

/// Reads every sealed segment under `root`.
///
/// # Errors
/// As [`verify_segment`], for the first file by project, endpoint and number.
pub fn verify(root: &Path) -> Result<Vec<Sealed>, LogError> {
    let all = sealed_segments(root)?;
    all.iter().map(|(stream, number)| verify_segment(root, stream, *number)).collect()
}

fn read_again(segment: &Path, index_path: &Path) -> Result<Summary, LogError> {
    let length = length_of(segment)?;
    length_of(index_path)?;
    let Some(expected) = index::summary(segment)? else {
        return Err(LogError::damaged(index_path, 0, "its header is broken"));
    };
    if length != expected.bytes {
        let message = format!("it has {length} bytes instead of {}", expected.bytes);
        return Err(LogError::damaged(segment, length.min(expected.bytes), message));
    }
    let (found, entries) = read_segment(segment, length)?;
    if found.sha256 != expected.sha256 {
        return Err(LogError::damaged(segment, 0, "its SHA-256 is not the sealed one"));
    }
    let there = fs::read(index_path).map_err(|e| LogError::io(index_path, &e))?;
    let due = index::render(&found, entries);
    if there != due {
        let at = there.iter().zip(&due).take_while(|(a, b)| a == b).count();
        return Err(LogError::damaged(index_path, at as u64, "it is not the index of its segment"));
    }
    Ok(found)
}

fn length_of(path: &Path) -> Result<u64, LogError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(LogError::damaged(path, 0, "it is missing"))
        }
        Err(e) => Err(LogError::io(path, &e)),
    }
}

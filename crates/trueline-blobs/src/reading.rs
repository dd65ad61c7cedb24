//! The bytes of a file as a stream. While one piece is on its way to the client, the next one is read.

use crate::BlobError;
use bytes::Bytes;
use futures::Stream;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use tokio::task::JoinHandle;

/// Files are read in pieces of this size.
const PIECE: u64 = 1 << 20;

/// A file that is being read: the piece that is under way, and how many bytes come after it.
struct Reading {
    piece: JoinHandle<Result<(File, Vec<u8>), BlobError>>,
    after: u64,
}

fn read(mut file: File, most: u64) -> JoinHandle<Result<(File, Vec<u8>), BlobError>> {
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        let n = file.by_ref().take(most).read_to_end(&mut piece)?;
        match n as u64 == most {
            true => Ok((file, piece)),
            false => Err(BlobError::Store("the file was cut short while it was read".to_owned())),
        }
    })
}

/// A range of a file's bytes.
///
/// # Errors
/// What the disk says.
pub fn stream_file(
    mut file: File,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
    file.seek(SeekFrom::Start(range.start))?;
    let left = range.end.saturating_sub(range.start);
    let first =
        (left > 0).then(|| Reading { piece: read(file, left.min(PIECE)), after: left - left.min(PIECE) });
    Ok(futures::stream::try_unfold(first, async |reading: Option<Reading>| {
        let Some(Reading { piece, after }) = reading else { return Ok(None) };
        let (file, piece) = piece.await.map_err(|e| BlobError::Store(e.to_string()))??;
        let most = after.min(PIECE);
        let next = (after > 0).then(|| Reading { piece: read(file, most), after: after - most });
        Ok(Some((Bytes::from(piece), next)))
    }))
}

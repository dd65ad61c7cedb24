//! A stream poured into a file: while one piece is on its way from the client, the one before it is hashed on one thread
//! and written on another, and the disk takes in what was written, so that the end has little left to wait for.

use crate::BlobError;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use tokio::task::JoinHandle;

/// Hashing and writing move off the async threads in pieces of this size.
const PIECE: usize = 1 << 20;
/// After so many bytes the disk is told to begin; the system would wait until much more has gathered.
const FLUSH: u64 = 64 << 20;

/// What was poured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poured {
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// How many they were.
    pub size: u64,
}

/// Work on another thread of which at most one piece is under way, so that pieces stay in order.
struct Worker<T> {
    state: Option<T>,
    at: Option<JoinHandle<Result<T, BlobError>>>,
}

impl<T: Send + 'static> Worker<T> {
    fn new(state: T) -> Self {
        Self { state: Some(state), at: None }
    }

    /// The state, once the piece under way is done.
    async fn rest(&mut self) -> Result<T, BlobError> {
        match (self.state.take(), self.at.take()) {
            (Some(state), _) => Ok(state),
            (None, Some(at)) => at.await.map_err(|e| BlobError::Store(e.to_string()))?,
            (None, None) => Err(BlobError::Store("the work on an upload has failed before".to_owned())),
        }
    }

    async fn take(
        &mut self,
        work: impl FnOnce(T) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<(), BlobError> {
        let state = self.rest().await?;
        self.at = Some(tokio::task::spawn_blocking(move || work(state)));
        Ok(())
    }
}

/// A digest in the making, on a thread of its own.
pub(crate) struct Hashing(Worker<Sha256>);

impl Default for Hashing {
    fn default() -> Self {
        Self(Worker::new(Sha256::new()))
    }
}

impl Hashing {
    pub(crate) async fn take(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        let hash = move |mut hash: Sha256| {
            pieces.iter().for_each(|piece| hash.update(piece));
            Ok(hash)
        };
        self.0.take(hash).await
    }

    pub(crate) async fn finish(mut self) -> Result<String, BlobError> {
        Ok(hex::encode(self.0.rest().await?.finalize()))
    }
}

/// Writes what `stream` gives to a file, which the caller makes durable.
///
/// # Errors
/// [`BlobError::Interrupted`] when the stream fails, [`BlobError::TooLarge`] beyond `limit` bytes, or what the disk says.
pub async fn pour<S, E>(file: File, stream: S, limit: u64) -> Result<Poured, BlobError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let mut stream = std::pin::pin!(stream);
    let flushed = file.try_clone()?;
    let (mut writing, mut flushing) = (Worker::new(file), Worker::new(flushed));
    let mut hash = Hashing::default();
    let (mut size, mut waiting, mut unflushed) = (0_u64, 0, 0_u64);
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        let chunk = stream.next().await.transpose();
        let chunk = chunk.map_err(|e| BlobError::Interrupted { received: size, message: e.to_string() })?;
        let last = chunk.is_none();
        if let Some(chunk) = chunk {
            size += chunk.len() as u64;
            if size > limit {
                return Err(BlobError::TooLarge { limit });
            }
            waiting += chunk.len();
            pieces.push(chunk);
        }
        if waiting < PIECE && !last {
            continue;
        }
        let piece = std::mem::take(&mut pieces);
        hash.take(piece.clone()).await?;
        let write = move |mut file: File| {
            piece.iter().try_for_each(|piece| file.write_all(piece))?;
            Ok(file)
        };
        writing.take(write).await?;
        unflushed += std::mem::take(&mut waiting) as u64;
        if last {
            break;
        }
        if unflushed >= FLUSH {
            unflushed = 0;
            let flush = |file: File| {
                file.sync_data()?;
                Ok(file)
            };
            flushing.take(flush).await?;
        }
    }
    writing.rest().await?;
    flushing.rest().await?;
    Ok(Poured { sha256: hash.finish().await?, size })
}

//! Uploads of many parts to a bucket: one that passes through the server, in constant memory, and one whose parts a
//! client sends to the bucket itself, by addresses that are signed for it.

use crate::BlobError;
use crate::bucket::{Bucket, Object, bare};
use crate::pour::Hashing;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{ObjectStoreExt, PutPayload};
use reqwest::Method;
use std::time::Duration;
use tokio::task::JoinSet;

/// Size of the first parts in bytes.
const PART: usize = 8 << 20;
/// S3 takes at most 10,000 parts; after so many, parts are twice as large, so that an object of 2 TiB fits.
const PARTS_OF_A_SIZE: usize = 1_250;
/// Bytes under way to the bucket at once, unless a single part is larger.
const UNDER_WAY: usize = 32 << 20;
/// How long a client may send parts by the addresses it was given, as in MLflow.
const WRITABLE: Duration = Duration::from_secs(3_600);
/// The most parts of an upload, as S3 has it.
pub const MOST_PARTS: usize = 10_000;

/// An object as it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Size and ETag.
    pub object: Object,
}

/// An upload whose parts a client sends to the bucket itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUpload {
    /// What the store knows it by.
    pub id: String,
    /// Where to send each part, with PUT.
    pub urls: Vec<String>,
}

fn part_size(index: usize) -> usize {
    PART << (index / PARTS_OF_A_SIZE)
}

/// An upload through the server; dropping it gives it up at the bucket.
struct Upload {
    bucket: Bucket,
    key: Key,
    id: Option<String>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        runtime.spawn(async move { bucket.s3.abort_multipart(&key, &id).await });
    }
}

/// The parts of an upload: those under way, each as a task of its own, and what the store calls those that came.
#[derive(Default)]
struct Parts {
    under_way: JoinSet<Result<(usize, PartId), BlobError>>,
    came: Vec<Option<PartId>>,
}

impl Parts {
    /// Sends one more part, when no more than so many are under way.
    async fn send(&mut self, upload: &Upload, id: &str, payload: PutPayload) -> Result<(), BlobError> {
        let index = self.came.len();
        while self.under_way.len() >= (UNDER_WAY / part_size(index)).max(1) {
            self.settle().await?;
        }
        self.came.push(None);
        let (bucket, key, id) = (upload.bucket.clone(), upload.key.clone(), id.to_owned());
        self.under_way.spawn(async move {
            let part = bucket.s3.put_part(&key, &id, index, payload).await;
            Ok((index, part.map_err(|e| bucket.failed(e))?))
        });
        Ok(())
    }

    /// Waits for one part; answers whether there was one.
    async fn settle(&mut self) -> Result<bool, BlobError> {
        let Some(done) = self.under_way.join_next().await else { return Ok(false) };
        let (index, part) = done.map_err(|e| BlobError::Store(e.to_string()))??;
        if let Some(place) = self.came.get_mut(index) {
            *place = Some(part);
        }
        Ok(true)
    }

    /// All parts in order, once they have come.
    async fn all(mut self) -> Result<Vec<PartId>, BlobError> {
        while self.settle().await? {}
        Ok(self.came.into_iter().flatten().collect())
    }
}

impl Bucket {
    /// Puts what `stream` gives at a path, in place of what was there once all of it has come. `begun` is told the id of
    /// an upload in parts, before the first part is sent: whoever keeps it can give the upload up after a crash.
    ///
    /// # Errors
    /// [`BlobError::Interrupted`] when the stream fails, [`BlobError::TooLarge`] beyond `limit` bytes, or what the store
    /// says. Nothing has changed at the path then.
    pub async fn put<S, E>(
        &self,
        path: &str,
        stream: S,
        limit: u64,
        begun: impl AsyncFnOnce(String) -> Result<(), BlobError>,
    ) -> Result<Stored, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let mut stream = std::pin::pin!(stream);
        let mut upload = Upload { bucket: self.clone(), key: self.key(path)?, id: None };
        let mut begun = Some(begun);
        let (mut hash, mut parts, mut index) = (Hashing::default(), Parts::default(), 0);
        let (mut pieces, mut waiting, mut received) = (Vec::new(), 0, 0_u64);
        loop {
            let chunk = stream.next().await.transpose();
            let chunk = chunk.map_err(|e| BlobError::Interrupted { received, message: e.to_string() })?;
            let last = chunk.is_none();
            if let Some(chunk) = chunk {
                received += chunk.len() as u64;
                waiting += chunk.len();
                pieces.push(chunk);
                if received > limit {
                    return Err(BlobError::TooLarge { limit });
                }
            }
            if waiting < part_size(index) && !last {
                continue;
            }
            let part: Vec<Bytes> = std::mem::take(&mut pieces);
            hash.take(part.clone()).await?;
            let payload: PutPayload = part.into_iter().collect();
            let id = match (&upload.id, last) {
                (Some(id), _) => id.clone(),
                (None, true) => {
                    // It fits into one request, which the store takes whole or not at all.
                    let put = self.s3.put(&upload.key, payload).await.map_err(|e| self.failed(e))?;
                    return Ok(stored(path, hash.finish().await?, received, put.e_tag));
                }
                (None, false) => {
                    let id = self.s3.create_multipart(&upload.key).await.map_err(|e| self.failed(e))?;
                    upload.id = Some(id.clone());
                    if let Some(begun) = begun.take() {
                        begun(id.clone()).await?;
                    }
                    id
                }
            };
            if std::mem::take(&mut waiting) > 0 {
                parts.send(&upload, &id, payload).await?;
                index += 1;
            }
            if last {
                let (sha256, parts) = (hash.finish().await?, parts.all().await?);
                let put = self.s3.complete_multipart(&upload.key, &id, parts).await;
                let put = put.map_err(|e| self.failed(e))?;
                upload.id = None;
                return Ok(stored(path, sha256, received, put.e_tag));
            }
        }
    }

    /// Begins an upload to a path whose parts are sent to the bucket by signed addresses.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin_signed(&self, path: &str, parts: usize) -> Result<SignedUpload, BlobError> {
        let key = self.key(path)?;
        let id = self.s3.create_multipart(&key).await.map_err(|e| self.failed(e))?;
        let mut urls = Vec::with_capacity(parts);
        for number in 1..=parts {
            let query = [("partNumber", number.to_string()), ("uploadId", id.clone())];
            let options = SignedUrlOptions::default().with_query(query);
            let url = self.s3.signed_url_opts(Method::PUT, &key, WRITABLE, &options).await;
            urls.push(url.map_err(|e| self.failed(e))?.to_string());
        }
        Ok(SignedUpload { id, urls })
    }

    /// Puts an upload together from the ETags of its parts, in order, and answers what is at the path then.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] when there is no such upload, or what the store says.
    pub async fn complete(&self, path: &str, id: &str, etags: Vec<String>) -> Result<Object, BlobError> {
        let key = self.key(path)?;
        let parts = etags.into_iter().map(|content_id| PartId { content_id }).collect();
        self.s3.complete_multipart(&key, &id.to_owned(), parts).await.map_err(|e| self.failed(e))?;
        let found = self.find(path).await?;
        found.ok_or_else(|| BlobError::NotFound(path.to_owned()))
    }

    /// Gives up an upload. One that is not there any more is given up already.
    ///
    /// # Errors
    /// What the store says.
    pub async fn abort(&self, path: &str, id: &str) -> Result<(), BlobError> {
        match self.s3.abort_multipart(&self.key(path)?, &id.to_owned()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(other) => Err(self.failed(other)),
        }
    }

    /// An address from which the object at a path can be read for a while, saved under `name` by a browser.
    ///
    /// # Errors
    /// What the store says.
    pub async fn signed_read(&self, path: &str, disposition: &str) -> Result<String, BlobError> {
        let query = [("response-content-disposition", disposition.to_owned())];
        let options = SignedUrlOptions::default().with_query(query);
        let url = self.s3.signed_url_opts(Method::GET, &self.key(path)?, self.readable, &options).await;
        Ok(url.map_err(|e| self.failed(e))?.to_string())
    }
}

fn stored(path: &str, sha256: String, size: u64, etag: Option<String>) -> Stored {
    Stored { sha256, object: Object { path: path.to_owned(), size, etag: bare(etag) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_the_largest_object_fits() {
        assert_eq!((part_size(0), part_size(1_249), part_size(1_250)), (8 << 20, 8 << 20, 16 << 20));
        let all: usize = (0..MOST_PARTS).map(part_size).sum();
        assert!(all > 2 << 40, "{all}");
    }
}

//! Plain objects of a bucket below a folder of it, where others may read and write them too: listed, read, put, removed.
//! Nothing is content-addressed here; an object is known by its key, and by its ETag from others of the same key.

use crate::BlobError;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How S3 calls that it does not let somebody in.
const REFUSALS: [&str; 5] = [
    "<Code>AccessDenied<",
    "<Code>InvalidAccessKeyId<",
    "<Code>SignatureDoesNotMatch<",
    "<Code>InvalidToken<",
    "<Code>ExpiredToken<",
];

/// A folder of a bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub(crate) s3: Arc<AmazonS3>,
    pub(crate) name: Arc<str>,
    folder: Arc<str>,
    pub(crate) readable: Duration,
}

/// An object, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path below the folder that was asked for; its own path when it was asked for itself.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What the store tells its states apart by, without quotes.
    pub etag: String,
}

/// What a folder of a bucket holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketEntry {
    /// A folder, by its name.
    Folder(String),
    /// An object, its path being its name.
    Object(Object),
}

pub(crate) fn bare(etag: Option<String>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

impl Bucket {
    pub(crate) fn new(s3: Arc<AmazonS3>, name: &str, folder: &str, readable: Duration) -> Self {
        Self { s3, name: name.into(), folder: folder.into(), readable }
    }

    /// The bucket and folder as a URI.
    #[must_use]
    pub fn uri(&self) -> String {
        if self.folder.is_empty() {
            format!("s3://{}", self.name)
        } else {
            format!("s3://{}/{}", self.name, self.folder)
        }
    }

    /// The key of a path below the folder, exactly as it is written.
    pub(crate) fn key(&self, path: &str) -> Result<Key, BlobError> {
        let key = if self.folder.is_empty() { path.to_owned() } else { format!("{}/{path}", self.folder) };
        Key::parse(&key).map_err(|e| BlobError::Store(e.to_string()))
    }

    /// What every key below a folder begins with.
    fn prefix(&self, folder: &str) -> String {
        let parts: Vec<&str> = [&*self.folder, folder].into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { String::new() } else { format!("{}/", parts.join("/")) }
    }

    /// What the store's refusal means, in words that name the bucket.
    pub(crate) fn failed(&self, error: object_store::Error) -> BlobError {
        use object_store::Error;
        let text = error.to_string();
        match error {
            _ if text.contains("NoSuchBucket") => BlobError::NoBucket(self.name.to_string()),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => self.refused(&text),
            // A listing tells of it in its text alone.
            _ if REFUSALS.iter().any(|code| text.contains(code)) => self.refused(&text),
            Error::NotFound { path, .. } => BlobError::NotFound(path),
            Error::Generic { .. }
                if text.contains("HTTP error") || text.contains("error sending request") =>
            {
                BlobError::Away { bucket: self.name.to_string(), told: told(&text) }
            }
            other => BlobError::Store(other.to_string()),
        }
    }

    fn refused(&self, text: &str) -> BlobError {
        BlobError::Refused { bucket: self.name.to_string(), told: told(text) }
    }

    /// Size and ETag of the object at a path, if there is one.
    ///
    /// # Errors
    /// What the store says.
    pub async fn find(&self, path: &str) -> Result<Option<Object>, BlobError> {
        match self.s3.head(&self.key(path)?).await {
            Ok(meta) => Ok(Some(Object { path: path.to_owned(), size: meta.size, etag: bare(meta.e_tag) })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(self.failed(other)),
        }
    }

    /// The bytes of an object that [`Bucket::find`] found, of `range` alone when it is given. One that was replaced
    /// meanwhile is refused, so that nobody gets half of each.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], or what the store says.
    pub async fn get(
        &self,
        object: &Object,
        range: Option<Range<u64>>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        let key = self.key(&object.path)?;
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            if_match: (!object.etag.is_empty()).then(|| format!("\"{}\"", object.etag)),
            ..Default::default()
        };
        let found = self.s3.get_opts(&key, options).await.map_err(|e| self.failed(e))?;
        let bucket = self.clone();
        Ok(found.into_stream().map_err(move |e| bucket.failed(e)))
    }

    /// What a folder holds, by name, at most so many entries.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, folder: &str, most: usize) -> Result<Vec<BucketEntry>, BlobError> {
        let prefix = self.prefix(folder);
        let (mut entries, mut page_token) = (Vec::new(), None);
        loop {
            let options = PaginatedListOptions {
                delimiter: Some("/".into()),
                page_token: page_token.take(),
                ..Default::default()
            };
            let asked = Some(prefix.as_str()).filter(|p| !p.is_empty());
            let page = self.s3.list_paginated(asked, options).await.map_err(|e| self.failed(e))?;
            let below = |key: &Key| key.as_ref().strip_prefix(&prefix).map(ToOwned::to_owned);
            let folders = page.result.common_prefixes.iter().filter_map(below).map(BucketEntry::Folder);
            entries.extend(folders);
            // The mark that some tools make for an empty folder is the folder itself, and no file in it.
            let objects = page.result.objects.into_iter().filter_map(|meta| object(&prefix, meta));
            entries.extend(objects.map(BucketEntry::Object));
            page_token = page.page_token;
            if page_token.is_none() || entries.len() >= most {
                break;
            }
        }
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        entries.truncate(most);
        Ok(entries)
    }

    /// All objects below a folder, in no order.
    pub(crate) fn all_below(&self, folder: &str) -> BoxStream<'_, Result<Object, BlobError>> {
        let prefix = self.prefix(folder);
        let from = Key::parse(prefix.trim_end_matches('/')).unwrap_or_default();
        let found = self.s3.list((!prefix.is_empty()).then_some(&from)).map_err(|e| self.failed(e));
        found.try_filter_map(move |meta| std::future::ready(Ok(object(&prefix, meta)))).boxed()
    }

    /// All objects below a folder, in the order of their paths, which are relative to it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn below(&self, folder: &str) -> Result<Vec<Object>, BlobError> {
        let mut found: Vec<Object> = self.all_below(folder).try_collect().await?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        // The mark of a folder below loses its slash on the way; what lies in it tells it from an empty file.
        let folders: HashSet<String> =
            found.iter().flat_map(|o| folders(&o.path)).map(ToOwned::to_owned).collect();
        found.retain(|object| object.size > 0 || !folders.contains(&object.path));
        Ok(found)
    }

    /// Whether there is an object at a path that may be a folder as well.
    async fn holds(&self, path: &str) -> Result<bool, BlobError> {
        let key = self.key(path)?;
        // Of all keys that begin with this one, it is the first.
        let options = PaginatedListOptions { max_keys: Some(1), ..Default::default() };
        let page = self.s3.list_paginated(Some(key.as_ref()), options).await.map_err(|e| self.failed(e))?;
        Ok(page.result.objects.iter().any(|object| object.location == key))
    }

    /// Removes the object at a path, and all below it; answers the paths of those that are gone.
    ///
    /// # Errors
    /// What the store says; some may be gone then.
    pub async fn remove(&self, path: &str) -> Result<Vec<String>, BlobError> {
        let mut gone: Vec<String> =
            self.below(path).await?.into_iter().map(|o| format!("{path}/{}", o.path)).collect();
        gone.extend(self.holds(path).await?.then(|| path.to_owned()));
        let keys: Vec<_> = gone.iter().map(|path| self.key(path)).collect::<Result<_, _>>()?;
        let keys = futures::stream::iter(keys.into_iter().map(Ok)).boxed();
        let mut deleted = self.s3.delete_stream(keys);
        while let Some(one) = deleted.next().await {
            match one {
                // Whoever removed it before us did what we wanted.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(other) => return Err(self.failed(other)),
            }
        }
        Ok(gone)
    }
}

impl BucketEntry {
    /// The name of the folder or object.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Folder(name) => name,
            Self::Object(object) => &object.path,
        }
    }
}

/// The folders that a path leads through.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

fn object(prefix: &str, meta: ObjectMeta) -> Option<Object> {
    let path = meta.location.as_ref().strip_prefix(prefix).filter(|path| !path.is_empty())?.to_owned();
    Some(Object { path, size: meta.size, etag: bare(meta.e_tag) })
}

/// The part of an error that tells something: S3's own message out of its XML, or all of it.
fn told(text: &str) -> String {
    let between = |from: &str, to: &str| Some(text.split_once(from)?.1.split_once(to)?.0.to_owned());
    match (between("<Code>", "</Code>"), between("<Message>", "</Message>")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_s3_says_is_taken_out_of_its_xml() {
        assert_eq!(told("x <Error><Code>A</Code><Message>b c</Message></Error> y"), "A: b c");
        assert_eq!(told("connection refused"), "connection refused");
    }
}

//! What can go wrong with a blob.

/// A failure to keep or to give bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The sender stopped in the middle.
    #[error("the upload stopped after {received} bytes: {message}; send it again")]
    Interrupted {
        /// Bytes that came.
        received: u64,
        /// Why.
        message: String,
    },
    /// More than the limit.
    #[error("the upload is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No such blob.
    #[error(
        "there is no blob {0}; it was collected, or the data directory is not the one that it was put into"
    )]
    NotFound(String),
    /// The disk is full.
    #[error("the disk that holds the blobs is full; free some space, then try again")]
    DiskFull,
    /// No such bucket.
    #[error(
        "there is no bucket `{0}`, or not at the address that the server was told; make it, or check --artifacts-destination and MLFLOW_S3_ENDPOINT_URL"
    )]
    NoBucket(String),
    /// The bucket's owner does not let this server in.
    #[error(
        "the bucket `{bucket}` refuses this server: {told}; check the server's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do"
    )]
    Refused {
        /// The bucket.
        bucket: String,
        /// What its server said.
        told: String,
    },
    /// The bucket's server does not answer.
    #[error(
        "the bucket `{bucket}` can't be reached: {told}; try again, and check MLFLOW_S3_ENDPOINT_URL if it stays so"
    )]
    Away {
        /// The bucket.
        bucket: String,
        /// What went wrong.
        told: String,
    },
    /// Anything else that the store or the disk says.
    #[error("the blob store says: {0}")]
    Store(String),
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Store(error.to_string()),
        }
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::NotFound(path),
            other => Self::Store(other.to_string()),
        }
    }
}

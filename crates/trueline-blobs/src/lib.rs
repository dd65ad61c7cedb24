//! Content-addressed bytes: a blob is kept under the SHA-256 of its bytes, apart for each project, and never
//! changes. Which name or path points at it is the domains' matter.
//!
//! A put is spooled to the data directory while it is hashed, so memory stays constant whatever the size; it is
//! answered only when file and folder are fsynced (local), or when the store has it (remote). Which blobs go is decided by
//! whoever knows all that refers to them; here it is seen to that none goes that was put a moment ago.
//!
//! Beside them, plain objects of a bucket ([`Bucket`]), which lie under keys that others know and may change; and those of a
//! folder or a bucket ([`Objects`]) that are written once from files.

mod bucket;
mod error;
mod multipart;
mod objects;
mod pour;
mod reading;
mod reference;
mod s3;
mod store;
mod sweep;

pub use bucket::{Bucket, BucketEntry, Object};
pub use error::BlobError;
pub use multipart::{MOST_PARTS, SignedUpload, Stored};
pub use objects::Objects;
pub use pour::{Poured, pour};
pub use reading::stream_file;
pub use reference::{Reference, References};
pub use s3::{BucketError, is_bucket};
pub use store::{BlobRef, Blobs, LocalFile, Namespace};
pub use sweep::{Listed, size_below};
pub use tempfile::NamedTempFile;

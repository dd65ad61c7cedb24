//! Content-addressed bytes: a blob is kept under the SHA-256 of its bytes, apart for each project, and never
//! changes. Which name or path points at it is the domains' matter.
//!
//! A put is spooled to the data directory while it is hashed, so memory stays constant whatever the size; it is
//! answered only when file and folder are fsynced (local), or when the store has it (remote).

mod error;
mod store;

pub use error::BlobError;
pub use store::{BlobRef, Blobs, LocalFile, Namespace, Put};
pub use tempfile::NamedTempFile;

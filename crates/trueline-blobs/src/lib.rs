//! Content-addressed bytes: a blob is kept under the SHA-256 of its bytes, apart for each project, and never
//! changes. Which name or path points at it is the domains' matter.
//!
//! A put is spooled to the data directory while it is hashed, so memory stays constant whatever the size; it is
//! answered only when file and folder are fsynced (local), or when the store has it (remote). Which blobs go is decided by
//! whoever knows all that refers to them; here it is seen to that none goes that was put a moment ago.

mod error;
mod reference;
mod store;
mod sweep;

pub use error::BlobError;
pub use reference::{Reference, References};
pub use store::{BlobRef, Blobs, LocalFile, Namespace, Put};
pub use sweep::{Listed, size_below};
pub use tempfile::NamedTempFile;

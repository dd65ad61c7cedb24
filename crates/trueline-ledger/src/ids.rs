//! The ids that every floor above shares.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The tenancy boundary that a key, event or blob belongs to: a short opaque id, not the project's name, so that a
/// project can be renamed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProjectId(String);

impl ProjectId {
    /// The id of the project that exists from the start.
    #[must_use]
    pub fn default_project() -> Self {
        Self("default".to_owned())
    }

    /// The pseudo-project of what belongs to the whole server: users, the log's own events.
    #[must_use]
    pub fn server() -> Self {
        Self("server".to_owned())
    }

    /// Wraps an id that came from a row or a generator.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&ProjectId> for trueline_db::Value {
    fn from(id: &ProjectId) -> Self {
        Self::Text(id.0.clone())
    }
}

/// The SHA-256 of some bytes, by which a blob is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobDigest([u8; 32]);

impl BlobDigest {
    /// Wraps a finished SHA-256.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).ok().map(|()| Self(out))
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl From<BlobDigest> for trueline_db::Value {
    fn from(digest: BlobDigest) -> Self {
        Self::Text(digest.to_string())
    }
}

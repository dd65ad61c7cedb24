//! How endpoints do: what a data plane tells of itself when it is asked.

use crate::recent::Lately;

/// How a variant does.
#[derive(Clone, Debug, serde::Serialize)]
pub struct VariantStatus {
    /// The version, `name/number`.
    pub version: String,
    /// Its share.
    pub weight: u32,
    /// Requests that it answered since it was loaded.
    pub requests: u64,
    /// Requests of those that it refused or failed.
    pub errors: u64,
    /// Whether its model is in memory. One that is not was unloaded to make room, and is loaded again when it is asked.
    pub loaded: bool,
    /// What it takes of memory while it is loaded, in bytes, as it was last measured.
    pub heap_bytes: usize,
    /// What came to it in the last minutes.
    #[serde(flatten)]
    pub lately: Lately,
}

/// How an endpoint does.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EndpointStatus {
    /// The endpoint's name.
    pub endpoint: String,
    /// The generation that answers now.
    pub generation: i64,
    /// Its variants.
    pub variants: Vec<VariantStatus>,
    /// What came to it in the last minutes: also to versions that answer no longer, and to none.
    #[serde(flatten)]
    pub lately: Lately,
}

/// What a data plane can do now.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// How many endpoints answer.
    pub endpoints: usize,
    /// How many should and do not.
    pub left_out: usize,
}

impl Readiness {
    /// Whether requests may be sent here: one broken model does not take the others' requests away, but a server on which
    /// nothing answers that should is not ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.endpoints > 0 || self.left_out == 0
    }
}

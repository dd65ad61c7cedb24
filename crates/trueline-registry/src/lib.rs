//! Registered models, their versions with frozen manifests, aliases and tags. Where a version's files come from is
//! a flow's matter: it hands the manifest in.

mod error;
mod manifest;
mod model;
mod models;
mod replay;
mod resolve;
mod schema;
mod search;
mod validate;
mod versions;

pub use error::RegistryError;
pub use manifest::{Manifest, ManifestFile};
pub use model::{Alias, KeyValue, NewVersion, RegisteredModel, Stage, Version, VersionKey, VersionNumber};
pub use replay::{Compared, Disagreement, Replay};
pub use schema::MODULE;
pub use search::{ModelSearch, Page, VersionSearch};

use trueline_ledger::Ledger;

/// The domain of the registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    ledger: Ledger,
}

impl Registry {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

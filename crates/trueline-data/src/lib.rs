//! Datasets: named data whose versions are immutable manifests of files with a schema and a profile, the id of a
//! version being the hash of its manifest. How tables are read is `trueline-query`'s matter, what is made of them
//! (training sets, features) other domains' and the flows'.

mod blob_references;
mod error;
mod files;
mod manifest;
mod measure;
mod schema;
mod table;
mod versions;

pub use blob_references::{awaited_blobs, version_blobs};
pub use error::DataError;
pub use files::LARGEST_FILE;
pub use manifest::{DatasetRef, FileEntry, Manifest, NamedFile, Which, check_name};
pub use measure::Measured;
pub use schema::MODULE;
pub use table::Table;
pub use versions::{ADD_TASK, Dataset, DatasetVersion, record};

use trueline_blobs::{Blobs, Namespace};
use trueline_ledger::{Ledger, ProjectId};

/// The domain of data. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Data {
    ledger: Ledger,
    blobs: Blobs,
}

impl Data {
    /// Over a ledger and a blob store.
    #[must_use]
    pub fn new(ledger: Ledger, blobs: Blobs) -> Self {
        Self { ledger, blobs }
    }

    /// The bytes behind the datasets.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn namespace(project: &ProjectId) -> Namespace {
        Namespace::new(project.as_str())
    }
}

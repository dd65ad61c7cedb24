//! What can go wrong when things move in or out.

use std::path::PathBuf;
use trueline_db::DbError;
use trueline_flows::RegisterError;
use trueline_registry::RegistryError;
use trueline_traces::TraceError;
use trueline_tracking::TrackingError;

/// A failure that ends an import or export. What could not be taken, without ending it, is in the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source is none that can be read.
    #[error("can't import from `{source_name}`: {why}")]
    Source {
        /// As it was given.
        source_name: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A file can't be read or written.
    #[error("can't use {path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The target is none that can be written.
    #[error("can't export to `{target}`: {why}")]
    NoTarget {
        /// As it was given.
        target: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The database that is made refused or failed.
    #[error("the database to write to says: {0}")]
    Target(DbError),
    /// The database of the other store failed.
    #[error("the database to read from says: {0}")]
    Database(#[from] DbError),
    /// Tracking refused or failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// The registry refused or failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Traces refused or failed.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// A part of the work ended before its time.
    #[error("a part of the import stopped: {0}; run it again to go on")]
    Stopped(String),
}

impl From<RegisterError> for ImportError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Registry(error) => error.into(),
            RegisterError::Tracking(error) => error.into(),
            other => Self::Stopped(other.to_string()),
        }
    }
}

impl ImportError {
    pub(crate) fn file(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn no_target(target: &str, why: impl Into<String>) -> Self {
        Self::NoTarget { target: target.to_owned(), why: why.into() }
    }

    pub(crate) fn source(name: &str, why: impl Into<String>) -> Self {
        Self::Source { source_name: name.to_owned(), why: why.into() }
    }
}

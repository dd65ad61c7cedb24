//! Experiments and runs, with what is logged to them: params, metrics, tags, dataset inputs, logged models and
//! artifacts. The wire that it comes over is the faces' matter, versions and aliases are the registry's.

mod artifact_path;
mod artifacts;
mod blob_references;
mod capture;
mod dataset_summaries;
mod error;
mod experiments;
pub mod export;
mod folder;
mod import;
mod inputs;
mod known_runs;
mod listing;
mod logged;
mod logged_models;
mod many;
mod metrics;
mod model;
mod model_history;
mod model_registrations;
mod object_notes;
mod objects;
mod owner;
mod places;
mod plain;
mod points;
mod purge;
mod reproduction;
mod runs;
mod sample;
mod schema;
mod seal;
mod search;
#[cfg(test)]
mod test_databases;
#[cfg(test)]
mod test_house;
mod validate;

pub use artifact_path::ArtifactPath;
pub use artifacts::{ArtifactFile, OpenArtifact};
pub use blob_references::{artifact_blobs, capture_blobs};
pub use capture::Capture;
pub use dataset_summaries::DatasetSummary;
pub use error::TrackingError;
pub use import::{
    ImportedArtifact, ImportedModel, ImportedPoints, ImportedRun, ModelPoint, PlacedExperiment, Placing,
};
pub use inputs::{DatasetInput, LoggedDataset};
pub use listing::{ArtifactEntry, Level};
pub use logged_models::{LoggedModel, LoggedModelStatus, NewLoggedModel};
pub use metrics::{MetricPoint, MetricQuery};
pub use model::{
    Experiment, ExperimentId, ExperimentPlace, KeyValue, Lifecycle, LoggedMetric, MeasuredOn, ModelMetric,
    NewRun, Run, RunData, RunId, RunStatus, RunUpdate, ViewType,
};
pub use objects::SignedRead;
pub use owner::ArtifactOwner;
pub use places::{ArtifactPlaces, PlaceError};
pub use purge::{PurgeOrder, Purgeable, Purged, Referrers};
pub use reproduction::{
    Difference, NewReproduction, Reproduction, ReproductionReport, Series, Tolerance, Verdict, compare,
};
pub use runs::Batch;
pub use schema::MODULE;
pub use seal::{Broken, Seal};
pub use search::{
    Cell, ColumnNames, ExperimentSearch, LoggedModelSearch, Page, RunSearch, TableRow, TableWindow,
};

pub use known_runs::KnownRun;
use known_runs::KnownRuns;
use std::sync::Arc;
use tokio::sync::Mutex;
use trueline_blobs::{Blobs, Namespace};
use trueline_ledger::{Ledger, Millis, ProjectId};

/// The domain of tracking. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracking {
    ledger: Ledger,
    blobs: Blobs,
    results: Arc<search::Results>,
    known_runs: Arc<KnownRuns>,
    folding: Arc<Mutex<()>>,
    places: ArtifactPlaces,
    measured: plain::Measured,
}

impl Tracking {
    /// Over a ledger and a blob store, in which all artifacts are kept.
    #[must_use]
    pub fn new(ledger: Ledger, blobs: Blobs) -> Self {
        Self {
            ledger,
            blobs,
            results: Arc::default(),
            known_runs: Arc::default(),
            folding: Arc::default(),
            places: ArtifactPlaces::default(),
            measured: plain::Measured::default(),
        }
    }

    /// With artifacts at other places.
    #[must_use]
    pub fn with_places(self, places: ArtifactPlaces) -> Self {
        Self { places, ..self }
    }

    /// The time by the server's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.ledger.sources().now()
    }

    fn namespace(project: &ProjectId) -> Namespace {
        Namespace::new(project.as_str())
    }
}

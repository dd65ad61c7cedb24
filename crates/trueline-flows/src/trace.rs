//! How a prediction came about: from the record in the log back to route, version, run, code and data. What can't be
//! found any more is left out, never guessed.

use crate::run_datasets::dataset_version;
use std::sync::Arc;
use trueline_data::{Data, DataError};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{EventFilter, EventRow, Ledger};
use trueline_predictions::{Label, LogError, PredictionId, PredictionLog, Record};
use trueline_registry::{RegistryError, ReleaseState, Version, VersionKey};
use trueline_serving::{EndpointName, Route, ServingError};
use trueline_tracking::{Capture, Experiment, KnownRun, RunId, Tracking, TrackingError};

use crate::Deployments;

/// Routes looked through for the one that was in force.
const ROUTES: u32 = 500;
/// Events told of each thing.
const EVENTS: u32 = 20;

/// What tracing needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer {
    /// Where predictions are logged.
    pub log: Arc<PredictionLog>,
    /// Endpoints and the registry.
    pub deployments: Deployments,
    /// Runs.
    pub tracking: Tracking,
    /// What runs read.
    pub data: Data,
    /// Events.
    pub ledger: Ledger,
}

/// The line of a prediction.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The prediction as it was logged.
    pub prediction: Record,
    /// The truth as it was told, in order of arrival; the last one holds.
    pub labels: Vec<Label>,
    /// The route that was in force.
    pub route: Option<Route>,
    /// The version that answered.
    pub version: Option<Version>,
    /// Gates and approvals of the version, as they stand now.
    pub release: Option<ReleaseState>,
    /// The run that made the version.
    pub run: Option<TracedRun>,
    /// What the ledger has of endpoint, version and run, oldest first.
    pub events: Vec<EventRow>,
}

/// The run that made a version.
#[derive(Clone, Debug)]
pub struct TracedRun {
    /// The run with params, metrics and the datasets that it read.
    pub data: Arc<KnownRun>,
    /// Its experiment.
    pub experiment: Option<Experiment>,
    /// Where it came from, when it was captured.
    pub capture: Option<Capture>,
    /// For each dataset that it read, the dataset version that the run names for it, if there is one.
    pub versions: Vec<Option<TracedDataset>>,
}

/// A dataset version that a run read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedDataset {
    /// The dataset.
    pub name: String,
    /// The version's number.
    pub number: i64,
    /// The version's id.
    pub id: String,
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No such prediction.
    #[error(
        "there is no prediction `{0}` in this project; its record is on the disk within 100 ms of the answer, so a moment \
         later it may be"
    )]
    NotFound(PredictionId),
    /// No such prediction any more, as far as its id tells.
    #[error(
        "there is no prediction `{id}` in this project any more: it is as old as those that were deleted from the log because \
         they had been kept for long enough, which is all that came until {until}"
    )]
    Deleted {
        /// Its id.
        id: PredictionId,
        /// Until when what was deleted had come.
        until: String,
    },
    /// What is looked for is not said as it must be.
    #[error("{0}")]
    Query(String),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Serving failed.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Tracking failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// Data failed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The reading thread ended.
    #[error("the log could not be read: {0}")]
    Thread(String),
}

impl Tracer {
    /// The line of a prediction of the caller's project.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn trace(
        &self,
        leave: &Authorized<ReadProject>,
        id: PredictionId,
    ) -> Result<Trace, TraceError> {
        let (prediction, labels) = self.prediction(leave, id).await?;
        let route = self.route(leave, &prediction).await?;
        let version = self.version(leave, &prediction).await?;
        let run = match version.as_ref().and_then(|v| v.run_id.as_deref()) {
            Some(run) => self.run(leave, &RunId::new(run)).await?,
            None => None,
        };
        let release = match &version {
            Some(version) => Some(self.deployments.registry.release_state(leave, &version.key).await?),
            None => None,
        };
        let mut trace = Trace { prediction, labels, route, version, release, run, events: Vec::new() };
        trace.events = self.events(leave, &trace).await?;
        Ok(trace)
    }

    /// A prediction of the caller's project with what it was told since, and nothing of where it came from.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn prediction(
        &self,
        leave: &Authorized<ReadProject>,
        id: PredictionId,
    ) -> Result<(Record, Vec<Label>), TraceError> {
        let (prediction, labels) = self.logged(leave, id).await?;
        Ok((prediction.ok_or_else(|| self.missing(leave, id))?, labels))
    }

    /// Why a prediction is not there.
    fn missing(&self, leave: &Authorized<ReadProject>, id: PredictionId) -> TraceError {
        let until = self.log.deleted_until_ms(leave.project().as_str(), None);
        let made_at_ms = i64::try_from(id.time_ms()).unwrap_or(i64::MAX);
        let until = until.filter(|until| made_at_ms <= *until);
        match until.and_then(|until| jiff::Timestamp::from_millisecond(until).ok()) {
            Some(until) => TraceError::Deleted { id, until: until.to_string() },
            None => TraceError::NotFound(id),
        }
    }

    /// A prediction of the caller's project as it was logged, when it is there.
    ///
    /// # Errors
    /// What the log says.
    pub async fn find(
        &self,
        leave: &Authorized<ReadProject>,
        id: PredictionId,
    ) -> Result<Option<Record>, TraceError> {
        Ok(self.logged(leave, id).await?.0)
    }

    async fn logged(
        &self,
        leave: &Authorized<ReadProject>,
        id: PredictionId,
    ) -> Result<(Option<Record>, Vec<Label>), TraceError> {
        let (log, project) = (Arc::clone(&self.log), leave.project().to_string());
        let read = move || {
            let mut finder = log.finder(&project, None);
            Ok::<_, LogError>((finder.find(id)?, finder.labels(id)?))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|e| TraceError::Thread(e.to_string()))?;
        Ok(read?)
    }

    /// The newest route that was there when the request came.
    async fn route(
        &self,
        leave: &Authorized<ReadProject>,
        prediction: &Record,
    ) -> Result<Option<Route>, TraceError> {
        let name = EndpointName::parse(&prediction.endpoint)?;
        let routes = match self.deployments.endpoints.history(leave, &name, None, ROUTES).await {
            Err(ServingError::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let answered = format!("{}/{}", prediction.variant.model, prediction.variant.version);
        let in_force = |r: &Route| {
            r.changed_at_ms <= prediction.received_at_ms
                && r.variants.iter().any(|v| v.spec.name() == answered)
        };
        Ok(routes.into_iter().find(in_force))
    }

    async fn version(
        &self,
        leave: &Authorized<ReadProject>,
        prediction: &Record,
    ) -> Result<Option<Version>, TraceError> {
        let variant = &prediction.variant;
        let key = VersionKey::parse(&variant.model, &variant.version)?;
        match self.deployments.registry.version(leave, &key).await {
            Err(RegistryError::NotFound(_)) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    async fn run(
        &self,
        leave: &Authorized<ReadProject>,
        id: &RunId,
    ) -> Result<Option<TracedRun>, TraceError> {
        let data = match self.tracking.run(leave, id).await {
            Err(TrackingError::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let experiment = match self.tracking.experiment(leave, data.run.experiment).await {
            Err(TrackingError::NotFound(_)) => None,
            other => Some(other?),
        };
        let capture = self.tracking.capture(leave, id).await?;
        let mut versions = Vec::new();
        for input in &data.dataset_inputs {
            let found = dataset_version(&self.data, leave, input).await?.and_then(Result::ok);
            versions.push(found.map(|v| TracedDataset { name: v.name, number: v.number, id: v.id }));
        }
        Ok(Some(TracedRun { data, experiment, capture, versions }))
    }

    async fn events(
        &self,
        leave: &Authorized<ReadProject>,
        trace: &Trace,
    ) -> Result<Vec<EventRow>, TraceError> {
        let mut things = vec![("endpoint", trace.prediction.endpoint.clone())];
        things.extend(trace.version.as_ref().map(|v| ("version", v.key.to_string())));
        things.extend(trace.run.as_ref().map(|r| ("run", r.data.run.id.to_string())));
        let (project, until) = (leave.project().to_string(), trace.prediction.received_at_ms);
        let read = move |tx: &mut trueline_db::Tx<'_>| {
            let mut events = Vec::new();
            for (kind, id) in &things {
                let filter = EventFilter {
                    projects: Some(vec![project.clone()]),
                    resource_kind: Some((*kind).to_owned()),
                    resource_id: Some(id.clone()),
                    ..EventFilter::default()
                };
                events.extend(filter.page(tx, EVENTS)?.events);
            }
            events.retain(|e: &EventRow| e.at_ms <= until);
            events.sort_by_key(EventRow::position);
            Ok::<_, trueline_ledger::LedgerError>(events)
        };
        Ok(self.ledger.db().read(read).await.map_err(ServingError::from)?)
    }
}

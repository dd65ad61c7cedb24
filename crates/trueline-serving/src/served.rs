//! A variant as those see it who tell of its answers: who it is, and the meters that count what it does. Made once for each
//! route, so that a request copies no names and looks no meter up.

use crate::cause::Cause;
use crate::meters::Meters;
use crate::model::ModelSpec;
use crate::route::LogMode;
use crate::snapshot::EndpointSnapshot;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_ledger::ProjectId;

/// Who answers.
#[derive(Debug)]
pub struct Served {
    /// The project's id.
    pub project: ProjectId,
    /// The name of the model that answers.
    pub model: String,
    /// The number of its version.
    pub version: i64,
    /// Both, as `name/number`.
    pub name: String,
    /// The generation of the route.
    pub generation: i64,
    /// Whether an answer waits for the log.
    pub log: LogMode,
    meters: Arc<Meters>,
    /// Those of its endpoint.
    endpoint: Arc<Meters>,
}

/// A part of the time that a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Reading the request.
    Parse,
    /// Looking up features.
    Features,
    /// Waiting for the model.
    Queue,
    /// The model.
    Runtime,
    /// Writing the answer.
    Serialise,
}

impl Cost {
    pub(crate) const ALL: [Self; 5] =
        [Self::Parse, Self::Features, Self::Queue, Self::Runtime, Self::Serialise];

    /// Its name: `queue`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Features => "features",
            Self::Queue => "queue",
            Self::Runtime => "runtime",
            Self::Serialise => "serialise",
        }
    }
}

impl Served {
    pub(crate) fn new(
        endpoint: &EndpointSnapshot,
        spec: &ModelSpec,
        meters: Arc<Meters>,
        of_endpoint: Arc<Meters>,
    ) -> Self {
        Self {
            project: endpoint.project.clone(),
            model: spec.model.clone(),
            version: spec.version,
            name: spec.name(),
            generation: endpoint.generation,
            log: endpoint.log,
            meters,
            endpoint: of_endpoint,
        }
    }

    /// Counts a request as a whole: how many rows were answered, or why none were.
    pub fn count(&self, came_to: Result<usize, Cause>, began: Instant, ended: Instant) {
        self.meters.count(came_to, ended.saturating_duration_since(began), ended);
    }

    /// Counts predictions that the endpoint's rules leave out of the log.
    pub fn left_out(&self, predictions: usize) {
        self.endpoint.leave_out(predictions);
    }

    /// Counts a part of what a request took.
    pub fn cost(&self, of: Cost, took: Duration) {
        self.meters.cost(of, took);
    }

    /// What is counted of it.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }
}

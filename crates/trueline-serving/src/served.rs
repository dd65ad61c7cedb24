//! A variant as those see it who tell of its answers: who it is, and the meters that count what it does. Made once for each
//! route, so that a request copies no names and looks no meter up.

use crate::model::ModelSpec;
use crate::route::LogMode;
use crate::snapshot::EndpointSnapshot;
use metrics::{Counter, Histogram};
use std::time::Duration;
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
    meters: Meters,
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
    const ALL: [Self; 5] = [Self::Parse, Self::Features, Self::Queue, Self::Runtime, Self::Serialise];

    fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Features => "features",
            Self::Queue => "queue",
            Self::Runtime => "runtime",
            Self::Serialise => "serialise",
        }
    }
}

/// Under which names an endpoint's variant is counted.
struct Meters {
    answered: Counter,
    failed: Counter,
    left_out: Counter,
    took: Histogram,
    costs: [Histogram; Cost::ALL.len()],
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

impl Served {
    pub(crate) fn new(endpoint: &EndpointSnapshot, spec: &ModelSpec) -> Self {
        Self {
            project: endpoint.project.clone(),
            model: spec.model.clone(),
            version: spec.version,
            name: spec.name(),
            generation: endpoint.generation,
            log: endpoint.log,
            meters: Meters::new(&endpoint.project_name, &endpoint.name, &spec.name()),
        }
    }

    /// Counts a request: how many rows were answered, none if it failed, and how long it took as a whole.
    pub fn count(&self, answered: Option<usize>, took: Duration) {
        match answered {
            Some(rows) => self.meters.answered.increment(u64::try_from(rows).unwrap_or(u64::MAX)),
            None => self.meters.failed.increment(1),
        }
        self.meters.took.record(took.as_secs_f64());
    }

    /// Counts predictions that the endpoint's rules leave out of the log.
    pub fn left_out(&self, predictions: usize) {
        self.meters.left_out.increment(u64::try_from(predictions).unwrap_or(u64::MAX));
    }

    /// Counts a part of what a request took.
    pub fn cost(&self, of: Cost, took: Duration) {
        self.meters.costs[of as usize].record(took.as_secs_f64());
    }
}

impl Meters {
    fn new(project: &str, endpoint: &str, variant: &str) -> Self {
        let labels = [
            ("project", project.to_owned()),
            ("endpoint", endpoint.to_owned()),
            ("variant", variant.to_owned()),
        ];
        let cost = |of: Cost| {
            let staged = [&labels[..], &[("stage", of.as_str().to_owned())]].concat();
            metrics::histogram!("trueline_prediction_stage_duration_seconds", &staged)
        };
        Self {
            answered: metrics::counter!("trueline_predictions_total", &labels),
            failed: metrics::counter!("trueline_prediction_errors_total", &labels),
            left_out: metrics::counter!("trueline_predictions_left_out_total", &labels[..2]),
            took: metrics::histogram!("trueline_prediction_duration_seconds", &labels),
            costs: Cost::ALL.map(cost),
        }
    }
}

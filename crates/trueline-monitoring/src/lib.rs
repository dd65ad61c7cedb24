//! Watching: monitors are rules over windows of predictions in event time; a rule that is broken opens an alert, and what
//! fires together on an endpoint is one incident.
//!
//! ```text
//! prediction log ─► Follower: cursor + counts of each window, committed together     (no event)
//!                     └─► closing: numbers, alerts, incidents, deliveries to be made  (events, one transaction)
//! ```

mod alerts;
mod closing;
mod declaring;
mod error;
mod following;
mod incidents;
mod judge;
mod machine;
mod monitors;
mod quality;
mod reference;
mod schema;
mod spec;
mod training;
mod window;

pub use alerts::{Alert, DELIVERY_TASK, Delivery, alert};
pub use closing::{CloseOutcome, MonitorWindow, Verdict, VerdictKind};
pub use declaring::NewMonitor;
pub use error::MonitoringError;
pub use following::{Batch, Progress};
pub use incidents::{Incident, IncidentAction, IncidentEntry};
pub use judge::{Finding, Level, judge_inputs, judge_quality};
pub use machine::{AlertState, Open, Step, step};
pub use monitors::{Monitor, MonitorKey, Monitoring};
pub use quality::{Quality, QualityState};
pub use reference::{BINS, CATEGORIES, FeatureValue, Learner, Reference, ReferenceColumn};
pub use schema::MODULE;
pub use spec::{DriftRule, Metric, MissingRule, MonitorSpec, QualityRule, ReferenceSource};
pub use training::{ReferenceState, TrainedVersion, TrainingData};
pub use window::{Counts, Labelled, Observation, WindowState};

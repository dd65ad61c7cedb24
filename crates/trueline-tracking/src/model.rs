//! Experiments and runs as values.

use crate::TrackingError;
use crate::inputs::DatasetInput;
use crate::metrics::MetricPoint;
use serde::Serialize;
use trueline_ledger::Millis;

/// An experiment's number within its project; `0` is the one that every project starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ExperimentId(pub i64);

impl ExperimentId {
    /// Reads the decimal form that the wire carries.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, TrackingError> {
        text.parse().map(Self).map_err(|_| {
            TrackingError::Invalid(format!(
                "Invalid experiment ID '{text}'. Experiment ID must be a valid integer."
            ))
        })
    }
}

impl std::fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A run's id: 32 hexadecimal digits, unique over all projects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Wraps an id as the wire carries it; whether there is such a run, a look-up tells.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&RunId> for trueline_db::Value {
    fn from(id: &RunId) -> Self {
        Self::Text(id.0.clone())
    }
}

impl From<ExperimentId> for trueline_db::Value {
    fn from(id: ExperimentId) -> Self {
        Self::Int(id.0)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),* }

        impl $name {
            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Reads the word for it.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Where a run stands.
    RunStatus {
        /// At work.
        Running = "RUNNING",
        /// To begin later.
        Scheduled = "SCHEDULED",
        /// Ended well.
        Finished = "FINISHED",
        /// Ended badly.
        Failed = "FAILED",
        /// Was ended.
        Killed = "KILLED",
    }
}

impl RunStatus {
    /// Whether nothing more is expected of the run.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

words! {
    /// Whether a thing was deleted; a deleted one can be restored.
    Lifecycle {
        /// There.
        Active = "active",
        /// Deleted.
        Deleted = "deleted",
    }
}

words! {
    /// Which of them a search sees.
    ViewType {
        /// Those that are not deleted.
        ActiveOnly = "ACTIVE_ONLY",
        /// Those that are.
        DeletedOnly = "DELETED_ONLY",
        /// Both.
        All = "ALL",
    }
}

impl ViewType {
    /// The lifecycle that it is limited to.
    #[must_use]
    pub fn lifecycle(self) -> Option<Lifecycle> {
        match self {
            Self::ActiveOnly => Some(Lifecycle::Active),
            Self::DeletedOnly => Some(Lifecycle::Deleted),
            Self::All => None,
        }
    }
}

/// A param or a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyValue {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl KeyValue {
    /// A pair.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// What must be known of an experiment to keep something in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentPlace {
    /// Its id.
    pub id: ExperimentId,
    /// Where its artifacts go.
    pub artifact_location: String,
    /// Deleted or not.
    pub lifecycle: Lifecycle,
}

/// An experiment with its tags.
#[derive(Clone, Debug, Serialize)]
pub struct Experiment {
    /// Its number.
    pub id: ExperimentId,
    /// Its name, unique in the project, among deleted ones too.
    pub name: String,
    /// Where its runs' artifacts go.
    pub artifact_location: String,
    /// Whether it was deleted.
    pub lifecycle: Lifecycle,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Its tags, by key.
    pub tags: Vec<KeyValue>,
}

/// A run to be made.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// In this experiment.
    pub experiment: ExperimentId,
    /// Its name; one is made up when there is none.
    pub name: Option<String>,
    /// The user that the client claims; kept for display, never used as author.
    pub claimed_user: String,
    /// When it began by the client's clock.
    pub start_time: Option<Millis>,
    /// Its first tags.
    pub tags: Vec<KeyValue>,
}

/// What of a run is to be changed.
#[derive(Clone, Debug, Default)]
pub struct RunUpdate {
    /// Its status.
    pub status: Option<RunStatus>,
    /// When it ended.
    pub end_time: Option<Millis>,
    /// Its name.
    pub name: Option<String>,
}

/// The latest point of a metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoggedMetric {
    /// The metric's name.
    pub key: String,
    /// The point.
    #[serde(flatten)]
    pub point: MetricPoint,
}

/// A dataset that something was measured on, as the client names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeasuredOn {
    /// The dataset's name.
    pub name: String,
    /// What the client computed over its contents, when it says so.
    pub digest: Option<String>,
}

/// A point that a run measured for a logged model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelMetric {
    /// The metric's name and the point.
    #[serde(flatten)]
    pub metric: LoggedMetric,
    /// What it was measured on, when the client says so.
    pub dataset: Option<MeasuredOn>,
}

/// A run without its data.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The experiment that it belongs to.
    pub experiment: ExperimentId,
    /// Its name.
    pub name: String,
    /// The user that the client claimed.
    pub claimed_user: String,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// Where it stands.
    pub status: RunStatus,
    /// When it began.
    pub start_time: Option<Millis>,
    /// When it ended.
    pub end_time: Option<Millis>,
    /// Where its artifacts are.
    pub artifact_uri: String,
    /// Whether it was deleted.
    pub lifecycle: Lifecycle,
}

/// A run with its data.
#[derive(Clone, Debug, Serialize)]
pub struct RunData {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The latest point of each metric, by key.
    pub metrics: Vec<LoggedMetric>,
    /// Its params, by key.
    pub params: Vec<KeyValue>,
    /// Its tags, by key.
    pub tags: Vec<KeyValue>,
    /// The datasets that it read.
    pub dataset_inputs: Vec<DatasetInput>,
    /// The logged models that it read.
    pub model_inputs: Vec<String>,
    /// The logged models that it made, with the step of each.
    pub model_outputs: Vec<(String, i64)>,
}

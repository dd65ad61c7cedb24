//! Pipelines, their runs, steps and attempts as they are read.

use crate::cache::Outputs;
use crate::declaration::PipelineSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_ledger::{EventId, Millis, ProjectId};

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

            pub(crate) fn parse(text: &str) -> Self {
                match text { $($word => Self::$variant,)* _ => Self::Failed }
            }
        }
    };
}

words! {
    /// Where a run of a pipeline stands.
    RunState {
        /// Some step is at work or waits for its turn.
        Running = "running",
        /// Every step ended well or was skipped.
        Succeeded = "succeeded",
        /// Some step did not end well.
        Failed = "failed",
        /// A person ended it.
        Cancelled = "cancelled",
    }
}

words! {
    /// Where a step of a run stands.
    StepState {
        /// Waits for other steps, or for a worker.
        Queued = "queued",
        /// At work.
        Running = "running",
        /// Ended well.
        Succeeded = "succeeded",
        /// Not run: its outputs were there already.
        Skipped = "skipped",
        /// Its last attempt failed.
        Failed = "failed",
        /// Its last attempt took too long.
        TimedOut = "timed_out",
        /// Not run, or ended, because the run was cancelled or a step before it failed.
        Cancelled = "cancelled",
        /// Fenced more often than can be a coincidence.
        Fenced = "fenced",
    }
}

words! {
    /// Where an attempt stands.
    AttemptState {
        /// Waits for a worker.
        Queued = "queued",
        /// At work.
        Running = "running",
        /// Ended well.
        Succeeded = "succeeded",
        /// Found that it need not run.
        Skipped = "skipped",
        /// Ended badly.
        Failed = "failed",
        /// Took too long and was ended.
        TimedOut = "timed_out",
        /// Was ended by a person.
        Cancelled = "cancelled",
        /// Its process was lost with its server; what it may still do is not accepted.
        Fenced = "fenced",
    }
}

impl StepState {
    /// Whether nothing more happens to the step.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether steps that wait for it may begin.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
}

/// A pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// The hash of its declaration.
    pub version: String,
    /// The project's folder on the server's machine.
    pub directory: String,
    /// As it was declared.
    pub spec: PipelineSpec,
    /// Who declared it first.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
}

/// Why a run was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// A person asked for it.
    Manual {
        /// What the person said.
        note: String,
    },
    /// A trigger matched an event.
    Trigger {
        /// The trigger.
        trigger: String,
        /// The event.
        event: EventId,
        /// What happened.
        action: String,
        /// When, as the event tells.
        event_time_ms: Millis,
    },
}

/// A run of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineRun {
    /// Its id.
    pub id: String,
    /// Where it belongs.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: String,
    /// The version of it that runs.
    pub version: String,
    /// The project's folder.
    pub directory: String,
    /// Where it stands.
    pub state: RunState,
    /// Why it was started.
    pub reason: Reason,
    /// Its params.
    pub params: BTreeMap<String, String>,
    /// Who started it.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
    /// When it ended.
    pub finished_at_ms: Option<Millis>,
    /// Its steps, in the order of the declaration; none in a list of runs.
    pub steps: Vec<StepRun>,
}

/// A step of a run.
#[derive(Clone, Debug, Serialize)]
pub struct StepRun {
    /// Its name.
    pub step: String,
    /// Where it stands.
    pub state: StepState,
    /// The hash of what it depends on, once that is known.
    pub cache_key: Option<String>,
    /// What it made, once it has.
    pub outputs: Option<Outputs>,
    /// The run of the pipeline that made the outputs, when it was skipped.
    pub same_as: Option<String>,
    /// Why it ended badly.
    pub error: Option<String>,
    /// When its first attempt began.
    pub started_at_ms: Option<Millis>,
    /// When it ended.
    pub finished_at_ms: Option<Millis>,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
}

/// One try of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Its id, which its process carries in its environment.
    pub id: String,
    /// Counts from 1.
    pub attempt: i64,
    /// Where it stands.
    pub state: AttemptState,
    /// The task that it is.
    pub task: String,
    /// The server that works on it.
    pub worker: Option<String>,
    /// The captured run that it is.
    pub run: Option<String>,
    /// How its command ended.
    pub exit_code: Option<i64>,
    /// Why it ended badly.
    pub error: Option<String>,
    /// The blob of its log, once it has ended.
    pub log: Option<String>,
    /// Size of the log.
    pub log_bytes: Option<i64>,
    /// Processor time of its processes.
    pub cpu_ms: Option<i64>,
    /// The most memory that its command held.
    pub peak_rss_bytes: Option<i64>,
    /// When it began.
    pub started_at_ms: Option<Millis>,
    /// When it ended.
    pub finished_at_ms: Option<Millis>,
}

/// What the task of an attempt says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTask {
    /// The run of the pipeline.
    pub pipeline_run: String,
    /// The step.
    pub step: String,
    /// The attempt's id.
    pub attempt: String,
}

//! Pipelines: all of them, one as its graph with its last runs, and one run with the logs of its steps.

use super::Pager;
use crate::parts::{Badge, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A pipeline in one line.
#[derive(Clone, Debug)]
pub struct PipelineRow {
    /// Its name.
    pub name: String,
    /// How many steps it has.
    pub steps: usize,
    /// The names of its triggers.
    pub triggers: Vec<String>,
    /// Its last runs, newest first: id and state.
    pub last: Vec<(String, Badge)>,
    /// When the last one was started.
    pub last_at: Option<Timestamp>,
}

/// All pipelines.
#[derive(Clone, Debug, Template)]
#[template(path = "pipelines.html")]
pub struct PipelinesPage {
    /// What all pages share.
    pub shell: Shell,
    /// The pipelines.
    pub pipelines: Vec<PipelineRow>,
}

/// A step in the picture of a pipeline.
#[derive(Clone, Debug)]
pub struct StepBox {
    /// Its name.
    pub name: String,
    /// The line that it runs.
    pub command: String,
    /// The steps that it waits for.
    pub after: Vec<String>,
    /// Where it stands in the last runs, newest first: the run and the state.
    pub states: Vec<(String, Badge)>,
}

/// A run of a pipeline in one line.
#[derive(Clone, Debug)]
pub struct PipelineRunRow {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: Badge,
    /// Why it was started.
    pub why: String,
    /// The event that started it.
    pub cause: Option<Reference>,
    /// When it was started.
    pub started_at: Timestamp,
    /// How long it took, or takes so far.
    pub duration_ms: i64,
}

/// One pipeline. The view reads `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "pipeline.html")]
pub struct PipelinePage {
    /// What all pages share.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// The hash of its declaration.
    pub version: String,
    /// The project's folder.
    pub directory: String,
    /// The steps in columns: each after those that it waits for.
    pub columns: Vec<Vec<StepBox>>,
    /// What starts it.
    pub triggers: Vec<String>,
    /// The last runs.
    pub runs: Vec<PipelineRunRow>,
    /// The view of the runs.
    pub view: crate::links::ViewUrl,
    /// Where the table's page ends.
    pub pager: Pager,
}

/// A step of a run.
#[derive(Clone, Debug)]
pub struct StepRow {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: Badge,
    /// How often it was tried.
    pub attempts: usize,
    /// The captured run of its last attempt.
    pub run: Option<Reference>,
    /// Why it ended badly, or whose outputs it took.
    pub about: String,
    /// How long it took, or takes so far.
    pub duration_ms: Option<i64>,
    /// The end of the log of its last attempt.
    pub log: String,
    /// Whether the log's beginning is left out.
    pub cut: bool,
}

/// One run of a pipeline.
#[derive(Clone, Debug, Template)]
#[template(path = "pipeline_run.html")]
pub struct PipelineRunPage {
    /// What all pages share.
    pub shell: Shell,
    /// Its id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// The run in one line.
    pub row: PipelineRunRow,
    /// Who started it.
    pub created_by: String,
    /// Its params.
    pub params: Vec<(String, String)>,
    /// Its steps.
    pub steps: Vec<StepRow>,
}

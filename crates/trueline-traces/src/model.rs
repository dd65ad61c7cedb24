//! Traces as values: what is told of one, apart from its spans.

use crate::assessment::Assessment;
use std::collections::BTreeMap;
use trueline_ledger::Millis;

/// Texts by key.
pub type Pairs = BTreeMap<String, String>;

/// Keys that MLflow reserves, and what this domain does with them.
pub(crate) mod keys {
    /// Tag: the trace's name; a column here.
    pub(crate) const NAME: &str = "mlflow.traceName";
    /// Tag: where the client puts files of the trace.
    pub(crate) const ARTIFACT_LOCATION: &str = "mlflow.artifactLocation";
    /// Tag: where the spans are kept.
    pub(crate) const SPANS_LOCATION: &str = "mlflow.trace.spansLocation";
    /// Tag, only ever searched for: the links to prompts.
    pub(crate) const LINKED_PROMPTS: &str = "mlflow.linkedPrompts";
    /// Metadata: the session; a column here.
    pub(crate) const SESSION: &str = "mlflow.trace.session";
    /// Metadata: tokens of the whole trace as JSON; columns here.
    pub(crate) const TOKEN_USAGE: &str = "mlflow.trace.tokenUsage";
    /// Metadata: cost of the whole trace as JSON; columns here.
    pub(crate) const COST: &str = "mlflow.trace.cost";
    /// Metadata: the client has said what there is to say, and spans that come later don't change it; a column here.
    pub(crate) const FINALIZED: &str = "mlflow.trace.infoFinalized";
    /// Metadata: who used the application.
    pub(crate) const USER: &str = "mlflow.trace.user";
    /// Metadata: the run under which the trace was made.
    pub(crate) const SOURCE_RUN: &str = "mlflow.sourceRun";
    /// Metadata: the number of spans and their sizes as JSON.
    pub(crate) const SIZE_STATS: &str = "mlflow.trace.sizeStats";
}

/// The value of the tag `mlflow.trace.spansLocation` for spans that lie in this server's database.
pub const IN_STORE: &str = "TRACKING_STORE";

/// The experiment that a trace belongs to, as its domain tells of it.
#[derive(Clone, Debug)]
pub struct Home {
    /// Its number.
    pub experiment: i64,
    /// Where its artifacts lie.
    pub artifact_location: String,
}

impl Home {
    /// Where the files of a trace lie.
    pub(crate) fn artifacts_of(&self, trace: &str) -> String {
        format!("{}/traces/{trace}/artifacts", self.artifact_location.trim_end_matches('/'))
    }
}

/// How a trace went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceState {
    /// Not said.
    #[default]
    Unspecified,
    /// Well.
    Ok,
    /// Badly.
    Error,
    /// It goes on.
    InProgress,
}

impl TraceState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "STATE_UNSPECIFIED",
            Self::Ok => "OK",
            Self::Error => "ERROR",
            Self::InProgress => "IN_PROGRESS",
        }
    }

    /// Reads the word for it; any other says nothing.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "OK" => Self::Ok,
            "ERROR" => Self::Error,
            "IN_PROGRESS" => Self::InProgress,
            _ => Self::Unspecified,
        }
    }

    /// Whether a root span that comes later may still say how it went.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Unspecified | Self::InProgress)
    }
}

/// A trace as a client tells of it.
#[derive(Clone, Debug, Default)]
pub struct NewTrace {
    /// Its id, `tr-` and 32 hexadecimal digits as a rule.
    pub id: String,
    /// When it began.
    pub started_ms: Millis,
    /// How long it took.
    pub took_ms: Option<i64>,
    /// How it went.
    pub state: TraceState,
    /// The id that the application knows the request by.
    pub client_request_id: Option<String>,
    /// The beginning of the request.
    pub request_preview: Option<String>,
    /// The beginning of the answer.
    pub response_preview: Option<String>,
    /// What does not change.
    pub metadata: Pairs,
    /// What may change.
    pub tags: Pairs,
    /// What was judged already.
    pub assessments: Vec<crate::assessment::NewAssessment>,
}

/// A trace as it is kept, without its spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceInfo {
    /// Its id.
    pub id: String,
    /// The experiment that it belongs to.
    pub experiment: i64,
    /// When it began.
    pub started_ms: Millis,
    /// How long it took.
    pub took_ms: Option<i64>,
    /// How it went.
    pub state: TraceState,
    /// The id that the application knows the request by.
    pub client_request_id: Option<String>,
    /// The beginning of the request.
    pub request_preview: Option<String>,
    /// The beginning of the answer.
    pub response_preview: Option<String>,
    /// What does not change; those that are columns are among it.
    pub metadata: Pairs,
    /// What may change; those that are columns are among it.
    pub tags: Pairs,
    /// What was judged.
    pub assessments: Vec<Assessment>,
}

impl TraceInfo {
    /// Whether its spans lie in the database.
    #[must_use]
    pub fn has_spans_here(&self) -> bool {
        self.tags.get(keys::SPANS_LOCATION).is_some_and(|place| place == IN_STORE)
    }

    /// Where the client that wrote it has put its files.
    #[must_use]
    pub fn artifact_location(&self) -> Option<&str> {
        self.tags.get(keys::ARTIFACT_LOCATION).map(String::as_str)
    }
}

/// A trace with its spans.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What is told of it.
    pub info: TraceInfo,
    /// Its spans as they are kept: the root first, then by time.
    pub spans: Vec<crate::span::StoredSpan>,
}

/// A page of what was found.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there may be another page.
    pub more: bool,
}

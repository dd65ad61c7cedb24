//! Traces of an experiment, and one trace as a tree of spans over time.

use super::Pager;
use crate::format;
use crate::links::ViewUrl;
use crate::parts::{Badge, Pair, Reference, Tone};
use crate::shell::Shell;
use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;

/// What was said of a trace or of one of its spans.
#[derive(Clone, Debug)]
pub struct AssessmentRow {
    /// What is assessed.
    pub name: String,
    /// What is said.
    pub value: String,
    /// How that is to be taken.
    pub tone: Tone,
    /// `feedback`, `expectation` or `issue`.
    pub kind: &'static str,
    /// Who says it.
    pub source: String,
    /// Why; may be empty.
    pub rationale: String,
    /// The span that it is about.
    pub span: Option<String>,
    /// Whether no other has taken its place.
    pub valid: bool,
    /// When it was made.
    pub at: Timestamp,
}

/// A trace in one line.
#[derive(Clone, Debug)]
pub struct TraceRow {
    /// Its id.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// The beginning of the request; may be empty.
    pub request: String,
    /// The beginning of the answer; may be empty.
    pub response: String,
    /// How it went.
    pub state: Badge,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took_ms: Option<i64>,
    /// Tokens of the whole trace.
    pub tokens: Option<i64>,
    /// The session that it belongs to; may be empty.
    pub session: String,
    /// What was said of it, by name and value.
    pub assessments: Vec<AssessmentRow>,
}

impl TraceRow {
    /// Its tokens, or what stands for a missing number.
    pub(crate) fn told_tokens(&self) -> String {
        let told = self.tokens.and_then(|n| u64::try_from(n).ok()).map(format::count);
        told.unwrap_or_else(|| format::MISSING.to_owned())
    }
}

/// The traces of an experiment. The view reads `filter` (MLflow's grammar for traces), `run`, `sort` (`started_at`, `latency`,
/// `status`, `name`) and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "traces.html")]
pub struct TracesPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filters.
    pub view: ViewUrl,
    /// The experiment.
    pub experiment: Reference,
    /// The run that the traces were made under, when only its traces are shown.
    pub run: Option<Reference>,
    /// What is wrong with the filter; then the traces are those without it.
    pub filter_problem: Option<String>,
    /// The traces.
    pub traces: Vec<TraceRow>,
    /// The server's URL as the caller reached it, for the empty state.
    pub tracking_uri: String,
    /// Where the table's page ends.
    pub pager: Pager,
}

/// A span in the tree, with those below it.
#[derive(Clone, Debug, Template)]
#[template(path = "span.html")]
pub struct SpanNode {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is: `LLM`, `TOOL`, `RETRIEVER`; may be empty.
    pub kind: String,
    /// Its own link.
    pub href: String,
    /// Whether it is the one that is looked at.
    pub here: bool,
    /// Whether it went wrong.
    pub failed: bool,
    /// Where its bar begins, in thousandths of the trace.
    pub from: u32,
    /// How wide its bar is.
    pub width: u32,
    /// How long it took, in microseconds; none while it goes on.
    pub took_us: Option<i64>,
    /// The spans below it.
    pub below: Vec<SpanNode>,
}

impl HtmlSafe for SpanNode {}

impl SpanNode {
    pub(crate) fn took(&self) -> String {
        self.took_us.map_or_else(|| "goes on".to_owned(), format::duration_us)
    }
}

/// Something that happened during a span.
#[derive(Clone, Debug)]
pub struct SpanEventRow {
    /// What.
    pub name: String,
    /// How long after the span's beginning, in microseconds.
    pub after_us: i64,
    /// Whether it is an exception.
    pub is_exception: bool,
    /// More about it.
    pub attributes: Vec<Pair>,
}

/// One span in full.
#[derive(Clone, Debug)]
pub struct SpanDetail {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is; may be empty.
    pub kind: String,
    /// How it went.
    pub state: Badge,
    /// More about that; may be empty.
    pub message: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long after the trace's beginning, in microseconds.
    pub after_us: i64,
    /// How long it took, in microseconds.
    pub took_us: Option<i64>,
    /// What it was given, as text.
    pub inputs: Option<String>,
    /// What it gave back.
    pub outputs: Option<String>,
    /// What else is told of it.
    pub attributes: Vec<Pair>,
    /// What happened during it.
    pub events: Vec<SpanEventRow>,
    /// Spans of other traces that it has to do with.
    pub links: Vec<Reference>,
    /// What was said of it.
    pub assessments: Vec<AssessmentRow>,
}

/// One trace. The view reads `span`.
#[derive(Clone, Debug, Template)]
#[template(path = "trace.html")]
pub struct TracePage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// What the list tells of it.
    pub row: TraceRow,
    /// The experiment.
    pub experiment: Reference,
    /// The runs that it belongs to.
    pub runs: Vec<Reference>,
    /// The user; may be empty.
    pub user: String,
    /// Cost of the whole trace in US dollars.
    pub cost: Option<f64>,
    /// What may change.
    pub tags: Vec<Pair>,
    /// What does not change.
    pub metadata: Vec<Pair>,
    /// The roots of the tree.
    pub roots: Vec<SpanNode>,
    /// How many spans it has.
    pub spans: usize,
    /// Whether there are more than the page shows.
    pub truncated: bool,
    /// The span that is looked at.
    pub open: Option<SpanDetail>,
    /// Where its spans can be had, when they are not kept with the trace.
    pub file: Option<String>,
}

impl TracePage {
    /// What the tree's scale says: a quarter, a half, three quarters and all of the trace.
    pub(crate) fn ticks(&self) -> Vec<String> {
        let total = self.roots.iter().filter_map(|r| r.took_us).max().unwrap_or(0);
        let total = self.row.took_ms.map_or(total, |ms| total.max(ms * 1000));
        (1..=4).map(|quarter| format::duration_us(total * quarter / 4)).collect()
    }
}

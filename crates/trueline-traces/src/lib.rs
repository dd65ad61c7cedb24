//! Traces of applications: spans and what is worked out from them, assessments, search and metrics; evaluation datasets
//! and scorers, which are made of traces and judge them; issues that they show. Experiments and runs are tracking's; the wire is the faces'.

mod assessment;
mod assessments;
mod conventions;
mod correlation;
mod dataset_records;
mod dataset_schema;
mod datasets;
mod delete;
mod error;
pub mod export;
mod filter;
mod ingest;
mod intake;
mod issues;
mod links;
mod metrics;
mod model;
mod places;
mod preview;
mod read;
mod rows;
mod rules;
mod schema;
mod scorers;
mod search;
mod span;
mod span_row;
mod start;
mod tags;
mod usage;
mod value;
mod whole;

pub use assessment::{Assessment, AssessmentSource, Judgement, NewAssessment};
pub use assessments::AssessmentChange;
pub use correlation::{Correlation, Counts};
pub use dataset_records::{DatasetRecord, NewRecord, RecordPage, Upserted};
pub use datasets::{DatasetSearch, EvaluationDataset};
pub use delete::WhichTraces;
pub use error::TraceError;
pub use intake::WholeScorer;
pub use issues::{
    Issue, IssueSearch, IssueSeverity, IssueStatus, IssueUpdate, NewIssue, read_texts, written_texts,
};
pub use metrics::{Aggregation, MetricPoint, MetricQuery, View};
pub use model::{Home, IN_STORE, NewTrace, Page, Pairs, Trace, TraceInfo, TraceState};
pub use schema::MODULE;
pub use scorers::{Sampling, ScorerVersion};
pub use search::TraceSearch;
pub use span::{NewSpan, SpanContent, SpanEvent, SpanLink, SpanStatus, StoredSpan, trace_id, unpacked};
pub use value::Value;
pub use whole::{Imported, WholeTrace};

use trueline_ledger::Ledger;

/// The domain of traces. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces {
    ledger: Ledger,
}

impl Traces {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

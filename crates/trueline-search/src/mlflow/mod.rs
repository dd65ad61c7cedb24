//! MLflow's filter and `order_by` strings, with MLflow's own verdicts and messages.
//!
//! MLflow reads a filter in two steps, and refuses in both. [`parse_clauses`] is the first: the text becomes clauses,
//! whose comparator may still be anything (`==`, `NOT LIKE`). [`admit`] is the second, done by the store: the
//! comparator must fit the field. [`parse_filter`] does both, and is what a face wants.
//!
//! Messages are MLflow 3.18's, sets in them sorted. Where MLflow crashes on a filter (an unquoted word in a list), it is
//! refused as invalid here.

mod admit;
mod group;
mod issues;
mod lexer;
mod order;
mod parse;
mod python;
mod rules;
mod trace_metrics;

pub use admit::admit;
pub use issues::parse_issue_filter;
pub use order::{OrderBy, parse_order_by, parse_order_by_list};
pub use parse::parse_clauses;
pub use trace_metrics::{MetricField, MetricFilter, parse_metric_filter};

use crate::{Expr, Field, Value};

/// The longest filter or `order_by` string that is read, in bytes; MLflow has no limit, and takes minutes for less.
pub const MAX_BYTES: usize = 64 * 1024;

/// sqlparse gives up on a statement of more tokens than this.
const MAX_TOKENS: usize = 10_000;

/// What is searched; each has its own fields and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `runs/search`.
    Runs,
    /// `experiments/search`.
    Experiments,
    /// `registered-models/search`.
    RegisteredModels,
    /// `model-versions/search`.
    ModelVersions,
    /// `traces/search`.
    Traces,
    /// `logged-models/search`.
    LoggedModels,
    /// `datasets/search`: evaluation datasets.
    EvaluationDatasets,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Runs,
        Self::Experiments,
        Self::RegisteredModels,
        Self::ModelVersions,
        Self::Traces,
        Self::LoggedModels,
        Self::EvaluationDatasets,
    ];
}

/// A clause as parsed, before its comparator is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// What is compared.
    pub field: Field,
    /// The comparator as written; in capitals for the registry's searches and for `IS [NOT] NULL`.
    pub comparator: String,
    /// With what; `None` for `IS [NOT] NULL`.
    pub value: Option<Value>,
}

/// Why a filter or an `order_by` is refused. The message is MLflow's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text does not say something that can be searched for.
    #[error("{0}")]
    Invalid(String),
    /// What MLflow answers with a 500, though the caller is to blame.
    #[error("{0}")]
    Internal(String),
}

impl FilterError {
    /// MLflow's error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_PARAMETER_VALUE",
            Self::Internal(_) => "INTERNAL_ERROR",
        }
    }
}

/// Reads a filter: a conjunction of comparisons, each of which its kind allows. Aliases are resolved (`created` is
/// `start_time`). The empty text is [`Expr::always`].
///
/// # Errors
/// [`FilterError`], with MLflow's message.
pub fn parse_filter(kind: Kind, text: &str) -> Result<Expr, FilterError> {
    parse_clauses(kind, text)?.into_iter().map(|clause| admit(kind, clause)).collect()
}

fn invalid<T>(message: String) -> Result<T, FilterError> {
    Err(FilterError::Invalid(message))
}

fn check_length(text: &str) -> Result<(), FilterError> {
    if text.len() > MAX_BYTES {
        return invalid(format!(
            "Search string of {} bytes is too long. Use at most {MAX_BYTES}.",
            text.len()
        ));
    }
    Ok(())
}

/// The name that a run's attribute goes by.
fn run_attribute(key: &str) -> &str {
    match key {
        "created" | "Created" => "start_time",
        "run name" | "Run name" | "Run Name" => "run_name",
        key => key,
    }
}

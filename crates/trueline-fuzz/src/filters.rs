//! Filters: MLflow's grammar for each kind of thing, and Trueline's own.

use trueline_search::mlflow::{Kind, parse_filter, parse_issue_filter, parse_metric_filter, parse_order_by};
use trueline_search::query;

/// Reads a text as everything that it may be. With what it is refused is no matter; that the reading comes to an end is.
pub fn filters(text: &str) {
    for kind in Kind::ALL {
        drop(parse_filter(kind, text));
        drop(parse_order_by(kind, text));
    }
    drop(parse_issue_filter(text));
    drop(parse_metric_filter(text));
    drop(query::parse(&query::RUNS, text));
    drop(query::parse_field(&query::RUNS, text));
}

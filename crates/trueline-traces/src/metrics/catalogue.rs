//! Which metrics there are, what they may be asked for, and where they lie.

use super::View;
use crate::TraceError;
use crate::filter::Conditions;

/// A metric of a view.
pub(super) struct Metric {
    name: &'static str,
    /// The number, as a double where it is one.
    pub(super) value: &'static str,
    pub(super) aggregations: &'static [&'static str],
    pub(super) dimensions: &'static [(&'static str, &'static str)],
    /// Equal values count once.
    pub(super) distinct: bool,
    /// The time range is that of spans, not of their traces.
    span_time: bool,
}

const COUNT: &[&str] = &["COUNT"];
const SPREAD: &[&str] = &["AVG", "MAX", "MIN", "PERCENTILE"];
const AMOUNT: &[&str] = &["AVG", "MAX", "MIN", "PERCENTILE", "SUM"];

const TRACE_NAME: &[(&str, &str)] = &[("trace_name", "t.name")];
const MODELS: &[(&str, &str)] = &[("span_model_name", "s.model"), ("span_model_provider", "s.provider")];

const fn metric(
    name: &'static str,
    value: &'static str,
    aggregations: &'static [&'static str],
    dimensions: &'static [(&'static str, &'static str)],
) -> Metric {
    Metric { name, value, aggregations, dimensions, distinct: false, span_time: false }
}

const fn tokens(name: &'static str, value: &'static str) -> Metric {
    metric(name, value, AMOUNT, TRACE_NAME)
}

const fn cost(name: &'static str, value: &'static str) -> Metric {
    Metric { span_time: true, ..metric(name, value, AMOUNT, MODELS) }
}

static TRACES: [Metric; 8] = [
    metric("trace_count", "t.id", COUNT, &[("trace_name", "t.name"), ("trace_status", "t.state")]),
    Metric { distinct: true, ..metric("session_count", "t.session", COUNT, &[]) },
    metric("latency", "CAST(t.took_ms AS DOUBLE PRECISION)", SPREAD, TRACE_NAME),
    tokens("input_tokens", "CAST(t.input_tokens AS DOUBLE PRECISION)"),
    tokens("output_tokens", "CAST(t.output_tokens AS DOUBLE PRECISION)"),
    tokens("total_tokens", "CAST(t.total_tokens AS DOUBLE PRECISION)"),
    tokens("cache_read_input_tokens", "CAST(t.cache_read_input_tokens AS DOUBLE PRECISION)"),
    tokens("cache_creation_input_tokens", "CAST(t.cache_creation_input_tokens AS DOUBLE PRECISION)"),
];

static SPANS: [Metric; 5] = [
    metric(
        "span_count",
        "s.id",
        COUNT,
        &[
            ("span_name", "s.name"),
            ("span_type", "s.kind"),
            ("span_status", "s.status"),
            ("span_model_name", "s.model"),
            ("span_model_provider", "s.provider"),
        ],
    ),
    metric(
        "latency",
        "CAST((s.ended_ns - s.started_ns) / 1000000 AS DOUBLE PRECISION)",
        SPREAD,
        &[("span_name", "s.name"), ("span_status", "s.status")],
    ),
    cost("input_cost", "s.input_cost"),
    cost("output_cost", "s.output_cost"),
    cost("total_cost", "s.total_cost"),
];

static ASSESSMENTS: [Metric; 2] = [
    metric(
        "assessment_count",
        "a.id",
        COUNT,
        &[("assessment_name", "a.name"), ("assessment_value", "a.value")],
    ),
    metric("assessment_value", "a.number", SPREAD, &[("assessment_name", "a.name")]),
];

/// The metric of a name.
pub(super) fn find(view: View, name: &str) -> Result<&'static Metric, TraceError> {
    let metrics: &'static [Metric] = match view {
        View::Traces => &TRACES,
        View::Spans => &SPANS,
        View::Assessments => &ASSESSMENTS,
    };
    if let Some(found) = metrics.iter().find(|metric| metric.name == name) {
        return Ok(found);
    }
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name).collect();
    TraceError::invalid(format!("metric_name must be one of {}, got '{name}'", quoted(&names)))
}

/// Words as Python prints a list of them.
fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    format!("[{}]", words.join(", "))
}

/// The same, sorted and each once.
pub(super) fn listed(words: &[&str]) -> String {
    let mut words = words.to_vec();
    words.sort_unstable();
    words.dedup();
    quoted(&words)
}

/// The tables of a view.
pub(super) fn from(view: View) -> &'static str {
    match view {
        View::Traces => "traces t",
        View::Spans => "traces t JOIN spans s ON s.project = t.project AND s.trace = t.id",
        View::Assessments => "assessments a",
    }
}

/// Which rows of them count.
pub(super) fn source(view: View, conditions: &Conditions) -> String {
    match view {
        View::Traces | View::Spans => {
            format!("t.project = ?1 AND {}", conditions.in_experiments("t.experiment"))
        }
        // One whose place another has taken is not counted twice.
        View::Assessments => {
            format!("a.project = ?1 AND {} AND a.valid = 1", conditions.in_experiments("a.experiment"))
        }
    }
}

/// When a row happened, in milliseconds.
pub(super) fn time(view: View) -> &'static str {
    match view {
        View::Traces => "t.started_ms",
        View::Spans => "s.started_ns / 1000000",
        View::Assessments => "a.trace_started_ms",
    }
}

/// The time that a range is about.
pub(super) fn range_time(view: View, metric: &Metric) -> &'static str {
    match view {
        View::Spans if metric.span_time => "s.started_ns / 1000000",
        View::Traces | View::Spans => "t.started_ms",
        View::Assessments => "a.trace_started_ms",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_metric_is_told_which_there_are() {
        let told = find(View::Assessments, "x").err().map(|e| e.to_string());
        let expected = "metric_name must be one of ['assessment_count', 'assessment_value'], got 'x'";
        assert_eq!(told.as_deref(), Some(expected));
        assert_eq!(listed(&["b", "a", "b"]), "['a', 'b']");
    }
}

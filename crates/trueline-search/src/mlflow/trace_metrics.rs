//! Filters of trace metrics: one comparison with `=` each, such as ``trace.tag.`env` = 'prod'``.

use super::group::{Node, Shape, group, statements};
use super::lexer::{self, Kind as TokenKind};
use super::parse::{strip_backquotes, strip_quotes, text_value};
use super::python::repr_text;
use super::{FilterError, check_length, invalid};
use crate::Value;

/// What a filter of trace metrics asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricField {
    /// `trace.status`
    TraceStatus,
    /// `trace.tag.<key>`
    TraceTag(String),
    /// `trace.metadata.<key>`
    TraceMetadata(String),
    /// `span.name`
    SpanName,
    /// `span.status`
    SpanStatus,
    /// `span.type`
    SpanType,
    /// `assessment.name`
    AssessmentName,
    /// `assessment.type`
    AssessmentType,
}

/// A field that must be equal to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFilter {
    /// The field.
    pub field: MetricField,
    /// The text.
    pub value: String,
}

/// Whether an entity of a view takes a key after it; none if there is no such entity.
fn takes_key(view: &str, entity: &str) -> Option<bool> {
    match (view, entity) {
        ("trace", "tag" | "metadata") => Some(true),
        ("trace", "status") | ("span", "name" | "status" | "type") | ("assessment", "name" | "type") => {
            Some(false)
        }
        _ => None,
    }
}

fn entities(view: &str) -> &'static str {
    match view {
        "trace" => "['status', 'tag', 'metadata']",
        "span" => "['name', 'status', 'type']",
        _ => "['name', 'type']",
    }
}

/// Reads a filter of trace metrics.
///
/// # Errors
/// [`FilterError`], with MLflow's message.
pub fn parse_metric_filter(text: &str) -> Result<MetricFilter, FilterError> {
    check_length(text)?;
    let one = || FilterError::Invalid(format!("Invalid filter: '{text}'. Expected one filter clause."));
    let mut statements = statements(text, &lexer::tokens(text));
    let statement = statements.pop().filter(|_| statements.is_empty()).ok_or_else(one)?;
    let nodes: Vec<Node> = group(text, &statement).into_iter().filter(|node| !node.is_space()).collect();
    let strays: Vec<&str> =
        nodes.iter().filter(|node| node.shape != Shape::Comparison).map(|node| node.text(text)).collect();
    if !strays.is_empty() {
        return invalid(format!("Invalid clause(s) in filter string: {}", strays.join(", ")));
    }
    let [comparison] = nodes.as_slice() else { return Err(one()) };
    let [name, comparator, value] = comparison.parts.as_slice() else {
        return invalid(format!(
            "Invalid comparison clause. Expected 3 tokens found {}",
            comparison.parts.len()
        ));
    };
    let field = field(name.text(text))?;
    let comparator = comparator.text(text);
    if comparator != "=" {
        return invalid(format!("Invalid comparator: '{comparator}', only '=' operator is supported"));
    }
    let found = value.text(text);
    let is_text = matches!(value.shape, Shape::Token(TokenKind::Single) | Shape::Identifier);
    match is_text.then(|| text_value(found)).transpose()? {
        Some(Value::Text(value)) => Ok(MetricFilter { field, value }),
        _ => invalid(format!(
            "Expected a quoted string value for {} value (e.g. 'my-value'). Got value {found}",
            name.text(text).split('.').nth(1).unwrap_or_default()
        )),
    }
}

fn field(name: &str) -> Result<MetricField, FilterError> {
    let mut parts = name.splitn(3, '.');
    let (Some(view), Some(entity)) = (parts.next(), parts.next()) else {
        return invalid(format!(
            "Invalid identifier {}. Columns should be specified as 'trace.<key>', 'span.<key>', 'assessment.<key>'.",
            repr_text(name)
        ));
    };
    let (view, key) = (strip_backquotes(view), parts.next());
    if !["trace", "span", "assessment"].contains(&view) {
        return invalid(format!(
            "Invalid view type '{view}'. Valid values are dict_keys(['trace', 'span', 'assessment'])"
        ));
    }
    match (takes_key(view, entity), key) {
        (None, _) => invalid(format!(
            "Invalid entity '{entity}' specified for view type '{view}'. Valid entities are {}",
            entities(view)
        )),
        (Some(true), None) => {
            invalid(format!("Filtering by {entity} requires a key, e.g. '{view}.{entity}.<key> = <value>'"))
        }
        (Some(false), Some(_)) => {
            invalid(format!("Filtering by {entity} does not require a key, use '{view}.{entity}' instead"))
        }
        (_, key) => {
            let key = key.map(|key| strip_backquotes(strip_quotes(key).unwrap_or(key)).to_owned());
            Ok(match (view, entity, key) {
                ("trace", "tag", Some(key)) => MetricField::TraceTag(key),
                ("trace", _, Some(key)) => MetricField::TraceMetadata(key),
                ("trace", ..) => MetricField::TraceStatus,
                ("span", "name", _) => MetricField::SpanName,
                ("span", "status", _) => MetricField::SpanStatus,
                ("span", ..) => MetricField::SpanType,
                (_, "name", _) => MetricField::AssessmentName,
                _ => MetricField::AssessmentType,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (MetricField, String) {
        let filter = parse_metric_filter(text).unwrap();
        (filter.field, filter.value)
    }

    fn refused(text: &str) -> String {
        parse_metric_filter(text).unwrap_err().to_string()
    }

    #[test]
    fn each_view_has_its_fields() {
        assert_eq!(read("trace.status = 'OK'"), (MetricField::TraceStatus, "OK".into()));
        assert_eq!(read("trace.tag.`a.b` = \"x\""), (MetricField::TraceTag("a.b".into()), "x".into()));
        let session = MetricField::TraceMetadata("mlflow.trace.session".into());
        assert_eq!(read("trace.metadata.`mlflow.trace.session` = 's'"), (session, "s".into()));
        assert_eq!(read("span.type = 'LLM'"), (MetricField::SpanType, "LLM".into()));
        assert_eq!(read("assessment.name = 'n'"), (MetricField::AssessmentName, "n".into()));
    }

    #[test]
    fn anything_else_is_refused_in_mlflow_s_words() {
        assert_eq!(
            refused("trace.status != 'OK'"),
            "Invalid comparator: '!=', only '=' operator is supported"
        );
        assert!(refused("status = 'OK'").starts_with("Invalid identifier 'status'. Columns should be"));
        assert!(refused("run.status = 'OK'").starts_with("Invalid view type 'run'."));
        assert!(
            refused("trace.name = 'OK'")
                .starts_with("Invalid entity 'name' specified for view type 'trace'.")
        );
        assert!(refused("trace.tag = 'OK'").starts_with("Filtering by tag requires a key"));
        assert!(refused("span.name.x = 'OK'").starts_with("Filtering by name does not require a key"));
        assert!(refused("trace.status = 5").starts_with("Expected a quoted string value for status value"));
        assert!(refused("trace.status = 'a' AND span.name = 'b'").starts_with("Invalid clause(s)"));
        assert!(refused("").starts_with("Invalid filter"));
    }
}

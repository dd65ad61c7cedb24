//! Filters of issues: `status` and `source_run_id`, compared by `=` and `!=`, all of which must hold. Values need no quotes.

use super::group::Shape;
use super::parse::{only_statement, strip_quotes};
use super::python::repr_set;
use super::{FilterError, check_length, invalid};
use crate::{Comparison, Entity, Expr, Field, Op, Value};

const FIELDS: &[&str] = &["source_run_id", "status"];
const COMPARATORS: &[&str] = &["!=", "="];

/// Reads a filter of issues. The empty text is [`Expr::always`].
///
/// # Errors
/// [`FilterError`], with MLflow's message.
pub fn parse_issue_filter(text: &str) -> Result<Expr, FilterError> {
    check_length(text)?;
    if text.is_empty() {
        return Ok(Expr::always());
    }
    let nodes = only_statement(text)?;
    let stray = |shape: &Shape, is_and: bool| *shape != Shape::Comparison && !is_and;
    let strays: Vec<&str> = nodes
        .iter()
        .filter(|node| stray(&node.shape, node.is_keyword(text, "AND")))
        .map(|node| node.text(text))
        .collect();
    if !strays.is_empty() {
        return invalid(format!("Invalid clause(s) in filter string: {}", strays.join(", ")));
    }
    let comparisons = nodes.iter().filter(|node| node.shape == Shape::Comparison);
    comparisons
        .map(|node| match node.parts.as_slice() {
            [name, comparator, value] if name.shape == Shape::Identifier => {
                comparison(name.text(text), comparator.text(text), value.text(text))
            }
            [name, _, _] => invalid(format!(
                "Invalid comparison: left side must be an identifier, got {}",
                name.text(text)
            )),
            parts => invalid(format!("Invalid comparison: expected 3 tokens, got {}", parts.len())),
        })
        .collect()
}

fn bare(text: &str) -> &str {
    strip_quotes(text).unwrap_or(text).trim()
}

fn comparison(name: &str, comparator: &str, value: &str) -> Result<Comparison, FilterError> {
    let key = bare(name);
    if !FIELDS.contains(&key) {
        return invalid(format!("Invalid filter field '{key}'. Supported fields: {}", repr_set(FIELDS)));
    }
    let op = Op::from_text(comparator).filter(|op| matches!(op, Op::Eq | Op::Ne));
    let Some(op) = op else {
        return invalid(format!(
            "Invalid comparator '{}'. Supported comparators: {}",
            comparator.to_uppercase(),
            repr_set(COMPARATORS)
        ));
    };
    let field = Field { entity: Entity::Attribute, key: key.to_owned() };
    Ok(Comparison { field, op, value: Some(Value::Text(bare(value).to_owned())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse_issue_filter(text).unwrap_err().to_string()
    }

    #[test]
    fn status_and_source_run_are_compared() {
        let one = |key: &str, op, value: &str| Comparison {
            field: Field { entity: Entity::Attribute, key: key.to_owned() },
            op,
            value: Some(Value::Text(value.to_owned())),
        };
        let both: Expr =
            [one("status", Op::Eq, "pending"), one("source_run_id", Op::Ne, "r 1")].into_iter().collect();
        assert_eq!(parse_issue_filter("status = 'pending' AND source_run_id != \"r 1\"").unwrap(), both);
        assert_eq!(parse_issue_filter("\"status\" = pending and source_run_id != 'r 1'").unwrap(), both);
        assert_eq!(parse_issue_filter("").unwrap(), Expr::always());
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(
            refused("severity = 'high'"),
            "Invalid filter field 'severity'. Supported fields: {'source_run_id', 'status'}"
        );
        assert_eq!(
            refused("status LIKE 'p%'"),
            "Invalid comparator 'LIKE'. Supported comparators: {'!=', '='}"
        );
        assert!(
            refused("status = 'a' OR status = 'b'").starts_with("Invalid clause(s) in filter string: OR")
        );
        assert!(refused("status").starts_with("Invalid clause(s)"));
        assert!(refused("status = 'a'; status = 'b'").contains("multiple expression"));
    }
}

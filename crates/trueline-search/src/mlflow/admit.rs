//! Clauses to comparisons: the comparator must be one that the field takes, as MLflow's store sees it.

use super::parse::{check_span, op_set};
use super::python::{repr_float, repr_text};
use super::rules::{
    ASSESSMENT_OPS, ISSUE_OPS, LIKE_OPS, LIST_OPS, NUMBER_OPS, Rules, Store, TRACE_TAG_OPS, rules,
};
use super::{Clause, FilterError, Kind, invalid, run_attribute};
use crate::{Comparison, Entity, Field, Number, NumberKind, Op, Value};

/// Judges one clause and makes it a comparison, its field under its real name.
///
/// # Errors
/// [`FilterError`], with MLflow's message.
pub fn admit(kind: Kind, clause: Clause) -> Result<Comparison, FilterError> {
    let rules = rules(kind);
    let Clause { mut field, comparator, value } = clause;
    if kind == Kind::Runs && field.entity == Entity::Attribute {
        field.key = run_attribute(&field.key).to_owned();
    }
    let comparator = comparator.to_uppercase();
    let op = admit_op(rules, &field, &comparator)?;
    let value = value.map(|value| admit_value(rules, &field, op, value)).transpose()?;
    if value.is_none() && !matches!(op, Op::IsNull | Op::IsNotNull) {
        return invalid(format!("Comparator '{op}' needs a value."));
    }
    Ok(Comparison { field, op, value })
}

fn admit_op(rules: &Rules, field: &Field, comparator: &str) -> Result<Op, FilterError> {
    let numeric = rules.numeric.contains(&field.key.as_str());
    let (ops, refusal) = match rules.store {
        Store::Runs => runs_ops(rules, field, comparator, numeric),
        Store::Traces => traces_ops(rules, field, comparator, numeric)?,
        Store::Experiments => experiments_ops(rules, field, comparator, numeric)?,
        Store::Evaluation => named_ops(rules, field, comparator, numeric),
        Store::Registry => match field.entity {
            Entity::Tag => (rules.tag_ops, format!("Invalid comparator for tag: {comparator}")),
            _ if numeric => {
                (NUMBER_OPS, format!("Invalid comparator for attribute {}: {comparator}", field.key))
            }
            _ => (rules.text_ops, format!("Invalid comparator for attribute: {comparator}")),
        },
    };
    Op::from_text(comparator).filter(|op| ops.contains(op)).ok_or(FilterError::Invalid(refusal))
}

/// The operators a field takes, and what is said of any other.
type Ops = (&'static [Op], String);

fn runs_ops(rules: &Rules, field: &Field, comparator: &str, numeric: bool) -> Ops {
    let (ops, told, close) = match field.entity {
        // The message lists the operators for strings, in MLflow too.
        Entity::Attribute if numeric => (NUMBER_OPS, rules.text_ops, ""),
        Entity::Attribute => (rules.text_ops, rules.text_ops, "'"),
        Entity::Metric => (NUMBER_OPS, NUMBER_OPS, ""),
        Entity::Param => (rules.param_ops, rules.param_ops, "'"),
        Entity::Dataset => (LIST_OPS, LIST_OPS, ""),
        Entity::RequestMetadata => (TRACE_TAG_OPS, TRACE_TAG_OPS, "'"),
        _ => (rules.tag_ops, rules.tag_ops, ""),
    };
    (ops, format!("Invalid comparator '{comparator}' not one of '{}{close}", op_set(told)))
}

fn traces_ops(rules: &Rules, field: &Field, comparator: &str, numeric: bool) -> Result<Ops, FilterError> {
    let key = &field.key;
    Ok(match field.entity {
        Entity::Span => {
            check_span(key, comparator)?;
            (rules.text_ops, String::new())
        }
        Entity::Feedback | Entity::Expectation if key.is_empty() => {
            return invalid("Assessment field name cannot be empty".to_owned());
        }
        Entity::Feedback | Entity::Expectation => (
            ASSESSMENT_OPS,
            format!("assessment.{key} comparator '{comparator}' not one of '{}'", op_set(ASSESSMENT_OPS)),
        ),
        Entity::Issue if key != "id" => {
            return invalid(format!("Invalid issue attribute '{key}'. Supported attributes: id"));
        }
        Entity::Issue => {
            (ISSUE_OPS, format!("issue.{key} comparator '{comparator}' not one of '{}'", op_set(ISSUE_OPS)))
        }
        Entity::Tag
            if key == "mlflow.linkedPrompts"
                && Op::from_text(comparator)
                    .is_some_and(|op| op != Op::Eq && TRACE_TAG_OPS.contains(&op)) =>
        {
            return invalid(format!(
                "Invalid comparator '{comparator}' for prompts filter. Only '=' is supported with format: prompt = \
                 \"name/version\""
            ));
        }
        _ => runs_ops(rules, field, comparator, numeric),
    })
}

fn experiments_ops(
    rules: &Rules,
    field: &Field,
    comparator: &str,
    numeric: bool,
) -> Result<Ops, FilterError> {
    if field.entity == Entity::Attribute && field.key == "experiment_id" {
        return Ok((
            &[Op::Eq, Op::Ne, Op::In, Op::NotIn],
            format!("Invalid comparator for experiment_id: {comparator}"),
        ));
    }
    let (ops, refusal) = runs_ops(rules, field, comparator, numeric);
    if field.entity == Entity::Attribute && !Op::from_text(comparator).is_some_and(|op| ops.contains(&op)) {
        return invalid(refusal);
    }
    Ok(named_ops(rules, field, comparator, numeric))
}

fn named_ops(rules: &Rules, field: &Field, comparator: &str, numeric: bool) -> Ops {
    let (ops, what) = match field.entity {
        Entity::Tag => (rules.tag_ops, "tag"),
        _ if numeric => (NUMBER_OPS, "numeric attribute"),
        _ if rules.store == Store::Experiments => (LIKE_OPS, "string attribute"),
        _ => (rules.text_ops, "string attribute"),
    };
    (ops, format!("Invalid comparator for {what}: {comparator}"))
}

fn admit_value(rules: &Rules, field: &Field, op: Op, value: Value) -> Result<Value, FilterError> {
    let numeric = field.entity == Entity::Attribute && rules.numeric.contains(&field.key.as_str());
    match value {
        Value::List(_) if !op.takes_list() => {
            invalid(format!("Comparator '{op}' does not take a list. Use IN or NOT IN."))
        }
        Value::Number(Number { kind: NumberKind::Real(real), .. })
            if numeric && !matches!(rules.store, Store::Runs | Store::Traces) =>
        {
            let told = match rules.store {
                Store::Registry => repr_float(real),
                _ => format!("'{}'", repr_float(real)),
            };
            invalid(format!("Invalid value for numeric attribute '{}': {told}", field.key))
        }
        Value::Text(text) if numeric => match Number::parse(text.trim()) {
            Some(number @ Number { kind: NumberKind::Int(_), .. }) => Ok(Value::Number(number)),
            _ => {
                invalid(format!("Invalid value for numeric attribute '{}': {}", field.key, repr_text(&text)))
            }
        },
        Value::Text(text)
            if field.entity == Entity::Tag
                && field.key == "mlflow.linkedPrompts"
                && rules.store == Store::Traces
                && text.matches('/').count() != 1 =>
        {
            invalid(format!(
                "Invalid prompts filter value '{text}'. Expected format: prompt = \"name/version\""
            ))
        }
        value => Ok(value),
    }
}

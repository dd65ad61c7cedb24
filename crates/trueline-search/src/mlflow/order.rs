//! `order_by` strings.

use super::group::{Node, Shape, group, statements};
use super::lexer::{self, Kind as TokenKind};
use super::parse::{rename_trace_key, resolve_among};
use super::python::repr_list;
use super::rules::{EXPERIMENT_PREFIXES, Store, Unquote, rules};
use super::{FilterError, Kind, MAX_TOKENS, check_length, invalid, run_attribute};
use crate::{Entity, Field};

/// A field to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// The field, under the name it was asked for.
    pub field: Field,
    /// Smallest first.
    pub ascending: bool,
}

/// Reads one `order_by` string, such as `metrics.loss DESC`. For logged models it is the `field_name` of an
/// `order_by` object, whose direction is a field of its own; the answer is ascending then.
///
/// # Errors
/// [`FilterError`], with MLflow's message.
pub fn parse_order_by(kind: Kind, text: &str) -> Result<OrderBy, FilterError> {
    check_length(text)?;
    let rules = rules(kind);
    if kind == Kind::LoggedModels {
        return logged_model_order(text, rules.orders);
    }
    let (name, ascending) = name_and_direction(text)?;
    let name = name.trim_matches(lexer::is_space);
    let field = match rules.store {
        Store::Registry => resolve_among(&EXPERIMENT_PREFIXES, Unquote::First, rules.orders, name)?,
        _ => resolve_among(&rules.prefixes, rules.unquote, rules.orders, name)?,
    };
    let field = if kind == Kind::Traces { rename_trace_key(field) } else { field };
    Ok(OrderBy { field, ascending })
}

/// Reads a whole list and resolves its aliases. For runs and traces a field may stand in it once; for runs it must be
/// something a run can be sorted by.
///
/// # Errors
/// [`FilterError`], with MLflow's message; a field that stands twice is [`FilterError::Internal`].
pub fn parse_order_by_list<T: AsRef<str>>(kind: Kind, texts: &[T]) -> Result<Vec<OrderBy>, FilterError> {
    let mut orders: Vec<OrderBy> = Vec::new();
    for text in texts {
        let mut order = parse_order_by(kind, text.as_ref())?;
        if kind == Kind::Runs {
            order.field.key = run_attribute(&order.field.key).to_owned();
            if order.field.entity == Entity::Dataset {
                return invalid(format!("Invalid identifier type '{}'", order.field.entity));
            }
        }
        let is_twice = || orders.iter().any(|earlier| earlier.field == order.field);
        if matches!(kind, Kind::Runs | Kind::Traces) && is_twice() {
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            return Err(FilterError::Internal(format!(
                "`order_by` contains duplicate fields: {}",
                repr_list(&texts)
            )));
        }
        orders.push(order);
    }
    Ok(orders)
}

fn logged_model_order(text: &str, attributes: &[&str]) -> Result<OrderBy, FilterError> {
    let (entity, key) = match text.split_once('.') {
        Some(("metrics", key)) => (Entity::Metric, key),
        Some((entity, _)) => {
            return invalid(format!(
                "Invalid order by field name: {entity}, only `metrics.<name>` is allowed."
            ));
        }
        None => match text.trim_matches(lexer::is_space) {
            "creation_time" => (Entity::Attribute, "creation_timestamp"),
            key if attributes.contains(&key) => (Entity::Attribute, key),
            key => return invalid(format!("Invalid order by field name: {key}.")),
        },
    };
    Ok(OrderBy { field: Field { entity, key: key.to_owned() }, ascending: true })
}

fn name_and_direction(text: &str) -> Result<(String, bool), FilterError> {
    let unparsed = || FilterError::Invalid(format!("Invalid order_by clause '{text}'. Could not be parsed."));
    let statements = statements(text, &lexer::tokens(text));
    if statements.iter().any(|nodes| nodes.len() > MAX_TOKENS) {
        return invalid(format!("Error on parsing order_by clause '{text}'"));
    }
    let clause = single_name(text, statements).ok_or_else(unparsed)?;
    // A name that shlex cannot split makes MLflow crash.
    let words = split_words(&clause.replace('`', "\"")).ok_or_else(unparsed)?;
    match words.as_slice() {
        [] | [_] => Ok((clause, true)),
        [name, direction] => match direction.to_lowercase().as_str() {
            "asc" => Ok((name.clone(), true)),
            "desc" => Ok((name.clone(), false)),
            _ => invalid(format!("Invalid ordering key in order_by clause '{text}'.")),
        },
        _ => Err(unparsed()),
    }
}

/// The text, if it is one name with at most a direction.
fn single_name(text: &str, mut statements: Vec<Vec<Node>>) -> Option<String> {
    let statement = statements.pop().filter(|_| statements.is_empty())?;
    let nodes = group(text, &statement);
    let is_timestamp = |shape| shape == Shape::Token(TokenKind::Builtin);
    match nodes.as_slice() {
        [name] if name.shape == Shape::Identifier => Some(text.to_owned()),
        [name] if is_timestamp(name.shape) && text == "timestamp" => Some(text.to_owned()),
        [name, gap @ .., direction]
            if is_timestamp(name.shape)
                && name.text(text) == "timestamp"
                && gap.iter().all(Node::is_space)
                && direction.shape == Shape::Token(TokenKind::Order) =>
        {
            Some(format!("timestamp {}", direction.text(text)))
        }
        _ => None,
    }
}

/// Splits as a shell does: at spaces, quotes and backslashes taken off. `None` if a quote stays open.
fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' | '"' => quoted_word(c, &mut chars, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

fn quoted_word(quote: char, chars: &mut std::str::Chars<'_>, into: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            c if c == quote => return Some(()),
            '\\' if quote == '"' => match chars.next()? {
                c @ ('"' | '\\') => into.push(c),
                c => into.extend(['\\', c]),
            },
            c => into.push(c),
        }
    }
}

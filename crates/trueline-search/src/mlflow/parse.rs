//! Filter text to clauses.

use super::group::{Node, Shape, group, statements};
use super::lexer::{self, Kind as TokenKind};
use super::python::{Literal, literal, repr_list, repr_set, repr_text, repr_tuple};
use super::rules::{
    DATASET_KEYS, Lists, Nulls, Numbers, Prefixes, Rules, SPAN_CONTENT_OPS, Store, TRACE_TEXT_OPS, Told,
    Unquote, rules,
};
use super::{Clause, FilterError, Kind, MAX_TOKENS, check_length, invalid};
use crate::{Entity, Field, Number, Op, Value};

/// Reads a filter's clauses, all of which must hold. Comparators are not judged yet; see [`admit`](super::admit).
///
/// # Errors
/// [`FilterError`], with MLflow's message.
pub fn parse_clauses(kind: Kind, text: &str) -> Result<Vec<Clause>, FilterError> {
    check_length(text)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let nodes = only_statement(text)?;
    let parser = Parser { kind, rules: rules(kind), text };
    let pieces = parser.pieces(nodes);
    parser.refuse_strays(&pieces)?;
    pieces
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Clause(members) => Some(parser.clause(&members)),
            Piece::Node(_) => None,
        })
        .collect()
}

/// The nodes of a filter's only statement, without the space between them.
pub(super) fn only_statement(text: &str) -> Result<Vec<Node>, FilterError> {
    let mut statements = statements(text, &lexer::tokens(text));
    let Some(statement) = statements.pop() else {
        return invalid(format!("Invalid filter '{text}'. Could not be parsed."));
    };
    if statement.len() > MAX_TOKENS || statements.iter().any(|nodes| nodes.len() > MAX_TOKENS) {
        return invalid(format!("Error on parsing filter '{text}'"));
    }
    if !statements.is_empty() {
        return invalid(format!(
            "Search filter contained multiple expression {}. Provide AND-ed expression list.",
            repr_text(text)
        ));
    }
    Ok(group(text, &statement).into_iter().filter(|node| !node.is_space()).collect())
}

/// One member of a clause: a node, or a comparator that spans several.
enum Member {
    Node(Node),
    Comparator(&'static str),
}

/// A clause, or something between clauses.
enum Piece {
    Clause(Vec<Member>),
    Node(Node),
}

struct Parser<'t> {
    kind: Kind,
    rules: &'static Rules,
    text: &'t str,
}

impl<'t> Parser<'t> {
    /// Finds the clauses. Those with `IN` and `IS` are put together here, and as MLflow does it: a name takes the next
    /// two or three nodes with it, whether they make a clause or not.
    fn pieces(&self, nodes: Vec<Node>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = nodes.as_slice();
        while let [first, second, third, ..] = rest {
            let is_timestamp = self.rules.timestamp
                && first.shape == Shape::Token(TokenKind::Builtin)
                && first.text(self.text) == "timestamp";
            let (clause, taken) = if is_timestamp {
                (self.timestamp_clause([first, second, third]), 3)
            } else if first.shape != Shape::Identifier {
                (None, 1)
            } else {
                self.word_clause([first, second, third], rest.get(3))
            };
            match clause {
                Some(members) => pieces.push(Piece::Clause(members)),
                None => {
                    pieces.extend(rest.iter().take(taken).cloned().map(as_piece));
                    // MLflow lists a stray `timestamp` a second time.
                    pieces.extend(is_timestamp.then(|| as_piece(first.clone())));
                }
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        pieces.extend(rest.iter().cloned().map(as_piece));
        pieces
    }

    /// `timestamp > 5`, which sqlparse does not see as a comparison.
    fn timestamp_clause(&self, [first, second, third]: [&Node; 3]) -> Option<Vec<Member>> {
        let compares = second.shape == Shape::Token(TokenKind::Comparison)
            && [">", ">=", "!=", "=", "<", "<="].contains(&second.text(self.text));
        let whole = third.shape == Shape::Token(TokenKind::Integer);
        (compares && whole).then(|| [first, second, third].map(|node| Member::Node(node.clone())).into())
    }

    /// `a IN (…)`, `a NOT IN (…)`, `a IS NULL`, `a IS NOT NULL`, and how many nodes the try takes.
    fn word_clause(
        &self,
        [first, second, third]: [&Node; 3],
        fourth: Option<&Node>,
    ) -> (Option<Vec<Member>>, usize) {
        let key = || Member::Node(first.clone());
        let word = |node: &Node, word| node.is_keyword(self.text, word);
        if word(second, "IN") && third.shape == Shape::Parenthesis {
            return (Some(vec![key(), Member::Node(second.clone()), Member::Node(third.clone())]), 3);
        }
        if word(second, "IS") && word(third, "NULL") {
            return (Some(vec![key(), Member::Comparator("IS NULL")]), 3);
        }
        if word(second, "IS") && word(third, "NOT NULL") {
            return (Some(vec![key(), Member::Comparator("IS NOT NULL")]), 3);
        }
        match fourth {
            Some(list) if word(second, "NOT") && word(third, "IN") && list.shape == Shape::Parenthesis => {
                (Some(vec![key(), Member::Comparator("NOT IN"), Member::Node(list.clone())]), 4)
            }
            Some(_) => (None, 4),
            None => (None, 3),
        }
    }

    fn refuse_strays(&self, pieces: &[Piece]) -> Result<(), FilterError> {
        let strays: Vec<String> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Node(node) if !node.is_keyword(self.text, "AND") => Some(node.text(self.text)),
                _ => None,
            })
            .map(|stray| if self.rules.quotes_clauses { format!("'{stray}'") } else { stray.to_owned() })
            .collect();
        if strays.is_empty() {
            return Ok(());
        }
        invalid(format!("Invalid clause(s) in filter string: {}", strays.join(", ")))
    }

    fn member_text(&self, member: &Member) -> &'t str {
        match member {
            Member::Node(node) => node.text(self.text),
            Member::Comparator(comparator) => comparator,
        }
    }

    fn clause(&self, members: &[Member]) -> Result<Clause, FilterError> {
        let (left, comparator, right) = match members {
            [left, comparator] => (left, comparator, None),
            [left, comparator, Member::Node(right)] => (left, comparator, Some(right)),
            _ => {
                return invalid(format!(
                    "Invalid comparison clause. Expected 3 tokens found {}",
                    members.len()
                ));
            }
        };
        let name = self.member_text(left);
        let is_name = match left {
            Member::Node(node) => {
                node.shape == Shape::Identifier
                    || self.rules.timestamp
                        && node.shape == Shape::Token(TokenKind::Builtin)
                        && name == "timestamp"
            }
            Member::Comparator(_) => false,
        };
        if !is_name {
            return invalid(format!("Invalid comparison clause. Expected 'Identifier' found '{name}'"));
        }
        let comparator = self.member_text(comparator);
        let clause = match right {
            None => self.null_clause(name, comparator)?,
            Some(right) => self.value_clause(name, comparator, right)?,
        };
        Ok(if self.kind == Kind::Traces { rename_trace_field(clause) } else { clause })
    }

    fn null_clause(&self, name: &str, comparator: &str) -> Result<Clause, FilterError> {
        if let Nulls::None(search) = self.rules.nulls {
            return invalid(format!("IS NULL / IS NOT NULL is not supported for {search} search."));
        }
        let field = resolve(self.rules, name)?;
        match (&self.rules.nulls, field.entity) {
            (Nulls::All, _) | (_, Entity::Tag) | (Nulls::TagsAndParams, Entity::Param) => {}
            (Nulls::Tags, _) => {
                return invalid(format!(
                    "IS NULL / IS NOT NULL is only supported for tags, not for attribute '{}'",
                    field.key
                ));
            }
            (_, entity) => {
                return invalid(format!(
                    "IS NULL / IS NOT NULL is only supported for tags and params, not for '{entity}' '{}'",
                    field.key
                ));
            }
        }
        Ok(Clause { field, comparator: comparator.to_owned(), value: None })
    }

    fn value_clause(&self, name: &str, comparator: &str, right: &Node) -> Result<Clause, FilterError> {
        let field = resolve(self.rules, name)?;
        let comparator = match self.rules.store {
            Store::Registry => comparator.to_uppercase(),
            _ => comparator.to_owned(),
        };
        let value = self.value(&field, &comparator, right)?;
        if self.kind == Kind::EvaluationDatasets && matches!(value, Value::List(_)) && comparator != "IN" {
            return invalid("List values for 'name' are only supported with the IN comparator.".to_owned());
        }
        if field.entity == Entity::Span {
            check_span(&field.key, &comparator)?;
        }
        Ok(Clause { field, comparator, value: Some(value) })
    }

    fn value(&self, field: &Field, comparator: &str, right: &Node) -> Result<Value, FilterError> {
        let found = right.text(self.text);
        let number = match right.shape {
            Shape::Token(TokenKind::Integer | TokenKind::Float) => Number::parse(found),
            _ => None,
        };
        let is_text = matches!(right.shape, Shape::Token(TokenKind::Single) | Shape::Identifier);
        let is_list = right.shape == Shape::Parenthesis;
        let entity = field.entity;
        match entity {
            Entity::Attribute => self.attribute_value(&field.key, found, number, is_text, is_list),
            Entity::Metric => match number {
                Some(number) => Ok(Value::Number(number)),
                None => invalid(format!("Expected numeric value type for metric. Found {found}")),
            },
            Entity::Feedback | Entity::Expectation => {
                match (["<", "<=", ">", ">="].contains(&comparator), number) {
                    (true, Some(number)) => Ok(Value::Number(number)),
                    (true, None) => invalid(format!(
                        "Expected a numeric value for {entity} when using comparator '{comparator}'. Got value {found}"
                    )),
                    (false, None) if is_text => text_value(found),
                    (false, _) => expected_text(entity, found),
                }
            }
            Entity::Dataset if is_list => list_value(found),
            Entity::Dataset if !is_text => {
                invalid(format!("Expected a quoted string value for dataset attributes. Got value {found}"))
            }
            Entity::Tag | Entity::Span if is_list && self.kind == Kind::Traces => list_value(found),
            _ if is_text => text_value(found),
            _ => expected_text(entity, found),
        }
    }

    fn attribute_value(
        &self,
        key: &str,
        found: &str,
        number: Option<Number>,
        is_text: bool,
        is_list: bool,
    ) -> Result<Value, FilterError> {
        let numeric = self.rules.numeric.contains(&key);
        if self.rules.numbers == Numbers::ByKey && numeric {
            return match number {
                Some(number) => Ok(Value::Number(number)),
                None => invalid(format!(
                    "Expected numeric value type for numeric attribute: {key}. Found {found}"
                )),
            };
        }
        if is_text {
            return text_value(found);
        }
        if is_list {
            self.check_takes_list(key)?;
            return list_value(found);
        }
        match (&self.rules.numbers, number) {
            (Numbers::Also, Some(number)) if numeric => Ok(Value::Number(number)),
            (Numbers::Also, Some(_)) => invalid(format!(
                "Only the '{}' attributes support comparison with numeric values.",
                repr_set(self.rules.numeric)
            )),
            (Numbers::ByKey, _) => {
                invalid(format!("Expected a quoted string value for attributes. Got value {found}"))
            }
            _ => invalid(format!(
                "Expected a quoted string value or a list of quoted string values for attributes. Got value {found}"
            )),
        }
    }

    fn check_takes_list(&self, key: &str) -> Result<(), FilterError> {
        match self.rules.lists {
            Lists::Only(keys) if !keys.contains(&key) => invalid(format!(
                "Only {} attributes support comparison with a list of quoted string values.",
                repr_list(keys)
            )),
            Lists::Among(keys) if !keys.contains(&key) => invalid(format!(
                "Only attributes in {} supports comparison with a list of quoted string values.",
                repr_set(keys)
            )),
            _ => Ok(()),
        }
    }
}

fn as_piece(node: Node) -> Piece {
    match node.shape {
        Shape::Comparison => Piece::Clause(node.parts.into_iter().map(Member::Node).collect()),
        _ => Piece::Node(node),
    }
}

fn expected_text<T>(entity: Entity, found: &str) -> Result<T, FilterError> {
    invalid(format!("Expected a quoted string value for {entity} (e.g. 'my-value'). Got value {found}"))
}

/// The field that a name such as ``tags.`a b` `` stands for in a filter of this kind.
fn resolve(rules: &Rules, name: &str) -> Result<Field, FilterError> {
    resolve_among(&rules.prefixes, rules.unquote, rules.attributes, name)
}

/// The field that a name stands for, given the words before the dot and the attributes.
pub(super) fn resolve_among(
    prefixes: &Prefixes,
    unquote: Unquote,
    attributes: &[&str],
    name: &str,
) -> Result<Field, FilterError> {
    let (entity, key) = match name.split_once('.') {
        None => (Entity::Attribute, name),
        Some((prefix, key)) => (entity(prefixes, prefix)?, key),
    };
    let bare =
        if unquote == Unquote::Never { key } else { strip_backquotes(strip_quotes(key).unwrap_or(key)) };
    let looked_up = if unquote == Unquote::First { bare } else { key };
    if entity == Entity::Attribute && !attributes.contains(&looked_up) {
        let keys = repr_set(attributes);
        return invalid(match unquote {
            Unquote::Never => {
                format!("Invalid attribute key '{looked_up}' specified. Valid keys are: {keys}")
            }
            _ => format!("Invalid attribute key '{looked_up}' specified. Valid keys are '{keys}'"),
        });
    }
    if entity == Entity::Dataset && !DATASET_KEYS.contains(&bare) {
        let keys = repr_set(DATASET_KEYS);
        return invalid(format!("Invalid dataset key '{bare}' specified. Valid keys are '{keys}'"));
    }
    Ok(Field { entity, key: bare.to_owned() })
}

fn entity(prefixes: &Prefixes, prefix: &str) -> Result<Entity, FilterError> {
    let prefix = if prefixes.unquote { strip_backquotes(prefix) } else { prefix };
    if let Some((_, entity)) = prefixes.words.iter().find(|(word, _)| *word == prefix) {
        return Ok(*entity);
    }
    invalid(match prefixes.told {
        Told::Values(known) => format!("Invalid entity type '{prefix}'. Valid values are {known}"),
        Told::Types(known) => format!("Invalid entity type '{prefix}'. Valid entity types are {known}"),
        Told::Token => format!("Invalid identifier token '{prefix}' specified"),
    })
}

/// What lies between a pair of quotes that encloses the whole.
fn strip(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote)
}

pub(super) fn strip_quotes(text: &str) -> Option<&str> {
    strip(text, '\'').or_else(|| strip(text, '"'))
}

pub(super) fn strip_backquotes(text: &str) -> &str {
    strip(text, '`').unwrap_or(text)
}

pub(super) fn text_value(found: &str) -> Result<Value, FilterError> {
    match strip_quotes(found) {
        Some(text) => Ok(Value::Text(text.to_owned())),
        None => invalid(format!(
            "Parameter value is either not quoted or unidentified quote types used for string value {found}. Use \
             either single or double quotes."
        )),
    }
}

fn list_value(found: &str) -> Result<Value, FilterError> {
    let members = match literal(found) {
        Ok(Literal::Tuple(members)) => members,
        Ok(single) => vec![single],
        Err(_) => {
            return invalid(
                "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed \
                 list."
                    .to_owned(),
            );
        }
    };
    if members.is_empty() {
        return invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
                .to_owned(),
        );
    }
    let texts: Option<Vec<String>> = members
        .iter()
        .map(|member| match member {
            Literal::Text(text) => Some(text.clone()),
            Literal::Plain(_) | Literal::Tuple(_) => None,
        })
        .collect();
    match texts {
        Some(texts) => Ok(Value::List(texts)),
        None => invalid(format!(
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different \
             type in list: {}",
            repr_tuple(&members)
        )),
    }
}

/// The span fields and what each is compared with.
pub(super) fn check_span(key: &str, comparator: &str) -> Result<(), FilterError> {
    let ops: &[Op] = match key {
        "attributes." => {
            return invalid("Span attribute name cannot be empty after 'attributes.'".to_owned());
        }
        "name" | "type" | "status" => TRACE_TEXT_OPS,
        "content" => SPAN_CONTENT_OPS,
        key if key.starts_with("attributes.") => TRACE_TEXT_OPS,
        _ => {
            return invalid(format!(
                "Invalid span attribute '{key}'. Supported attributes: name, status, type, \
                 attributes.<attribute_name>."
            ));
        }
    };
    if ops.iter().any(|op| op.text() == comparator) {
        return Ok(());
    }
    invalid(format!("span.{key} comparator '{comparator}' not one of '{}'", op_set(ops)))
}

/// Operators as Python prints a set of them.
pub(super) fn op_set(ops: &[Op]) -> String {
    let mut texts: Vec<&str> = ops.iter().map(|op| op.text()).collect();
    texts.sort_unstable();
    repr_set(&texts)
}

/// Some keys of a trace are kept elsewhere than where they are asked for. MLflow goes by the key alone, so that
/// `tags.name` too is the trace's name.
pub(super) fn rename_trace_key(field: Field) -> Field {
    if field.entity == Entity::Span {
        return field;
    }
    let renamed = match field.key.to_lowercase().as_str() {
        "name" => (Entity::Tag, "mlflow.traceName"),
        "prompt" => (Entity::Tag, "mlflow.linkedPrompts"),
        "run_id" => (Entity::RequestMetadata, "mlflow.sourceRun"),
        "text" => (Entity::Span, "content"),
        "timestamp" => (field.entity, "timestamp_ms"),
        "execution_time" => (field.entity, "execution_time_ms"),
        "end_time" => (field.entity, "end_time_ms"),
        _ => return field,
    };
    Field { entity: renamed.0, key: renamed.1.to_owned() }
}

fn rename_trace_field(clause: Clause) -> Clause {
    Clause { field: rename_trace_key(clause.field), ..clause }
}

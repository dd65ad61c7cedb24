//! Trueline's own filters: MLflow's comparisons, and besides them `OR`, `NOT`, parentheses, `IN` for everything, `BETWEEN`
//! and times that people write.
//!
//! ```text
//! expression  = conjunction { OR conjunction }
//! conjunction = negation { AND negation }
//! negation    = NOT negation | "(" expression ")" | comparison
//! comparison  = field ( = | != | <> | < | <= | > | >= ) value
//!             | field [NOT] ( LIKE | ILIKE | RLIKE ) text
//!             | field [NOT] IN "(" value { "," value } ")"
//!             | field [NOT] BETWEEN value AND value
//!             | field IS [NOT] NULL
//! field       = family "." name | attribute        names in ` or " when they hold more than letters, digits and _ . - /
//! value       = number | text in ' with '' for '   a time is milliseconds, or text such as '2026-11-21T10:00Z'
//! ```
//!
//! `NOT` before a field's operator asks for runs that have the field; `NOT` before an expression is its plain opposite.

use crate::{Comparison, Entity, Expr, Field, Number, NumberKind, Op, Value};

/// The longest filter that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep expressions may nest.
const MAX_DEPTH: usize = 60;

/// Why a filter can't be read: what, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {at} of the filter)")]
pub struct QueryError {
    /// What is wrong, and what to write.
    pub message: String,
    /// The place in the text, in characters from 1.
    pub at: usize,
}

/// What can be searched by besides the families that hold any name.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// Names that hold text.
    pub texts: &'static [&'static str],
    /// Names that hold times, in milliseconds since 1970.
    pub times: &'static [&'static str],
    /// Names that hold numbers.
    pub numbers: &'static [&'static str],
    /// Families: the words before the dot, and what they mean.
    pub families: &'static [(&'static str, Entity)],
}

/// What runs can be searched by.
pub const RUNS: Attributes = Attributes {
    texts: &["run_id", "run_name", "user_id", "status", "artifact_uri"],
    times: &["start_time", "end_time"],
    numbers: &["duration"],
    families: &[
        ("metrics", Entity::Metric),
        ("metric", Entity::Metric),
        ("params", Entity::Param),
        ("param", Entity::Param),
        ("parameters", Entity::Param),
        ("tags", Entity::Tag),
        ("tag", Entity::Tag),
        ("datasets", Entity::Dataset),
        ("dataset", Entity::Dataset),
        ("attributes", Entity::Attribute),
        ("attribute", Entity::Attribute),
        ("run", Entity::Attribute),
    ],
};

/// Reads a filter. The empty text is [`Expr::always`].
///
/// # Errors
/// [`QueryError`].
pub fn parse(attributes: &Attributes, text: &str) -> Result<Expr, QueryError> {
    if text.len() > MAX_BYTES {
        return Err(QueryError { message: format!("the filter is longer than {MAX_BYTES} bytes"), at: 1 });
    }
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { attributes, tokens: &tokens, at: 0, end };
    if tokens.is_empty() {
        return Ok(Expr::always());
    }
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(parser.error(format!("{} comes where AND, OR or the end should", token.shown()))),
    }
}

/// A field as it is written in a filter, such as `metrics.loss`.
///
/// # Errors
/// [`QueryError`].
pub fn parse_field(attributes: &Attributes, text: &str) -> Result<Field, QueryError> {
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { attributes, tokens: &tokens, at: 0, end };
    let (field, _) = parser.field()?;
    match parser.peek() {
        None => Ok(field),
        Some(token) => Err(parser.error(format!("{} comes after a field", token.shown()))),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A bare word or a number; names may hold dots.
    Word(String),
    /// A name in ` or ".
    Name(String),
    Text(String),
    Mark(&'static str),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    at: usize,
    /// Nothing stands between it and the one before.
    joined: bool,
}

impl Token {
    fn shown(&self) -> String {
        match &self.kind {
            Kind::Word(word) | Kind::Name(word) => format!("`{word}`"),
            Kind::Text(text) => format!("'{text}'"),
            Kind::Mark(mark) => format!("`{mark}`"),
        }
    }

    fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own.eq_ignore_ascii_case(word))
    }
}

const MARKS: [&str; 11] = ["<=", ">=", "!=", "<>", "==", "=", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>, QueryError> {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<Token> = Vec::new();
    let mut i = 0;
    let mut joined = false;
    while let Some(&c) = chars.get(i) {
        if c.is_whitespace() {
            i += 1;
            joined = false;
            continue;
        }
        let at = i + 1;
        let mark =
            MARKS.into_iter().find(|mark| mark.chars().eq(chars[i..].iter().copied().take(mark.len())));
        let kind = if let Some(mark) = mark {
            i += mark.len();
            Kind::Mark(if mark == "==" { "=" } else { mark })
        } else if matches!(c, '\'' | '"' | '`') {
            let (inside, next) = quoted(&chars, i)?;
            i = next;
            if c == '\'' { Kind::Text(inside) } else { Kind::Name(inside) }
        } else if c.is_alphanumeric() || "_.-+/".contains(c) {
            let rest = chars[i..].iter().take_while(|c| c.is_alphanumeric() || "_.-+/".contains(**c));
            let word: String = rest.collect();
            i += word.chars().count();
            Kind::Word(word)
        } else {
            return Err(QueryError { message: format!("`{c}` has no meaning here"), at });
        };
        out.push(Token { kind, at, joined });
        joined = true;
    }
    Ok(out)
}

/// What stands in the quotes that begin at `from`, and the place after them; a doubled quote is one of it.
fn quoted(chars: &[char], from: usize) -> Result<(String, usize), QueryError> {
    let quote = chars[from];
    let mut inside = String::new();
    let mut i = from + 1;
    while let Some(&c) = chars.get(i) {
        match (c == quote, chars.get(i + 1) == Some(&quote)) {
            (true, false) => return Ok((inside, i + 1)),
            (true, true) => i += 2,
            (false, _) => i += 1,
        }
        inside.push(c);
    }
    Err(QueryError { message: format!("the {quote} is not closed"), at: from + 1 })
}

struct Parser<'t> {
    attributes: &'t Attributes,
    tokens: &'t [Token],
    at: usize,
    end: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    fn error(&self, message: impl Into<String>) -> QueryError {
        QueryError { message: message.into(), at: self.peek().map_or(self.end, |token| token.at) }
    }

    fn takes(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|token| token.is(word));
        self.at += usize::from(is);
        is
    }

    fn takes_mark(&mut self, mark: &str) -> bool {
        let is = self.peek().is_some_and(|token| matches!(token.kind, Kind::Mark(own) if own == mark));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Expr, QueryError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("the filter nests deeper than {MAX_DEPTH} levels")));
        }
        let mut parts = vec![self.all(depth)?];
        while self.takes("or") {
            parts.push(self.all(depth)?);
        }
        Ok(single(parts, Expr::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, QueryError> {
        let mut parts = vec![self.one(depth)?];
        while self.takes("and") {
            parts.push(self.one(depth)?);
        }
        Ok(single(parts, Expr::And))
    }

    fn one(&mut self, depth: usize) -> Result<Expr, QueryError> {
        if self.takes("not") {
            if depth >= MAX_DEPTH {
                return Err(self.error(format!("the filter nests deeper than {MAX_DEPTH} levels")));
            }
            return Ok(Expr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes_mark("(") {
            let inner = self.any(depth + 1)?;
            return match self.takes_mark(")") {
                true => Ok(inner),
                false => Err(self.error("a `)` is missing")),
            };
        }
        self.comparison()
    }

    fn field(&mut self) -> Result<(Field, Holds), QueryError> {
        let start = self.at;
        let Some(token) = self.peek() else {
            return Err(self.error("a field should come here, such as metrics.loss or status"));
        };
        self.at += 1;
        let (family, name) = match &token.kind {
            Kind::Word(word) => match word.split_once('.') {
                Some((family, "")) => {
                    // The name follows in quotes.
                    let name = self.peek().filter(|next| next.joined);
                    let Some(Token { kind: Kind::Name(name), .. }) = name else {
                        return Err(self.error(format!("a name should follow `{family}.`")));
                    };
                    self.at += 1;
                    (Some(family), name.clone())
                }
                Some((family, name)) => (Some(family), name.to_owned()),
                None => (None, word.clone()),
            },
            Kind::Name(name) => (None, name.clone()),
            _ => {
                self.at = start;
                return Err(self.error(format!("a field should come here instead of {}", token.shown())));
            }
        };
        let known =
            |word: &str| self.attributes.families.iter().find(|(own, _)| own.eq_ignore_ascii_case(word));
        let entity = match family {
            None => Entity::Attribute,
            Some(word) => match known(word) {
                Some((_, entity)) => *entity,
                None => {
                    self.at = start;
                    let families: Vec<&str> = self.attributes.families.iter().map(|(own, _)| *own).collect();
                    return Err(self.error(format!("`{word}.` is none of {}", families.join(", "))));
                }
            },
        };
        let holds = match entity {
            Entity::Metric => Holds::Numbers,
            Entity::Attribute if self.attributes.times.contains(&name.as_str()) => Holds::Times,
            Entity::Attribute if self.attributes.texts.contains(&name.as_str()) => Holds::Texts,
            Entity::Attribute if self.attributes.numbers.contains(&name.as_str()) => Holds::Numbers,
            Entity::Attribute => {
                self.at = start;
                let all = [self.attributes.texts, self.attributes.times, self.attributes.numbers]
                    .concat()
                    .join(", ");
                return Err(self.error(format!(
                    "`{name}` is no field: use one of {all}, or a family such as metrics.loss"
                )));
            }
            Entity::Dataset if !["name", "digest", "context"].contains(&name.as_str()) => {
                self.at = start;
                return Err(self.error("a dataset has name, digest and context"));
            }
            _ => Holds::Texts,
        };
        Ok((Field { entity, key: name }, holds))
    }

    fn comparison(&mut self) -> Result<Expr, QueryError> {
        let (field, holds) = self.field()?;
        let compare = |op, value| Expr::Comparison(Comparison { field: field.clone(), op, value });
        if self.takes("is") {
            let op = if self.takes("not") { Op::IsNotNull } else { Op::IsNull };
            return match self.takes("null") {
                true => Ok(compare(op, None)),
                false => Err(self.error("NULL should come after IS")),
            };
        }
        let not = self.takes("not");
        // Of a run that has no such field neither the one nor the other is true.
        let but_not = |expr: Expr| match not {
            true => Expr::And(vec![compare(Op::IsNotNull, None), Expr::Not(Box::new(expr))]),
            false => expr,
        };
        for (word, op) in [("like", Op::Like), ("ilike", Op::ILike), ("rlike", Op::RLike)] {
            if self.takes(word) {
                if holds != Holds::Texts {
                    return Err(self.error("patterns are for text"));
                }
                let Some(Kind::Text(pattern)) = self.peek().map(|token| &token.kind) else {
                    return Err(self.error("a pattern in single quotes should come here"));
                };
                self.at += 1;
                return Ok(but_not(compare(op, Some(Value::Text(pattern.clone())))));
            }
        }
        if self.takes("in") {
            if !self.takes_mark("(") {
                return Err(self.error("a list in parentheses should come after IN"));
            }
            let mut values = vec![self.value(holds)?];
            while self.takes_mark(",") {
                values.push(self.value(holds)?);
            }
            if !self.takes_mark(")") {
                return Err(self.error("a `,` or `)` should come here"));
            }
            let equal = values.into_iter().map(|value| compare(Op::Eq, Some(value))).collect();
            return Ok(but_not(single(equal, Expr::Or)));
        }
        if self.takes("between") {
            let low = self.value(holds)?;
            if !self.takes("and") {
                return Err(self.error("AND should come between the two values of BETWEEN"));
            }
            let high = self.value(holds)?;
            return Ok(but_not(Expr::And(vec![compare(Op::Ge, Some(low)), compare(Op::Le, Some(high))])));
        }
        if not {
            return Err(self.error("IN, BETWEEN, LIKE, ILIKE or RLIKE should come after NOT"));
        }
        let mark = self.peek().and_then(|token| match token.kind {
            Kind::Mark("<>") => Some(Op::Ne),
            Kind::Mark(mark) => Op::from_text(mark),
            _ => None,
        });
        let Some(op) = mark else {
            return Err(
                self.error("an operator should come here: =, !=, <, <=, >, >=, LIKE, IN, BETWEEN, IS NULL")
            );
        };
        self.at += 1;
        Ok(compare(op, Some(self.value(holds)?)))
    }

    fn value(&mut self, holds: Holds) -> Result<Value, QueryError> {
        let Some(token) = self.peek() else { return Err(self.error("a value should come here")) };
        let value = match (&token.kind, holds) {
            (Kind::Text(text), Holds::Texts) => Some(Value::Text(text.clone())),
            (Kind::Text(text), Holds::Times) => time(text).map(Value::Number),
            (Kind::Word(word), Holds::Numbers | Holds::Times) => {
                Number::parse(word).filter(|number| number.as_f64().is_finite()).map(Value::Number)
            }
            _ => None,
        };
        let Some(value) = value else {
            return Err(self.error(match holds {
                Holds::Texts => "text in single quotes should come here",
                Holds::Numbers => "a number should come here",
                Holds::Times => {
                    "milliseconds since 1970 or a time such as '2026-11-21T10:00Z' should come here"
                }
            }));
        };
        self.at += 1;
        Ok(value)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Texts,
    Numbers,
    Times,
}

/// A day or a time with its zone, as milliseconds.
fn time(text: &str) -> Option<Number> {
    let timestamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let day: jiff::civil::Date = text.parse().ok()?;
        Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Number { text: text.to_owned(), kind: NumberKind::Int(timestamp.as_millisecond()) })
}

fn single(mut parts: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(expr: &Expr) -> String {
        let list = |list: &[Expr], word: &str| {
            format!("({})", list.iter().map(shown).collect::<Vec<_>>().join(&format!(" {word} ")))
        };
        match expr {
            Expr::And(parts) => list(parts, "and"),
            Expr::Or(parts) => list(parts, "or"),
            Expr::Not(inner) => format!("not {}", shown(inner)),
            Expr::Comparison(Comparison { field, op, value }) => match value {
                None => format!("{}.{} {op}", field.entity, field.key),
                Some(Value::Text(text)) => format!("{}.{} {op} '{text}'", field.entity, field.key),
                Some(Value::Number(number)) => {
                    format!("{}.{} {op} {}", field.entity, field.key, number.as_f64())
                }
                Some(Value::List(_)) => unreachable!("lists become OR"),
            },
        }
    }

    fn read(text: &str) -> String {
        shown(&parse(&RUNS, text).unwrap())
    }

    fn refused(text: &str) -> String {
        parse(&RUNS, text).unwrap_err().to_string()
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closer_than_both() {
        assert_eq!(
            read("metrics.a > 1 OR params.b = 'x' AND NOT tags.c = 'y'"),
            "(metric.a > 1 or (parameter.b = 'x' and not tag.c = 'y'))"
        );
        assert_eq!(
            read("(metrics.a > 1 or params.b = 'x') and status = 'FINISHED'"),
            "((metric.a > 1 or parameter.b = 'x') and attribute.status = 'FINISHED')"
        );
    }

    #[test]
    fn lists_ranges_and_absence_are_put_in_terms_of_comparisons() {
        assert_eq!(read("metrics.a IN (1, 2.5)"), "(metric.a = 1 or metric.a = 2.5)");
        assert_eq!(read("params.b not in ('x')"), "(parameter.b IS NOT NULL and not parameter.b = 'x')");
        assert_eq!(read("metrics.a BETWEEN -1 AND 1e3"), "(metric.a >= -1 and metric.a <= 1000)");
        assert_eq!(read("tags.t IS NOT NULL"), "tag.t IS NOT NULL");
        assert_eq!(read("metrics.a is null"), "metric.a IS NULL");
    }

    #[test]
    fn times_are_milliseconds_or_as_people_write_them() {
        assert_eq!(read("start_time > 1000"), "attribute.start_time > 1000");
        assert_eq!(read("start_time >= '1970-01-02'"), "attribute.start_time >= 86400000");
        assert_eq!(read("duration > 60000"), "attribute.duration > 60000");
        assert_eq!(read("end_time < '1970-01-01T01:00+01:00'"), "attribute.end_time < 0");
    }

    #[test]
    fn names_with_other_characters_stand_in_quotes() {
        assert_eq!(read("metrics.`val loss` < 1"), "metric.val loss < 1");
        assert_eq!(read("params.\"a\"\"b\" = 'it''s'"), "parameter.a\"b = 'it's'");
        assert_eq!(read("metrics.train/loss.mean < 1"), "metric.train/loss.mean < 1");
    }

    #[test]
    fn refusals_say_what_should_come_and_where() {
        assert_eq!(refused("metrics.a >"), "a value should come here (at character 12 of the filter)");
        assert_eq!(refused("metrics.a > 'x'"), "a number should come here (at character 13 of the filter)");
        assert_eq!(refused("(metrics.a > 1"), "a `)` is missing (at character 15 of the filter)");
        assert!(refused("foo = 'x'").starts_with("`foo` is no field: use one of run_id, run_name"));
        assert!(refused("foo.bar = 'x'").starts_with("`foo.` is none of metrics"));
        assert!(refused("metrics.a > 1 params.b = 'x'").starts_with("`params.b` comes where AND"));
        assert!(refused(&"(".repeat(5000)).starts_with("the filter nests deeper"));
        assert!(
            refused(&format!("{} metrics.a > 1", "not ".repeat(5000))).starts_with("the filter nests deeper")
        );
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_read_or_refused(text in "[a-z.`'\"()<>=!, 0-9é]{0,60}") {
            let _ = parse(&RUNS, &text);
        }

        #[test]
        fn words_in_any_order_are_read_or_refused(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "metrics.a", "status", "start_time", "'x'", "1", "=", ">", "and", "or", "not", "(", ")", ",", "in",
                    "between", "like", "is", "null",
                ]),
                0..20,
            ),
        ) {
            let _ = parse(&RUNS, &words.join(" "));
        }
    }
}

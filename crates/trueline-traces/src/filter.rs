//! Filters over traces become conditions on a trace `t`. What is asked of spans is asked of one and the same span; an
//! assessment of a session counts for every trace of the session.

use crate::TraceError;
use crate::links;
use crate::model::keys;
use crate::places::{TextColumn, TracePlaces};
use crate::usage::{self, COSTS, TOKENS};
use crate::value::Value as AttributeValue;
use trueline_db::{Dialect, Value};
use trueline_ledger::ProjectId;
use trueline_search::sql::{MAX_PARAMS, Places, SqlError, compile_comparison};
use trueline_search::{Comparison, Entity, Expr, Op, Value as Wanted};

/// How much of a text an index holds.
const HEAD: usize = 200;

/// A statement's parameters in the making; the first is the project.
pub(crate) struct Conditions {
    dialect: Dialect,
    pub(crate) params: Vec<Value>,
    experiments: String,
}

/// A tag or metadata that must be equal to a text.
pub(crate) struct PairEquals<'a> {
    kind: &'static str,
    key: &'a str,
    value: &'a str,
}

/// The beginning of a text, as indexes hold it.
fn head(text: &str) -> String {
    text.chars().take(HEAD).collect()
}

fn text_of(comparison: &Comparison) -> Option<&str> {
    match &comparison.value {
        Some(Wanted::Text(text)) => Some(text),
        _ => None,
    }
}

impl<'a> PairEquals<'a> {
    /// The comparison, if it asks one pair for equality and no column keeps the pair.
    pub(crate) fn of(comparison: &'a Comparison) -> Option<Self> {
        let key = comparison.field.key.as_str();
        let kind = match comparison.field.entity {
            Entity::Tag => "tag",
            Entity::RequestMetadata => "metadata",
            _ => return None,
        };
        let elsewhere = [
            keys::NAME,
            keys::SPANS_LOCATION,
            keys::ARTIFACT_LOCATION,
            keys::LINKED_PROMPTS,
            keys::SESSION,
            keys::TOKEN_USAGE,
            keys::COST,
            keys::FINALIZED,
            keys::SOURCE_RUN,
        ];
        let value = text_of(comparison).filter(|_| comparison.op == Op::Eq)?;
        (!elsewhere.contains(&key)).then_some(Self { kind, key, value })
    }
}

impl Conditions {
    /// Over the traces of these experiments.
    pub(crate) fn new(dialect: Dialect, project: &ProjectId, experiments: &[i64]) -> Self {
        let mut this = Self { dialect, params: vec![project.into()], experiments: String::new() };
        let list: Vec<String> = experiments.iter().map(|id| this.bind(*id)).collect();
        this.experiments = match list.as_slice() {
            [] => " IN (NULL)".to_owned(),
            [only] => format!(" = {only}"),
            _ => format!(" IN ({})", list.join(", ")),
        };
        this
    }

    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("?{}", self.params.len())
    }

    /// The column is one of the experiments.
    pub(crate) fn in_experiments(&self, column: &str) -> String {
        format!("{column}{}", self.experiments)
    }

    /// A pair `d` is this one; reads the index of values.
    pub(crate) fn pair_equals(&mut self, alias: &str, pair: &PairEquals<'_>) -> String {
        let (key, head, value) = (self.bind(pair.key), self.bind(head(pair.value)), self.bind(pair.value));
        format!(
            "{alias}.project = ?1 AND {} AND {alias}.kind = '{}' AND {alias}.key = {key} \
             AND substr({alias}.value, 1, {HEAD}) = {head} AND {alias}.value = {value}",
            self.in_experiments(&format!("{alias}.experiment")),
            pair.kind
        )
    }

    /// The condition that an expression makes of a trace `t`.
    pub(crate) fn of(&mut self, expr: &Expr) -> Result<String, TraceError> {
        if self.params.len() > MAX_PARAMS {
            return Err(SqlError::ManyParams.into());
        }
        match expr {
            Expr::And(parts) => self.all(parts),
            Expr::Or(parts) => {
                let parts = parts.iter().map(|part| self.of(part)).collect::<Result<Vec<_>, _>>()?;
                Ok(if parts.is_empty() { "(1 = 0)".to_owned() } else { format!("({})", parts.join(" OR ")) })
            }
            Expr::Not(inner) => Ok(format!("({} IS NOT TRUE)", self.of(inner)?)),
            Expr::Comparison(comparison) if comparison.field.entity == Entity::Span => {
                self.span(&[comparison])
            }
            Expr::Comparison(comparison) => self.comparison(comparison),
        }
    }

    fn all(&mut self, parts: &[Expr]) -> Result<String, TraceError> {
        let mut conditions = Vec::new();
        let mut spans = Vec::new();
        for part in parts {
            match part {
                Expr::Comparison(comparison) if comparison.field.entity == Entity::Span => {
                    spans.push(comparison);
                }
                other => conditions.push(self.of(other)?),
            }
        }
        if !spans.is_empty() {
            conditions.push(self.span(&spans)?);
        }
        Ok(if conditions.is_empty() {
            "(1 = 1)".to_owned()
        } else {
            format!("({})", conditions.join(" AND "))
        })
    }

    fn comparison(&mut self, comparison: &Comparison) -> Result<String, TraceError> {
        if let Some(ids) = self.ids(comparison) {
            return Ok(format!("(t.id IN ({ids}))"));
        }
        let field = &comparison.field;
        match (field.entity, field.key.as_str(), comparison.op) {
            (Entity::Feedback | Entity::Expectation, ..) => self.assessment(comparison),
            (Entity::Issue, ..) => {
                let id = self.bind(text_of(comparison).unwrap_or_default());
                Ok(format!(
                    "(EXISTS (SELECT 1 FROM assessments a WHERE a.project = t.project AND a.trace = t.id \
                     AND a.kind = 'issue' AND a.name = {id}))"
                ))
            }
            (Entity::RequestMetadata, keys::TOKEN_USAGE, _) => {
                let read = |json: &str| usage::read(json, TOKENS, usage::count);
                self.told_as_json(comparison, TOKENS, read, AttributeValue::Int)
            }
            (Entity::RequestMetadata, keys::COST, _) => {
                let read = |json: &str| usage::read(json, COSTS, usage::amount);
                self.told_as_json(comparison, COSTS, read, AttributeValue::Real)
            }
            (Entity::Tag, keys::NAME, Op::Eq) => {
                let name = text_of(comparison).unwrap_or_default();
                let (head, name) = (self.bind(head(name)), self.bind(name));
                Ok(format!("(substr(t.name, 1, {HEAD}) = {head} AND t.name = {name})"))
            }
            _ => self.compiled(comparison, &TracePlaces(self.dialect)),
        }
    }

    fn compiled(&mut self, comparison: &Comparison, places: &dyn Places) -> Result<String, TraceError> {
        if let (Op::RLike, Some(pattern)) = (comparison.op, text_of(comparison)) {
            check_regex(pattern)?;
        }
        let condition = compile_comparison(comparison, places, self.params.len() + 1)?;
        self.params.extend(condition.params.into_iter().map(crate::places::value));
        Ok(condition.sql)
    }

    /// A query of the ids of the traces that meet a comparison, where few do: those made under a run or linked to it
    /// afterwards, and those that used a prompt.
    pub(crate) fn ids(&mut self, comparison: &Comparison) -> Option<String> {
        let field = &comparison.field;
        let target = text_of(comparison).filter(|_| comparison.op == Op::Eq)?;
        match (field.entity, field.key.as_str()) {
            (Entity::Tag, keys::LINKED_PROMPTS) => Some(linked(links::PROMPT, &self.bind(target))),
            (Entity::RequestMetadata, keys::SOURCE_RUN) => {
                let made = PairEquals { kind: "metadata", key: keys::SOURCE_RUN, value: target };
                let made = self.pair_equals("p", &made);
                let target = self.bind(target);
                Some(format!(
                    "SELECT p.trace FROM trace_pairs p WHERE {made} UNION ALL {} AND NOT EXISTS (SELECT 1 \
                     FROM trace_pairs x WHERE x.project = l.project AND x.trace = l.trace AND x.kind = 'metadata' \
                     AND x.key = '{}' AND x.value = {target})",
                    linked(links::RUN, &target),
                    keys::SOURCE_RUN
                ))
            }
            _ => None,
        }
    }

    /// Metadata that columns keep, compared with the JSON that clients see.
    fn told_as_json<T: Copy + Into<Value>, const N: usize>(
        &mut self,
        comparison: &Comparison,
        names: [&'static str; N],
        read: impl Fn(&str) -> [Option<T>; N],
        value: impl Fn(T) -> AttributeValue,
    ) -> Result<String, TraceError> {
        let any: Vec<String> = names.iter().map(|name| format!("t.{name} IS NOT NULL")).collect();
        let any = format!("({})", any.join(" OR "));
        let json = text_of(comparison).unwrap_or_default();
        let numbers = read(json);
        let is_canonical = usage::written(&numbers, names, value).is_some_and(|written| written == json);
        let mut equal = || {
            if !is_canonical {
                return "(1 = 0)".to_owned();
            }
            let each = names.iter().zip(&numbers).map(|(name, number)| match number {
                Some(number) => format!("t.{name} = {}", self.bind(*number)),
                None => format!("t.{name} IS NULL"),
            });
            format!("({})", each.collect::<Vec<String>>().join(" AND "))
        };
        match comparison.op {
            Op::IsNull => Ok(format!("(NOT {any})")),
            Op::IsNotNull => Ok(any),
            Op::Eq => Ok(equal()),
            Op::Ne => Ok(format!("({any} AND ({} IS NOT TRUE))", equal())),
            op => TraceError::invalid(format!(
                "Comparator '{op}' is not supported for reserved metadata '{}'. Only '=', '!=', 'IS NULL', and 'IS NOT \
                 NULL' are supported.",
                comparison.field.key
            )),
        }
    }

    fn assessment(&mut self, comparison: &Comparison) -> Result<String, TraceError> {
        let name = self.bind(comparison.field.key.as_str());
        let kind = comparison.field.entity.name();
        let test = match (&comparison.value, comparison.op) {
            (_, Op::IsNull | Op::IsNotNull) => "1 = 1".to_owned(),
            (Some(Wanted::Number(number)), op) => {
                format!("(a.is_number = 1 AND a.number {op} {})", self.bind(number.as_f64()))
            }
            (Some(Wanted::Text(text)), op @ (Op::Eq | Op::Ne)) => {
                let not = if op == Op::Ne { "NOT " } else { "" };
                format!("({not}{})", self.json_equals(text))
            }
            _ => self.compiled(comparison, &TextColumn { dialect: self.dialect, sql: "a.value" })?,
        };
        let wanted = format!("a.kind = '{kind}' AND a.name = {name} AND a.valid = 1 AND {test}");
        let covered = format!(
            "(EXISTS (SELECT 1 FROM assessments a WHERE a.project = t.project AND a.trace = t.id AND {wanted}) \
             OR (t.session IS NOT NULL AND EXISTS (SELECT 1 FROM assessments a \
             JOIN traces o ON o.project = a.project AND o.id = a.trace WHERE a.project = t.project \
             AND o.session = t.session AND {} AND a.of_session = 1 AND {wanted})))",
            self.in_experiments("o.experiment")
        );
        Ok(if comparison.op == Op::IsNull { format!("(NOT {covered})") } else { covered })
    }

    /// A text equals JSON if it is that JSON, the text in it, or the same number.
    fn json_equals(&mut self, text: &str) -> String {
        let quoted = AttributeValue::Text(text.to_owned()).to_json();
        let (bare, quoted) = (self.bind(text), self.bind(quoted));
        let same_number = text.parse().ok().filter(|n: &f64| n.is_finite()).map(|number: f64| {
            let number = self.bind(number);
            format!(" OR (a.is_number = 1 AND a.number = {number})")
        });
        format!("(a.value = {bare} OR a.value = {quoted}{})", same_number.unwrap_or_default())
    }

    /// One span meets them all.
    fn span(&mut self, comparisons: &[&Comparison]) -> Result<String, TraceError> {
        let tests: Result<Vec<String>, TraceError> =
            comparisons.iter().map(|comparison| self.span_test(comparison)).collect();
        Ok(format!(
            "(EXISTS (SELECT 1 FROM spans s WHERE s.project = t.project AND s.trace = t.id AND {}))",
            tests?.join(" AND ")
        ))
    }

    fn span_test(&mut self, comparison: &Comparison) -> Result<String, TraceError> {
        let sql = match comparison.field.key.as_str() {
            "name" => "s.name",
            "type" => "s.kind",
            "status" => "s.status",
            "content" => "s.content",
            key => {
                let name = key.strip_prefix("attributes.").unwrap_or(key).trim_matches('`').to_owned();
                return self.span_attribute(comparison, &name);
            }
        };
        self.compiled(comparison, &TextColumn { dialect: self.dialect, sql })
    }

    /// Attributes lie in the JSON of the span: `"name": "<the value's JSON as a text>"`.
    fn span_attribute(&mut self, comparison: &Comparison, name: &str) -> Result<String, TraceError> {
        let key = AttributeValue::Text(name.to_owned()).to_json();
        let pattern = |text: String| Comparison { value: Some(Wanted::Text(text)), ..comparison.clone() };
        let content = TextColumn { dialect: self.dialect, sql: "s.content" };
        match (comparison.op, &comparison.value) {
            (Op::Like | Op::ILike, Some(Wanted::Text(text))) => {
                self.compiled(&pattern(format!("%{key}{text}%")), &content)
            }
            (Op::RLike, Some(Wanted::Text(text))) => {
                let begin = text.strip_prefix('^');
                let rest = begin.unwrap_or(text);
                let (rest, end) = rest.strip_suffix('$').map_or((rest, ""), |rest| (rest, r#"\\""#));
                let gap = if begin.is_some() { "" } else { ".*" };
                let text = format!(r#"{}: "\\"{gap}{rest}{end}"#, regex::escape(&key));
                self.compiled(&pattern(text), &content)
            }
            (op, Some(value)) => {
                let texts = match value {
                    Wanted::List(texts) => texts.clone(),
                    Wanted::Text(text) => vec![text.clone()],
                    Wanted::Number(number) => vec![number.text.clone()],
                };
                let any: Vec<String> = texts.iter().map(|text| self.attribute_is(&key, text)).collect();
                let any = format!("({})", any.join(" OR "));
                if !matches!(op, Op::Ne | Op::NotIn) {
                    return Ok(any);
                }
                let present = self.contains(format!("{key}: "));
                Ok(format!("({present} AND NOT {any})"))
            }
            (_, None) => Ok(self.contains(format!("{key}: "))),
        }
    }

    fn attribute_is(&mut self, key: &str, text: &str) -> String {
        let json = |text: &str| AttributeValue::Text(text.to_owned()).to_json();
        let (quoted, bare) = (json(&json(text)), json(text));
        let quoted = self.contains(format!("{key}: {quoted}"));
        let bare = self.contains(format!("{key}: {bare}"));
        format!("{quoted} OR {bare}")
    }

    /// The span's JSON holds a text; patterns would need an escape of their own.
    fn contains(&mut self, text: String) -> String {
        let text = self.bind(text);
        format!("(REPLACE(s.content, {text}, '') <> s.content)")
    }
}

fn linked(kind: &str, target: &str) -> String {
    format!(
        "SELECT l.trace FROM trace_links l WHERE l.project = ?1 AND l.kind = '{kind}' AND l.target = {target}"
    )
}

/// Both databases would fail in the middle of the search.
fn check_regex(pattern: &str) -> Result<(), TraceError> {
    match regex::Regex::new(pattern) {
        Ok(_) => Ok(()),
        Err(error) => TraceError::invalid(format!("Invalid regular expression '{pattern}': {error}")),
    }
}

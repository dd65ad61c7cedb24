//! The expression tree. It has room for more than MLflow's grammar, which only ever makes a conjunction.

use std::fmt;

/// A condition over the fields of whatever is searched.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// All hold; an empty list holds always.
    And(Vec<Expr>),
    /// At least one holds; an empty list never holds.
    Or(Vec<Expr>),
    /// The inner condition does not hold.
    Not(Box<Expr>),
    /// One field against one value.
    Comparison(Comparison),
}

impl Expr {
    /// The condition that everything meets.
    pub fn always() -> Self {
        Self::And(Vec::new())
    }

    /// Every comparison in the tree, from left to right.
    pub fn comparisons(&self) -> Vec<&Comparison> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            match expr {
                Self::And(inner) | Self::Or(inner) => open.extend(inner.iter().rev()),
                Self::Not(inner) => open.push(inner),
                Self::Comparison(comparison) => found.push(comparison),
            }
        }
        found
    }
}

impl From<Comparison> for Expr {
    fn from(comparison: Comparison) -> Self {
        Self::Comparison(comparison)
    }
}

impl FromIterator<Comparison> for Expr {
    fn from_iter<I: IntoIterator<Item = Comparison>>(comparisons: I) -> Self {
        Self::And(comparisons.into_iter().map(Self::Comparison).collect())
    }
}

/// One field against one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What is compared.
    pub field: Field,
    /// How.
    pub op: Op,
    /// With what; `None` for [`Op::IsNull`] and [`Op::IsNotNull`], and only for these.
    pub value: Option<Value>,
}

/// A field of the thing searched: `metrics.loss` is `{Metric, "loss"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The family of the field.
    pub entity: Entity,
    /// Its name within the family, without quotes.
    pub key: String,
}

/// Families of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Entity {
    /// A column of the thing itself.
    Attribute,
    /// The latest value of a metric.
    Metric,
    /// A parameter.
    Param,
    /// A tag.
    Tag,
    /// A dataset that a run took as input.
    Dataset,
    /// Metadata of a trace, as against its tags.
    RequestMetadata,
    /// A span of a trace.
    Span,
    /// An assessment of a trace by a judge or a person.
    Feedback,
    /// An assessment of a trace that says what was expected.
    Expectation,
    /// An issue that a trace is linked to.
    Issue,
}

impl Entity {
    /// The name that MLflow gives the family in its messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attribute => "attribute",
            Self::Metric => "metric",
            Self::Param => "parameter",
            Self::Tag => "tag",
            Self::Dataset => "dataset",
            Self::RequestMetadata => "request_metadata",
            Self::Span => "span",
            Self::Feedback => "feedback",
            Self::Expectation => "expectation",
            Self::Issue => "issue",
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`. A field that is absent does not match.
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `LIKE`, case-sensitive; `%` is any run of characters, `_` any one.
    Like,
    /// `ILIKE`: `LIKE` regardless of case.
    ILike,
    /// `RLIKE`: contains a match of a regular expression.
    RLike,
    /// `IN` a list.
    In,
    /// `NOT IN` a list. A field that is absent does not match.
    NotIn,
    /// `IS NULL`: the field is absent.
    IsNull,
    /// `IS NOT NULL`: the field is present.
    IsNotNull,
}

impl Op {
    /// Every operator.
    pub const ALL: [Self; 13] = [
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Like,
        Self::ILike,
        Self::RLike,
        Self::In,
        Self::NotIn,
        Self::IsNull,
        Self::IsNotNull,
    ];

    /// The operator as it is written, in capitals.
    pub fn text(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Like => "LIKE",
            Self::ILike => "ILIKE",
            Self::RLike => "RLIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
        }
    }

    /// The operator written so, regardless of case.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.text().eq_ignore_ascii_case(text))
    }

    /// Whether it is an order: `<`, `<=`, `>`, `>=`.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Whether it takes a list.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(Number),
    /// A string, without its quotes.
    Text(String),
    /// A list of strings, never empty when it comes from a parser.
    List(Vec<String>),
}

/// A number with the text it was written as, since `1e3` and `1000` are different in a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// As written.
    pub text: String,
    /// What it means.
    pub kind: NumberKind,
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumberKind {
    /// A whole number that fits 64 bits.
    Int(i64),
    /// Any other number.
    Real(f64),
}

impl Number {
    /// Reads a number; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = match text.parse::<i64>() {
            Ok(int) => NumberKind::Int(int),
            Err(_) => NumberKind::Real(text.parse().ok()?),
        };
        Some(Self { text: text.to_owned(), kind })
    }

    /// The nearest double.
    pub fn as_f64(&self) -> f64 {
        match self.kind {
            NumberKind::Int(int) => int as f64,
            NumberKind::Real(real) => real,
        }
    }
}

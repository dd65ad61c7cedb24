//! Assessments as values: what a person, a judge or code says of a trace.

use crate::TraceError;
use crate::model::{Pairs, keys};
use crate::value::to_json;
use serde_json::{Value as Json, json};
use trueline_db::Row;
use trueline_ledger::Millis;

/// The columns of an assessment, in the order in which [`Assessment::read`] takes them.
pub(crate) const COLUMNS: &str = "a.id, a.trace, a.name, a.kind, a.value, a.error, a.created_at_ms, a.updated_at_ms, \
     a.source_type, a.source_id, a.span, a.rationale, a.overrides, a.valid, a.metadata";

/// What is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// How good the answer was.
    Feedback {
        /// Any JSON.
        value: Json,
        /// What went wrong with judging: `error_code`, `error_message`, `stack_trace`.
        error: Option<Json>,
    },
    /// What was expected.
    Expectation {
        /// Any JSON.
        value: Json,
    },
    /// That the trace shows an issue, whose id is the assessment's name.
    Issue {
        /// The issue's name.
        issue_name: String,
    },
}

impl Judgement {
    /// The word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Feedback { .. } => "feedback",
            Self::Expectation { .. } => "expectation",
            Self::Issue { .. } => "issue",
        }
    }

    /// What is kept of it: the value and the error.
    pub(crate) fn kept(&self) -> (Json, Option<Json>) {
        match self {
            Self::Feedback { value, error } => (value.clone(), error.clone()),
            Self::Expectation { value } => (value.clone(), None),
            Self::Issue { issue_name } => (json!({ "issue_name": issue_name }), None),
        }
    }

    /// Reads what is kept of it: its kind, the value and the error.
    #[must_use]
    pub fn read(kind: &str, value: Json, error: Option<Json>) -> Self {
        match kind {
            "expectation" => Self::Expectation { value },
            "issue" => {
                let name = value.get("issue_name").and_then(Json::as_str).unwrap_or_default();
                Self::Issue { issue_name: name.to_owned() }
            }
            _ => Self::Feedback { value, error },
        }
    }
}

/// Who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssessmentSource {
    /// `HUMAN`, `LLM_JUDGE` or `CODE`.
    pub kind: String,
    /// Which one.
    pub id: Option<String>,
}

/// An assessment as a client tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAssessment {
    /// Its id; made here if there is none.
    pub id: Option<String>,
    /// What is assessed.
    pub name: String,
    /// What is said.
    pub judgement: Judgement,
    /// Who says it.
    pub source: AssessmentSource,
    /// The span that it is about.
    pub span: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// More about it.
    pub metadata: Pairs,
    /// The assessment that it takes the place of.
    pub overrides: Option<String>,
    /// When it was made.
    pub created_at_ms: Option<Millis>,
    /// When it was changed last.
    pub updated_at_ms: Option<Millis>,
}

/// An assessment as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Its id.
    pub id: String,
    /// The trace.
    pub trace: String,
    /// What is assessed.
    pub name: String,
    /// What is said.
    pub judgement: Judgement,
    /// Who says it.
    pub source: AssessmentSource,
    /// The span that it is about.
    pub span: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// More about it.
    pub metadata: Pairs,
    /// The assessment that it takes the place of.
    pub overrides: Option<String>,
    /// Whether no other has taken its place.
    pub valid: bool,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
}

impl Assessment {
    pub(crate) fn read(row: &mut Row) -> Result<Self, TraceError> {
        let read = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_default();
        let kind: String = row.take(3)?;
        let value = read(&row.take::<String>(4)?);
        let error = row.take::<Option<String>>(5)?.map(|text| read(&text));
        let metadata = row.take::<Option<String>>(14)?;
        Ok(Self {
            id: row.take(0)?,
            trace: row.take(1)?,
            name: row.take(2)?,
            judgement: Judgement::read(&kind, value, error),
            source: AssessmentSource { kind: row.take(8)?, id: row.take(9)? },
            span: row.take(10)?,
            rationale: row.take(11)?,
            metadata: metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            overrides: row.take(12)?,
            valid: row.take(13)?,
            created_at_ms: row.take(6)?,
            updated_at_ms: row.take(7)?,
        })
    }
}

/// The number that a value counts as in metrics, and whether it is one by itself.
pub(crate) fn number(value: &Json) -> (Option<f64>, bool) {
    let yes_or_no = |yes: bool| (Some(f64::from(u8::from(yes))), false);
    match value {
        Json::Bool(yes) => yes_or_no(*yes),
        Json::Number(number) => match number.as_f64().filter(|n| n.is_finite()) {
            Some(number) => (Some(number), true),
            None => (None, false),
        },
        Json::String(text) => match text.trim().to_lowercase().as_str() {
            "yes" => yes_or_no(true),
            "no" => yes_or_no(false),
            _ => (None, false),
        },
        _ => (None, false),
    }
}

/// Metadata as it is kept, and whether it says that the assessment is of the whole session.
pub(crate) fn kept_metadata(metadata: &Pairs) -> (Option<String>, bool) {
    ((!metadata.is_empty()).then(|| to_json(metadata)), metadata.contains_key(keys::SESSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_count_as_one_and_zero_but_are_no_numbers() {
        assert_eq!(number(&json!(true)), (Some(1.0), false));
        assert_eq!(number(&json!(" No ")), (Some(0.0), false));
        assert_eq!(number(&json!(0.5)), (Some(0.5), true));
        assert_eq!(number(&json!("0.5")), (None, false));
        assert_eq!(number(&json!({"a": 1})), (None, false));
    }
}

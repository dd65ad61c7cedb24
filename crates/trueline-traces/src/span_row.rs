//! A span's row: what searches and metrics ask of it, and its JSON.

use crate::TraceError;
use crate::rules;
use crate::span::{Attributes, NewSpan, SpanContent, SpanStatus, attribute, content, keys, unquoted};
use crate::usage::{self, COSTS};
use crate::value::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use trueline_db::{Tx, Value as Field};
use trueline_ledger::ProjectId;

/// A span ready to be kept.
#[derive(Clone, Debug)]
pub(crate) struct SpanRow {
    pub(crate) id: String,
    parent: Option<String>,
    name: String,
    kind: Option<String>,
    status: SpanStatus,
    started_ns: i64,
    ended_ns: Option<i64>,
    cost: [Option<f64>; 3],
    model: Option<String>,
    provider: Option<String>,
    pub(crate) content: String,
}

fn model_word(attributes: &Attributes, key: &str) -> Option<String> {
    match Value::parse(attribute(attributes, key)?) {
        Some(Value::Text(text)) => Some(rules::cut(&text, rules::LONGEST_MODEL)),
        _ => None,
    }
}

/// An id in base64 as hexadecimal digits.
fn hexadecimal(base64: &str) -> Option<String> {
    STANDARD.decode(base64).ok().filter(|bytes| bytes.len() == 8).map(hex::encode)
}

impl SpanRow {
    /// Of a span and its attributes as they are kept.
    pub(crate) fn new(span: &NewSpan, attributes: &Attributes) -> Self {
        let told = |key: &str| attribute(attributes, key);
        Self {
            id: span.hex_id(),
            parent: span.hex_parent(),
            name: rules::cut(&span.name, usize::MAX),
            kind: told(keys::KIND).map(unquoted),
            status: span.status,
            started_ns: span.started_ns,
            ended_ns: span.ended_ns,
            cost: told(keys::COST).map_or([None; 3], |json| usage::read(json, COSTS, usage::amount)),
            model: model_word(attributes, keys::MODEL),
            provider: model_word(attributes, keys::PROVIDER),
            content: content(span, attributes),
        }
    }

    /// Of a span that another server has kept; none if its JSON is not of this form.
    pub(crate) fn of_content(json: &str) -> Option<Self> {
        let read: SpanContent = serde_json::from_str(json).ok()?;
        let attributes: Attributes = read
            .attributes
            .into_iter()
            .map(|(key, value)| (key, value.as_text().map_or_else(|| value.to_json(), ToOwned::to_owned)))
            .collect();
        let told = |key: &str| attribute(&attributes, key);
        let parent = read.parent_span_id.filter(|parent| !parent.is_empty());
        Some(Self {
            id: hexadecimal(&read.span_id)?,
            parent: parent.map(|parent| hexadecimal(&parent).ok_or(())).transpose().ok()?,
            name: rules::cut(&read.name, usize::MAX),
            kind: told(keys::KIND).map(unquoted),
            status: SpanStatus::of_code(&read.status.code),
            started_ns: read.start_time_unix_nano,
            ended_ns: read.end_time_unix_nano.filter(|ended| *ended > 0),
            cost: told(keys::COST).map_or([None; 3], |json| usage::read(json, COSTS, usage::amount)),
            model: model_word(&attributes, keys::MODEL),
            provider: model_word(&attributes, keys::PROVIDER),
            content: json.replace('\0', ""),
        })
    }

    /// Writes rows of a trace, whether they were there or not; of two with one id the last holds.
    pub(crate) fn save<'a>(
        tx: &mut Tx<'_>,
        project: &ProjectId,
        (trace, experiment): (&str, i64),
        spans: impl IntoIterator<Item = &'a Self>,
    ) -> Result<(), TraceError> {
        let by_id: BTreeMap<&str, &Self> = spans.into_iter().map(|span| (span.id.as_str(), span)).collect();
        let rows = by_id.values().map(|span| span.values(project, trace, experiment)).collect();
        tx.insert_rows(
            "INSERT INTO spans (project, trace, id, parent, experiment, name, kind, status, started_ns, ended_ns,
                 input_cost, output_cost, total_cost, model, provider, content)",
            rows,
            "ON CONFLICT (project, trace, id) DO UPDATE SET parent = excluded.parent,
                 experiment = excluded.experiment, name = excluded.name, kind = excluded.kind,
                 status = excluded.status, started_ns = excluded.started_ns, ended_ns = excluded.ended_ns,
                 input_cost = excluded.input_cost, output_cost = excluded.output_cost,
                 total_cost = excluded.total_cost, model = excluded.model, provider = excluded.provider,
                 content = excluded.content",
        )?;
        Ok(())
    }

    fn values(&self, project: &ProjectId, trace: &str, experiment: i64) -> Vec<Field> {
        let [input_cost, output_cost, total_cost] = self.cost;
        vec![
            project.into(),
            trace.into(),
            (&self.id).into(),
            self.parent.as_ref().into(),
            experiment.into(),
            (&self.name).into(),
            self.kind.as_ref().into(),
            self.status.word().into(),
            self.started_ns.into(),
            self.ended_ns.into(),
            input_cost.into(),
            output_cost.into(),
            total_cost.into(),
            self.model.as_ref().into(),
            self.provider.as_ref().into(),
            (&self.content).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_made_of_the_json_is_the_row_that_was_made_of_the_span() {
        let attributes: Attributes = vec![
            (keys::KIND.to_owned(), "\"LLM\"".to_owned()),
            (keys::COST.to_owned(), r#"{"total_cost": 0.5}"#.to_owned()),
            (keys::MODEL.to_owned(), "\"m\"".to_owned()),
        ];
        let span = NewSpan {
            trace: [1; 16],
            id: [2; 8],
            parent: Some([3; 8]),
            name: "n".to_owned(),
            started_ns: 5,
            ended_ns: Some(7),
            status: SpanStatus::Error,
            ..NewSpan::default()
        };
        let made = SpanRow::new(&span, &attributes);
        let again = SpanRow::of_content(&made.content).unwrap();
        assert_eq!(format!("{again:?}"), format!("{made:?}"));
        assert!(SpanRow::of_content("{}").is_none());
        assert!(SpanRow::of_content(&made.content.replace("AgICAgICAgI=", "AgI=")).is_none());
    }
}

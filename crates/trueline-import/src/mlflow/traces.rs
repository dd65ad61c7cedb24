//! Traces of a database with tags, metadata, spans, assessments and links. What later schemas keep in columns of its own is
//! metadata here as it was before.

use super::given;
use super::runs::list;
use super::schema::Schema;
use crate::ImportError;
use crate::importer::Importer;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeSet, HashMap};
use trueline_db::{Row, Tx, Value};
use trueline_traces::{
    Assessment, AssessmentSource, Home, Judgement, NewTrace, Pairs, TraceState, WholeTrace,
};

/// Traces that are read, and come in, at once; each may have many spans.
const PAGE: usize = 50;

const COLUMNS: [&str; 19] = [
    "request_id",
    "experiment_id",
    "timestamp_ms",
    "execution_time_ms",
    "status",
    "client_request_id",
    "request_preview",
    "response_preview",
    "trace_name",
    "session_id",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
    "input_cost",
    "output_cost",
    "total_cost",
];
const ASSESSMENTS: [&str; 15] = [
    "trace_id",
    "assessment_id",
    "name",
    "assessment_type",
    "value",
    "error",
    "created_timestamp",
    "last_updated_timestamp",
    "source_type",
    "source_id",
    "span_id",
    "rationale",
    "overrides",
    "valid",
    "assessment_metadata",
];

/// Takes all traces of the experiments.
pub(super) fn read(
    tx: &mut Tx<'_>,
    schema: &Schema,
    experiments: &BTreeSet<i64>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    if !schema.has("trace_info", "timestamp_ms") {
        return Ok(());
    }
    let columns = schema.columns("trace_info", &COLUMNS);
    let sql =
        format!("SELECT {columns} FROM trace_info WHERE request_id > ?1 ORDER BY request_id LIMIT {PAGE}");
    let mut after = String::new();
    loop {
        let rows = tx.query(&sql, &[(&after).into()])?;
        let last = rows.len() < PAGE;
        let mut page = Vec::with_capacity(rows.len());
        for mut row in rows {
            after = row.take(0)?;
            page.extend(from_row(after.clone(), &mut row, experiments, importer)?);
        }
        pairs(tx, &mut page)?;
        for trace in &mut page {
            // Of one that is here the files may not be, when an import was killed.
            importer.place_trace(trace);
        }
        let ids = page.iter().map(|trace| trace.told.id.clone()).collect();
        let known = importer.known_traces(ids)?;
        page.retain(|trace| !known.contains(&trace.told.id));
        fill(tx, schema, &mut page)?;
        importer.traces(page)?;
        if last {
            return Ok(());
        }
    }
}

fn from_row(
    id: String,
    row: &mut Row,
    experiments: &BTreeSet<i64>,
    importer: &Importer,
) -> Result<Option<WholeTrace>, ImportError> {
    let of: i64 = row.take(1)?;
    let Some(experiment) = importer.place(of).filter(|_| experiments.contains(&of)) else { return Ok(None) };
    let mut told = NewTrace {
        id,
        started_ms: row.take(2)?,
        took_ms: row.take(3)?,
        state: TraceState::parse(&row.take::<Option<String>>(4)?.unwrap_or_default()),
        client_request_id: row.take(5)?,
        request_preview: row.take(6)?,
        response_preview: row.take(7)?,
        ..NewTrace::default()
    };
    let column = |pairs: &mut Pairs, key: &str, value: Option<String>| {
        value.map(|value| pairs.insert(key.to_owned(), value));
    };
    column(&mut told.tags, "mlflow.traceName", given(row.take(8)?));
    column(&mut told.metadata, "mlflow.trace.session", given(row.take(9)?));
    column(&mut told.metadata, "mlflow.trace.tokenUsage", counted(row, 10..16)?);
    column(&mut told.metadata, "mlflow.trace.cost", counted(row, 16..19)?);
    let home = Home { experiment: experiment.0, artifact_location: String::new() };
    Ok(Some(WholeTrace::new(home, told)))
}

/// Columns with numbers as the JSON object that the metadata was before there were columns.
fn counted(row: &mut Row, columns: std::ops::Range<usize>) -> Result<Option<String>, ImportError> {
    let mut members = Map::new();
    for at in columns {
        let value = match row.take::<Value>(at)? {
            Value::Int(count) => Json::from(count),
            Value::Real(amount) => Json::from(amount),
            _ => continue,
        };
        members.insert(COLUMNS[at].to_owned(), value);
    }
    Ok((!members.is_empty()).then(|| Json::Object(members).to_string()))
}

/// The traces of a page by id, their ids as parameters, and the places for these.
type ById<'p> = (HashMap<String, &'p mut WholeTrace>, Vec<Value>, String);

fn by_id(page: &mut [WholeTrace]) -> Option<ById<'_>> {
    let ids: Vec<Value> = page.iter().map(|trace| (&trace.told.id).into()).collect();
    let list = list(ids.len());
    let traces = page.iter_mut().map(|trace| (trace.told.id.clone(), trace)).collect();
    (!ids.is_empty()).then_some((traces, ids, list))
}

/// Adds tags and metadata to the traces of a page.
fn pairs(tx: &mut Tx<'_>, page: &mut [WholeTrace]) -> Result<(), ImportError> {
    let Some((mut of, ids, list)) = by_id(page) else { return Ok(()) };
    each_pair(tx, "trace_tags", &list, &ids, |trace, key, value| {
        if let Some(trace) = of.get_mut(&trace) {
            trace.told.tags.entry(key).or_insert(value);
        }
    })?;
    each_pair(tx, "trace_request_metadata", &list, &ids, |trace, key, value| {
        if let Some(trace) = of.get_mut(&trace) {
            trace.finalized |= key == "mlflow.trace.infoFinalized";
            trace.told.metadata.entry(key).or_insert(value);
        }
    })?;
    Ok(())
}

/// Adds spans, assessments and links to the traces of a page.
fn fill(tx: &mut Tx<'_>, schema: &Schema, page: &mut [WholeTrace]) -> Result<(), ImportError> {
    let Some((mut of, ids, list)) = by_id(page) else { return Ok(()) };
    if schema.has_table("spans") {
        let sql = format!(
            "SELECT trace_id, content FROM spans WHERE trace_id IN ({list}) ORDER BY trace_id, start_time_unix_nano"
        );
        tx.each(&sql, &ids, |row| {
            if let Some(trace) = of.get_mut(&row.take::<String>(0)?) {
                trace.spans.push(row.take(1)?);
            }
            Ok::<_, ImportError>(())
        })?;
    }
    if schema.has_table("assessments") {
        let columns = schema.columns("assessments", &ASSESSMENTS);
        let sql = format!("SELECT {columns} FROM assessments WHERE trace_id IN ({list})");
        tx.each(&sql, &ids, |row| {
            if let Some(trace) = of.get_mut(&row.take::<String>(0)?) {
                trace.assessments.push(assessment(row)?);
            }
            Ok::<_, ImportError>(())
        })?;
    }
    if schema.has_table("entity_associations") {
        let sql = format!(
            "SELECT source_id, destination_type, destination_id FROM entity_associations
             WHERE source_type = 'trace' AND source_id IN ({list}) ORDER BY destination_id"
        );
        tx.each(&sql, &ids, |row| {
            if let Some(trace) = of.get_mut(&row.take::<String>(0)?) {
                match row.take::<String>(1)?.as_str() {
                    "run" => trace.runs.push(row.take(2)?),
                    "prompt_version" => trace.prompts.push(row.take(2)?),
                    _ => {}
                }
            }
            Ok::<_, ImportError>(())
        })?;
    }
    Ok(())
}

fn each_pair(
    tx: &mut Tx<'_>,
    table: &str,
    list: &str,
    ids: &[Value],
    mut see: impl FnMut(String, String, String),
) -> Result<(), ImportError> {
    let sql = format!("SELECT request_id, key, value FROM {table} WHERE request_id IN ({list})");
    tx.each(&sql, ids, |row| {
        see(row.take(0)?, row.take(1)?, row.take::<Option<String>>(2)?.unwrap_or_default());
        Ok(())
    })
}

fn json(text: Option<String>) -> Option<Json> {
    text.and_then(|text| serde_json::from_str(&text).ok())
}

fn assessment(row: &mut Row) -> Result<Assessment, ImportError> {
    let kind: String = row.take(3)?;
    let value = json(row.take(4)?).unwrap_or_default();
    Ok(Assessment {
        id: row.take(1)?,
        // The trace that it is put into gives it its own.
        trace: String::new(),
        name: row.take(2)?,
        judgement: Judgement::read(&kind, value, json(row.take(5)?)),
        source: AssessmentSource { kind: row.take(8)?, id: row.take(9)? },
        span: row.take(10)?,
        rationale: row.take(11)?,
        metadata: json(row.take(14)?).map(texts).unwrap_or_default(),
        overrides: row.take(12)?,
        valid: row.take::<Option<bool>>(13)?.unwrap_or(true),
        created_at_ms: row.take(6)?,
        updated_at_ms: row.take(7)?,
    })
}

/// The members of an object as texts.
pub(super) fn texts(of: Json) -> Pairs {
    let Json::Object(members) = of else { return Pairs::new() };
    let text = |value: Json| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    members.into_iter().map(|(key, value)| (key, text(value))).collect()
}

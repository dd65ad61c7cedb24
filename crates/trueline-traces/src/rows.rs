//! Rows of traces, their pairs, and what is made of them.

use crate::TraceError;
use crate::assessment::{self, Assessment};
use crate::model::{Pairs, TraceInfo, TraceState, keys};
use crate::usage::{self, COSTS, TOKENS};
use crate::value::Value as AttributeValue;
use std::collections::HashMap;
use trueline_db::{Row, Tx, Value};
use trueline_ledger::{Millis, ProjectId};

/// The columns of a trace, in the order in which [`TraceRow::read`] takes them.
pub(crate) const COLUMNS: &str = "t.id, t.experiment, t.started_ms, t.took_ms, t.state, t.name, t.session, \
     t.client_request_id, t.request_preview, t.response_preview, t.artifact_location, t.spans_location, t.finalized, \
     t.input_tokens, t.output_tokens, t.total_tokens, t.cache_read_input_tokens, t.cache_creation_input_tokens, \
     t.cache_creation_input_tokens_above_1hr, t.input_cost, t.output_cost, t.total_cost";

const INSERT: &str = "INSERT INTO traces (project, id, experiment, started_ms, took_ms, state, name, session, \
     client_request_id, request_preview, response_preview, artifact_location, spans_location, finalized, input_tokens, \
     output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens, \
     cache_creation_input_tokens_above_1hr, input_cost, output_cost, total_cost) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23) \
     ON CONFLICT (project, id)";

const EXCLUDED: &str = "experiment = excluded.experiment, started_ms = excluded.started_ms, took_ms = excluded.took_ms, \
     state = excluded.state, name = excluded.name, session = excluded.session, \
     client_request_id = excluded.client_request_id, request_preview = excluded.request_preview, \
     response_preview = excluded.response_preview, artifact_location = excluded.artifact_location, \
     spans_location = excluded.spans_location, finalized = excluded.finalized, input_tokens = excluded.input_tokens, \
     output_tokens = excluded.output_tokens, total_tokens = excluded.total_tokens, \
     cache_read_input_tokens = excluded.cache_read_input_tokens, \
     cache_creation_input_tokens = excluded.cache_creation_input_tokens, \
     cache_creation_input_tokens_above_1hr = excluded.cache_creation_input_tokens_above_1hr, \
     input_cost = excluded.input_cost, output_cost = excluded.output_cost, total_cost = excluded.total_cost";

/// How many ids one statement asks for.
pub(crate) const CHUNK: usize = 400;

/// Which kind of pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairKind {
    Tag,
    Metadata,
}

impl PairKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Metadata => "metadata",
        }
    }
}

/// A trace's row.
#[derive(Clone, Debug)]
pub(crate) struct TraceRow {
    pub(crate) id: String,
    pub(crate) experiment: i64,
    pub(crate) started_ms: Millis,
    pub(crate) took_ms: Option<i64>,
    pub(crate) state: TraceState,
    pub(crate) name: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) client_request_id: Option<String>,
    pub(crate) request_preview: Option<String>,
    pub(crate) response_preview: Option<String>,
    pub(crate) artifact_location: String,
    pub(crate) spans_location: Option<String>,
    pub(crate) finalized: bool,
    pub(crate) tokens: [Option<i64>; 6],
    pub(crate) cost: [Option<f64>; 3],
}

impl TraceRow {
    /// A trace of which nothing but this is known.
    pub(crate) fn new(id: &str, experiment: i64, artifact_location: String, started_ms: Millis) -> Self {
        Self {
            id: id.to_owned(),
            experiment,
            started_ms,
            took_ms: None,
            state: TraceState::InProgress,
            name: None,
            session: None,
            client_request_id: None,
            request_preview: None,
            response_preview: None,
            artifact_location,
            spans_location: None,
            finalized: false,
            tokens: [None; 6],
            cost: [None; 3],
        }
    }

    pub(crate) fn read(row: &mut Row) -> Result<Self, TraceError> {
        let mut tokens = [None; 6];
        for (i, count) in tokens.iter_mut().enumerate() {
            *count = row.take(13 + i)?;
        }
        let mut cost = [None; 3];
        for (i, amount) in cost.iter_mut().enumerate() {
            *amount = row.take(19 + i)?;
        }
        Ok(Self {
            id: row.take(0)?,
            experiment: row.take(1)?,
            started_ms: row.take(2)?,
            took_ms: row.take(3)?,
            state: TraceState::parse(&row.take::<String>(4)?),
            name: row.take(5)?,
            session: row.take(6)?,
            client_request_id: row.take(7)?,
            request_preview: row.take(8)?,
            response_preview: row.take(9)?,
            artifact_location: row.take(10)?,
            spans_location: row.take(11)?,
            finalized: row.take(12)?,
            tokens,
            cost,
        })
    }

    pub(crate) fn find(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Option<Self>, TraceError> {
        let sql = format!("SELECT {COLUMNS} FROM traces t WHERE t.project = ?1 AND t.id = ?2");
        let row = tx.query_opt(&sql, &[project.into(), id.into()])?;
        row.map(|mut row| Self::read(&mut row)).transpose()
    }

    /// As [`Self::find`]; a trace that is not there is refused.
    pub(crate) fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Self, TraceError> {
        Self::find(tx, project, id)?.ok_or_else(|| TraceError::no_trace(id))
    }

    /// Writes the row unless there is one; answers whether it did. Cheaper than to ask first, and on PostgreSQL nothing is
    /// read that others write at the same time.
    pub(crate) fn insert(&self, tx: &mut Tx<'_>, project: &ProjectId) -> Result<bool, TraceError> {
        let made = tx.execute(&format!("{INSERT} DO NOTHING"), &self.params(project))?;
        Ok(made > 0)
    }

    /// Writes the row, whether it was there or not.
    pub(crate) fn save(&self, tx: &mut Tx<'_>, project: &ProjectId) -> Result<(), TraceError> {
        tx.execute(&format!("{INSERT} DO UPDATE SET {EXCLUDED}"), &self.params(project))?;
        Ok(())
    }

    fn params(&self, project: &ProjectId) -> Vec<Value> {
        let mut params: Vec<Value> = vec![
            project.into(),
            (&self.id).into(),
            self.experiment.into(),
            self.started_ms.into(),
            self.took_ms.into(),
            self.state.as_str().into(),
            self.name.as_ref().into(),
            self.session.as_ref().into(),
            self.client_request_id.as_ref().into(),
            self.request_preview.as_ref().into(),
            self.response_preview.as_ref().into(),
            (&self.artifact_location).into(),
            self.spans_location.as_ref().into(),
            self.finalized.into(),
        ];
        params.extend(self.tokens.map(Value::from));
        params.extend(self.cost.map(Value::from));
        params
    }

    /// Follows a change of experiment or time where rows repeat them.
    pub(crate) fn follow(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        before: &Self,
    ) -> Result<(), TraceError> {
        let moved = self.experiment != before.experiment;
        if !moved && self.started_ms == before.started_ms {
            return Ok(());
        }
        let key = [project.into(), (&self.id).into(), self.experiment.into(), self.started_ms.into()];
        tx.execute(
            "UPDATE trace_pairs SET experiment = ?3, started_ms = ?4 WHERE project = ?1 AND trace = ?2",
            &key,
        )?;
        tx.execute(
            "UPDATE assessments SET experiment = ?3, trace_started_ms = ?4 WHERE project = ?1 AND trace = ?2",
            &key,
        )?;
        if moved {
            let sql = "UPDATE spans SET experiment = ?3 WHERE project = ?1 AND trace = ?2";
            tx.execute(sql, &key[..3])?;
        }
        Ok(())
    }

    /// Takes session, tokens and cost out of metadata into their columns.
    pub(crate) fn take_columns(&mut self, metadata: &mut Pairs) -> Result<(), TraceError> {
        if let Some(session) = metadata.remove(keys::SESSION) {
            crate::rules::session(&session)?;
            self.session = Some(session);
        }
        if let Some(json) = metadata.remove(keys::TOKEN_USAGE) {
            let told = usage::read(&json, TOKENS, usage::count);
            merge(&mut self.tokens, &told);
        }
        if let Some(json) = metadata.remove(keys::COST) {
            let told = usage::read(&json, COSTS, usage::amount);
            merge(&mut self.cost, &told);
        }
        metadata.remove(keys::FINALIZED);
        Ok(())
    }

    fn into_info(self, mut tags: Pairs, mut metadata: Pairs, assessments: Vec<Assessment>) -> TraceInfo {
        let mut tag =
            |key: &str, value: Option<String>| value.map(|value| tags.insert(key.to_owned(), value));
        tag(keys::NAME, self.name);
        tag(keys::SPANS_LOCATION, self.spans_location);
        tag(keys::ARTIFACT_LOCATION, Some(self.artifact_location));
        let mut known =
            |key: &str, value: Option<String>| value.map(|value| metadata.insert(key.to_owned(), value));
        known(keys::SESSION, self.session);
        known(keys::TOKEN_USAGE, usage::written(&self.tokens, TOKENS, AttributeValue::Int));
        known(keys::COST, usage::written(&self.cost, COSTS, AttributeValue::Real));
        known(keys::FINALIZED, self.finalized.then(|| "true".to_owned()));
        TraceInfo {
            id: self.id,
            experiment: self.experiment,
            started_ms: self.started_ms,
            took_ms: self.took_ms,
            state: self.state,
            client_request_id: self.client_request_id,
            request_preview: self.request_preview,
            response_preview: self.response_preview,
            metadata,
            tags,
            assessments,
        }
    }
}

/// Overwrites what is told; what is not stays.
pub(crate) fn merge<T: Copy>(kept: &mut [Option<T>], told: &[Option<T>]) {
    for (kept, told) in kept.iter_mut().zip(told) {
        *kept = told.or(*kept);
    }
}

/// Writes tags and metadata of a trace; no two of one kind with the same key.
pub(crate) fn set_pairs<'a>(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    trace: &TraceRow,
    pairs: impl IntoIterator<Item = (PairKind, &'a String, &'a String)>,
) -> Result<(), TraceError> {
    let row = |(kind, key, value): (PairKind, &String, &String)| {
        vec![
            project.into(),
            (&trace.id).into(),
            kind.as_str().into(),
            key.into(),
            value.into(),
            trace.experiment.into(),
            trace.started_ms.into(),
        ]
    };
    tx.insert_rows(
        "INSERT INTO trace_pairs (project, trace, kind, key, value, experiment, started_ms)",
        pairs.into_iter().map(row).collect(),
        "ON CONFLICT (project, trace, kind, key) DO UPDATE SET value = excluded.value",
    )?;
    Ok(())
}

/// Placeholders `?{first}, …` for a list of ids.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
}

/// A project and ids as parameters.
pub(crate) fn with_project(project: &ProjectId, ids: &[&str]) -> Vec<Value> {
    let mut params: Vec<Value> = vec![project.into()];
    params.extend(ids.iter().map(|id| Value::from(*id)));
    params
}

/// Fills in pairs and assessments; the order stays.
pub(crate) fn infos(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    rows: Vec<TraceRow>,
) -> Result<Vec<TraceInfo>, TraceError> {
    let mut tags: HashMap<String, Pairs> = HashMap::new();
    let mut metadata: HashMap<String, Pairs> = HashMap::new();
    let mut assessments: HashMap<String, Vec<Assessment>> = HashMap::new();
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    for chunk in ids.chunks(CHUNK) {
        let list = placeholders(2, chunk.len());
        let params = with_project(project, chunk);
        let sql = format!(
            "SELECT trace, kind, key, value FROM trace_pairs WHERE project = ?1 AND trace IN ({list})"
        );
        for mut row in tx.query(&sql, &params)? {
            let trace: String = row.take(0)?;
            let is_tag = row.take::<String>(1)? == PairKind::Tag.as_str();
            let into = if is_tag { &mut tags } else { &mut metadata };
            into.entry(trace).or_default().insert(row.take(2)?, row.take(3)?);
        }
        let sql = format!(
            "SELECT {} FROM assessments a WHERE a.project = ?1 AND a.trace IN ({list}) ORDER BY a.created_at_ms, a.id",
            assessment::COLUMNS
        );
        for mut row in tx.query(&sql, &params)? {
            let found = Assessment::read(&mut row)?;
            assessments.entry(found.trace.clone()).or_default().push(found);
        }
    }
    let info = |row: TraceRow| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        let metadata = metadata.remove(&row.id).unwrap_or_default();
        let assessments = assessments.remove(&row.id).unwrap_or_default();
        row.into_info(tags, metadata, assessments)
    };
    Ok(rows.into_iter().map(info).collect())
}

/// One trace with pairs and assessments.
pub(crate) fn info(tx: &mut Tx<'_>, project: &ProjectId, row: TraceRow) -> Result<TraceInfo, TraceError> {
    let id = row.id.clone();
    infos(tx, project, vec![row])?.pop().ok_or_else(|| TraceError::no_trace(&id))
}

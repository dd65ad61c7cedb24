//! What goes out to another store: traces with spans and all that is said of them, evaluation datasets, scorers, issues. It is
//! read in one snapshot, which the caller holds; how the other store keeps it is the faces' matter.

use crate::assessment::{self, Assessment};
use crate::datasets::{self, EvaluationDataset};
use crate::model::{Pairs, TraceState};
use crate::rows::{COLUMNS, PairKind, TraceRow, placeholders, with_project};
use crate::scorers::{Sampling, ScorerVersion};
use crate::{DatasetRecord, Issue, TraceError, dataset_records, issues, links, scorers};
use std::collections::HashMap;
use trueline_db::{DbError, Tx, Value};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Millis, ProjectId};

/// The most traces of a page.
pub const PAGE: u32 = 200;

/// A trace as it is kept: what MLflow has in columns stands apart from tags and metadata.
#[derive(Clone, Debug)]
pub struct KeptTrace {
    /// Its id.
    pub id: String,
    /// The number of its experiment.
    pub experiment: i64,
    /// When it began.
    pub started_ms: Millis,
    /// How long it took.
    pub took_ms: Option<i64>,
    /// How it went.
    pub state: TraceState,
    /// The id that the application knows the request by.
    pub client_request_id: Option<String>,
    /// The beginning of the request.
    pub request_preview: Option<String>,
    /// The beginning of the response.
    pub response_preview: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its session.
    pub session: Option<String>,
    /// Input, output, total tokens; read from the cache, put into it, put into it for more than an hour.
    pub tokens: [Option<i64>; 6],
    /// Cost of input, of output, in all.
    pub cost: [Option<f64>; 3],
    /// Where its files lie.
    pub artifact_location: String,
    /// Where its spans lie, in MLflow's words.
    pub spans_location: Option<String>,
    /// Whether the client had said what there is to say of it.
    pub finalized: bool,
    /// Its tags.
    pub tags: Pairs,
    /// Its metadata.
    pub metadata: Pairs,
    /// Its assessments.
    pub assessments: Vec<KeptAssessment>,
}

/// A span as it is kept.
#[derive(Clone, Debug)]
pub struct KeptSpan {
    /// Its id in hexadecimal digits.
    pub id: String,
    /// The span that it is part of.
    pub parent: Option<String>,
    /// Its name.
    pub name: String,
    /// MLflow's type of it.
    pub kind: Option<String>,
    /// How it went.
    pub status: String,
    /// When it began.
    pub started_ns: i64,
    /// When it ended.
    pub ended_ns: Option<i64>,
    /// Cost of input, of output, in all.
    pub cost: [Option<f64>; 3],
    /// The model that was asked.
    pub model: Option<String>,
    /// Whose model that is.
    pub provider: Option<String>,
    /// All of it, the JSON that MLflow keeps of it.
    pub content: String,
}

/// An assessment with what is worked out from it.
#[derive(Clone, Debug)]
pub struct KeptAssessment {
    /// The assessment.
    pub assessment: Assessment,
    /// Its value as JSON.
    pub value: String,
    /// What went wrong with judging, as JSON.
    pub error: Option<String>,
    /// Its metadata as JSON.
    pub metadata: Option<String>,
    /// The number that its value counts as.
    pub number: Option<f64>,
    /// Whether it is one by itself.
    pub is_number: bool,
}

/// Something that a trace is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLink {
    /// The trace; it may be gone, or not be there yet.
    pub trace: String,
    /// Whether it is a version of a prompt, and no run.
    pub to_prompt: bool,
    /// The run's id, or `name/version` of the prompt.
    pub target: String,
}

/// The next traces after the one with the id `after`, by id; their spans, which may be long, are read by [`spans`].
///
/// # Errors
/// What the database says.
pub fn traces(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    after: &str,
) -> Result<Vec<KeptTrace>, TraceError> {
    let project = leave.project();
    let sql = format!(
        "SELECT {COLUMNS} FROM traces t WHERE t.project = ?1 AND t.id > ?2 ORDER BY t.id LIMIT {PAGE}"
    );
    let rows = tx.query(&sql, &[project.into(), after.into()])?;
    let rows: Vec<TraceRow> =
        rows.into_iter().map(|mut row| TraceRow::read(&mut row)).collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let params = with_project(project, &ids);
    let mut pairs = pairs(tx, &params)?;
    let mut assessments = assessments(tx, &params)?;
    let whole = |row: TraceRow| {
        let (tags, metadata) = pairs.remove(&row.id).unwrap_or_default();
        KeptTrace {
            tags,
            metadata,
            assessments: assessments.remove(&row.id).unwrap_or_default(),
            id: row.id,
            experiment: row.experiment,
            started_ms: row.started_ms,
            took_ms: row.took_ms,
            state: row.state,
            client_request_id: row.client_request_id,
            request_preview: row.request_preview,
            response_preview: row.response_preview,
            name: row.name,
            session: row.session,
            tokens: row.tokens,
            cost: row.cost,
            artifact_location: row.artifact_location,
            spans_location: row.spans_location,
            finalized: row.finalized,
        }
    };
    Ok(rows.into_iter().map(whole).collect())
}

/// A statement on the traces of a page, whose ids follow the project.
fn of_page(sql: &str, params: &[Value]) -> String {
    sql.replace("{list}", &placeholders(2, params.len() - 1))
}

/// Shows the spans of a trace, in the order in which they began.
///
/// # Errors
/// What the database says, and what `see` says.
pub fn spans<E: From<DbError>>(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    trace: &str,
    mut see: impl FnMut(KeptSpan) -> Result<(), E>,
) -> Result<(), E> {
    let sql = "SELECT id, parent, name, kind, status, started_ns, ended_ns, input_cost, output_cost, total_cost, model,
                      provider, content
               FROM spans WHERE project = ?1 AND trace = ?2 ORDER BY started_ns, id";
    tx.each(sql, &[leave.project().into(), trace.into()], |row| {
        see(KeptSpan {
            id: row.take(0)?,
            parent: row.take(1)?,
            name: row.take(2)?,
            kind: row.take(3)?,
            status: row.take(4)?,
            started_ns: row.take(5)?,
            ended_ns: row.take(6)?,
            cost: [row.take(7)?, row.take(8)?, row.take(9)?],
            model: row.take(10)?,
            provider: row.take(11)?,
            content: row.take(12)?,
        })
    })
}

/// Tags and metadata by trace.
fn pairs(tx: &mut Tx<'_>, params: &[Value]) -> Result<HashMap<String, (Pairs, Pairs)>, TraceError> {
    let mut found: HashMap<String, (Pairs, Pairs)> = HashMap::new();
    let sql = of_page(
        "SELECT trace, kind, key, value FROM trace_pairs WHERE project = ?1 AND trace IN ({list})",
        params,
    );
    tx.each(&sql, params, |row| {
        let (tags, metadata) = found.entry(row.take(0)?).or_default();
        let is_tag = row.take::<String>(1)? == PairKind::Tag.as_str();
        let into = if is_tag { tags } else { metadata };
        into.insert(row.take(2)?, row.take(3)?);
        Ok::<_, TraceError>(())
    })?;
    Ok(found)
}

fn assessments(
    tx: &mut Tx<'_>,
    params: &[Value],
) -> Result<HashMap<String, Vec<KeptAssessment>>, TraceError> {
    let mut found: HashMap<String, Vec<KeptAssessment>> = HashMap::new();
    let sql = format!(
        "SELECT {}, a.number, a.is_number, a.value, a.error, a.metadata FROM assessments a
         WHERE a.project = ?1 AND a.trace IN ({{list}}) ORDER BY a.created_at_ms, a.id",
        assessment::COLUMNS
    );
    tx.each(&of_page(&sql, params), params, |row| {
        let kept = KeptAssessment {
            number: row.take(15)?,
            is_number: row.take(16)?,
            value: row.take(17)?,
            error: row.take(18)?,
            metadata: row.take(19)?,
            assessment: Assessment::read(row)?,
        };
        found.entry(kept.assessment.trace.clone()).or_default().push(kept);
        Ok::<_, TraceError>(())
    })?;
    Ok(found)
}

/// Shows all links of traces.
///
/// # Errors
/// What the database says, and what `see` says.
pub fn links<E: From<DbError>>(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    mut see: impl FnMut(TraceLink) -> Result<(), E>,
) -> Result<(), E> {
    let sql = "SELECT trace, kind, target FROM trace_links WHERE project = ?1 ORDER BY trace, kind, target";
    tx.each(sql, &[leave.project().into()], |row| {
        let to_prompt = row.take::<String>(1)? == links::PROMPT;
        see(TraceLink { trace: row.take(0)?, to_prompt, target: row.take(2)? })
    })
}

/// All evaluation datasets, each with the experiments that it belongs to.
///
/// # Errors
/// What the database says.
pub fn datasets(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
) -> Result<Vec<(EvaluationDataset, Vec<String>)>, TraceError> {
    let project = leave.project();
    let mut found = Vec::new();
    let sql = "SELECT id FROM evaluation_datasets WHERE project = ?1 ORDER BY id";
    for mut row in tx.query(sql, &[project.into()])? {
        let dataset = datasets::get(tx, project, &row.take::<String>(0)?)?;
        let sql = "SELECT experiment FROM evaluation_dataset_experiments WHERE project = ?1 AND dataset = ?2 ORDER BY 1";
        let rows = tx.query(sql, &[project.into(), (&dataset.id).into()])?;
        let experiments = rows.into_iter().map(|mut row| row.take(0)).collect::<Result<Vec<String>, _>>()?;
        found.push((dataset, experiments));
    }
    Ok(found)
}

/// Shows the records of an evaluation dataset, each with the hash that it is known by.
///
/// # Errors
/// What the database says, and what `see` says.
pub fn records<E: From<TraceError> + From<DbError>>(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    dataset: &str,
    see: impl FnMut(DatasetRecord, String) -> Result<(), E>,
) -> Result<(), E> {
    dataset_records::each(tx, leave.project(), dataset, see)
}

/// All versions of all scorers, and which traces they are to judge.
///
/// # Errors
/// What the database says.
pub fn scorers(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
) -> Result<(Vec<ScorerVersion>, Vec<Sampling>), TraceError> {
    let project: &ProjectId = leave.project();
    let versions = scorers::versions(tx, "1 = 1", &[project.into()])?;
    let mut sampling = Vec::new();
    let mut last = "";
    for version in versions.iter().filter(|v| std::mem::replace(&mut last, &v.id) != v.id) {
        sampling.extend(scorers::sampling(tx, project, &version.id)?);
    }
    Ok((versions, sampling))
}

/// All issues, the oldest first.
///
/// # Errors
/// What the database says.
pub fn issues(tx: &mut Tx<'_>, leave: &Authorized<ReadProject>) -> Result<Vec<Issue>, TraceError> {
    issues::all(tx, leave.project())
}

//! Traces are read: infos, and spans with them.

use crate::model::{Trace, TraceInfo, keys};
use crate::rows::{self, CHUNK, COLUMNS, TraceRow, placeholders, with_project};
use crate::span::StoredSpan;
use crate::{TraceError, Traces};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::ProjectId;

/// How long a trace whose spans are still on their way is waited for, look by look.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The spans of traces: roots first, then by time.
fn spans(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    traces: &[&str],
) -> Result<HashMap<String, Vec<StoredSpan>>, TraceError> {
    let mut found: HashMap<String, Vec<StoredSpan>> = HashMap::new();
    for chunk in traces.chunks(CHUNK) {
        let sql = format!(
            "SELECT trace, content FROM spans WHERE project = ?1 AND trace IN ({})
             ORDER BY trace, CASE WHEN parent IS NULL THEN 0 ELSE 1 END, started_ns, id",
            placeholders(2, chunk.len())
        );
        for mut row in tx.query(&sql, &with_project(project, chunk))? {
            let trace: String = row.take(0)?;
            found.entry(trace).or_default().push(StoredSpan { content: row.take(1)? });
        }
    }
    Ok(found)
}

/// How many spans the client has said that there are.
fn announced(info: &TraceInfo) -> usize {
    let stats = info.metadata.get(keys::SIZE_STATS).and_then(|json| serde_json::from_str(json).ok());
    let stats: serde_json::Value = stats.unwrap_or_default();
    let spans = stats.get("num_spans").and_then(serde_json::Value::as_u64);
    usize::try_from(spans.unwrap_or(0)).unwrap_or(usize::MAX)
}

impl Trace {
    fn is_whole(&self) -> bool {
        !self.spans.is_empty() && self.spans.len() >= announced(&self.info)
    }
}

fn load(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    ids: &BTreeSet<String>,
    experiments: Option<&[i64]>,
) -> Result<Vec<TraceInfo>, TraceError> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        let list = placeholders(2, chunk.len());
        let sql = format!("SELECT {COLUMNS} FROM traces t WHERE t.project = ?1 AND t.id IN ({list})");
        for mut row in tx.query(&sql, &with_project(project, chunk))? {
            found.push(TraceRow::read(&mut row)?);
        }
    }
    if let Some(experiments) = experiments {
        found.retain(|row| experiments.contains(&row.experiment));
    }
    rows::infos(tx, project, found)
}

/// Puts what was found into the order in which it was asked for.
fn in_order(asked: &[String], found: Vec<TraceInfo>) -> Vec<TraceInfo> {
    let mut by_id: HashMap<String, TraceInfo> =
        found.into_iter().map(|info| (info.id.clone(), info)).collect();
    asked.iter().filter_map(|id| by_id.remove(id)).collect()
}

impl Traces {
    /// What is told of a trace.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn info(&self, leave: &Authorized<ReadProject>, id: String) -> Result<TraceInfo, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let row = TraceRow::get(tx, &project, &id)?;
                rows::info(tx, &project, row)
            })
            .await
    }

    /// What is told of traces, in the order of the ids; those that are not there are left out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn infos(
        &self,
        leave: &Authorized<ReadProject>,
        ids: Vec<String>,
        experiments: Option<Vec<i64>>,
    ) -> Result<Vec<TraceInfo>, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let asked: BTreeSet<String> = ids.iter().cloned().collect();
                Ok(in_order(&ids, load(tx, &project, &asked, experiments.as_deref())?))
            })
            .await
    }

    /// Whole traces, in the order of the ids. One whose spans are not all there yet, or lie elsewhere, is left out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn whole(
        &self,
        leave: &Authorized<ReadProject>,
        ids: Vec<String>,
        experiments: Option<Vec<i64>>,
    ) -> Result<Vec<Trace>, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let asked: BTreeSet<String> = ids.iter().cloned().collect();
                let found = load(tx, &project, &asked, experiments.as_deref())?;
                let here: Vec<&str> =
                    found.iter().filter(|i| i.has_spans_here()).map(|i| i.id.as_str()).collect();
                let mut spans = spans(tx, &project, &here)?;
                let trace =
                    |info: TraceInfo| Trace { spans: spans.remove(&info.id).unwrap_or_default(), info };
                Ok(in_order(&ids, found).into_iter().map(trace).filter(Trace::is_whole).collect())
            })
            .await
    }

    /// A trace with the spans that are there now; none if its spans are not kept here at all.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn partial(
        &self,
        leave: &Authorized<ReadProject>,
        id: String,
    ) -> Result<(TraceInfo, Option<Vec<StoredSpan>>), TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let gone = || TraceError::NotFound(format!("Trace with ID {id} is not found."));
                let row = TraceRow::find(tx, &project, &id)?.ok_or_else(gone)?;
                let info = rows::info(tx, &project, row)?;
                if !info.has_spans_here() {
                    return Ok((info, None));
                }
                let spans = spans(tx, &project, &[&id])?.remove(&id).unwrap_or_default();
                Ok((info, Some(spans)))
            })
            .await
    }

    /// A trace with its spans. Unless a part will do, spans that are still on their way are waited for.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], also when the spans did not come in time or lie elsewhere.
    pub async fn trace(
        &self,
        leave: &Authorized<ReadProject>,
        id: String,
        part_will_do: bool,
    ) -> Result<Trace, TraceError> {
        for wait in PATIENCE.into_iter().map(Some).chain([None]) {
            let (info, spans) = self.partial(leave, id.clone()).await?;
            let Some(spans) = spans else {
                return Err(TraceError::NotFound("Trace data not stored in tracking store".to_owned()));
            };
            let trace = Trace { info, spans };
            if part_will_do || trace.is_whole() {
                return Ok(trace);
            }
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
        }
        Err(TraceError::NotFound(format!(
            "Trace with ID {id} is not fully exported yet, please try again later."
        )))
    }
}

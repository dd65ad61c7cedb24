//! Loading the online store from a view's dataset. Rows may come in any order: the store keeps the newest of each key,
//! and loading again changes nothing.

use crate::training_set::{FeatureFlowError, Order};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use trueline_data::{Data, DataError, DatasetRef, Table};
use trueline_features::{
    FeatureError, FeatureView, Features, Keys, Materialisation, OnlineRow, OnlineView, ViewRef,
    record_materialisation,
};
use trueline_identity::{Authorized, WriteData};
use trueline_ledger::{Ledger, Millis};
use trueline_query::{QueryError, RecordBatch, json_column};
use trueline_tasks::{Lease, NewTask, complete, enqueue};

/// The kind of the task that loads a view.
pub const MATERIALISE_TASK: &str = "features.materialise";
const ATTEMPTS: u32 = 3;
/// Batches on their way from the reader to the store.
const AHEAD: usize = 4;

/// A load to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Materialise {
    /// The view: `weather`, `weather@2`.
    #[serde(default)]
    pub view: String,
    /// Rows from this time on, both ends included.
    #[serde(default)]
    pub start: Option<Timestamp>,
    /// Rows up to this time.
    #[serde(default)]
    pub end: Option<Timestamp>,
}

/// Asks for a load; answers the task that does it.
///
/// # Errors
/// What features say of the view.
pub async fn request_materialisation(
    ledger: &Ledger,
    features: &Features,
    leave: &Authorized<WriteData>,
    mut ask: Materialise,
) -> Result<String, FeatureFlowError> {
    let view = features.view_in(leave.project(), &ViewRef::parse(&ask.view)?).await?;
    ask.view = view.reference().to_string();
    let payload = json!(Order { ask, by: leave.actor().principal.clone() });
    let project = leave.project().clone();
    let task = NewTask { project, kind: MATERIALISE_TASK, payload, max_attempts: ATTEMPTS };
    let enqueued: Result<String, DataError> =
        ledger.write(leave.actor(), move |tx| Ok(enqueue(tx, &task)?)).await;
    Ok(enqueued?)
}

/// What the task does.
///
/// # Errors
/// What went wrong, as text for the task's record.
pub async fn materialise_task(
    ledger: Ledger,
    data: Data,
    features: Features,
    lease: Lease,
) -> Result<(), String> {
    load(&ledger, &data, &features, lease).await.map_err(|e| e.to_string())
}

async fn load(
    ledger: &Ledger,
    data: &Data,
    features: &Features,
    lease: Lease,
) -> Result<(), FeatureFlowError> {
    let order: Order<Materialise> = Order::of(&lease)?;
    let actor = order.actor();
    let project = lease.project.clone();
    let view = features.view_in(&project, &ViewRef::parse(&order.ask.view)?).await?;
    let version = data.version_in(&project, &DatasetRef::parse(&view.spec.dataset)?).await?;
    let table = data.table(&project, &version).await?;
    let now_ms = ledger.sources().now();

    let range =
        (order.ask.start.map(Timestamp::as_microsecond), order.ask.end.map(Timestamp::as_microsecond));
    let (send, mut receive) = tokio::sync::mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking({
        let view = view.clone();
        move || read(&view, &table, range, now_ms, &send)
    });
    let mut written = 0;
    while let Some(rows) = receive.recv().await {
        let pushed = features.online().push(&project, &view.reference(), rows).await;
        written += pushed.map_err(FeatureError::from)?.written;
    }
    let rows_read = reading.await.map_err(|e| DataError::Invalid(format!("the load stopped: {e}")))??;

    let done = Materialisation {
        version: view.version,
        dataset: version.name.clone(),
        dataset_number: version.number,
        start_us: range.0,
        end_us: range.1,
        rows_read,
        rows_written: i64::try_from(written).unwrap_or(i64::MAX),
        at_ms: ledger.sources().now(),
    };
    let recorded: Result<(), FeatureError> = ledger
        .write(&actor, move |tx| {
            record_materialisation(tx, &project, &lease.id, &view, &version.node(), &done)?;
            let result = json!({
                "view": view.reference().to_string(), "rows_read": done.rows_read, "rows_written": done.rows_written,
            });
            complete(tx, &lease, &result).map_err(|e| FeatureError::State(e.to_string()))
        })
        .await;
    Ok(recorded?)
}

type Rows = Vec<(Keys, OnlineRow)>;

/// Reads a table and hands on, of each batch, the newest row of every key. Answers how many rows lay in the range.
fn read(
    view: &FeatureView,
    table: &Table,
    (start, end): (Option<i64>, Option<i64>),
    now_ms: Millis,
    to: &tokio::sync::mpsc::Sender<Rows>,
) -> Result<i64, FeatureFlowError> {
    let online = OnlineView::of(view);
    let mut count = 0;
    for batch in table.scan(Some(&view.columns()))? {
        let mut newest: HashMap<Keys, OnlineRow> = HashMap::new();
        for row in objects(&batch?)? {
            // A row without key or time is nobody's and belongs to no moment.
            let needed = view.join_keys.iter().chain(&view.spec.timestamp);
            if needed.into_iter().any(|column| row.get(column).is_none_or(Value::is_null)) {
                continue;
            }
            let (keys, row) =
                online.row_from_json(&row, now_ms.saturating_mul(1000)).map_err(FeatureError::from)?;
            let within = start.is_none_or(|s| row.event_us >= s) && end.is_none_or(|e| row.event_us <= e);
            if !within {
                continue;
            }
            count += 1;
            // Of rows that are equal in both times the last of the table counts, as in the join.
            let age = |r: &OnlineRow| (r.event_us, r.created_us);
            if newest.get(&keys).is_none_or(|known| age(known) <= age(&row)) {
                newest.insert(keys, row);
            }
        }
        if !newest.is_empty() && to.blocking_send(newest.into_iter().collect()).is_err() {
            break;
        }
    }
    Ok(count)
}

/// The rows of a batch as objects.
fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, QueryError> {
    let mut rows = vec![Map::new(); batch.num_rows()];
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        for (row, value) in rows.iter_mut().zip(json_column(field.name(), array)?) {
            row.insert(field.name().clone(), value);
        }
    }
    Ok(rows)
}

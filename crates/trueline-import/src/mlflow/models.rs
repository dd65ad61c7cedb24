//! Logged models of a database; there are none before MLflow 3.

use super::experiments::lifecycle;
use super::given;
use super::runs::list;
use super::schema::Schema;
use crate::ImportError;
use crate::importer::Importer;
use std::collections::{BTreeSet, HashMap};
use trueline_db::{Row, Tx, Value};
use trueline_tracking::{
    ImportedModel, KeyValue, LoggedMetric, LoggedModel, LoggedModelStatus, MetricPoint, ModelPoint, RunId,
};

/// Models whose rows are read at once.
const PAGE: usize = 200;

const COLUMNS: [&str; 9] = [
    "model_id",
    "experiment_id",
    "name",
    "artifact_location",
    "creation_timestamp_ms",
    "last_updated_timestamp_ms",
    "status",
    "lifecycle_stage",
    "model_type",
];

/// MLflow's numbers for where an upload stands.
pub(super) fn status(number: i64) -> LoggedModelStatus {
    match number {
        1 => LoggedModelStatus::Pending,
        2 => LoggedModelStatus::Ready,
        3 => LoggedModelStatus::UploadFailed,
        _ => LoggedModelStatus::Unspecified,
    }
}

/// Takes all logged models of the experiments.
pub(super) fn read(
    tx: &mut Tx<'_>,
    schema: &Schema,
    experiments: &BTreeSet<i64>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    if !schema.has_table("logged_models") {
        return Ok(());
    }
    let columns = schema.columns("logged_models", &[COLUMNS.as_slice(), &["source_run_id"]].concat());
    let sql =
        format!("SELECT {columns} FROM logged_models WHERE model_id > ?1 ORDER BY model_id LIMIT {PAGE}");
    let mut after = String::new();
    loop {
        let rows = tx.query(&sql, &[(&after).into()])?;
        let last = rows.len() < PAGE;
        let mut page = Vec::with_capacity(rows.len());
        for mut row in rows {
            after = row.take(0)?;
            page.extend(from_row(after.clone(), &mut row, experiments, importer)?);
        }
        fill(tx, &mut page)?;
        page.into_iter().try_for_each(|model| importer.logged_model(model))?;
        if last {
            return Ok(());
        }
    }
}

fn from_row(
    id: String,
    row: &mut Row,
    experiments: &BTreeSet<i64>,
    importer: &mut Importer,
) -> Result<Option<ImportedModel>, ImportError> {
    let of: i64 = row.take(1)?;
    let Some(experiment) = importer.place(of).filter(|_| experiments.contains(&of)) else { return Ok(None) };
    let uri: String = row.take(3)?;
    let own = format!("{experiment}/models/{id}/artifacts");
    let model = LoggedModel {
        artifact_uri: importer.copying.adopt(&uri, &own, &mut importer.report),
        id,
        experiment,
        name: row.take(2)?,
        model_type: row.take(8)?,
        source_run: given(row.take(9)?).map(RunId::new),
        status: status(row.take(6)?),
        created_by: String::new(),
        created_at_ms: row.take(4)?,
        updated_at_ms: row.take(5)?,
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
    };
    Ok(Some(ImportedModel { model, lifecycle: lifecycle(row.take(7)?), points: Vec::new() }))
}

/// Adds params, tags and points to the models of a page.
fn fill(tx: &mut Tx<'_>, page: &mut [ImportedModel]) -> Result<(), ImportError> {
    let ids: Vec<Value> = page.iter().map(|m| (&m.model.id).into()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let list = list(ids.len());
    let mut params = pairs(
        tx,
        &format!("param_key, param_value FROM logged_model_params WHERE model_id IN ({list})"),
        &ids,
    )?;
    let mut tags =
        pairs(tx, &format!("tag_key, tag_value FROM logged_model_tags WHERE model_id IN ({list})"), &ids)?;
    let mut points = points(tx, &list, &ids)?;
    for one in page {
        one.model.params = params.remove(&one.model.id).unwrap_or_default();
        one.model.tags = tags.remove(&one.model.id).unwrap_or_default();
        one.points = points.remove(&one.model.id).unwrap_or_default();
    }
    Ok(())
}

fn pairs(tx: &mut Tx<'_>, rest: &str, ids: &[Value]) -> Result<HashMap<String, Vec<KeyValue>>, ImportError> {
    let mut found: HashMap<String, Vec<KeyValue>> = HashMap::new();
    tx.each(&format!("SELECT model_id, {rest}"), ids, |row| {
        let pair = KeyValue::new(row.take::<String>(1)?, row.take::<String>(2)?);
        found.entry(row.take(0)?).or_default().push(pair);
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}

fn points(
    tx: &mut Tx<'_>,
    list: &str,
    ids: &[Value],
) -> Result<HashMap<String, Vec<ModelPoint>>, ImportError> {
    let mut found: HashMap<String, Vec<ModelPoint>> = HashMap::new();
    let sql = format!(
        "SELECT model_id, metric_name, metric_step, metric_timestamp_ms, metric_value, run_id, dataset_name, dataset_digest
         FROM logged_model_metrics WHERE model_id IN ({list})"
    );
    tx.each(&sql, ids, |row| {
        let (step, at_ms): (i64, i64) = (row.take(2)?, row.take(3)?);
        let value = row.take::<Option<f64>>(4)?.unwrap_or(f64::NAN);
        let point = MetricPoint { step, at_ms, value };
        let dataset: (Option<String>, Option<String>) = (row.take(6)?, row.take(7)?);
        found.entry(row.take(0)?).or_default().push(ModelPoint {
            run: RunId::new(row.take::<String>(5)?),
            metric: LoggedMetric { key: row.take(1)?, point },
            dataset: dataset.0.zip(dataset.1),
        });
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}

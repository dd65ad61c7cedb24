//! Runs of a database, oldest first, with their params, tags and points.

use super::experiments::lifecycle;
use super::given;
use super::inputs::{self, Inputs};
use super::schema::Schema;
use crate::ImportError;
use crate::importer::Importer;
use crate::intake::Intake;
use std::collections::{BTreeSet, HashMap};
use trueline_db::{Row, Tx, Value};
use trueline_tracking::{ImportedRun, KeyValue, MetricPoint, Run, RunData, RunId, RunStatus};

/// Runs whose rows are read at once.
const PAGE: usize = 256;

const COLUMNS: [&str; 10] = [
    "run_uuid",
    "experiment_id",
    "name",
    "user_id",
    "status",
    "start_time",
    "end_time",
    "lifecycle_stage",
    "artifact_uri",
    "deleted_time",
];

const POINTS: &str = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?1";

/// `?1, ?2, …` for so many values.
pub(super) fn list(count: usize) -> String {
    (1..=count).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ")
}

/// Takes all runs of the experiments.
pub(super) fn read(
    tx: &mut Tx<'_>,
    schema: &Schema,
    experiments: &BTreeSet<i64>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    let ids = ids(tx, experiments)?;
    for page in ids.chunks(PAGE) {
        let unknown = importer.unknown(page)?;
        // Artifacts of runs that are here may still be missing, when the import before was killed.
        let params: Vec<Value> = page.iter().map(Into::into).collect();
        let sql = format!(
            "SELECT {} FROM runs WHERE run_uuid IN ({})",
            schema.columns("runs", &COLUMNS),
            list(page.len())
        );
        let mut rows: HashMap<String, ImportedRun> = HashMap::new();
        for mut row in tx.query(&sql, &params)? {
            if let Some(run) = from_row(&mut row, importer)? {
                rows.insert(run.data.run.id.to_string(), run);
            }
        }
        let new: Vec<&String> = page.iter().filter(|id| unknown.contains(*id)).collect();
        let mut details = Details::read(tx, schema, &new)?;
        for id in new {
            let Some(mut run) = rows.remove(id) else { continue };
            details.fill(id, &mut run.data);
            take(tx, importer, run)?;
        }
    }
    Ok(())
}

/// The ids of all runs, those of one experiment together, oldest first, so that they get numbers in that order.
fn ids(tx: &mut Tx<'_>, experiments: &BTreeSet<i64>) -> Result<Vec<String>, ImportError> {
    let mut ids = Vec::new();
    let sql =
        "SELECT run_uuid, experiment_id, start_time FROM runs ORDER BY experiment_id, start_time, run_uuid";
    tx.each(sql, &[], |row| {
        let experiment: Option<i64> = row.take(1)?;
        if experiment.is_some_and(|e| experiments.contains(&e)) {
            ids.push(row.take::<String>(0)?);
        }
        Ok::<_, ImportError>(())
    })?;
    Ok(ids)
}

fn from_row(row: &mut Row, importer: &mut Importer) -> Result<Option<ImportedRun>, ImportError> {
    let id = RunId::new(row.take::<String>(0)?);
    let Some(experiment) = importer.place(row.take(1)?) else { return Ok(None) };
    let uri = given(row.take(8)?).unwrap_or_default();
    let own = format!("{experiment}/{id}/artifacts");
    let run = Run {
        artifact_uri: importer.copying.adopt(&uri, &own, &mut importer.report),
        id,
        experiment,
        name: row.take::<Option<String>>(2)?.unwrap_or_default(),
        claimed_user: row.take::<Option<String>>(3)?.unwrap_or_default(),
        created_by: String::new(),
        status: row
            .take::<Option<String>>(4)?
            .and_then(|s| RunStatus::parse(&s))
            .unwrap_or(RunStatus::Running),
        start_time: row.take(5)?,
        end_time: row.take(6)?,
        lifecycle: lifecycle(row.take(7)?),
    };
    Ok(Some(ImportedRun { deleted_at_ms: row.take(9)?, ..ImportedRun::bare(run) }))
}

/// What belongs to the runs of a page.
struct Details {
    params: HashMap<String, Vec<KeyValue>>,
    tags: HashMap<String, Vec<KeyValue>>,
    inputs: Inputs,
}

impl Details {
    fn read(tx: &mut Tx<'_>, schema: &Schema, runs: &[&String]) -> Result<Self, ImportError> {
        let params: Vec<Value> = runs.iter().map(|id| (*id).into()).collect();
        Ok(Self {
            params: pairs(tx, "params", &params)?,
            tags: pairs(tx, "tags", &params)?,
            inputs: inputs::read(tx, schema, &params)?,
        })
    }

    fn fill(&mut self, id: &str, run: &mut RunData) {
        run.params = self.params.remove(id).unwrap_or_default();
        run.tags = self.tags.remove(id).unwrap_or_default();
        self.inputs.fill(id, run);
        if run.run.name.is_empty()
            && let Some(tag) = run.tags.iter().find(|tag| tag.key == "mlflow.runName")
        {
            run.run.name.clone_from(&tag.value);
        }
    }
}

fn pairs(
    tx: &mut Tx<'_>,
    table: &str,
    runs: &[Value],
) -> Result<HashMap<String, Vec<KeyValue>>, ImportError> {
    let mut found: HashMap<String, Vec<KeyValue>> = HashMap::new();
    if runs.is_empty() {
        return Ok(found);
    }
    let sql = format!(
        "SELECT run_uuid, key, value FROM {table} WHERE run_uuid IN ({}) ORDER BY run_uuid, key",
        list(runs.len())
    );
    tx.each(&sql, runs, |row| {
        let value = row.take::<Option<String>>(2)?.unwrap_or_default();
        found.entry(row.take(0)?).or_default().push(KeyValue::new(row.take::<String>(1)?, value));
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}

/// Hands a run over with its points.
fn take(tx: &mut Tx<'_>, importer: &mut Importer, run: ImportedRun) -> Result<(), ImportError> {
    let id = run.data.run.id.clone();
    let mut intake = Intake::new(importer, run);
    tx.each(POINTS, &[(&id).into()], |row| {
        let key: String = row.take(0)?;
        let (step, at_ms): (i64, i64) = (row.take(1)?, row.take(2)?);
        let (value, is_nan): (f64, bool) = (row.take(3)?, row.take(4)?);
        let value = if is_nan { f64::NAN } else { value };
        intake.push(&key, MetricPoint { step, at_ms, value })
    })?;
    intake.finish()
}

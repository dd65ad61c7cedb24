//! Experiments of a database.

use super::given;
use super::schema::Schema;
use crate::ImportError;
use crate::importer::Importer;
use std::collections::{BTreeSet, HashMap};
use trueline_db::Tx;
use trueline_tracking::{Experiment, ExperimentId, KeyValue, Lifecycle};

/// Experiments that come in with one event.
const BATCH: usize = 500;

/// Takes all experiments; answers their ids in the database.
pub(super) fn read(
    tx: &mut Tx<'_>,
    schema: &Schema,
    importer: &mut Importer,
) -> Result<BTreeSet<i64>, ImportError> {
    let mut tags = tags(tx)?;
    let columns = schema.columns(
        "experiments",
        &[
            "experiment_id",
            "name",
            "artifact_location",
            "lifecycle_stage",
            "creation_time",
            "last_update_time",
        ],
    );
    let workspace = schema.in_workspace("experiments");
    let rows = tx.query(
        &format!("SELECT {columns} FROM experiments WHERE {workspace} ORDER BY experiment_id"),
        &[schema.workspace()],
    )?;
    let mut all = Vec::with_capacity(rows.len());
    for mut row in rows {
        let id = row.take(0)?;
        let location = given(row.take(2)?).unwrap_or_default();
        let created = row.take::<Option<i64>>(4)?.unwrap_or_default();
        all.push(Experiment {
            id: ExperimentId(id),
            name: row.take(1)?,
            artifact_location: importer.copying.location(&location),
            lifecycle: lifecycle(row.take(3)?),
            created_at_ms: created,
            updated_at_ms: row.take::<Option<i64>>(5)?.unwrap_or(created),
            tags: tags.remove(&id).unwrap_or_default(),
        });
    }
    let ids = all.iter().map(|e| e.id.0).collect();
    while !all.is_empty() {
        let rest = all.split_off(all.len().min(BATCH));
        importer.experiments(std::mem::replace(&mut all, rest))?;
    }
    Ok(ids)
}

fn tags(tx: &mut Tx<'_>) -> Result<HashMap<i64, Vec<KeyValue>>, ImportError> {
    let mut tags: HashMap<i64, Vec<KeyValue>> = HashMap::new();
    tx.each("SELECT experiment_id, key, value FROM experiment_tags", &[], |row| {
        let value = row.take::<Option<String>>(2)?.unwrap_or_default();
        tags.entry(row.take(0)?).or_default().push(KeyValue::new(row.take::<String>(1)?, value));
        Ok::<_, ImportError>(())
    })?;
    Ok(tags)
}

/// MLflow's word for it.
pub(super) fn lifecycle(word: Option<String>) -> Lifecycle {
    word.as_deref().and_then(Lifecycle::parse).unwrap_or(Lifecycle::Active)
}

//! What runs read and made: datasets, logged models.

use super::runs::list;
use super::schema::Schema;
use crate::ImportError;
use std::collections::HashMap;
use trueline_db::{Tx, Value};
use trueline_tracking::{DatasetInput, KeyValue, LoggedDataset, RunData};

/// What the runs of a page read and made, by run.
#[derive(Default)]
pub(super) struct Inputs {
    datasets: HashMap<String, Vec<DatasetInput>>,
    read: HashMap<String, Vec<String>>,
    made: HashMap<String, Vec<(String, i64)>>,
}

impl Inputs {
    pub(super) fn fill(&mut self, id: &str, run: &mut RunData) {
        run.dataset_inputs = self.datasets.remove(id).unwrap_or_default();
        run.model_inputs = self.read.remove(id).unwrap_or_default();
        run.model_outputs = self.made.remove(id).unwrap_or_default();
    }
}

pub(super) fn read(tx: &mut Tx<'_>, schema: &Schema, runs: &[Value]) -> Result<Inputs, ImportError> {
    let mut found = Inputs::default();
    if runs.is_empty() || !schema.has_table("inputs") {
        return Ok(found);
    }
    let list = list(runs.len());
    let mut tags: HashMap<String, Vec<KeyValue>> = HashMap::new();
    let sql = format!(
        "SELECT t.input_uuid, t.name, t.value FROM input_tags t JOIN inputs i ON i.input_uuid = t.input_uuid
         WHERE i.destination_type = 'RUN' AND i.destination_id IN ({list}) ORDER BY t.input_uuid, t.name"
    );
    tx.each(&sql, runs, |row| {
        let tag = KeyValue::new(row.take::<String>(1)?, row.take::<String>(2)?);
        tags.entry(row.take(0)?).or_default().push(tag);
        Ok::<_, ImportError>(())
    })?;
    let sql = format!(
        "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source,
                d.dataset_schema, d.dataset_profile
         FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
         WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN ({list})"
    );
    tx.each(&sql, runs, |row| {
        let (run, input): (String, String) = (row.take(0)?, row.take(1)?);
        let dataset = LoggedDataset {
            name: row.take(2)?,
            digest: row.take(3)?,
            source_type: row.take(4)?,
            source: row.take(5)?,
            schema: row.take(6)?,
            profile: row.take(7)?,
        };
        let tags = tags.get(&input).cloned().unwrap_or_default();
        found.datasets.entry(run).or_default().push(DatasetInput { dataset, tags });
        Ok::<_, ImportError>(())
    })?;
    // Edges between runs and logged models came with the steps of theirs.
    if schema.has("inputs", "step") {
        models(tx, &list, runs, &mut found)?;
    }
    Ok(found)
}

fn models(tx: &mut Tx<'_>, list: &str, runs: &[Value], found: &mut Inputs) -> Result<(), ImportError> {
    let sql = format!(
        "SELECT source_id, source_type, destination_id, step FROM inputs
         WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id IN ({list}) ORDER BY source_id, step, destination_id"
    );
    tx.each(&sql, runs, |row| {
        let (run, kind): (String, String) = (row.take(0)?, row.take(1)?);
        let (model, step): (String, i64) = (row.take(2)?, row.take(3)?);
        match kind == "RUN_INPUT" {
            true => found.read.entry(run).or_default().push(model),
            false => found.made.entry(run).or_default().push((model, step)),
        }
        Ok::<_, ImportError>(())
    })?;
    Ok(())
}

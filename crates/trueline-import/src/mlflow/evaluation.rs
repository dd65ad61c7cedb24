//! Evaluation datasets with their records, scorers and issues of a database.

use super::schema::Schema;
use crate::ImportError;
use crate::importer::Importer;
use serde_json::Value as Json;
use std::collections::{BTreeSet, HashMap};
use trueline_db::{Row, Tx};
use trueline_traces::{
    DatasetRecord, EvaluationDataset, Issue, IssueSeverity, IssueStatus, NewIssue, Pairs, Sampling,
    ScorerVersion, TraceError, WholeScorer, read_texts,
};

/// Records that come in at once.
const RECORDS: usize = 500;
/// What came out stands under this name, so that it is an object whatever it is.
const WRAPPED: &str = "mlflow_wrapped";

/// Takes all evaluation datasets.
pub(super) fn datasets(tx: &mut Tx<'_>, schema: &Schema, importer: &mut Importer) -> Result<(), ImportError> {
    if !schema.has_table("evaluation_datasets") {
        return Ok(());
    }
    let mut tags = tags(tx, schema)?;
    let mut experiments = experiments(tx, schema, importer)?;
    let workspace = schema.in_workspace("evaluation_datasets");
    let sql = format!(
        "SELECT dataset_id, name, schema, profile, digest, created_time, last_update_time, created_by, last_updated_by
         FROM evaluation_datasets WHERE {workspace} ORDER BY created_time, dataset_id"
    );
    for mut row in tx.query(&sql, &[schema.workspace()])? {
        let id: String = row.take(0)?;
        let created = row.take::<Option<i64>>(5)?.unwrap_or_default();
        let dataset = EvaluationDataset {
            name: row.take(1)?,
            schema: row.take(2)?,
            profile: row.take(3)?,
            digest: row.take::<Option<String>>(4)?.unwrap_or_default(),
            created_at_ms: created,
            updated_at_ms: row.take::<Option<i64>>(6)?.unwrap_or(created),
            created_by: row.take(7)?,
            updated_by: row.take(8)?,
            tags: tags.remove(&id).unwrap_or_default(),
            id: id.clone(),
        };
        importer.evaluation_dataset(dataset, experiments.remove(&id).unwrap_or_default())?;
        records(tx, schema, &id, importer)?;
    }
    Ok(())
}

fn tags(tx: &mut Tx<'_>, schema: &Schema) -> Result<HashMap<String, Pairs>, ImportError> {
    let mut found: HashMap<String, Pairs> = HashMap::new();
    if !schema.has_table("evaluation_dataset_tags") {
        return Ok(found);
    }
    tx.each("SELECT dataset_id, key, value FROM evaluation_dataset_tags", &[], |row| {
        let value = row.take::<Option<String>>(2)?.unwrap_or_default();
        found.entry(row.take(0)?).or_default().insert(row.take(1)?, value);
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}

/// The experiments of each dataset, by the numbers that they have here.
fn experiments(
    tx: &mut Tx<'_>,
    schema: &Schema,
    importer: &Importer,
) -> Result<HashMap<String, Vec<String>>, ImportError> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    if !schema.has_table("entity_associations") {
        return Ok(found);
    }
    let sql = "SELECT source_id, destination_id FROM entity_associations
               WHERE source_type = 'evaluation_dataset' AND destination_type = 'experiment' ORDER BY destination_id";
    tx.each(sql, &[], |row| {
        let dataset = row.take(0)?;
        let was: String = row.take(1)?;
        let is = was.parse().ok().and_then(|was| importer.place(was));
        found.entry(dataset).or_default().extend(is.map(|is| is.to_string()));
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}

fn records(
    tx: &mut Tx<'_>,
    schema: &Schema,
    dataset: &str,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    if !schema.has_table("evaluation_dataset_records") {
        return Ok(());
    }
    let columns = schema.columns(
        "evaluation_dataset_records",
        &[
            "dataset_record_id",
            "inputs",
            "outputs",
            "expectations",
            "tags",
            "source",
            "source_id",
            "source_type",
            "created_time",
            "last_update_time",
            "created_by",
            "last_updated_by",
        ],
    );
    // PostgreSQL has a type of its own for JSON, which is read as text.
    let columns =
        ["inputs", "outputs", "expectations", "tags", "source"].iter().fold(columns, |all, column| {
            match schema.has("evaluation_dataset_records", column) {
                true => all.replace(&format!(", {column},"), &format!(", CAST({column} AS TEXT),")),
                false => all,
            }
        });
    let sql = format!(
        "SELECT {columns} FROM evaluation_dataset_records WHERE dataset_id = ?1 AND dataset_record_id > ?2
         ORDER BY dataset_record_id LIMIT {RECORDS}"
    );
    let mut after = String::new();
    loop {
        let rows = tx.query(&sql, &[dataset.into(), (&after).into()])?;
        let last = rows.len() < RECORDS;
        let page = rows.into_iter().map(|mut row| record(&mut row)).collect::<Result<Vec<_>, _>>()?;
        if let Some(end) = page.last() {
            after.clone_from(&end.id);
        }
        importer.records(dataset, page)?;
        if last {
            return Ok(());
        }
    }
}

fn record(row: &mut Row) -> Result<DatasetRecord, ImportError> {
    let json = |text: Option<String>| {
        text.and_then(|text| serde_json::from_str::<Json>(&text).ok()).filter(|json| !json.is_null())
    };
    let outputs = json(row.take(2)?).map(|mut outputs| match outputs.get_mut(WRAPPED) {
        Some(within) => within.take(),
        None => outputs,
    });
    let created = row.take::<Option<i64>>(8)?.unwrap_or_default();
    Ok(DatasetRecord {
        id: row.take(0)?,
        inputs: json(row.take(1)?).unwrap_or_else(|| Json::Object(serde_json::Map::new())),
        outputs,
        expectations: json(row.take(3)?),
        tags: json(row.take(4)?).unwrap_or_default(),
        source: json(row.take(5)?),
        source_id: row.take(6)?,
        source_type: row.take(7)?,
        created_at_ms: created,
        updated_at_ms: row.take::<Option<i64>>(9)?.unwrap_or(created),
        created_by: row.take(10)?,
        updated_by: row.take(11)?,
    })
}

/// Takes all scorers of the experiments.
pub(super) fn scorers(
    tx: &mut Tx<'_>,
    schema: &Schema,
    experiments: &BTreeSet<i64>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    if !schema.has_table("scorer_versions") || !schema.has("scorers", "scorer_id") {
        return Ok(());
    }
    let mut sampling = sampling(tx, schema, importer)?;
    let sql = "SELECT s.scorer_id, s.experiment_id, s.scorer_name, v.scorer_version, v.serialized_scorer, v.creation_time
               FROM scorers s JOIN scorer_versions v ON v.scorer_id = s.scorer_id
               ORDER BY s.scorer_id, v.scorer_version";
    let mut found: Vec<WholeScorer> = Vec::new();
    for mut row in tx.query(sql, &[])? {
        let of: i64 = row.take(1)?;
        let Some(experiment) = importer.place(of).filter(|_| experiments.contains(&of)) else { continue };
        let version = ScorerVersion {
            id: row.take(0)?,
            experiment: experiment.0,
            name: row.take(2)?,
            version: row.take(3)?,
            body: row.take(4)?,
            created_at_ms: row.take::<Option<i64>>(5)?.unwrap_or_default(),
        };
        match found.last_mut().filter(|scorer| scorer.versions.last().is_some_and(|v| v.id == version.id)) {
            Some(scorer) => scorer.versions.push(version),
            None => {
                let sampling = sampling.remove(&version.id);
                found.push(WholeScorer { versions: vec![version], sampling });
            }
        }
    }
    found.into_iter().try_for_each(|scorer| importer.scorer(scorer))
}

fn sampling(
    tx: &mut Tx<'_>,
    schema: &Schema,
    importer: &Importer,
) -> Result<HashMap<String, Sampling>, ImportError> {
    let mut found = HashMap::new();
    if !schema.has_table("online_scoring_configs") {
        return Ok(found);
    }
    let columns = ["online_scoring_config_id", "scorer_id", "experiment_id", "sample_rate", "filter_string"];
    let sql =
        format!("SELECT {} FROM online_scoring_configs", schema.columns("online_scoring_configs", &columns));
    for mut row in tx.query(&sql, &[])? {
        let Some(experiment) = row.take::<Option<i64>>(2)?.and_then(|of| importer.place(of)) else {
            continue;
        };
        let scorer: String = row.take(1)?;
        let one = Sampling {
            id: row.take(0)?,
            scorer: scorer.clone(),
            experiment: experiment.0,
            sample_rate: row.take(3)?,
            filter: row.take(4)?,
        };
        found.insert(scorer, one);
    }
    Ok(found)
}

/// Takes all issues of the experiments.
pub(super) fn issues(
    tx: &mut Tx<'_>,
    schema: &Schema,
    experiments: &BTreeSet<i64>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    if !schema.has_table("issues") {
        return Ok(());
    }
    let sql = "SELECT issue_id, experiment_id, name, description, status, severity, root_causes, categories, source_run_id,
                   created_timestamp, last_updated_timestamp, created_by
               FROM issues ORDER BY created_timestamp, issue_id";
    for mut row in tx.query(sql, &[])? {
        let of: i64 = row.take(1)?;
        let Some(experiment) = importer.place(of).filter(|_| experiments.contains(&of)) else { continue };
        match issue(&mut row, experiment.0) {
            Ok(issue) => importer.issue(issue)?,
            Err(TraceError::Invalid(why)) => importer.report.miss("issues", 1, why),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

fn issue(row: &mut Row, experiment: i64) -> Result<Issue, TraceError> {
    let severity: Option<String> = row.take(5)?;
    Ok(Issue {
        id: row.take(0)?,
        experiment,
        told: NewIssue {
            name: row.take(2)?,
            description: row.take(3)?,
            status: IssueStatus::parse(&row.take::<String>(4)?)?,
            severity: severity.map(|word| IssueSeverity::parse(&word)).transpose()?,
            root_causes: read_texts(row.take(6)?),
            categories: read_texts(row.take(7)?),
            source_run: row.take(8)?,
            created_by: row.take(11)?,
        },
        created_at_ms: row.take(9)?,
        updated_at_ms: row.take(10)?,
        traces: None,
    })
}

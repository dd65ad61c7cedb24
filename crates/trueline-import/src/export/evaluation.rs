//! Evaluation datasets with their records, scorers and issues.

use super::Export;
use super::runs::derived;
use super::sheet::Table;
use super::traces::ASSOCIATIONS;
use crate::ImportError;
use serde_json::{Value as Json, json};
use trueline_db::{Tx, Value};
use trueline_traces::{IssueSeverity, export, written_texts};
use trueline_tracking::{RunId, export as runs};

const DATASETS: Table = Table {
    name: "evaluation_datasets",
    columns: &[
        "dataset_id",
        "name",
        "schema",
        "profile",
        "digest",
        "created_time",
        "last_update_time",
        "created_by",
        "last_updated_by",
    ],
};
const DATASET_TAGS: Table =
    Table { name: "evaluation_dataset_tags", columns: &["dataset_id", "key", "value"] };
const RECORDS: Table = Table {
    name: "evaluation_dataset_records",
    columns: &[
        "dataset_record_id",
        "dataset_id",
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
        "input_hash",
    ],
};
const SCORERS: Table = Table { name: "scorers", columns: &["experiment_id", "scorer_name", "scorer_id"] };
const SCORER_VERSIONS: Table = Table {
    name: "scorer_versions",
    columns: &["scorer_id", "scorer_version", "serialized_scorer", "creation_time"],
};
const SAMPLING: Table = Table {
    name: "online_scoring_configs",
    columns: &["online_scoring_config_id", "scorer_id", "sample_rate", "experiment_id", "filter_string"],
};

const ISSUES: Table = Table {
    name: "issues",
    columns: &[
        "issue_id",
        "experiment_id",
        "name",
        "description",
        "status",
        "severity",
        "root_causes",
        "source_run_id",
        "categories",
        "created_timestamp",
        "last_updated_timestamp",
        "created_by",
    ],
};

/// What came out, as MLflow keeps it: under a name, so that it is an object whatever it is.
const WRAPPED: &str = "mlflow_wrapped";

/// Tells of all evaluation datasets, scorers and issues.
pub(super) fn write(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    datasets(tx, to)?;
    scorers(tx, to)?;
    issues(tx, to)
}

fn datasets(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    for (dataset, experiments) in export::datasets(tx, to.read)? {
        let id = dataset.id.as_str();
        let row = vec![
            id.into(),
            dataset.name.into(),
            dataset.schema.into(),
            dataset.profile.into(),
            dataset.digest.into(),
            dataset.created_at_ms.into(),
            dataset.updated_at_ms.into(),
            dataset.created_by.into(),
            dataset.updated_by.into(),
        ];
        to.sheet.put(&DATASETS, row)?;
        to.report.evaluation_datasets += 1;
        for (key, value) in dataset.tags {
            to.sheet.put(&DATASET_TAGS, vec![id.into(), key.into(), value.into()])?;
        }
        for experiment in experiments {
            let row = vec![
                format!("a-{}", derived(&["association", id, "experiment", &experiment])).into(),
                "evaluation_dataset".into(),
                id.into(),
                "experiment".into(),
                experiment.into(),
                dataset.created_at_ms.into(),
            ];
            to.sheet.put(&ASSOCIATIONS, row)?;
        }
        let read = to.read;
        export::records(tx, read, id, |record, hash| {
            let text = |json: Option<Json>| json.map_or(Value::Null, |json| json.to_string().into());
            let row = vec![
                record.id.into(),
                id.into(),
                record.inputs.to_string().into(),
                text(record.outputs.map(|outputs| json!({ WRAPPED: outputs }))),
                text(record.expectations),
                record.tags.to_string().into(),
                text(record.source),
                record.source_id.into(),
                record.source_type.into(),
                record.created_at_ms.into(),
                record.updated_at_ms.into(),
                record.created_by.into(),
                record.updated_by.into(),
                hash.into(),
            ];
            to.report.records += 1;
            to.sheet.put(&RECORDS, row)
        })?;
        to.tell();
    }
    Ok(())
}

fn scorers(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    let (versions, sampling) = export::scorers(tx, to.read)?;
    let mut last = String::new();
    for version in versions {
        if last != version.id {
            let row = vec![version.experiment.into(), version.name.into(), (&version.id).into()];
            to.sheet.put(&SCORERS, row)?;
            last.clone_from(&version.id);
        }
        let row = vec![
            version.id.into(),
            version.version.into(),
            version.body.into(),
            version.created_at_ms.into(),
        ];
        to.sheet.put(&SCORER_VERSIONS, row)?;
        to.report.scorers += 1;
    }
    for one in sampling {
        let row = vec![
            one.id.into(),
            one.scorer.into(),
            one.sample_rate.into(),
            one.experiment.into(),
            one.filter.into(),
        ];
        to.sheet.put(&SAMPLING, row)?;
    }
    Ok(())
}

fn issues(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    for issue in export::issues(tx, to.read)? {
        let told = issue.told;
        // MLflow's table holds runs that are there alone.
        let run = match told.source_run.map(RunId::new) {
            Some(run) if runs::has_run(tx, to.read, &run)? => Some(run),
            _ => None,
        };
        let row = vec![
            issue.id.into(),
            issue.experiment.into(),
            told.name.into(),
            told.description.into(),
            told.status.as_str().into(),
            told.severity.map(IssueSeverity::as_str).into(),
            written_texts(&told.root_causes).into(),
            run.as_ref().map(RunId::as_str).into(),
            written_texts(&told.categories).into(),
            issue.created_at_ms.into(),
            issue.updated_at_ms.into(),
            told.created_by.into(),
        ];
        to.sheet.put(&ISSUES, row)?;
        to.report.issues += 1;
    }
    Ok(())
}

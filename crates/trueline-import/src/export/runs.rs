//! Experiments, runs with their points, datasets and models that they read and made, logged models.

use super::Export;
use super::sheet::Table;
use crate::ImportError;
use sha2::{Digest, Sha256};
use trueline_db::{Dialect, Tx, Value};
use trueline_tracking::{
    DatasetInput, ImportedRun, Lifecycle, LoggedModel, LoggedModelStatus, MetricPoint, RunData, export,
};

/// Runs and logged models that are read at once.
const PAGE: u32 = 500;

const EXPERIMENTS: Table = Table {
    name: "experiments",
    columns: &[
        "experiment_id",
        "name",
        "artifact_location",
        "lifecycle_stage",
        "creation_time",
        "last_update_time",
    ],
};
const EXPERIMENT_TAGS: Table = Table { name: "experiment_tags", columns: &["experiment_id", "key", "value"] };
const RUNS: Table = Table {
    name: "runs",
    columns: &[
        "run_uuid",
        "name",
        "source_type",
        "source_name",
        "entry_point_name",
        "user_id",
        "status",
        "start_time",
        "end_time",
        "source_version",
        "lifecycle_stage",
        "artifact_uri",
        "experiment_id",
        "deleted_time",
    ],
};
const PARAMS: Table = Table { name: "params", columns: &["run_uuid", "key", "value"] };
const TAGS: Table = Table { name: "tags", columns: &["run_uuid", "key", "value"] };
const METRICS: Table =
    Table { name: "metrics", columns: &["run_uuid", "key", "step", "timestamp", "value", "is_nan"] };
const LATEST: Table =
    Table { name: "latest_metrics", columns: &["run_uuid", "key", "step", "timestamp", "value", "is_nan"] };
const DATASETS: Table = Table {
    name: "datasets",
    columns: &[
        "dataset_uuid",
        "experiment_id",
        "name",
        "digest",
        "dataset_source_type",
        "dataset_source",
        "dataset_schema",
        "dataset_profile",
    ],
};
const INPUTS: Table = Table {
    name: "inputs",
    columns: &["input_uuid", "source_type", "source_id", "destination_type", "destination_id", "step"],
};
const INPUT_TAGS: Table = Table { name: "input_tags", columns: &["input_uuid", "name", "value"] };
const MODELS: Table = Table {
    name: "logged_models",
    columns: &[
        "model_id",
        "experiment_id",
        "name",
        "artifact_location",
        "creation_timestamp_ms",
        "last_updated_timestamp_ms",
        "status",
        "lifecycle_stage",
        "model_type",
        "source_run_id",
    ],
};
const MODEL_PARAMS: Table = Table {
    name: "logged_model_params",
    columns: &["model_id", "experiment_id", "param_key", "param_value"],
};
const MODEL_TAGS: Table =
    Table { name: "logged_model_tags", columns: &["model_id", "experiment_id", "tag_key", "tag_value"] };
const MODEL_METRICS: Table = Table {
    name: "logged_model_metrics",
    columns: &[
        "model_id",
        "metric_name",
        "metric_step",
        "metric_timestamp_ms",
        "metric_value",
        "experiment_id",
        "run_id",
        "dataset_uuid",
        "dataset_name",
        "dataset_digest",
    ],
};

/// An id for what has none here: always the same for the same thing.
pub(super) fn derived(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

fn dataset_id(experiment: i64, name: &str, digest: &str) -> String {
    derived(&["dataset", &experiment.to_string(), name, digest])
}

/// A value as MLflow keeps it: NaN as 0 with a mark, infinities as the greatest doubles.
fn kept(value: f64) -> (f64, bool) {
    if value.is_nan() { (0.0, true) } else { (value.clamp(f64::MIN, f64::MAX), false) }
}

fn status(status: LoggedModelStatus) -> i64 {
    match status {
        LoggedModelStatus::Unspecified => 0,
        LoggedModelStatus::Pending => 1,
        LoggedModelStatus::Ready => 2,
        LoggedModelStatus::UploadFailed => 3,
    }
}

/// Tells of all experiments, datasets and runs.
pub(super) fn write(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    to.report.all_runs = export::count_runs(tx, to.read)?;
    for one in export::experiments(tx, to.read)? {
        let id = one.id.0;
        if to.sheet.dialect() == Dialect::Postgres && i32::try_from(id).is_err() {
            let why = format!(
                "experiment {id} has an id that MLflow has no room for on PostgreSQL, as those of its folders are; export to \
                 SQLite"
            );
            return Err(ImportError::no_target(&to.report.target, why));
        }
        let row = vec![
            id.into(),
            one.name.into(),
            to.artifacts.location(&one.artifact_location, &id.to_string()).into(),
            one.lifecycle.as_str().into(),
            one.created_at_ms.into(),
            one.updated_at_ms.into(),
        ];
        to.sheet.put(&EXPERIMENTS, row)?;
        for tag in one.tags {
            to.sheet.put(&EXPERIMENT_TAGS, vec![id.into(), tag.key.into(), tag.value.into()])?;
        }
        to.report.experiments += 1;
    }
    datasets(tx, to)?;
    let mut after = 0;
    loop {
        let page = export::runs(tx, to.read, after, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (n, run) in page {
            write_run(tx, to, n, run)?;
        }
        to.tell();
    }
    logged_models(tx, to)
}

fn datasets(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    let read = to.read;
    export::datasets(tx, read, |experiment, dataset| {
        let row = vec![
            dataset_id(experiment, &dataset.name, &dataset.digest).into(),
            experiment.into(),
            dataset.name.into(),
            dataset.digest.into(),
            dataset.source_type.into(),
            dataset.source.into(),
            dataset.schema.into(),
            dataset.profile.into(),
        ];
        to.report.datasets += 1;
        to.sheet.put(&DATASETS, row)
    })
}

fn write_run(tx: &mut Tx<'_>, to: &mut Export<'_>, n: i64, of: ImportedRun) -> Result<(), ImportError> {
    let RunData { run, metrics, params, tags, dataset_inputs, model_inputs, model_outputs } = of.data;
    let id = run.id.as_str();
    let experiment = run.experiment.0;
    let own = format!("{experiment}/{id}/artifacts");
    let row = vec![
        id.into(),
        run.name.into(),
        "UNKNOWN".into(),
        "".into(),
        "".into(),
        run.claimed_user.into(),
        run.status.as_str().into(),
        run.start_time.into(),
        run.end_time.into(),
        "".into(),
        run.lifecycle.as_str().into(),
        to.artifacts.adopt(&run.artifact_uri, &own, &mut to.report)?.into(),
        experiment.into(),
        of.deleted_at_ms.into(),
    ];
    to.sheet.put(&RUNS, row)?;
    to.report.runs += 1;
    to.report.params += params.len() as u64;
    to.report.tags += tags.len() as u64;
    for (table, pairs) in [(&PARAMS, params), (&TAGS, tags)] {
        for pair in pairs {
            to.sheet.put(table, vec![id.into(), pair.key.into(), pair.value.into()])?;
        }
    }
    let point = |key: &str, point: &MetricPoint| -> Vec<Value> {
        let (value, is_nan) = kept(point.value);
        vec![id.into(), key.into(), point.step.into(), point.at_ms.into(), value.into(), is_nan.into()]
    };
    for metric in &metrics {
        to.sheet.put(&LATEST, point(&metric.key, &metric.point))?;
    }
    export::points(tx, n, |key, points| {
        to.report.points += points.len() as u64;
        points.iter().try_for_each(|one| to.sheet.put(&METRICS, point(key, one)))?;
        to.tell();
        Ok::<_, ImportError>(())
    })?;
    for input in dataset_inputs {
        write_input(to, id, experiment, input)?;
    }
    for model in model_inputs {
        edge(to, "RUN_INPUT", id, "MODEL_INPUT", &model, 0)?;
    }
    for (model, step) in model_outputs {
        edge(to, "RUN_OUTPUT", id, "MODEL_OUTPUT", &model, step)?;
    }
    Ok(())
}

fn edge(
    to: &mut Export<'_>,
    from: &str,
    source: &str,
    into: &str,
    destination: &str,
    step: i64,
) -> Result<String, ImportError> {
    let id = derived(&["input", from, source, into, destination]);
    let row = vec![(&id).into(), from.into(), source.into(), into.into(), destination.into(), step.into()];
    to.sheet.put(&INPUTS, row)?;
    Ok(id)
}

fn write_input(
    to: &mut Export<'_>,
    run: &str,
    experiment: i64,
    input: DatasetInput,
) -> Result<(), ImportError> {
    let dataset = dataset_id(experiment, &input.dataset.name, &input.dataset.digest);
    let id = edge(to, "DATASET", &dataset, "RUN", run, 0)?;
    for tag in input.tags {
        to.sheet.put(&INPUT_TAGS, vec![(&id).into(), tag.key.into(), tag.value.into()])?;
    }
    Ok(())
}

fn logged_models(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    let mut after = String::new();
    loop {
        let page = export::logged_models(tx, to.read, &after, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for (model, lifecycle) in page {
            write_model(tx, to, model, lifecycle)?;
        }
        to.tell();
    }
}

fn write_model(
    tx: &mut Tx<'_>,
    to: &mut Export<'_>,
    model: LoggedModel,
    lifecycle: Lifecycle,
) -> Result<(), ImportError> {
    let (id, experiment) = (model.id.as_str(), model.experiment.0);
    let own = format!("{experiment}/models/{id}/artifacts");
    let row = vec![
        id.into(),
        experiment.into(),
        model.name.into(),
        to.artifacts.adopt(&model.artifact_uri, &own, &mut to.report)?.into(),
        model.created_at_ms.into(),
        model.updated_at_ms.into(),
        status(model.status).into(),
        lifecycle.as_str().into(),
        model.model_type.into(),
        model.source_run.as_ref().map(|run| run.as_str()).into(),
    ];
    to.sheet.put(&MODELS, row)?;
    to.report.logged_models += 1;
    for (table, pairs) in [(&MODEL_PARAMS, model.params), (&MODEL_TAGS, model.tags)] {
        for pair in pairs {
            to.sheet.put(table, vec![id.into(), experiment.into(), pair.key.into(), pair.value.into()])?;
        }
    }
    // MLflow keeps one value where name, time, step and run are the same: the last one here.
    let place = |(run, of): &(trueline_tracking::RunId, trueline_tracking::ModelMetric)| {
        (run.clone(), of.metric.key.clone(), of.metric.point.at_ms, of.metric.point.step)
    };
    let mut points = model.metrics;
    points.sort_by_key(place);
    let mut rest = points.into_iter().peekable();
    while let Some(one) = rest.next() {
        if rest.peek().is_some_and(|next| place(next) == place(&one)) {
            to.report.miss(
                "points of logged models",
                1,
                "MLflow keeps one value for a name, time, step and run",
            );
            continue;
        }
        let (run, of) = one;
        if !export::has_run(tx, to.read, &run)? {
            to.report.miss("points of logged models", 1, "the run that logged them is not there any more");
            continue;
        }
        let dataset = of.dataset;
        let (value, is_nan) = kept(of.metric.point.value);
        to.report.miss(
            "points of logged models",
            u64::from(is_nan),
            "they are NaN, which MLflow keeps as 0 for logged models",
        );
        let known =
            dataset.as_ref().and_then(|on| Some(dataset_id(experiment, &on.name, on.digest.as_deref()?)));
        let (name, digest) = dataset.map(|on| (on.name, on.digest)).unzip();
        let row = vec![
            id.into(),
            of.metric.key.into(),
            of.metric.point.step.into(),
            of.metric.point.at_ms.into(),
            value.into(),
            experiment.into(),
            run.as_str().into(),
            known.into(),
            name.into(),
            digest.flatten().into(),
        ];
        to.sheet.put(&MODEL_METRICS, row)?;
    }
    Ok(())
}

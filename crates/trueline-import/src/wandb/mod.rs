//! W&B's folders of offline runs: the log of a run with the files beside it.

mod log;
mod record;
mod value;

use crate::artifacts::Copying;
use crate::importer::{Importer, Progress, Target};
use crate::intake::Intake;
use crate::{Artifacts, ImportError, Report};
use log::Records;
use prost::Message;
use record::{Items, Kind, Record, Stats};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use trueline_tracking::{
    Experiment, ExperimentId, ImportedPoints, ImportedRun, KeyValue, Lifecycle, MetricPoint, Run, RunId,
    RunStatus,
};
use value::{Value, clean};

/// A folder of an offline run, or one that holds many, as `wandb` does.
///
/// # Errors
/// [`ImportError::Source`] when there is no log in it.
pub fn logs(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let own = logs_in(folder)?;
    if !own.is_empty() {
        return Ok(own);
    }
    let mut found = Vec::new();
    for path in entries(folder)? {
        // `latest-run` is a link to one of the others.
        if path.is_dir() && !path.is_symlink() {
            found.extend(logs_in(&path)?);
        }
    }
    match found.is_empty() {
        false => Ok(found),
        true => Err(ImportError::source(
            &folder.display().to_string(),
            "there is no log of a run (`run-….wandb`) in it; name an `offline-run-…` folder, or the folder `wandb`",
        )),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let listing = std::fs::read_dir(folder).map_err(|e| ImportError::file(folder, e))?;
    let paths: Result<Vec<PathBuf>, _> = listing.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(|e| ImportError::file(folder, e))?;
    paths.sort();
    Ok(paths)
}

fn logs_in(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let log = |path: &PathBuf| path.extension().is_some_and(|e| e == "wandb");
    Ok(entries(folder)?.into_iter().filter(log).collect())
}

/// Imports the runs of a folder. Blocks; `runtime` does the writing.
///
/// # Errors
/// When a log can't be read, or the target can't be written.
pub fn import(
    folder: &Path,
    target: Target,
    runtime: Handle,
    progress: Progress,
) -> Result<Report, ImportError> {
    let logs = logs(folder)?;
    let base = std::path::absolute(folder).map_err(|e| ImportError::file(folder, e))?;
    let source = format!("wandb {}", base.display());
    let copying = Copying::new(Artifacts::Copy, None, base);
    let mut importer = Importer::new(runtime, target, source, copying, progress);
    let consoles = tempfile::tempdir().map_err(|e| ImportError::file(&std::env::temp_dir(), e))?;
    for log in logs {
        read(&log, consoles.path(), &mut importer)?;
    }
    importer.settle()?;
    importer.copy_artifacts()?;
    importer.finish()
}

/// What a log says.
#[derive(Default)]
struct Told {
    run: record::Run,
    environment: record::Environment,
    config: BTreeMap<String, String>,
    summary: BTreeMap<String, Value>,
    points: ImportedPoints,
    console: String,
    exit: Option<i32>,
    /// The last step and time of the history.
    last: (i64, i64),
    samples: i64,
    texts: u64,
    media: u64,
    artifacts: u64,
}

impl Told {
    fn take(&mut self, kind: Kind) {
        match kind {
            Kind::Run(mut run) => {
                if let Some(config) = run.config.take() {
                    self.config(&config);
                }
                if let Some(summary) = run.summary.take() {
                    self.summary(&summary);
                }
                self.run = *run;
            }
            Kind::Config(items) => self.config(&items),
            Kind::Summary(items) => self.summary(&items),
            Kind::History(items) => self.history(&items),
            Kind::Stats(stats) => self.stats(&stats),
            Kind::Output(output) => self.console.push_str(&output.line),
            Kind::Exit(exit) => self.exit = Some(exit.exit_code),
            Kind::Environment(environment) => self.environment = environment,
            Kind::Artifact(_) => self.artifacts += 1,
        }
    }

    fn config(&mut self, items: &Items) {
        for item in &items.items {
            let top = value::key(item);
            if top.split('.').next() == Some("_wandb") {
                continue;
            }
            for (below, text) in value::text(&item.value_json) {
                let key = if below.is_empty() { top.clone() } else { format!("{top}.{below}") };
                self.config.insert(clean(&key), text);
            }
        }
    }

    fn summary(&mut self, items: &Items) {
        let values = items.items.iter().flat_map(value::values);
        self.summary.extend(values.filter(|(key, _)| !key.starts_with('_')));
    }

    fn history(&mut self, items: &Items) {
        let values: Vec<(String, Value)> = items.items.iter().flat_map(value::values).collect();
        let number = |name: &str| {
            values.iter().find_map(|(key, value)| match value {
                Value::Number(n) if key == name => Some(*n),
                _ => None,
            })
        };
        let step = number("_step").map_or(self.last.0 + 1, |step| step as i64);
        let at_ms = number("_timestamp").map_or(self.last.1, |seconds| (seconds * 1000.0) as i64).max(0);
        self.last = (step, at_ms);
        for (key, value) in values {
            match value {
                _ if key.starts_with('_') => {}
                Value::Number(value) => {
                    self.points.entry(clean(&key)).or_default().push(MetricPoint { step, at_ms, value });
                }
                Value::Text(_) => self.texts += 1,
                Value::Media => self.media += 1,
            }
        }
    }

    fn stats(&mut self, stats: &Stats) {
        let at_ms = stats.timestamp.as_ref().map_or(self.last.1, record::Timestamp::millis).max(0);
        for (key, value) in stats.items.iter().flat_map(value::values) {
            if let Value::Number(value) = value {
                let key = clean(&format!("system/{key}"));
                let point = MetricPoint { step: self.samples, at_ms, value };
                self.points.entry(key).or_default().push(point);
            }
        }
        self.samples += 1;
    }

    /// Adds numbers that are in the summary alone, as a point at the end.
    fn summary_points(&mut self) {
        let (step, at_ms) = self.last;
        for (key, value) in &self.summary {
            if let Value::Number(value) = value {
                let series = self.points.entry(clean(key)).or_default();
                if series.is_empty() {
                    series.push(MetricPoint { step: step.max(0), at_ms, value: *value });
                }
            }
        }
    }

    fn tags(&self) -> Vec<KeyValue> {
        let run = &self.run;
        let git = run.git.clone().unwrap_or_default();
        let tags = run.tags.join(", ");
        let named = [
            ("mlflow.runName", &run.display_name),
            ("mlflow.note.content", &run.notes),
            ("mlflow.source.git.commit", &git.commit),
            ("mlflow.source.git.repoURL", &git.remote_url),
            ("mlflow.source.name", &self.environment.program),
            ("wandb.entity", &run.entity),
            ("wandb.group", &run.run_group),
            ("wandb.host", &run.host),
            ("wandb.job_type", &run.job_type),
            ("wandb.project", &run.project),
            ("wandb.run_id", &run.run_id),
            ("wandb.sweep_id", &run.sweep_id),
            ("wandb.tags", &tags),
        ];
        let mut found: Vec<KeyValue> = named
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| KeyValue::new(key, value.as_str()))
            .collect();
        found.extend(run.tags.iter().map(|tag| KeyValue::new(clean(&format!("wandb.tag.{tag}")), "true")));
        found.extend(self.summary.iter().filter_map(|(key, value)| match value {
            Value::Text(text) => Some(KeyValue::new(clean(&format!("wandb.summary.{key}")), text)),
            _ => None,
        }));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.dedup_by(|a, b| a.key == b.key);
        found
    }

    /// W&B's ids are short and unique only within a project, so the id here is made of all that names the run.
    fn id(&self) -> RunId {
        let name = format!("wandb/{}/{}/{}", self.run.entity, self.run.project, self.run.run_id);
        RunId::new(hex::encode(&Sha256::digest(name)[..16]))
    }

    fn status(&self) -> RunStatus {
        match self.exit {
            Some(0) => RunStatus::Finished,
            Some(_) => RunStatus::Failed,
            // The log ends in the middle.
            None => RunStatus::Killed,
        }
    }
}

fn read(path: &Path, consoles: &Path, importer: &mut Importer) -> Result<(), ImportError> {
    let bytes = std::fs::read(path).map_err(|e| ImportError::file(path, e))?;
    let mut records = Records::new(&bytes)
        .ok_or_else(|| ImportError::source(&path.display().to_string(), "it is no log of a W&B run"))?;
    let mut told = Told::default();
    let mut unread = 0;
    for record in records.by_ref() {
        match Record::decode(record.as_slice()) {
            Ok(record) => record.kind.into_iter().for_each(|kind| told.take(kind)),
            Err(_) => unread += 1,
        }
    }
    let report = &mut importer.report;
    report.miss("records", unread + records.damaged, "they are damaged, as a crash leaves them");
    if told.run.run_id.is_empty() {
        report.miss("runs", 1, format!("{} was cut off before it said which run it is", path.display()));
        return Ok(());
    }
    report.miss("values of the history", told.texts, "they are texts or lists; series here are numbers");
    report.miss(
        "media and tables of the history",
        told.media,
        "their files are among the artifacts of the run",
    );
    report.miss("artifacts of W&B", told.artifacts, "their files are not in the run's folder");
    told.summary_points();
    take(told, path, consoles, importer)
}

fn take(told: Told, path: &Path, consoles: &Path, importer: &mut Importer) -> Result<(), ImportError> {
    let start = told.run.start_time.as_ref().map(record::Timestamp::millis);
    let project = if told.run.project.is_empty() { "uncategorized" } else { told.run.project.as_str() };
    importer.experiments(vec![Experiment {
        id: ExperimentId(1),
        name: project.to_owned(),
        artifact_location: String::new(),
        lifecycle: Lifecycle::Active,
        created_at_ms: start.unwrap_or_default(),
        updated_at_ms: start.unwrap_or_default(),
        tags: Vec::new(),
    }])?;
    // W&B's projects have no numbers that could have been taken.
    importer.report.renumbered.clear();
    let Some(experiment) = importer.place(1) else { return Ok(()) };
    let id = told.id();
    let own = format!("{experiment}/{id}/artifacts");
    let files = path.parent().unwrap_or(Path::new("")).join("files");
    let files = std::path::absolute(&files).map_err(|e| ImportError::file(&files, e))?;
    importer.copying.adopt(&files.display().to_string(), &own, &mut importer.report);
    if !told.console.is_empty() && !files.join("output.log").exists() {
        // W&B writes the file at the end, which a run that crashed did not see.
        let folder = consoles.join(id.as_str());
        let file = folder.join("output.log");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&file, &told.console))
            .map_err(|e| ImportError::file(&file, e))?;
        importer.copying.adopt(&folder.display().to_string(), &own, &mut importer.report);
    }
    if importer.unknown(&[id.to_string()])?.is_empty() {
        return Ok(());
    }
    let run = Run {
        id,
        experiment,
        name: told.run.display_name.clone(),
        claimed_user: told.environment.username.clone(),
        created_by: String::new(),
        status: told.status(),
        start_time: start,
        end_time: Some(told.last.1).filter(|end| *end > 0).or(start),
        artifact_uri: String::new(),
        lifecycle: Lifecycle::Active,
    };
    let mut run = ImportedRun::bare(run);
    run.data.params = told.config.iter().map(|(key, value)| KeyValue::new(key, value)).collect();
    run.data.tags = told.tags();
    let mut intake = Intake::new(importer, run);
    for (key, series) in told.points {
        series.into_iter().try_for_each(|point| intake.push(&key, point))?;
    }
    intake.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Exit, Item, Output, Timestamp};

    fn item(key: &str, json: &str) -> Item {
        Item { key: key.into(), nested_key: Vec::new(), value_json: json.into() }
    }

    fn items(list: &[(&str, &str)]) -> Items {
        Items { items: list.iter().map(|(key, json)| item(key, json)).collect() }
    }

    fn told(kinds: Vec<Kind>) -> Told {
        let mut told = Told::default();
        for kind in kinds {
            // As it comes from the file.
            let bytes = Record { kind: Some(kind) }.encode_to_vec();
            told.take(Record::decode(bytes.as_slice()).unwrap().kind.unwrap());
        }
        told.summary_points();
        told
    }

    fn run() -> Kind {
        Kind::Run(Box::new(record::Run {
            run_id: "abc".into(),
            project: "flights".into(),
            display_name: "sunny".into(),
            tags: vec!["try".into()],
            config: Some(items(&[("lr", "0.1"), ("deep", r#"{"a": {"b": [1]}}"#), ("_wandb", "{}")])),
            start_time: Some(Timestamp { seconds: 5, nanos: 7_000_000 }),
            ..record::Run::default()
        }))
    }

    #[test]
    fn a_log_tells_params_points_tags_and_how_it_ended() {
        let told = told(vec![
            run(),
            Kind::History(items(&[
                ("loss", "1.5"),
                ("_step", "0"),
                ("_timestamp", "10.5"),
                ("note", "\"x\""),
            ])),
            Kind::History(items(&[
                ("loss", "NaN"),
                ("val/acc", "2"),
                ("_step", "3"),
                ("_timestamp", "11.0"),
            ])),
            Kind::Stats(record::Stats {
                timestamp: Some(Timestamp { seconds: 12, nanos: 0 }),
                items: vec![item("cpu", "7.5")],
            }),
            Kind::Summary(items(&[("loss", "9"), ("best", "0.25"), ("said", "\"yes\""), ("_runtime", "3")])),
            Kind::Output(Output { line: "hello\n".into() }),
            Kind::Exit(Exit { exit_code: 0 }),
        ]);
        let params: Vec<(&str, &str)> = told.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(params, [("deep.a.b", "[1]"), ("lr", "0.1")]);
        let keys: Vec<&str> = told.points.keys().map(String::as_str).collect();
        assert_eq!(keys, ["best", "loss", "system/cpu", "val/acc"]);
        assert_eq!(told.points["loss"][0], MetricPoint { step: 0, at_ms: 10_500, value: 1.5 });
        assert!(told.points["loss"][1].value.is_nan());
        assert_eq!(told.points["best"], [MetricPoint { step: 3, at_ms: 11_000, value: 0.25 }]);
        assert_eq!(told.points["system/cpu"][0].at_ms, 12_000);
        let tags = told.tags();
        let tag = |key: &str| tags.iter().find(|t| t.key == key).map(|t| t.value.as_str());
        assert_eq!(tag("mlflow.runName"), Some("sunny"));
        assert_eq!((tag("wandb.tag.try"), tag("wandb.summary.said")), (Some("true"), Some("yes")));
        assert_eq!((told.texts, told.console.as_str()), (1, "hello\n"));
        assert_eq!(told.status(), RunStatus::Finished);
        assert_eq!(told.id().as_str().len(), 32);
    }

    #[test]
    fn a_run_that_did_not_say_how_it_ended_was_killed() {
        assert_eq!(told(vec![run()]).status(), RunStatus::Killed);
        assert_eq!(told(vec![run(), Kind::Exit(Exit { exit_code: 1 })]).status(), RunStatus::Failed);
    }
}

//! Runs of an experiment's folder.

use super::super::experiments::lifecycle;
use super::meta::{self, DatasetMeta, InputMeta, OutputMeta, RunMeta, Word};
use super::{NO_RUNS, artifacts, files, folders, pairs, text};
use crate::ImportError;
use crate::importer::Importer;
use crate::intake::Intake;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use trueline_tracking::{
    DatasetInput, ImportedRun, KeyValue, LoggedDataset, MetricPoint, Run, RunData, RunId, RunStatus,
};

/// Runs that are asked for at once.
const PAGE: usize = 256;

/// MLflow's numbers for where a run stands.
fn status(word: Option<Word>) -> RunStatus {
    match word {
        Some(Word::Text(word)) => RunStatus::parse(&word).unwrap_or(RunStatus::Running),
        Some(Word::Number(2)) => RunStatus::Scheduled,
        Some(Word::Number(3)) => RunStatus::Finished,
        Some(Word::Number(4)) => RunStatus::Failed,
        Some(Word::Number(5)) => RunStatus::Killed,
        _ => RunStatus::Running,
    }
}

/// Takes the runs of an experiment.
pub(super) fn read(folder: &Path, experiment: i64, importer: &mut Importer) -> Result<(), ImportError> {
    let mut datasets = HashMap::new();
    for (name, place) in folders(&folder.join("datasets"))? {
        datasets.extend(meta::read::<DatasetMeta>(&place, importer)?.map(|meta| (name, dataset(meta))));
    }
    let runs = folders(folder)?.into_iter().filter(|(name, _)| !NO_RUNS.contains(&name.as_str()));
    let mut runs: Vec<(String, PathBuf, RunMeta)> = {
        let mut found = Vec::new();
        for (id, place) in runs {
            found.extend(meta::read::<RunMeta>(&place, importer)?.map(|meta| (id, place, meta)));
        }
        found
    };
    runs.sort_by(|(a, _, m), (b, _, n)| (m.start_time, a).cmp(&(n.start_time, b)));
    while !runs.is_empty() {
        let rest = runs.split_off(runs.len().min(PAGE));
        let page = std::mem::replace(&mut runs, rest);
        let ids: Vec<String> = page.iter().map(|(id, ..)| id.clone()).collect();
        let unknown = importer.unknown(&ids)?;
        for (id, place, meta) in page {
            let Some(run) = run(&id, experiment, &place, meta, importer) else { continue };
            if unknown.contains(&id) {
                take(run, &place, &datasets, importer)?;
            }
        }
    }
    Ok(())
}

fn dataset(meta: DatasetMeta) -> LoggedDataset {
    LoggedDataset {
        name: meta.name.unwrap_or_default(),
        digest: meta.digest.unwrap_or_default(),
        source_type: meta.source_type.unwrap_or_default(),
        source: meta.source.unwrap_or_default(),
        schema: meta.schema,
        profile: meta.profile,
    }
}

fn run(id: &str, of: i64, place: &Path, meta: RunMeta, importer: &mut Importer) -> Option<ImportedRun> {
    let experiment = importer.place(of)?;
    let uri = artifacts(meta.artifact_uri, &place.join("artifacts"));
    let own = format!("{experiment}/{id}/artifacts");
    let run = Run {
        artifact_uri: importer.copying.adopt(&uri, &own, &mut importer.report),
        id: RunId::new(id),
        experiment,
        name: meta.run_name.or(meta.name).unwrap_or_default(),
        claimed_user: meta.user_id.unwrap_or_default(),
        created_by: String::new(),
        status: status(meta.status),
        start_time: meta.start_time,
        end_time: meta.end_time,
        lifecycle: lifecycle(meta.lifecycle_stage),
    };
    Some(ImportedRun { deleted_at_ms: meta.deleted_time, ..ImportedRun::bare(run) })
}

/// Hands a run over with all that its folder holds.
fn take(
    mut run: ImportedRun,
    place: &Path,
    datasets: &HashMap<String, LoggedDataset>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    let data = &mut run.data;
    data.params = pairs(&place.join("params"))?;
    data.tags = pairs(&place.join("tags"))?;
    if data.run.name.is_empty()
        && let Some(tag) = data.tags.iter().find(|tag| tag.key == "mlflow.runName")
    {
        data.run.name.clone_from(&tag.value);
    }
    inputs(data, place, datasets, importer)?;
    let mut bad = 0;
    let mut intake = Intake::new(importer, run);
    for (key, path) in files(&place.join("metrics"))? {
        for line in text(&path)?.lines().filter(|line| !line.trim().is_empty()) {
            match point(line) {
                Some(point) => intake.push(&key, point)?,
                None => bad += 1,
            }
        }
    }
    intake.finish()?;
    importer.report.miss("points", bad, "their lines in files of metrics can't be read");
    Ok(())
}

fn inputs(
    data: &mut RunData,
    place: &Path,
    datasets: &HashMap<String, LoggedDataset>,
    importer: &mut Importer,
) -> Result<(), ImportError> {
    for (_, folder) in folders(&place.join("inputs"))? {
        let Some(meta) = meta::read::<InputMeta>(&folder, importer)? else { continue };
        let id = meta.source_id.unwrap_or_default();
        if meta.source_type.as_deref() == Some("MODEL") {
            data.model_inputs.push(id);
        } else if let Some(dataset) = datasets.get(&id) {
            let tags = meta.tags.unwrap_or_default().into_iter().map(|(key, value)| KeyValue { key, value });
            data.dataset_inputs.push(DatasetInput { dataset: dataset.clone(), tags: tags.collect() });
        }
    }
    for (model, folder) in folders(&place.join("outputs"))? {
        if let Some(meta) = meta::read::<OutputMeta>(&folder, importer)? {
            data.model_outputs.push((model, meta.step.unwrap_or_default()));
        }
    }
    Ok(())
}

/// `time value step`; files of long ago have no step.
fn point(line: &str) -> Option<MetricPoint> {
    let mut words = line.split_whitespace();
    let (at_ms, value) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let step = words.next().map_or(Some(0), |word| word.parse().ok())?;
    Some(MetricPoint { step, at_ms, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_metrics_are_read_as_mlflow_writes_them() {
        assert_eq!(point("5 0.1 3"), Some(MetricPoint { step: 3, at_ms: 5, value: 0.1 }));
        assert_eq!(point("5 1e-05"), Some(MetricPoint { step: 0, at_ms: 5, value: 1e-5 }));
        assert_eq!(point("5 -inf -2").unwrap().value, f64::NEG_INFINITY);
        assert!(point("5 nan 1").unwrap().value.is_nan());
        for bad in ["", "5", "x 1 2", "5 y 2", "5 1 z"] {
            assert_eq!(point(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in ".*") {
            let _ = point(&line);
        }

        #[test]
        fn what_was_written_is_read(at_ms in any::<i64>(), value in any::<f64>(), step in any::<i64>()) {
            let read = point(&format!("{at_ms} {value:?} {step}")).unwrap();
            prop_assert_eq!((read.at_ms, read.step), (at_ms, step));
            prop_assert!(read.value == value || value.is_nan() && read.value.is_nan());
        }
    }
}

//! Logged models of an experiment's folder.

use super::super::experiments::lifecycle;
use super::super::models::status;
use super::meta::{self, LoggedModelMeta, Word};
use super::{artifacts, files, folders, pairs, text};
use crate::ImportError;
use crate::importer::Importer;
use std::path::Path;
use trueline_tracking::{
    ImportedModel, LoggedMetric, LoggedModel, LoggedModelStatus, MetricPoint, ModelPoint, RunId,
};

/// Takes the logged models of an experiment.
pub(super) fn read(folder: &Path, of: i64, importer: &mut Importer) -> Result<(), ImportError> {
    let Some(experiment) = importer.place(of) else { return Ok(()) };
    for (id, place) in folders(&folder.join("models"))? {
        let Some(meta) = meta::read::<LoggedModelMeta>(&place, importer)? else { continue };
        let uri = artifacts(meta.artifact_location, &place.join("artifacts"));
        let own = format!("{experiment}/models/{id}/artifacts");
        let created = meta.creation_timestamp.unwrap_or_default();
        let model = LoggedModel {
            artifact_uri: importer.copying.adopt(&uri, &own, &mut importer.report),
            experiment,
            name: meta.name.unwrap_or_default(),
            model_type: meta.model_type,
            source_run: super::given(meta.source_run_id).map(RunId::new),
            status: match meta.status {
                Some(Word::Number(number)) => status(number),
                Some(Word::Text(word)) => LoggedModelStatus::parse(&format!("LOGGED_MODEL_{word}"))
                    .unwrap_or(LoggedModelStatus::Unspecified),
                None => LoggedModelStatus::Unspecified,
            },
            created_by: String::new(),
            created_at_ms: created,
            updated_at_ms: meta.last_updated_timestamp.unwrap_or(created),
            params: pairs(&place.join("params"))?,
            tags: pairs(&place.join("tags"))?,
            metrics: Vec::new(),
            id,
        };
        let mut points = Vec::new();
        for (key, path) in files(&place.join("metrics"))? {
            let text = text(&path)?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            for line in lines {
                match point(&key, line) {
                    Some(point) => points.push(point),
                    None => {
                        importer.report.miss("points", 1, "their lines in files of metrics can't be read");
                    }
                }
            }
        }
        importer.logged_model(ImportedModel { model, lifecycle: lifecycle(meta.lifecycle_stage), points })?;
    }
    Ok(())
}

/// `time value step run`, and the dataset's name and digest when there is one.
fn point(key: &str, line: &str) -> Option<ModelPoint> {
    let words: Vec<&str> = line.trim().split(' ').collect();
    let (point, dataset) = match words.as_slice() {
        [at, value, step, run] => ((at, value, step, run), None),
        [at, value, step, run, name @ .., digest] if !name.is_empty() => {
            ((at, value, step, run), Some((name.join(" "), (*digest).to_owned())))
        }
        _ => return None,
    };
    let (at, value, step, run) = point;
    let point = MetricPoint { step: step.parse().ok()?, at_ms: at.parse().ok()?, value: value.parse().ok()? };
    Some(ModelPoint { run: RunId::new(*run), metric: LoggedMetric { key: key.to_owned(), point }, dataset })
}

#[cfg(test)]
mod tests {
    use super::point;

    #[test]
    fn points_of_models_tell_run_and_dataset() {
        let plain = point("auc", "40 0.75 4 r1").unwrap();
        assert_eq!((plain.run.as_str(), plain.metric.point.step, plain.dataset), ("r1", 4, None));
        let on = point("auc", "40 0.75 4 r1 two words abc").unwrap();
        assert_eq!(on.dataset, Some(("two words".into(), "abc".into())));
        for bad in ["", "40 0.75 4", "40 x 4 r1", "40 0.75 4 r1 abc"] {
            assert!(point("auc", bad).is_none(), "{bad}");
        }
    }
}

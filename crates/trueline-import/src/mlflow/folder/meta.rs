//! What `meta.yaml` says of each kind of thing.

use super::META;
use crate::ImportError;
use crate::importer::Importer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// A word, or the number that older versions wrote for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Word {
    Number(i64),
    Text(String),
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ExperimentMeta {
    pub(super) name: Option<String>,
    pub(super) artifact_location: Option<String>,
    pub(super) lifecycle_stage: Option<String>,
    pub(super) creation_time: Option<i64>,
    pub(super) last_update_time: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RunMeta {
    pub(super) run_name: Option<String>,
    pub(super) name: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) status: Option<Word>,
    pub(super) start_time: Option<i64>,
    pub(super) end_time: Option<i64>,
    pub(super) lifecycle_stage: Option<String>,
    pub(super) artifact_uri: Option<String>,
    pub(super) deleted_time: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct DatasetMeta {
    pub(super) name: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) source_type: Option<String>,
    pub(super) source: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) profile: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct InputMeta {
    pub(super) source_type: Option<String>,
    pub(super) source_id: Option<String>,
    #[serde(default)]
    pub(super) tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct OutputMeta {
    pub(super) step: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct LoggedModelMeta {
    pub(super) name: Option<String>,
    pub(super) artifact_location: Option<String>,
    pub(super) creation_timestamp: Option<i64>,
    pub(super) last_updated_timestamp: Option<i64>,
    pub(super) status: Option<Word>,
    pub(super) lifecycle_stage: Option<String>,
    pub(super) model_type: Option<String>,
    pub(super) source_run_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RegisteredModelMeta {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) creation_timestamp: Option<i64>,
    pub(super) last_updated_timestamp: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct VersionMeta {
    pub(super) description: Option<String>,
    pub(super) creation_timestamp: Option<i64>,
    pub(super) last_updated_timestamp: Option<i64>,
    pub(super) current_stage: Option<String>,
    pub(super) source: Option<String>,
    pub(super) storage_location: Option<String>,
    pub(super) run_id: Option<String>,
    pub(super) run_link: Option<String>,
    pub(super) status: Option<String>,
}

/// What a folder's `meta.yaml` says; none, with a word in the report, when it can't be read.
pub(super) fn read<M: DeserializeOwned>(
    folder: &Path,
    importer: &mut Importer,
) -> Result<Option<M>, ImportError> {
    let path = folder.join(META);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // MLflow itself leaves such folders behind when it is killed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            importer.report.miss(
                "folders",
                1,
                "they have no meta.yaml, so that MLflow does not see them either",
            );
            return Ok(None);
        }
        Err(error) => return Err(ImportError::file(&path, error)),
    };
    match serde_saphyr::from_str(&text) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) => {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            importer.report.miss("folders", 1, format!("{} can't be read: {first}", path.display()));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_of_all_years_are_read() {
        let run: RunMeta = serde_saphyr::from_str(
            "run_name: 5e3\nuser_id: '007'\nstatus: 3\nstart_time: 1000\nend_time: null\ntags: []\nsource_type: 4\n",
        )
        .unwrap();
        assert_eq!(run.run_name.as_deref(), Some("5e3"));
        assert_eq!(run.user_id.as_deref(), Some("007"));
        assert!(matches!(run.status, Some(Word::Number(3))));
        let run: RunMeta = serde_saphyr::from_str("status: FINISHED\nlifecycle_stage: active\n").unwrap();
        assert!(matches!(run.status, Some(Word::Text(word)) if word == "FINISHED"));
        assert_eq!(run.end_time, None);
    }
}

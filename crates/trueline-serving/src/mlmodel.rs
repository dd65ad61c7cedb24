//! The `MLmodel` file: which flavour a model has, which file holds it, what it takes.

use crate::sanity::{self, Sanity};
use crate::selftest::{self, Recorded};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What serving needs of an `MLmodel` file.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct MlModel {
    /// The flavours that can load it, by name.
    #[serde(default)]
    pub flavors: BTreeMap<String, Flavor>,
    /// What it takes and gives, as JSON in text.
    #[serde(default)]
    pub signature: Option<RawSignature>,
    /// The example that was logged with it.
    #[serde(default)]
    pub saved_input_example_info: Option<InputExample>,
    /// What was said of it when it was logged.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Json>>,
}

/// The key of the metadata that names the feature views which a model reads at a prediction: `weather@1, planes@2`.
const FEATURE_VIEWS: &str = "trueline.feature_views";

/// The key of the metadata that says whether requests may be answered together: `on` or `off`.
const BATCHING: &str = "trueline.batching";
/// The key of the metadata that says how many rows of several requests may be answered together.
const MAX_BATCH_ROWS: &str = "trueline.max_batch_rows";
/// The key of the metadata that says how many processes answer for the model.
const WORKERS: &str = "trueline.workers";
/// The key of the metadata that says whether a request may be put to the model again when its process died with it: `on` or
/// `off`.
const ASK_AGAIN: &str = "trueline.ask_again";
/// The most processes of one version.
const MOST_WORKERS: usize = 64;

/// What a model's metadata says of how it is to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Whether requests may be answered together; the runtime knows, when nothing is said.
    pub(crate) batching: Option<bool>,
    /// How many rows may be answered together.
    pub(crate) max_batch_rows: Option<usize>,
    /// How many processes answer for it.
    pub(crate) workers: Option<usize>,
    /// Whether a request may be put to it again when its process died with it.
    pub(crate) ask_again: Option<bool>,
}

/// One flavour.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Flavor {
    /// The file that holds the model.
    #[serde(default)]
    pub data: Option<String>,
    /// The class that it was.
    #[serde(default)]
    pub model_class: Option<String>,
}

/// A signature as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RawSignature {
    /// JSON of the inputs.
    #[serde(default)]
    pub inputs: Option<String>,
    /// JSON of the outputs.
    #[serde(default)]
    pub outputs: Option<String>,
    /// JSON of the params.
    #[serde(default)]
    pub params: Option<String>,
}

/// Where the input example is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct InputExample {
    /// The file that holds it as a scoring request.
    #[serde(default)]
    pub serving_input_path: Option<String>,
}

impl MlModel {
    /// Reads the file.
    ///
    /// # Errors
    /// A sentence that says where it is not what MLflow writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its MLmodel file is not text".to_owned())?;
        serde_saphyr::from_str(text).map_err(|e| format!("its MLmodel file can't be read: {e}"))
    }
}

impl MlModel {
    /// What was declared of its answers.
    ///
    /// # Errors
    /// A sentence that says how it is written.
    pub(crate) fn sanity(&self) -> Result<Sanity, String> {
        let declared = self.metadata.as_ref().and_then(|m| m.get(sanity::DECLARED));
        declared.map_or_else(|| Ok(Sanity::default()), Sanity::parse)
    }

    /// What it must answer to its input example, if that was recorded.
    ///
    /// # Errors
    /// A sentence that says how it is written.
    pub(crate) fn recorded(&self) -> Result<Option<Recorded>, String> {
        let declared = self.metadata.as_ref().and_then(|m| m.get(selftest::DECLARED));
        declared.map(Recorded::parse).transpose()
    }

    /// Whether MLflow can load it as a function of Python.
    pub(crate) fn is_pyfunc(&self) -> bool {
        self.flavors.contains_key("python_function")
    }

    /// How it is to be asked.
    ///
    /// # Errors
    /// A sentence that says which key is wrong and what it takes.
    pub(crate) fn wishes(&self) -> Result<Wishes, String> {
        let said = |key: &str| self.metadata.as_ref().and_then(|m| m.get(key));
        let switch = |key: &str| match said(key) {
            None => Ok(None),
            Some(Json::Bool(on)) => Ok(Some(*on)),
            Some(Json::String(word)) if word == "on" || word == "off" => Ok(Some(word == "on")),
            Some(other) => Err(format!("its metadata says {key}: {other}; say `on` or `off`")),
        };
        let count = |key: &str, most: usize| match said(key) {
            None => Ok(None),
            Some(said) => {
                let number = said.as_u64().or_else(|| said.as_str()?.parse().ok());
                let count = number.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
                let wrong = || format!("its metadata says {key}: {said}; give a number from 1 to {most}");
                count.map(Some).ok_or_else(wrong)
            }
        };
        Ok(Wishes {
            batching: switch(BATCHING)?,
            max_batch_rows: count(MAX_BATCH_ROWS, crate::model::MOST_ROWS)?,
            workers: count(WORKERS, MOST_WORKERS)?,
            ask_again: switch(ASK_AGAIN)?,
        })
    }

    /// The feature views that it reads, each with its version: another one may have other columns.
    ///
    /// # Errors
    /// A sentence that says how they are written.
    pub fn feature_views(&self) -> Result<Vec<String>, String> {
        let Some(said) = self.metadata.as_ref().and_then(|m| m.get(FEATURE_VIEWS)) else {
            return Ok(Vec::new());
        };
        let wrong = || {
            format!(
                "its metadata says {FEATURE_VIEWS}: {said}; name views with their versions, such as `weather@1, planes@2`"
            )
        };
        let views: Vec<String> = match said {
            Json::String(text) => {
                text.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect()
            }
            Json::Array(list) => list
                .iter()
                .map(|v| v.as_str().map(ToOwned::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        let pinned = |view: &String| {
            view.split_once('@').is_some_and(|(n, v)| !n.is_empty() && v.parse::<u32>().is_ok())
        };
        if views.iter().all(pinned) { Ok(views) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mlmodel_file_of_mlflow_is_read() {
        let text = "flavors:\n  python_function:\n    data: model.ubj\n    env:\n      conda: conda.yaml\n    loader_module: \
                    mlflow.xgboost\n  xgboost:\n    code: null\n    data: model.ubj\n    model_class: \
                    xgboost.core.Booster\nprompts: null\nsaved_input_example_info:\n  serving_input_path: \
                    serving_input_example.json\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"a\", \
                    \"required\":\n    true}]'\n  outputs: '[]'\n  params: null\nutc_time_created: '2026-11-21'\n";
        let model = MlModel::parse(text.as_bytes()).unwrap();
        assert_eq!(model.flavors["xgboost"].data.as_deref(), Some("model.ubj"));
        assert_eq!(model.flavors["xgboost"].model_class.as_deref(), Some("xgboost.core.Booster"));
        let inputs = model.signature.unwrap().inputs.unwrap();
        assert_eq!(inputs, r#"[{"type": "double", "name": "a", "required": true}]"#);
        assert!(model.metadata.is_none());
        assert!(MlModel::parse(b"flavors: [1, 2").is_err());
    }

    #[test]
    fn how_a_model_is_to_be_asked_is_said_by_its_metadata() {
        let wishes = |metadata: &str| {
            MlModel::parse(format!("metadata:\n  {metadata}\n").as_bytes()).unwrap().wishes()
        };
        assert_eq!(wishes("other: 1"), Ok(Wishes::default()));
        assert_eq!(wishes("trueline.batching: off").unwrap().batching, Some(false));
        assert_eq!(wishes("trueline.batching: 'on'").unwrap().batching, Some(true));
        assert_eq!(wishes("trueline.batching: false").unwrap().batching, Some(false));
        assert_eq!(wishes("trueline.max_batch_rows: 32").unwrap().max_batch_rows, Some(32));
        assert_eq!(wishes("trueline.workers: '2'").unwrap().workers, Some(2));
        assert_eq!(wishes("trueline.ask_again: off").unwrap().ask_again, Some(false));
        let many = "trueline.workers: 65";
        for bad in
            ["trueline.batching: maybe", "trueline.max_batch_rows: 0", many, "trueline.ask_again: twice"]
        {
            let key = bad.split(':').next().unwrap();
            assert!(wishes(bad).unwrap_err().contains(key), "{bad}");
        }
    }

    #[test]
    fn feature_views_are_named_with_their_versions() {
        let views = |metadata: &str| {
            MlModel::parse(format!("metadata:\n  {metadata}\n").as_bytes()).unwrap().feature_views()
        };
        assert_eq!(views("other: 1"), Ok(vec![]));
        let two = vec!["weather@1".to_owned(), "planes@2".to_owned()];
        assert_eq!(views("trueline.feature_views: weather@1, planes@2"), Ok(two.clone()));
        assert_eq!(views("trueline.feature_views: [weather@1, planes@2]"), Ok(two));
        for bad in ["weather", "weather@newest", "7"] {
            assert!(
                views(&format!("trueline.feature_views: {bad}")).unwrap_err().contains("weather@1"),
                "{bad}"
            );
        }
    }
}

//! The `MLmodel` file: which flavour a model has, which file holds it, what it takes.

use serde::Deserialize;
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
        assert!(MlModel::parse(b"flavors: [1, 2").is_err());
    }
}

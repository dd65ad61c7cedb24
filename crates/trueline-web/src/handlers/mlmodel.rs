//! What the pages tell of an `MLmodel` file, which says how a model is loaded and what it takes.

use super::{Failure, Visitor, Web, artifacts};
use crate::pages::{Field, Signature};
use serde_json::Value as Json;

/// What an `MLmodel` file tells.
#[derive(Default)]
pub(super) struct MlModel {
    /// What can load it: `sklearn`, `python_function`.
    pub(super) flavours: Vec<String>,
    /// What it takes and gives, when recorded.
    pub(super) signature: Option<Signature>,
    /// The file with the input example as it is sent, when one was logged.
    pub(super) serving_input: Option<String>,
}

/// What such a file is called, at the root of a model's files.
const NAME: &str = "MLmodel";
/// Larger ones are no such files.
const LARGEST: u64 = 1 << 20;

/// That of a version, as it was frozen.
pub(super) async fn of_version(
    app: &Web,
    visitor: &Visitor,
    manifest: &trueline_registry::Manifest,
) -> Option<MlModel> {
    let file = manifest.file(NAME)?;
    let leave = visitor.session.leave().ok()?;
    let bytes = app.tracking.blob(&leave, &file.sha256, LARGEST).await.ok()?;
    Some(MlModel::parse(&bytes))
}

/// That among the files at `uri`, when this server keeps them and there is one.
pub(super) async fn below(app: &Web, visitor: &Visitor, uri: &str) -> Result<Option<MlModel>, Failure> {
    let leave = visitor.session.leave()?;
    let Some(root) = app.tracking.artifact_path(&leave, uri) else { return Ok(None) };
    let found = artifacts::found(app.tracking.artifact(&leave, &root.join(NAME)?).await)?;
    let Some(file) = found.filter(|file| file.size <= LARGEST) else { return Ok(None) };
    let size = file.size;
    Ok(Some(MlModel::parse(&artifacts::bytes(app, &leave, file, 0..size).await?)))
}

impl MlModel {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self { flavours: flavours(&text), signature: signature(&text), serving_input: serving_input(&text) }
    }
}

/// The keys of the block `flavors:`; an `MLmodel` file is YAML of a narrow kind, written by MLflow itself.
fn flavours(text: &str) -> Vec<String> {
    let block = text.lines().skip_while(|l| *l != "flavors:").skip(1);
    let inside = block.take_while(|l| l.starts_with(' '));
    let own = inside.filter(|l| l.starts_with("  ") && !l.starts_with("   ") && l.ends_with(':'));
    own.map(|l| l.trim().trim_end_matches(':').to_owned()).collect()
}

/// What the block `saved_input_example_info:` says of the example's form for serving.
fn serving_input(text: &str) -> Option<String> {
    let block = text.lines().skip_while(|l| *l != "saved_input_example_info:").skip(1);
    let mut inside = block.take_while(|l| l.starts_with(' '));
    let path = inside.find_map(|l| l.trim().strip_prefix("serving_input_path: "))?;
    Some(path.trim_matches(['\'', '"']).to_owned()).filter(|path| path != "null")
}

/// The block `signature:`, whose values are JSON in quotes.
fn signature(text: &str) -> Option<Signature> {
    let block = text.lines().skip_while(|l| *l != "signature:").skip(1);
    let lines: Vec<&str> = block.take_while(|l| l.starts_with(' ')).collect();
    // Long values are folded over lines that are indented deeper.
    let mut joined: Vec<String> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(last) if line.starts_with("   ") => last.push_str(&format!(" {}", line.trim())),
            _ => joined.push(line.trim().to_owned()),
        }
    }
    let part = |name: &str| {
        let line = joined.iter().find_map(|l| l.strip_prefix(&format!("{name}: ")))?;
        let json: Json = serde_json::from_str(line.trim_matches('\'')).ok()?;
        Some(json.as_array()?.iter().map(field).collect::<Vec<_>>())
    };
    let signature = Signature {
        inputs: part("inputs").unwrap_or_default(),
        outputs: part("outputs").unwrap_or_default(),
        params: part("params").unwrap_or_default(),
    };
    (!signature.inputs.is_empty() || !signature.outputs.is_empty()).then_some(signature)
}

fn field(value: &Json) -> Field {
    let kind = match value["tensor-spec"].as_object() {
        Some(spec) => {
            let dtype = spec.get("dtype").and_then(Json::as_str).unwrap_or_default();
            format!("tensor({dtype}, {})", spec.get("shape").unwrap_or(&Json::Null))
        }
        None => value["type"].as_str().unwrap_or_default().to_owned(),
    };
    let name = value["name"].as_str().unwrap_or_default().to_owned();
    Field { name, kind, optional: value["required"] == false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MLMODEL: &str = "artifact_path: x\nflavors:\n  python_function:\n    env:\n      conda: conda.yaml\n  xgboost:\n    \
                           code: null\nmodel_id: m-1\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"hour\", \
                           \"required\": true}, {\"type\": \"double\",\n    \"name\": \"distance\", \"required\": false}]'\n  \
                           outputs: '[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float32\", \"shape\": [-1]}}]'\n  params: \
                           null\n";

    #[test]
    fn the_file_of_the_example_is_found() {
        let text = format!(
            "{MLMODEL}saved_input_example_info:\n  artifact_path: input_example.json\n  serving_input_path: \
             serving_input_example.json\n  type: dataframe\n"
        );
        assert_eq!(serving_input(&text).as_deref(), Some("serving_input_example.json"));
        assert_eq!(serving_input(MLMODEL), None);
    }

    #[test]
    fn an_mlmodel_file_tells_flavours_and_signature() {
        assert_eq!(flavours(MLMODEL), ["python_function", "xgboost"]);
        let signature = signature(MLMODEL).unwrap();
        assert_eq!(signature.inputs.len(), 2);
        assert_eq!((signature.inputs[1].name.as_str(), signature.inputs[1].optional), ("distance", true));
        assert_eq!(signature.outputs[0].kind, "tensor(float32, [-1])");
    }
}

//! The endpoint that is asked in all rounds: two versions of a model of one tree each, whose answers tell them apart. It
//! logs before it answers (`log: required`).

use crate::api::{Api, Failure, list, text};
use serde_json::{Value as Json, json};

/// Its name.
pub(crate) const ENDPOINT: &str = "asked";
const MODEL: &str = "asked-model";
/// The versions that are deployed to it in turn.
pub(crate) const VERSIONS: [u64; 2] = [1, 2];

/// What one row of a request was answered.
#[derive(Clone, Debug)]
pub(crate) struct Prediction {
    pub(crate) id: String,
    pub(crate) input: f64,
    pub(crate) output: f64,
    /// The version that answered.
    pub(crate) version: u64,
    /// The labels that were told, in this order; one that says what the last one said is not kept.
    pub(crate) labels: Vec<u64>,
}

impl Prediction {
    pub(crate) fn told(&mut self, label: u64) {
        if self.labels.last() != Some(&label) {
            self.labels.push(label);
        }
    }
}

/// The version as the server names it.
pub(crate) fn variant(version: u64) -> String {
    format!("{MODEL}/{version}")
}

/// Inputs below this go left.
const SPLIT: f64 = 600.0;

/// What a version predicts: 1 says 1.5 or 2.5, 2 says 3 or 5.
fn prediction(version: u64, input: f64) -> f64 {
    let scale = if version == VERSIONS[0] { 1.0 } else { 2.0 };
    if input < SPLIT { 1.5 * scale } else { 2.5 * scale }
}

/// A tree of XGBoost's with one split.
fn booster(version: u64) -> Json {
    let leaves = [prediction(version, SPLIT - 1.0), prediction(version, SPLIT)];
    let tree = json!({
        "id": 0, "tree_param": { "num_nodes": "3", "size_leaf_vector": "1" },
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "parents": [i32::MAX, 0, 0],
        "split_indices": [0, 0, 0], "split_conditions": [SPLIT, leaves[0], leaves[1]],
        "default_left": [1, 0, 0], "split_type": [0, 0, 0], "categories": [], "categories_nodes": [],
        "categories_segments": [], "categories_sizes": [],
    });
    let model = json!({
        "gbtree_model_param": { "num_trees": "1", "num_parallel_tree": "1" },
        "iteration_indptr": [0, 1], "tree_info": [0], "trees": [tree],
    });
    json!({ "version": [3, 2, 0], "learner": {
        "attributes": {}, "feature_names": ["x"], "feature_types": ["float"],
        "learner_model_param": { "base_score": "[0E0]", "num_feature": "1", "num_class": "0", "num_target": "1" },
        "objective": { "name": "reg:squarederror" },
        "gradient_booster": { "name": "gbtree", "model": model },
    }})
}

const MLMODEL: &str = "flavors:\n  xgboost:\n    data: model.json\n    model_class: xgboost.core.Booster\n\
                       signature:\n  inputs: '[{\"type\": \"double\", \"name\": \"x\", \"required\": true}]'\n";

/// Registers both versions and deploys the first.
pub(crate) fn set_up(api: &Api) -> Result<(), Failure> {
    api.post("registered-models/create", &json!({ "name": MODEL }))?;
    for version in VERSIONS {
        let folder = format!("{MODEL}/{version}");
        api.put_artifact(&format!("{folder}/MLmodel"), MLMODEL.as_bytes())?;
        api.put_artifact(&format!("{folder}/model.json"), booster(version).to_string().as_bytes())?;
        let source = format!("mlflow-artifacts:/{folder}");
        api.post("model-versions/create", &json!({ "name": MODEL, "source": source }))?;
    }
    api.send("/api/v1/endpoints", &json!({ "name": ENDPOINT, "log": "required" }))?;
    deploy(api, VERSIONS[0])
}

/// Has the endpoint answer by another version.
pub(crate) fn deploy(api: &Api, version: u64) -> Result<(), Failure> {
    let ask = json!({ "variants": [variant(version)], "reason": "its turn" });
    api.send(&format!("/api/v1/endpoints/{ENDPOINT}/routes"), &ask).map(drop)
}

/// The version that the database has for the endpoint.
pub(crate) fn deployed(api: &Api) -> Result<String, Failure> {
    let found = api.get(&format!("/api/v1/endpoints/{ENDPOINT}"), &[])?;
    Ok(text(&found["route"]["variants"][0]["version"]))
}

/// Asks for predictions of some rows. `Ok(Err)` says what is wrong with an answer.
pub(crate) fn ask(api: &Api, inputs: &[f64]) -> Result<Result<Vec<Prediction>, String>, Failure> {
    let data: Vec<Json> = inputs.iter().map(|x| json!([x])).collect();
    let ask = json!({ "dataframe_split": { "columns": ["x"], "data": data } });
    let answer = api.send(&format!("/endpoints/{ENDPOINT}/invocations"), &ask)?;
    let (ids, outputs) = (list(&answer["prediction_ids"]), list(&answer["predictions"]));
    let rows = inputs.iter().zip(ids.iter().zip(&outputs));
    let read = |(input, (id, output)): (&f64, (&Json, &Json))| {
        let output = output.as_f64()?;
        let version = VERSIONS.into_iter().find(|v| prediction(*v, *input).to_bits() == output.to_bits())?;
        Some(Prediction { id: text(id), input: *input, output, version, labels: Vec::new() })
    };
    let read: Option<Vec<Prediction>> = rows.map(read).collect();
    let whole = read.filter(|rows| rows.len() == inputs.len() && one_version(rows));
    Ok(whole.ok_or_else(|| format!("{inputs:?} was answered {answer}")))
}

fn one_version(rows: &[Prediction]) -> bool {
    rows.windows(2).all(|pair| pair[0].version == pair[1].version)
}

/// Tells the truth of a prediction.
pub(crate) fn label(api: &Api, id: &str, value: u64) -> Result<(), Failure> {
    let label = json!({ "prediction_id": id, "value": value, "source": "crash-test" });
    let said = api.send(&format!("/endpoints/{ENDPOINT}/labels"), &json!({ "labels": [label] }))?;
    if said["unknown"] == 0 {
        return Ok(());
    }
    Err(Failure::Refused { status: 200, said: format!("the prediction {id} is unknown: {said}") })
}

//! Answers of many values are logged and written where they hold nobody up, also to requests that came where others wait.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use trueline_flows::{CommonThreads, Knock, Predictor, RedactionKey, STOPPING};
use trueline_inference::{Alone, Wires, wires_alone};
use trueline_ledger::{ProjectId, Sources};
use trueline_predictions::{Options, PredictionLog};
use trueline_serving::{
    Access, DataPlane, EndpointSnapshot, Folders, LogMode, ModelLoader, NoFeatures, Runtimes, Variant,
};

/// Trees that answer three numbers for a row of two.
const MODEL: &[u8] = include_bytes!("../../trueline-trees/tests/fixtures/dart.json");
const MLMODEL: &str = "flavors:\n  xgboost:\n    data: model.json\n    model_class: xgboost.core.Booster\n";
/// So few rows that the trees are quick, and so many that there are more than 10,000 values in the answer.
const MANY: usize = 210;
/// Rows come again after so many.
const FEW: usize = 35;

struct Model {
    common: Runtime,
    wires: Wires,
    log: Arc<PredictionLog>,
    _folder: tempfile::TempDir,
}

impl Model {
    fn logged(&self) -> u64 {
        self.log.stats().iter().map(|stream| stream.records).sum()
    }
}

/// How many numbers the model answers for a row.
const CLASSES: usize = 60;

/// Its first tree for each of many classes: few rows have many values, and what is large is the answer alone.
fn of_many_classes() -> Vec<u8> {
    let mut model: Json = serde_json::from_slice(MODEL).unwrap();
    let learner = &mut model["learner"];
    let number = json!(CLASSES.to_string());
    learner["learner_model_param"]["num_class"] = number.clone();
    learner["learner_model_param"]["base_score"] = json!(format!("[{}]", ["5E-1"; CLASSES].join(",")));
    learner["objective"]["softmax_multiclass_param"]["num_class"] = number.clone();
    let booster = &mut learner["gradient_booster"];
    booster["weight_drop"] = json!(vec![1.0; CLASSES]);
    let trees = &mut booster["gbtree"]["model"];
    trees["gbtree_model_param"]["num_trees"] = number;
    trees["tree_info"] = (0..CLASSES).collect();
    trees["iteration_indptr"] = json!([0, CLASSES]);
    let first = trees["trees"][0].clone();
    let numbered = |class: usize| {
        let mut tree = first.clone();
        tree["id"] = json!(class);
        tree
    };
    trees["trees"] = (0..CLASSES).map(numbered).collect();
    serde_json::to_vec(&model).unwrap()
}

fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("MLmodel"), MLMODEL).unwrap();
    std::fs::write(folder.path().join("model.json"), of_many_classes()).unwrap();
    let folders = Arc::new(Folders::default());
    let spec = folders.add(folder.path(), "model").unwrap();
    let plane = DataPlane::new(ModelLoader::new(folders, Runtimes::default()), None);
    plane.set_access(Access { open: true, ..Access::default() });
    let common = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let variants = vec![Variant::new(spec, 1)];
    let endpoint = EndpointSnapshot {
        log: LogMode::Required,
        ..EndpointSnapshot::of(ProjectId::default_project(), "default", "model", variants)
    };
    let log = Arc::new(PredictionLog::open(&folder.path().join("log"), Options::default()).unwrap());
    common.block_on(plane.publish(endpoint)).unwrap();
    let predictor = Predictor {
        plane,
        log: Some(Arc::clone(&log)),
        features: Arc::new(NoFeatures),
        redaction: RedactionKey::new(&[0; 32]),
        sources: Sources::system(),
        common: common.block_on(async { CommonThreads::these() }),
    };
    let alone = Alone {
        endpoint: "model".to_owned(),
        mlflow_version: "3.0.0",
        vertex: None,
        azure: true,
        hosted: None,
    };
    Model { common, wires: wires_alone(predictor, alone), log, _folder: folder }
}

fn request(path: &str, body: &Json) -> Request<Body> {
    let knock =
        Knock { project: "default".to_owned(), token: None, request: "r".to_owned(), began: Instant::now() };
    let request = Request::post(path).header("content-type", "application/json").extension(knock);
    request.body(Body::from(body.to_string())).unwrap()
}

/// A thread of its own, as short requests are answered on.
fn own_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn ask(wires: &Wires, path: &str, body: &Json) -> (StatusCode, Json) {
    own_thread().block_on(async {
        let response = wires.answer(request(path, body)).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    })
}

/// Each wire with a body of so many rows, and where the answer has a value or a list for each.
fn asked(rows: usize) -> [(&'static str, Json, &'static str); 5] {
    let data: Vec<[usize; 2]> = (0..rows).map(|n| [n % 7, n % 5]).collect();
    let tensor = json!([{ "name": "x", "shape": [rows, 2], "datatype": "FP32", "data": data }]);
    [
        ("/invocations", json!({ "instances": data }), "/predictions"),
        ("/endpoints/model/invocations", json!({ "inputs": data }), "/predictions"),
        ("/v1/models/model:predict", json!({ "instances": data }), "/predictions"),
        ("/v2/models/model/infer", json!({ "inputs": tensor }), "/outputs/0/data"),
        ("/score", json!({ "input_data": data }), ""),
    ]
}

#[test]
fn a_large_answer_is_as_right_as_a_short_one() {
    let model = model();
    for ((path, few, place), (_, many, _)) in asked(FEW).into_iter().zip(asked(MANY)) {
        let list = |(status, answer): (StatusCode, Json)| {
            assert_eq!(status, StatusCode::OK, "{path}: {answer}");
            answer.pointer(place).and_then(Json::as_array).cloned().unwrap()
        };
        let (few, many) = (list(ask(&model.wires, path, &few)), list(ask(&model.wires, path, &many)));
        assert_eq!(many.len(), few.len() / FEW * MANY, "{path}");
        assert!(many.iter().zip(few.iter().cycle()).all(|(a, b)| a == b), "{path}");
    }
    assert_eq!(model.logged(), 5 * (FEW + MANY) as u64, "each row once");
}

#[test]
fn a_large_answer_is_noted_elsewhere_and_a_short_one_where_it_came() {
    let Model { common, wires, .. } = &mut model();
    std::mem::replace(common, own_thread()).shutdown_background();
    for ((path, few, _), (_, many, _)) in asked(FEW).into_iter().zip(asked(MANY)) {
        assert_eq!(ask(wires, path, &few).0, StatusCode::OK, "{path}");
        let (status, told) = ask(wires, path, &many);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(told.to_string().contains(STOPPING), "{path}: {told}");
    }
}

#[test]
fn a_large_answer_is_logged_also_when_its_caller_is_gone() {
    let model = model();
    let (go_on, held_up) = mpsc::channel::<()>();
    model.common.spawn(async move { held_up.recv() });
    for (path, many, _) in asked(MANY) {
        let asking = model.wires.answer(request(path, &many));
        let waited = async { tokio::time::timeout(Duration::from_millis(500), asking).await.is_ok() };
        assert!(!own_thread().block_on(waited), "{path}: the common thread is held up");
    }
    assert_eq!(model.logged(), 0);
    go_on.send(()).unwrap();
    let began = Instant::now();
    while model.logged() < 5 * MANY as u64 {
        assert!(began.elapsed() < Duration::from_secs(20), "{} of them are logged", model.logged());
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! Answers of many values are written where they hold nobody up, also to requests that came where others wait.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use trueline_flows::{CommonThreads, Knock, Predictor, RedactionKey};
use trueline_inference::{Alone, Wires, wires_alone};
use trueline_ledger::{ProjectId, Sources};
use trueline_serving::{
    Access, DataPlane, EndpointSnapshot, Folders, ModelLoader, NoFeatures, Runtimes, Variant,
};

/// Trees of 18 steps for a row of two numbers, which answer three.
const MODEL: &[u8] = include_bytes!("../../trueline-trees/tests/fixtures/dart.json");
const MLMODEL: &str = "flavors:\n  xgboost:\n    data: model.json\n    model_class: xgboost.core.Booster\n";
/// So many that the trees are quick, and that there are more than 10,000 values in the answer.
const MANY: usize = 3_500;
/// Rows come again after so many.
const FEW: usize = 35;

struct Model {
    common: Runtime,
    wires: Wires,
    _folder: tempfile::TempDir,
}

fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("MLmodel"), MLMODEL).unwrap();
    std::fs::write(folder.path().join("model.json"), MODEL).unwrap();
    let folders = Arc::new(Folders::default());
    let spec = folders.add(folder.path(), "model").unwrap();
    let plane = DataPlane::new(ModelLoader::new(folders, Runtimes::default()), None);
    plane.set_access(Access { open: true, ..Access::default() });
    let common = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let variants = vec![Variant::new(spec, 1)];
    let endpoint = EndpointSnapshot::of(ProjectId::default_project(), "default", "model", variants);
    common.block_on(plane.publish(endpoint)).unwrap();
    let predictor = Predictor {
        plane,
        log: None,
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
    Model { common, wires: wires_alone(predictor, alone), _folder: folder }
}

/// Asks on a thread of its own, as short requests are answered.
fn ask(wires: &Wires, path: &str, body: &Json) -> (StatusCode, Json) {
    let knock =
        Knock { project: "default".to_owned(), token: None, request: "r".to_owned(), began: Instant::now() };
    let request = Request::post(path).header("content-type", "application/json").extension(knock);
    let request = request.body(Body::from(body.to_string())).unwrap();
    let own = Builder::new_current_thread().enable_all().build().unwrap();
    own.block_on(async {
        let response = wires.answer(request).await;
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
}

#[test]
fn a_large_answer_is_written_elsewhere_and_a_short_one_where_it_came() {
    let Model { common, wires, _folder } = model();
    common.shutdown_background();
    for ((path, few, _), (_, many, _)) in asked(FEW).into_iter().zip(asked(MANY)) {
        assert_eq!(ask(&wires, path, &few).0, StatusCode::OK, "{path}");
        let (status, told) = ask(&wires, path, &many);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(told.to_string().contains("the server is stopping"), "{path}: {told}");
    }
}

//! Requests of all scoring wires to a model that is served in this process.

use crate::Finding;
use crate::tables::parquet_files;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use std::sync::Arc;
use trueline_flows::{CommonThreads, Knock, Predictor, RedactionKey};
use trueline_inference::Wires;
use trueline_ledger::{ProjectId, Sources};
use trueline_serving::{
    Access, DataPlane, EndpointSnapshot, Folders, ModelLoader, NoFeatures, Runtimes, Variant,
};

const MODEL: &[u8] = include_bytes!("../../trueline-trees/tests/fixtures/dart.json");
const MLMODEL: &str = "flavors:\n  xgboost:\n    data: model.json\n    model_class: xgboost.core.Booster\n";
const PROJECT: &str = "default";
/// The largest answer that is looked at.
const LARGEST: usize = 64 << 20;

/// What a wire is asked by: path and content type.
const WIRES: [(&str, &str); 8] = [
    ("/endpoints/model/invocations", "application/json"),
    ("/endpoints/model/invocations", "text/csv"),
    ("/endpoints/model/invocations", "application/vnd.apache.parquet"),
    ("/v2/models/model/infer", "application/json"),
    // The first two bytes say how many are JSON.
    ("/v2/models/model/infer", "application/octet-stream"),
    ("/v1/models/model:predict", "application/json"),
    ("/inference.GRPCInferenceService/ModelInfer", "application/grpc"),
    ("/inference.GRPCInferenceService/ModelMetadata", "application/grpc"),
];
/// gRPC's numbers of faults that are the server's own.
const FAULTS: [&str; 4] = ["2", "13", "14", "15"];

/// A model that answers.
#[derive(Debug)]
pub struct Scoring {
    runtime: tokio::runtime::Runtime,
    wires: Wires,
    _folder: tempfile::TempDir,
}

impl Scoring {
    /// Loads the model.
    ///
    /// # Errors
    /// What went wrong.
    pub fn start() -> Result<Self, String> {
        let told = |e: &dyn std::fmt::Display| e.to_string();
        let folder = tempfile::tempdir().map_err(|e| told(&e))?;
        std::fs::write(folder.path().join("MLmodel"), MLMODEL).map_err(|e| told(&e))?;
        std::fs::write(folder.path().join("model.json"), MODEL).map_err(|e| told(&e))?;
        let folders = Arc::new(Folders::default());
        let spec = folders.add(folder.path(), "model").map_err(|e| told(&e))?;
        let plane = DataPlane::new(ModelLoader::new(folders, Runtimes::default()), None);
        plane.set_access(Access { open: true, ..Access::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| told(&e))?;
        let variants = vec![Variant::new(spec, 1)];
        let endpoint = EndpointSnapshot::of(ProjectId::default_project(), PROJECT, "model", variants);
        runtime.block_on(plane.publish(endpoint)).map_err(|e| told(&e))?;
        let features = Arc::new(NoFeatures);
        let common = runtime.block_on(async { CommonThreads::these() });
        let predictor = Predictor {
            plane,
            log: None,
            features,
            redaction: RedactionKey::new(&[0; 32]),
            sources: Sources::system(),
            common,
        };
        Ok(Self { runtime, wires: trueline_inference::wires(predictor), _folder: folder })
    }

    /// Sends an input: the first byte chooses the wire, the rest is the body.
    ///
    /// # Errors
    /// What must not be.
    pub fn send(&mut self, input: &[u8]) -> Result<(), Finding> {
        let Some((first, body)) = input.split_first() else { return Ok(()) };
        let (path, kind) = WIRES[usize::from(*first) % WIRES.len()];
        let mut request = Request::builder().method(Method::POST).uri(path).header("content-type", kind);
        let body = match kind {
            "application/octet-stream" => {
                let (length, body) = body.split_at(body.len().min(2));
                let length = length.iter().fold(0_u16, |n, byte| (n << 8) | u16::from(*byte));
                request = request.header("inference-header-content-length", length);
                body.to_vec()
            }
            "application/grpc" => framed(body),
            _ => body.to_vec(),
        };
        let finding = |answer: String| Finding {
            to: format!("POST {path} as {kind}"),
            body: String::from_utf8_lossy(&body).into_owned(),
            answer,
        };
        let knock = Knock {
            project: PROJECT.to_owned(),
            token: None,
            request: "fuzz".to_owned(),
            began: std::time::Instant::now(),
        };
        let request = request.extension(knock).body(Body::from(body.clone()));
        let request = request.map_err(|e| finding(e.to_string()))?;
        let wires = &self.wires;
        let (status, code, answer) = self.runtime.block_on(async move {
            let (head, body) = wires.answer(request).await.into_parts();
            let code = head.headers.get("grpc-status").and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
            (head.status, code, to_bytes(body, LARGEST).await.unwrap_or_default())
        });
        let is_fault = status.is_server_error() || code.is_some_and(|code| FAULTS.contains(&code.as_str()));
        match is_fault {
            false => Ok(()),
            true => Err(finding(format!("{status} {}", String::from_utf8_lossy(&answer)))),
        }
    }
}

/// A message as gRPC sends it: not compressed, its length, its bytes.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// A request of each wire that is answered, or nearly.
#[must_use]
pub fn scoring_seeds() -> Vec<Vec<u8>> {
    let split =
        br#"{"dataframe_split": {"columns": ["amount", "n"], "data": [[1, 2.5], [null, "NaN"]]}, "params": {}}"#;
    let records = br#"{"dataframe_records": [{"amount": 1, "n": 3}, {"n": -1e300, "amount": null}]}"#;
    let sparse = br#"{"dataframe_records": [{"a": 1}, {"b": 2}, {}, {"c": [3]}, {"a": null, "d": "x"}]}"#;
    let instances = br#"{"instances": [[1, 2], [4, 5]]}"#;
    let inputs = br#"{"inputs": {"amount": [1, 2], "n": [[1], [2]]}}"#;
    let infer = br#"{"id": "7", "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}], "outputs": [{"name": "predict", "parameters": {"binary_data": true}}]}"#;
    let binary = br#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}]}"#;
    let length = u16::try_from(binary.len()).unwrap_or(0).to_be_bytes();
    let numbers: Vec<u8> = [1.0_f64, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let grpc: [&[u8]; 6] = [
        b"\x0a\x05model\x1a\x017",
        b"\x2a\x12\x0a\x01x\x12\x04FP32\x1a\x02\x01\x02\x2a\x03",
        b"\x32\x0a",
        b"\x01\x00\x00\x80\x3f",
        b"\x3a\x08\x00\x00\x80\x3f\x00\x00\x00\x40",
        b"\x0a\x05model\x2a\x12\x0a\x01x\x12\x04FP32\x1a\x02\x01\x02\x3a\x08\x00\x00\x80\x3f\x00\x00\x00\x40",
    ];
    let wire = |n: u8, parts: &[&[u8]]| [&[n][..], &parts.concat()].concat();
    let mut seeds = vec![
        wire(0, &[split]),
        wire(0, &[records]),
        wire(0, &[sparse]),
        wire(0, &[instances]),
        wire(0, &[inputs]),
        wire(1, &[b"amount,n\n1,2.5\nNA,7\n"]),
        wire(2, &[b"PAR1"]),
        wire(3, &[infer]),
        wire(4, &[&length, binary, &numbers]),
        wire(4, &[&[0, 0], &numbers]),
        wire(5, &[instances]),
        wire(7, &[b"\x0a\x05model\x12\x011"]),
    ];
    seeds.extend(grpc.iter().map(|message| wire(6, &[message])));
    seeds.extend(parquet_files().iter().map(|file| wire(2, &[file])));
    seeds
}

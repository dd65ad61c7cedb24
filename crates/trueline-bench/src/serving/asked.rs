//! What the servers are asked: rows, as each protocol has them, and the first number of what each answers.

use super::grpc::{InferRequest, Tensor, framed};
use crate::http::{post, post_json};
use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::path::Path;

const INFER: &str = "/v2/models/model/infer";

/// A request, to be sent again and again.
pub(super) enum Request {
    Http(Vec<u8>),
    Grpc(Bytes),
}

/// The rows to ask with.
pub(super) struct Asked {
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
    /// How long the regression's own `predict` takes for a row.
    pub(super) logistic_predict_us: f64,
}

impl Asked {
    /// What `python/bench/serving_models.py` wrote beside the models.
    pub(super) fn read(models: &Path) -> anyhow::Result<Self> {
        let asked: Json = serde_json::from_slice(&std::fs::read(models.join("asked.json"))?)?;
        Ok(Self {
            columns: serde_json::from_value(asked["columns"].clone())?,
            rows: serde_json::from_value(asked["rows"].clone())?,
            logistic_predict_us: asked["logistic_predict_us"].as_f64().context("no time of predict")?,
        })
    }

    /// All values, a row after the other.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn values(&self) -> Vec<f32> {
        self.rows.iter().flatten().map(|v| *v as f32).collect()
    }

    /// As MLflow's scoring has it.
    pub(super) fn mlflow(&self, rows: usize) -> Request {
        let split = json!({ "dataframe_split": { "columns": self.columns, "data": self.rows[..rows] } });
        Request::Http(post_json("/invocations", &split.to_string()))
    }

    /// The Open Inference Protocol, as JSON: one tensor, as its clients send it, flat.
    pub(super) fn open_json(&self, rows: usize, datatype: &str) -> Request {
        let flat: Vec<f64> = self.rows[..rows].iter().flatten().copied().collect();
        let mut tensor = self.tensor(rows, datatype);
        tensor["data"] = json!(flat);
        Request::Http(post_json(INFER, &json!({ "inputs": [tensor] }).to_string()))
    }

    /// The same with the tensor as bytes behind the JSON, and the answer's too.
    pub(super) fn open_binary(&self, rows: usize) -> Request {
        let bytes = self.bytes(rows);
        let mut tensor = self.tensor(rows, "FP32");
        tensor["parameters"] = json!({ "binary_data_size": bytes.len() });
        let head = json!({ "inputs": [tensor], "parameters": { "binary_data_output": true } }).to_string();
        let length = head.len().to_string();
        let body = [head.as_bytes(), &bytes].concat();
        let headers = [("inference-header-content-length", length.as_str())];
        Request::Http(post(INFER, "application/octet-stream", &headers, &body))
    }

    /// The same over gRPC.
    pub(super) fn grpc(&self, rows: usize) -> Request {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Request::Grpc(framed(&InferRequest {
            model_name: "model".to_owned(),
            inputs: vec![Tensor {
                name: "input".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![number(rows), number(self.columns.len())],
                contents: None,
            }],
            raw_input_contents: vec![self.bytes(rows).into()],
        }))
    }

    fn tensor(&self, rows: usize, datatype: &str) -> Json {
        json!({ "name": "input", "datatype": datatype, "shape": [rows, self.columns.len()] })
    }

    fn bytes(&self, rows: usize) -> Vec<u8> {
        self.values()[..rows * self.columns.len()].iter().flat_map(|v| v.to_le_bytes()).collect()
    }
}

/// The first number of an answer in any of the forms above but gRPC's.
pub(super) fn first(body: &[u8]) -> anyhow::Result<f64> {
    // Where a tensor follows the JSON, it is the answer's only one.
    let mut documents = serde_json::Deserializer::from_slice(body).into_iter::<Json>();
    let answer = documents.next().context("an empty answer")??;
    let output = &answer["outputs"][0];
    let mut value = [&answer["predictions"], &output["data"]].into_iter().find(|v| !v.is_null());
    while let Some(Json::Array(list)) = value {
        value = list.first();
    }
    if let Some(number) = value.and_then(Json::as_f64) {
        return Ok(number);
    }
    let tail = &body[documents.byte_offset()..];
    match (output["datatype"].as_str(), tail.first_chunk::<4>(), tail.first_chunk::<8>()) {
        (Some("FP32"), Some(bytes), _) => Ok(f64::from(f32::from_le_bytes(*bytes))),
        (Some("FP64"), _, Some(bytes)) => Ok(f64::from_le_bytes(*bytes)),
        _ => anyhow::bail!("no number in {}", String::from_utf8_lossy(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_found_in_every_form() {
        let mut binary = br#"{"outputs":[{"datatype":"FP32","shape":[1]}]}"#.to_vec();
        binary.extend(0.5_f32.to_le_bytes());
        for body in [&br#"{"predictions":[0.5,1]}"#[..], br#"{"outputs":[{"data":[[0.5]]}]}"#, &binary] {
            assert_eq!(first(body).unwrap(), 0.5);
        }
        assert!(first(br#"{"error":"x"}"#).is_err());
    }
}

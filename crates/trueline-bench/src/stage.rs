//! A server with models to be served: what the measurements of endpoints have in common. Everything goes through the public
//! door.

use crate::http::{Connection, get, post_json};
use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// For one request of those that set the stage.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server, and rows to ask its endpoints with.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    columns: Json,
    pub(crate) rows: Vec<Json>,
}

impl Stage {
    /// The server at a port of this machine, with the rows that `python/bench/models.py` left among the models.
    pub(crate) fn new(port: u16, models: &Path) -> anyhow::Result<Self> {
        let asked: Json = serde_json::from_slice(&std::fs::read(models.join("rows.json"))?)?;
        let rows = asked["data"].as_array().context("rows")?.clone();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self { address, columns: asked["columns"].clone(), rows })
    }

    /// Makes a registered model.
    pub(crate) fn model(&self, name: &str) -> anyhow::Result<()> {
        self.call("POST", "/api/2.0/mlflow/registered-models/create", &json!({ "name": name })).map(drop)
    }

    /// Uploads the folder of a saved model as artifacts below `place`.
    pub(crate) fn upload(&self, folder: &Path, place: &str) -> anyhow::Result<()> {
        self.upload_as(folder, place, |_, bytes| Ok(bytes))
    }

    /// The same, with each file as `changed` makes it by its name and bytes.
    pub(crate) fn upload_as(
        &self,
        folder: &Path,
        place: &str,
        changed: impl Fn(&str, Vec<u8>) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<()> {
        for file in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            let path = format!("/api/2.0/mlflow-artifacts/artifacts/{place}/{name}");
            let bytes = changed(&name, std::fs::read(file.path())?)?;
            self.send("PUT", &path, "application/octet-stream", &bytes)?;
        }
        Ok(())
    }

    /// Registers what was uploaded below `place` as the next version of a model, and answers its number.
    pub(crate) fn register(&self, model: &str, place: &str) -> anyhow::Result<String> {
        let version = json!({ "name": model, "source": format!("mlflow-artifacts:/{place}") });
        let made = self.call("POST", "/api/2.0/mlflow/model-versions/create", &version)?;
        Ok(made["model_version"]["version"].as_str().context("a version's number")?.to_owned())
    }

    /// Makes an endpoint.
    pub(crate) fn endpoint(&self, name: &str, log: &str) -> anyhow::Result<()> {
        self.call("POST", "/api/v1/endpoints", &json!({ "name": name, "log": log })).map(drop)
    }

    /// Has a version, `model/3`, answer at an endpoint.
    pub(crate) fn deploy(&self, endpoint: &str, version: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/endpoints/{endpoint}/routes");
        self.call("POST", &path, &json!({ "variants": [version] })).map(drop)
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &Json) -> anyhow::Result<Json> {
        let answer = self.send(method, path, "application/json", body.to_string().as_bytes())?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Json> {
        let answer = Connection::open(self.address, TIMEOUT)?.ask(&get(path))?;
        ensure!(answer.status == 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        let answer = Connection::open(self.address, TIMEOUT)?.ask(&[head.as_bytes(), body].concat())?;
        ensure!((200..300).contains(&answer.status), "{path}: {}", String::from_utf8_lossy(&answer.body));
        Ok(answer.body)
    }

    /// The bytes of a request to an endpoint with these rows.
    pub(crate) fn request(&self, endpoint: &str, rows: &[Json]) -> Vec<u8> {
        let split = json!({ "dataframe_split": { "columns": self.columns, "data": rows } });
        post_json(&format!("/endpoints/{endpoint}/invocations"), &split.to_string())
    }

    /// How the answer to a request begins, by which versions that predict otherwise are told apart.
    pub(crate) fn prediction(&self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let answer = Connection::open(self.address, TIMEOUT)?.ask(request)?;
        let end = answer.body.iter().position(|b| *b == b']');
        let end =
            end.with_context(|| format!("no predictions: {}", String::from_utf8_lossy(&answer.body)))?;
        Ok(answer.body[..end].to_vec())
    }
}

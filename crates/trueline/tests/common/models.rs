//! Models that the real MLflow saved, with what it predicts, and their way into a server's registry.

use super::{Server, python, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub const NAMES: [&str; 6] =
    ["binary", "binary-other", "without-signature", "regression", "three-classes", "classifier"];

/// A model's files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

pub struct Models {
    folder: PathBuf,
    _keep: tempfile::TempDir,
}

pub struct Expected {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub predictions: Value,
}

impl Models {
    /// Saved once for all tests of a process.
    pub fn saved() -> &'static Self {
        static SAVED: OnceLock<Models> = OnceLock::new();
        SAVED.get_or_init(|| {
            let keep = tempfile::tempdir().expect("a folder");
            let folder = keep.path().to_owned();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/serving_models.py");
            let done = Command::new(python())
                .arg(script)
                .arg(&folder)
                .env("MLFLOW_DISABLE_TELEMETRY", "true")
                .output()
                .expect("Python runs");
            assert!(done.status.success(), "{}", text(&done.stderr));
            Self { folder, _keep: keep }
        })
    }

    /// Where a model was saved.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn files(&self, name: &str) -> Files {
        let mut files = Files::new();
        for entry in std::fs::read_dir(self.folder.join(name)).expect("a saved model") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            files.insert(name, std::fs::read(&path).expect("its bytes"));
        }
        files
    }

    pub fn expected(&self, name: &str) -> Expected {
        let bytes = std::fs::read(self.folder.join(format!("{name}.expected.json"))).expect("expected");
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        let field = |f: &str| serde_json::from_value(value[f].clone()).expect("a list");
        let columns = serde_json::from_value(value["columns"].clone()).expect("names");
        Expected { columns, rows: field("rows"), predictions: value["predictions"].clone() }
    }

    /// Uploads a saved model's files and registers them.
    pub fn register(&self, server: &Server, name: &str, model: &str) {
        register_files_at(server, &self.files(name), model, name);
    }

    /// Uploads a saved model's files as artifacts of a run and registers them from there.
    pub fn register_from_run(&self, server: &Server, name: &str, model: &str, run: &str) {
        let (_, found) = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={run}"));
        let uri = found["run"]["info"]["artifact_uri"].as_str().expect("an artifact URI");
        let root = uri.strip_prefix("mlflow-artifacts:/").expect("artifacts of this server");
        upload(server, &self.files(name), &format!("{root}/model"));
        create_version(
            server,
            model,
            json!({ "name": model, "source": format!("runs:/{run}/model"), "run_id": run }),
        );
    }

    /// A saved model with its model file changed.
    pub fn damaged(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Files {
        let mut files = self.files(name);
        damage(files.get_mut("model.ubj").expect("the model file"));
        files
    }

    /// A saved model whose first tree leads back to its root; as JSON, which is changed more easily.
    pub fn with_cyclic_tree(&self) -> Files {
        let script = "import sys, json, xgboost as xgb\n\
                      b = xgb.Booster(model_file=sys.argv[1])\n\
                      j = json.loads(b.save_raw('json'))\n\
                      t = j['learner']['gradient_booster']['model']['trees'][0]\n\
                      inner = [i for i, c in enumerate(t['left_children']) if c != -1 and i > 0][0]\n\
                      t['left_children'][inner] = 0\n\
                      print(json.dumps(j))";
        let path = self.folder.join("binary/model.ubj");
        let done = Command::new(python()).args(["-c", script]).arg(path).output().expect("Python runs");
        assert!(done.status.success(), "{}", text(&done.stderr));
        self.damaged("binary", |bytes| *bytes = done.stdout)
    }
}

impl Expected {
    /// The same rows in each form of the protocol.
    pub fn requests(&self) -> Vec<(&'static str, Value)> {
        let records: Vec<Value> = self.rows.iter().map(|row| self.record(row)).collect();
        let column = |i: usize| self.rows.iter().map(|row| row[i].clone()).collect::<Vec<_>>();
        let inputs: serde_json::Map<String, Value> =
            self.columns.iter().enumerate().map(|(i, name)| (name.clone(), json!(column(i)))).collect();
        vec![
            ("dataframe_split", json!({ "dataframe_split": { "columns": self.columns, "data": self.rows } })),
            ("dataframe_records", json!({ "dataframe_records": records })),
            ("instances", json!({ "instances": self.rows })),
            ("inputs", json!({ "inputs": inputs })),
        ]
    }

    fn record(&self, row: &[Value]) -> Value {
        let fields = self.columns.iter().cloned().zip(row.iter().cloned());
        Value::Object(fields.collect())
    }
}

/// The files of a folder and of those in it, by their paths below it.
pub fn files_below(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path: PathBuf = entry.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("below it").to_string_lossy().into_owned();
            files.insert(name, std::fs::read(&path).expect("its bytes"));
        }
    }
    files
}

/// Uploads files and registers them as the next version of a model of that name.
pub fn register_files(server: &Server, files: &Files, model: &str) {
    register_files_at(server, files, model, model);
}

fn register_files_at(server: &Server, files: &Files, model: &str, folder: &str) {
    upload(server, files, &format!("models/{folder}"));
    let source = format!("mlflow-artifacts:/models/{folder}");
    create_version(server, model, json!({ "name": model, "source": source }));
}

fn upload(server: &Server, files: &Files, folder: &str) {
    for (path, bytes) in files {
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{folder}/{path}");
        let (status, answer) = server.call("PUT", &path, Some(bytes.clone()), &[]);
        assert_eq!(status, 200, "{answer}");
    }
}

fn create_version(server: &Server, model: &str, version: Value) {
    let (status, _) = server.post("/api/2.0/mlflow/registered-models/create", json!({ "name": model }));
    assert!([200, 400].contains(&status), "it is there or was before");
    server.ok("/api/2.0/mlflow/model-versions/create", version);
}

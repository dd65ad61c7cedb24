//! The interpreter and the models of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use trueline_ledger::ProjectId;
use trueline_serving::{Folders, Frame, LoadedModel, ModelLoader, PythonWorkers, Runtimes};
use trueline_tensors::{Tensor, Values};
use trueline_workers::{Environments, Interpreter};

const SETUP: &str =
    "no Python with MLflow: run `cargo xtask setup`, or name an interpreter in TRUELINE_PYTHON";

fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("TRUELINE_PYTHON") {
        return named.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join(".trueline/venv/bin/python"))
        .find(|python| python.exists())
        .expect(SETUP)
}

/// The folder of a model.
fn folder(name: &str) -> PathBuf {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(make_models).join(name)
}

/// Made once for a script and an interpreter: that takes seconds.
fn make_models() -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/batching/make_models.py");
    let mut hasher = DefaultHasher::new();
    (std::fs::read(&script).unwrap(), python()).hash(&mut hasher);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = root.join(format!("models-{:016x}", hasher.finish()));
    if !made.exists() {
        let aside = tempfile::tempdir_in(root).unwrap();
        let output = Command::new(python()).arg(script).arg(aside.path()).output().expect(SETUP);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("ModuleNotFoundError"), "{SETUP}:\n{stderr}");
        assert!(output.status.success(), "make_models.py failed:\n{stderr}");
        // Another process of the tests may have been quicker.
        if std::fs::rename(aside.path(), &made).is_ok() {
            let _ = aside.keep();
        }
    }
    made
}

/// A model, loaded as a server does.
pub(crate) async fn load(name: &str) -> Arc<LoadedModel> {
    let folders = Folders::default();
    let spec = folders.add(&folder(name), name).unwrap();
    let environments = Environments::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments"));
    let python = PythonWorkers { environments, interpreter: Interpreter::Given(python()) };
    let runtimes = Runtimes { python: Some(python), ..Runtimes::default() };
    let loader = ModelLoader::new(Arc::new(folders), runtimes);
    Arc::new(loader.load(&ProjectId::server(), spec).await.unwrap())
}

/// A table of one column `x`.
pub(crate) fn xs(values: &[f64]) -> Frame {
    Frame::named(vec![Tensor::column("x", Values::Fp64(values.to_vec()))]).unwrap()
}

//! The models of the tests.

use crate::made::{model, python};
use std::path::Path;
use std::sync::Arc;
use trueline_ledger::ProjectId;
use trueline_serving::{Folders, Frame, LoadedModel, ModelLoader, PythonWorkers, Runtimes};
use trueline_tensors::{Tensor, Values};
use trueline_workers::{Environments, Interpreter};

/// A model, loaded as a server does.
pub(crate) async fn load(name: &str) -> Arc<LoadedModel> {
    let folders = Folders::default();
    let spec = folders.add(&model("tests/batching/make_models.py", name), name).unwrap();
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

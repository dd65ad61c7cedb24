//! The models and the workers of the tests.

use crate::made::{self, python};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trueline_tensors::{Tensor, Values};
use trueline_workers::{
    Columns, Environment, Environments, Interpreter, Invocation, State, Worker, WorkerSpec,
};

/// The folder of a model.
pub(crate) fn model(name: &str) -> PathBuf {
    made::model("tests/workers/make_models.py", name)
}

/// The environment of the tests.
pub(crate) async fn environment() -> Environment {
    let environments = Environments::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments"));
    environments.of(Path::new("/"), &Interpreter::Given(python())).await.unwrap()
}

pub(crate) async fn spec(name: &str) -> WorkerSpec {
    WorkerSpec::new(format!("{name}/1"), model(name), environment().await)
}

pub(crate) async fn start(name: &str) -> Worker {
    Worker::start(spec(name).await).await.unwrap()
}

/// A minute from now.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(crate) fn column(name: &str, values: Values) -> Tensor {
    Tensor::column(name, values)
}

/// What the model `acts` is to do.
pub(crate) fn act(what: &str) -> Columns {
    Columns::table(vec![column("act", Values::Text(vec![Some(what.to_owned())]))])
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < late, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs, and is no zombie.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A body of JSON.
pub(crate) fn body_of(json: &serde_json::Value) -> Invocation {
    Invocation { content_type: "application/json".to_owned(), body: json.to_string().into() }
}

/// The process of a worker that is ready.
pub(crate) fn pid_of(worker: &Worker) -> u32 {
    match worker.state() {
        State::Ready(facts) => facts.pid,
        other => panic!("it is not ready: {other:?}"),
    }
}

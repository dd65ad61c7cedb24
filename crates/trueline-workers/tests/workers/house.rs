//! The interpreter, the models and the workers of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use trueline_tensors::{Tensor, Values};
use trueline_workers::{
    Columns, Environment, Environments, Interpreter, Invocation, State, Worker, WorkerSpec,
};

const SETUP: &str =
    "no Python with MLflow: run `cargo xtask setup`, or name an interpreter in TRUELINE_PYTHON";

/// The interpreter of the tests.
pub(crate) fn python() -> PathBuf {
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
pub(crate) fn model(name: &str) -> PathBuf {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(make_models).join(name)
}

/// Made once for a script and an interpreter: that takes seconds.
fn make_models() -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers/make_models.py");
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

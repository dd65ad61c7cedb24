//! Environments made by the real `uv`, where there is one.

use crate::house::{act, model, soon};
use crate::made::python;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trueline_workers::{
    EnvironmentError, Environments, Interpreter, Output, Requirements, Worker, WorkerSpec,
};

/// `uv`, and a word on what is missing without it.
fn uv() -> Option<PathBuf> {
    let named = std::env::var_os("TRUELINE_UV").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| std::env::split_paths(&path).map(|p| p.join("uv")).find(|p| p.is_file()));
    if found.is_none() {
        println!("skipped: no `uv` on the PATH or in TRUELINE_UV, so no environment is made");
    }
    found
}

/// The version of the tests' interpreter, so that none has to be fetched.
fn version() -> String {
    let output = std::process::Command::new(python())
        .args(["-c", "import platform; print(platform.python_version())"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn folder_with(python: &str, requirements: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let env = format!("python: {python}\ndependencies:\n- -r requirements.txt\n");
    std::fs::write(folder.path().join("python_env.yaml"), env).unwrap();
    std::fs::write(folder.path().join("requirements.txt"), requirements).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() && !to.join(entry.file_name()).exists() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn an_environment_is_made_once_of_what_a_model_requires_and_serves_it() {
    let Some(uv) = uv() else { return };
    let cache = tempfile::tempdir().unwrap();
    let environments = Environments::new(cache.path()).by(uv);
    let wanted = folder_with(&version(), "mlflow-skinny==3.17.2\nnumpy<3\npandas<3\nscipy\n");
    copy(&model("acts"), wanted.path());
    let of = || environments.of(wanted.path(), &Interpreter::Made);
    let (one, other) = tokio::join!(of(), of());
    let one = one.unwrap();
    assert_eq!(one, other.unwrap());
    assert!(one.python.starts_with(cache.path()));
    let made = one.python.ancestors().nth(3).unwrap().to_owned();
    let told = std::fs::read_to_string(made.join("requirements.txt")).unwrap();
    assert!(told.contains("mlflow-skinny==3.17.2"), "{told}");
    let before = std::fs::metadata(&made).unwrap().modified().unwrap();
    assert_eq!(of().await.unwrap(), one);
    assert_eq!(std::fs::metadata(&made).unwrap().modified().unwrap(), before, "it is not made again");

    // Two environments at once, a worker in each.
    let given = environments.of(wanted.path(), &Interpreter::Given(python())).await.unwrap();
    assert_eq!((given.python, &given.script), (python(), &one.script));
    let mut made_spec = WorkerSpec::new("acts/1", wanted.path(), one.clone());
    made_spec.limits.start = Duration::from_secs(300);
    let given_spec = WorkerSpec {
        environment: trueline_workers::Environment { python: python(), ..one },
        ..made_spec.clone()
    };
    let (made, given) = tokio::join!(Worker::start(made_spec), Worker::start(given_spec));
    for worker in [made.unwrap(), given.unwrap()] {
        let answer = worker.predict(&act("answer floats"), soon()).await.unwrap();
        assert!(matches!(answer.output, Output::Array(_)), "{answer:?}");
    }
}

#[tokio::test]
async fn what_can_t_be_made_says_what_uv_said_and_leaves_nothing() {
    let Some(uv) = uv() else { return };
    let cache = tempfile::tempdir().unwrap();
    let environments = Environments::new(cache.path()).by(&uv);
    let wanted = folder_with(&version(), "./no-such-wheel-1.0-py3-none-any.whl\n");
    let failed = environments.of(wanted.path(), &Interpreter::Made).await.unwrap_err();
    let EnvironmentError::Failed { tail, .. } = &failed else { panic!("{failed:?}") };
    assert!(tail.contains("no-such-wheel"), "{failed}");
    assert!(failed.to_string().contains("change the model's requirements"), "{failed}");

    let wanted = folder_with("3.99.1", "numpy\n");
    let failed = environments.of(wanted.path(), &Interpreter::Made).await.unwrap_err();
    assert!(matches!(failed, EnvironmentError::NoPython { .. }), "{failed:?}");
    assert!(failed.to_string().contains("uv python install 3.99.1"), "{failed}");

    let missing = Environments::new(cache.path()).by("/not/there/uv");
    let failed = missing.of(wanted.path(), &Interpreter::Made).await.unwrap_err();
    assert!(matches!(failed, EnvironmentError::NoUv { .. }), "{failed:?}");
    let left: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{left:?}");
}

#[tokio::test]
async fn an_environment_without_mlflow_says_what_it_lacks() {
    let Some(uv) = uv() else { return };
    let cache = tempfile::tempdir().unwrap();
    let wanted = folder_with(&version(), "");
    // What a crash left of an earlier attempt.
    let key = Requirements::of(wanted.path()).unwrap().key(1);
    let left = cache.path().join(format!(".making-{key}/venv/bin"));
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("python"), "half of one").unwrap();
    let environments = Environments::new(cache.path()).by(uv);
    let environment = environments.of(wanted.path(), &Interpreter::Made).await.unwrap();
    let refused = Worker::start(WorkerSpec::new("bare/1", wanted.path(), environment)).await.unwrap_err();
    assert!(refused.to_string().contains("No module named 'mlflow'"), "{refused}");
    assert!(refused.to_string().contains("requirements"), "{refused}");
    assert!(!left.exists());
}

//! The interpreter of the tests, and models that a script of a crate's own makes with it. The tests of `trueline-serving`
//! use this file, too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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

/// The folder of a model that a script of this crate makes.
pub(crate) fn model(script: &str, name: &str) -> PathBuf {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| make_models(script)).join(name)
}

/// Made once for a script and an interpreter: that takes seconds.
fn make_models(script: &str) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
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

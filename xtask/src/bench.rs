//! `cargo xtask bench`: measures the server as it is shipped. What is measured, and everything else that may be said, is
//! `trueline-bench`'s.

use crate::shell::{self, cargo, output, root, say};
use crate::{postgres, setup};
use anyhow::Context;
use std::path::Path;
use std::process::Command;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let binary = shell::built_server()?;
    let models = tempfile::Builder::new().prefix("trueline-bench").tempdir()?;
    let asked = |part: &str| arguments.iter().any(|a| a == part);
    let given = |switch: &str| arguments.iter().any(|a| a.starts_with(switch));
    let needs_no_models = ["startup", "commit", "tracking", "runs", "points", "artifacts"];
    if !needs_no_models.into_iter().any(asked) {
        say("training the models that are served");
        let script = if asked("serving") { "serving_models.py" } else { "models.py" };
        let mut python = Command::new(setup::python()?);
        python.arg(root().join("python/bench").join(script)).arg(models.path());
        shell::run(python.env("MLFLOW_DISABLE_TELEMETRY", "true"))?;
    }
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "trueline-bench", "--", "--binary"])
        .arg(binary)
        .arg("--models")
        .arg(models.path());
    if (asked("tracking") || asked("serving")) && !given("--mlflow") {
        command.arg("--mlflow").arg(setup::mlflow_server()?);
    }
    if asked("serving") && !given("--mlserver") {
        command.arg("--mlserver").arg(setup::mlserver()?);
    }
    if (asked("serving") || asked("rollout")) && !given("--python") {
        command.arg("--python").arg(setup::python()?);
    }
    if asked("rollout") && !given("--postgres-programs") {
        command.arg("--postgres-programs").arg(postgres::programs("the database that is killed")?);
    }
    if asked("soak") && !given("--onnx-models") {
        let folder = models.path().join("onnx");
        command.arg("--onnxruntime").arg(onnx_models(&folder)?).arg("--onnx-models").arg(folder);
    }
    shell::run(command.args(arguments))
}

/// Exports ONNX models; answers where the library is that runs them.
fn onnx_models(folder: &Path) -> anyhow::Result<String> {
    std::fs::create_dir(folder)?;
    let mut export = Command::new(setup::serving_clients()?);
    export.arg(root().join("python/tests/onnx_models.py")).arg(folder);
    output(&mut export).context("the ONNX models can't be exported")
}

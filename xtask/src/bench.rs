//! `cargo xtask bench`: measures the server as it is shipped. What is measured, and everything else that may be said, is
//! `trueline-bench`'s.

use crate::setup;
use crate::shell::{self, cargo, root, say};
use std::process::Command;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let binary = shell::built_server()?;
    let models = tempfile::Builder::new().prefix("trueline-bench").tempdir()?;
    let needs_no_models = ["startup", "commit", "tracking", "runs", "points", "artifacts"];
    if !needs_no_models.iter().any(|part| arguments.iter().any(|a| a == part)) {
        say("training the models that are served");
        let mut python = Command::new(setup::python()?);
        python.arg(root().join("python/bench/models.py")).arg(models.path());
        shell::run(python.env("MLFLOW_DISABLE_TELEMETRY", "true"))?;
    }
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "trueline-bench", "--", "--binary"])
        .arg(binary)
        .arg("--models")
        .arg(models.path());
    if arguments.iter().any(|a| a == "tracking") && !arguments.iter().any(|a| a.starts_with("--mlflow")) {
        command.arg("--mlflow").arg(setup::mlflow_server()?);
    }
    shell::run(command.args(arguments))
}

//! `cargo xtask bench`: measures the server as it is shipped. What is measured, and everything else that may be said, is
//! `trueline-bench`'s.

use crate::setup;
use crate::shell::{self, cargo, root, say};
use std::process::Command;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let binary = shell::built_server()?;
    let models = tempfile::Builder::new().prefix("trueline-bench").tempdir()?;
    if !["startup", "commit"].iter().any(|part| arguments.iter().any(|a| a == part)) {
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
    shell::run(command.args(arguments))
}

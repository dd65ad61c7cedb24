//! `cargo xtask bench`: measures the server as it is shipped. What is measured, and everything else that may be said, is
//! `trueline-bench`'s.

use crate::shell::{self, cargo};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let binary = shell::built_server()?;
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "trueline-bench", "--", "--binary"])
        .arg(binary);
    shell::run(command.args(arguments))
}

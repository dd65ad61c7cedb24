//! `cargo xtask crash`: the crash tests against the server as it is shipped. `--quick` runs a few rounds; any other
//! argument goes to `trueline-crashtest`.

use crate::shell::{self, cargo};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let binary = shell::built_server()?;
    let mut command = cargo();
    if arguments.iter().any(|a| a == "--quick") {
        command.args(["test", "--package", "trueline-crashtest", "--test", "rounds", "--", "--ignored"]);
        return shell::run(command.env("TRUELINE_BIN", binary));
    }
    command.args(["run", "--quiet", "--package", "trueline-crashtest", "--", "--binary"]).arg(binary);
    shell::run(command.args(arguments))
}

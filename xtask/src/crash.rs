//! `cargo xtask crash`: the crash tests against the server as it is shipped. `--quick` runs 3 rounds of each mode; any
//! other argument goes to `trueline-crashtest`.

use crate::shell::{self, cargo};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let binary = shell::built_server()?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "trueline-crashtest", "--", "--binary"]).arg(binary);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => command.args(["--rounds", "3"]),
            other => command.arg(other),
        };
    }
    shell::run(&mut command)
}

//! `cargo xtask lint`: formatting, clippy, documentation; each without a warning.

use crate::shell::{self, cargo, say};

pub(crate) fn run() -> anyhow::Result<()> {
    say("formatting");
    shell::run(cargo().args(["fmt", "--all", "--check"]))?;
    say("clippy");
    shell::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    say("documentation");
    shell::run(
        cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

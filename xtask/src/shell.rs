//! Running other programs.

use anyhow::{Context, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or(own.clone(), ToOwned::to_owned)
}

/// Says what is being done.
pub(crate) fn say(text: impl std::fmt::Display) {
    println!("xtask: {text}");
}

/// Runs a program and fails unless it ends well.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("can't start {}", line(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// What was called, without its environment, which may hold tokens.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a program and gives what it prints, if it ends well.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let done = command.output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Cargo, as this was started with; and as from a shell: what `cargo run` tells about this package would have build scripts
/// that look at it run again, and half of the workspace with them, whenever one builds now with and now without xtask.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &OsString| {
        name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
    };
    std::env::vars_os().map(|(name, _)| name).filter(of_package).for_each(|name| {
        command.env_remove(name);
    });
    command.current_dir(root());
    command
}

/// Builds the server as it is shipped; answers where its binary is.
pub(crate) fn built_server() -> anyhow::Result<PathBuf> {
    say("building the server");
    run(cargo().args(["build", "--release", "--package", "trueline"]))?;
    Ok(target_directory()?.join("release/trueline"))
}

/// Where cargo builds.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let metadata =
        output(cargo().args(["metadata", "--format-version", "1", "--no-deps"])).context("cargo metadata")?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"].as_str().context("a target directory")?;
    Ok(PathBuf::from(target))
}

/// Whether Debian packages can be installed here.
pub(crate) fn can_install() -> bool {
    let root = output(Command::new("id").arg("-u")).as_deref() == Some("0");
    root && output(Command::new("apt-get").arg("--version")).is_some()
}

/// Installs a Debian package, or says what to install.
pub(crate) fn install(package: &str, what_for: &str) -> anyhow::Result<()> {
    if !can_install() {
        bail!("{what_for} needs the package {package}: install it with `sudo apt-get install {package}`");
    }
    say(format!("installing {package} for {what_for}"));
    let mut apt = Command::new("apt-get");
    run(apt.args(["-qq", "update"]))?;
    let mut apt = Command::new("apt-get");
    run(apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y", "install", package]))
}

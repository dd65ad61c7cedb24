//! The README's first command, as a newcomer types it: that it names one program, and that the program takes it. Running it
//! would build everything once more.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::BINARY;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn the_first_command_of_the_readme_starts_the_server() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let first = readme.lines().skip_while(|line| *line != "```sh").nth(1).unwrap();
    let switches = first.strip_prefix("cargo run --release -- ").expect("a command of cargo");

    let mut cargo = Command::new(env!("CARGO"));
    let told = cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(root);
    let metadata: Value = serde_json::from_slice(&told.output().unwrap().stdout).unwrap();
    let list = |of: &Value| of.as_array().unwrap().clone();
    let members = list(&metadata["workspace_default_members"]);
    let packages = list(&metadata["packages"]).into_iter().filter(|package| members.contains(&package["id"]));
    let targets = packages.flat_map(|package| list(&package["targets"]));
    let programs: Vec<Value> =
        targets.filter(|t| list(&t["kind"]).contains(&"bin".into())).map(|t| t["name"].clone()).collect();
    assert_eq!(programs, ["trueline"], "cargo can't choose between several");

    let help = Command::new(BINARY).args(switches.split(' ')).arg("--help").output().unwrap();
    assert!(help.status.success());
}

//! Developer commands of the workspace: `cargo xtask help` lists them. Each installs what it needs first.

#![allow(clippy::print_stdout)]

mod bench;
mod crash;
mod demo;
mod fuzz;
mod lint;
mod postgres;
mod screenshots;
mod setup;
mod shell;
mod test;

use anyhow::bail;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask setup        install what tests and demo need (Python environments, Chromium)
cargo xtask test         build and run all tests; further arguments go to `cargo test`
cargo xtask screenshots  drive the pages in a browser and keep a picture of each in target/screenshots
cargo xtask lint         formatting, clippy, documentation
cargo xtask crash        kill the server under load and cut its power, 50 times each; --quick for 3
cargo xtask fuzz         filter parsers, bodies, scoring requests and files of models under coverage-guided fuzzing, 20
                         minutes each, all at once; --minutes <n> for another time
cargo xtask bench        measure the server: startup | commit | predict | tracking | serving | runs | points | artifacts | rollout | soak |
                         all; --out <file> for the numbers as JSON
cargo xtask demo         the demo, act by act; leaves the server up unless --exit is given; --screenshots [folder] walks
                         through its pages in a browser and keeps a picture of each
";

fn main() -> anyhow::Result<ExitCode> {
    if std::env::var_os(fuzz::IN_PLACE_OF_COMPILER).is_some() {
        return fuzz::compile();
    }
    command().map(|()| ExitCode::SUCCESS)
}

fn command() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = args.collect();
    match command.as_str() {
        "setup" => setup::python().map(|_| drop(setup::browser())),
        "screenshots" => screenshots::run(&rest),
        "test" => test::run(&rest),
        "lint" => lint::run(),
        "bench" => bench::run(&rest),
        "crash" => crash::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "demo" => demo::run(&rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("there is no command `{other}`\n\n{HELP}"),
    }
}

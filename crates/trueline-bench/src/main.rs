//! `trueline-bench`: the command line of the measurements. The table goes to standard output, and as JSON to a file when
//! one is named; ends with 1 when a number is over its budget.

#![allow(clippy::print_stdout)]

use anyhow::Context;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use trueline_bench::{Table, commit, predict, startup};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Start-up time, idle memory, size of the binary, writes through the public door
    Startup,
    /// Group commit, beside the disk and beside the same statements without the ledger
    Commit,
    /// Predictions, and a rollback under load
    Predict,
    /// All of it
    All,
}

/// Measures a server and its parts.
#[derive(Parser)]
#[command(name = "trueline-bench")]
struct Args {
    /// What is measured
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// The server's binary
    #[arg(long, env = "TRUELINE_BIN")]
    binary: PathBuf,
    /// The folder of the models that are served, from `python/bench/models.py`
    #[arg(long)]
    models: Option<PathBuf>,
    /// Where the table goes as JSON
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let Args { what, binary, models, out } = Args::parse();
    let asked = |part: What| what == part || what == What::All;
    let mut table = Table::default();
    if asked(What::Startup) {
        startup(&binary, &mut table)?;
    }
    if asked(What::Commit) {
        commit(&mut table)?;
    }
    if asked(What::Predict) {
        let models = models.context("--models names the folder of the models that are served")?;
        predict(&binary, &models, &mut table)?;
    }
    print!("{table}");
    if let Some(path) = out {
        std::fs::write(&path, format!("{:#}\n", table.json())).with_context(|| path.display().to_string())?;
    }
    Ok(if table.within_budget() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

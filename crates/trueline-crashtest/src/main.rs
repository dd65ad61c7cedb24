//! `trueline-crashtest`: the command line of the crash tests. One line for each round on standard output; ends with 0 when
//! the server kept its promise, 1 when it did not or the test could not run.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use trueline_crashtest::{Length, Mode, Plan, run};

/// Kills a server under load and cuts its power, and checks that nothing acknowledged is lost.
#[derive(Parser)]
#[command(name = "trueline-crashtest")]
struct Args {
    /// The server's binary
    #[arg(long, env = "TRUELINE_BIN")]
    binary: PathBuf,
    /// Rounds of each mode, with up to a second and a half of load each
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Instead of so many rounds, go on until the clients have been at work for so many minutes
    #[arg(long, conflicts_with = "rounds")]
    minutes: Option<u64>,
    /// What happens to the server
    #[arg(long, value_enum, default_value = "all")]
    mode: Mode,
    /// What random moments and loads come from; by default another each time
    #[arg(long)]
    seed: Option<u64>,
    /// Clients at work at the same time
    #[arg(long, default_value_t = 12)]
    clients: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let Args { binary, rounds, minutes, mode, seed, clients } = Args::parse();
    let length = minutes.map_or(Length::Rounds(rounds), Length::Minutes);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = seed.unwrap_or(since.as_secs());
    let plan = Plan { binary, length, mode, seed, clients };
    let passed = run(&plan, &mut std::io::stdout())?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! The binary: parses the command line, assembles the server or talks to one; nothing else.

mod cli;
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}

//! The program: parses the command line, assembles the server or talks to one; nothing else. It is a library so that
//! fuzzing can have a whole server in its own process.

mod cli;
mod server;

pub use cli::{run, run_with};

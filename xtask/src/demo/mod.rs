//! `cargo xtask demo`: one real model on real data, act by act, through the built server and the unmodified client: made,
//! judged, approved, served, spoiled, taken off, rolled back, watched, trained again, traced and proven.

mod acts;
mod operator;
mod release;
mod replay;
mod stage;

use crate::setup;
use crate::shell::{self, say};
use anyhow::bail;
use stage::Stage;

/// The model of the example.
const MODEL: &str = "flight-delay";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let exit = match arguments {
        [] => false,
        [one] if one == "--exit" => true,
        _ => bail!("the demo takes one argument at the most: --exit"),
    };
    let python = setup::python()?;
    let binary = shell::built_server()?;
    let mut stage = Stage::set(binary, python)?;
    let played = acts::play(&mut stage);
    if played.is_ok() && !exit {
        say(format!("the server stays up: {}  (Ctrl-C ends it)", stage.url()));
        say(format!("sign in as its admin with the token {}", stage.admin()));
        return stage.wait();
    }
    let stopped = stage.stop();
    played.and(stopped)
}

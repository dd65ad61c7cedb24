//! Processors that do not go to sleep. Where they are virtual, waking one takes the host tens of microseconds to milliseconds,
//! for whatever server: with something at work that gives way to everything, what the servers take themselves can be seen.

use anyhow::Context;
use std::process::{Child, Command, Stdio};

/// Keeps all processors awake until it is dropped.
pub(super) struct Awake(Vec<Child>);

impl Awake {
    /// Starts a loop for each processor, in the class of what runs only when nothing else wants to.
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut awake = Self(Vec::new());
        for _ in 0..std::thread::available_parallelism()?.get() {
            let mut command = Command::new("chrt");
            command.args(["--idle", "0", "sh", "-c", "while :; do :; done"]);
            let child = command.stdin(Stdio::null()).spawn().context("chrt of util-linux is needed")?;
            awake.0.push(child);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It ends with this, or has already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

//! A server that is measured: started in a process group of its own, waited for, and ended by its number. How a server of a
//! kind is started is said where it is measured.

use crate::Memory;
use crate::http::{Connection, get};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GIVE_UP: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);
/// For one look at whether it is ready.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For an orderly end, in which it ends processes of its own.
const STOP: Duration = Duration::from_secs(10);

/// A running server. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
}

/// An address on loopback that nobody listens at now.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

impl Process {
    /// Runs the command and waits until the server answers 200 at the path `ready`. What it prints goes to the file `log`.
    pub(crate) fn start(
        command: &mut Command,
        address: SocketAddr,
        ready: &str,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let printed = File::create(log)?;
        command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed).process_group(0);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("can't run {name}"))?;
        let mut process = Self { child, address, ready_after: Duration::ZERO };
        while !process.answers(ready) {
            if let Some(status) = process.child.try_wait()? {
                bail!("{name} did not start ({status}): {}", std::fs::read_to_string(log)?);
            }
            if began.elapsed() > GIVE_UP {
                bail!("{name} is not ready after {GIVE_UP:?}: {}", std::fs::read_to_string(log)?);
            }
            std::thread::sleep(LOOK);
        }
        process.ready_after = began.elapsed();
        Ok(process)
    }

    fn answers(&self, path: &str) -> bool {
        let asked = Connection::open(self.address, TIMEOUT).and_then(|mut c| c.ask(&get(path)));
        asked.is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What it and the processes that it has started hold, shared pages divided among them.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        let family = family(self.child.id())?;
        family.iter().map(|(process, _)| Ok(Memory::of(*process)?.proportional_mib)).sum()
    }

    /// The processor time that it and the processes that it has started have taken so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(family(self.child.id())?.iter().map(|(_, taken)| *taken).sum())
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < STOP {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        // What is left of it is killed as it is dropped.
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already is as good as ended now.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The processor time of this process so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    let own = stat(std::process::id()).context("/proc tells nothing of this process")?;
    Ok(own.taken)
}

/// What `/proc` tells of a process.
struct Stat {
    parent: u32,
    /// It has ended, and nobody has taken notice yet.
    ended: bool,
    taken: Duration,
}

fn stat(process: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The fields after the name, which may hold anything in its brackets: state, parent, … and the ticks as user and as
    // kernel at places 11 and 12.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let milliseconds = (number(11)? + number(12)?) * 1_000 / rustix::param::clock_ticks_per_second();
    let ended = matches!(fields.first(), Some(&("Z" | "X")));
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ended, taken: Duration::from_millis(milliseconds) })
}

/// The processes that a process started and that have not ended.
pub(crate) fn children(of: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        found.extend(number.filter(|n| stat(*n).is_some_and(|stat| stat.parent == of && !stat.ended)));
    }
    Ok(found)
}

/// A process and all that descend from it, with the time that each has taken.
fn family(root: u32) -> anyhow::Result<Vec<(u32, Duration)>> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((number, stat)) = number.and_then(|n| Some((n, stat(n)?))) {
            all.insert(number, stat);
        }
    }
    let descends = |mut process: u32| loop {
        match all.get(&process) {
            _ if process == root => return true,
            Some(stat) if stat.parent != process => process = stat.parent,
            _ => return false,
        }
    };
    Ok(all.iter().filter(|(n, _)| descends(**n)).map(|(n, stat)| (*n, stat.taken)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_spent_is_counted() {
        let (before, began) = (own_cpu().unwrap(), Instant::now());
        while own_cpu().unwrap() < before + Duration::from_millis(50) {
            assert!(began.elapsed() < Duration::from_secs(60), "no time is counted");
        }
    }

    #[test]
    fn a_child_is_of_the_family() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let child_id = child.id();
        let found = family(std::process::id()).unwrap().iter().any(|(n, _)| *n == child.id());
        let own = || children(std::process::id()).unwrap().contains(&child_id);
        let was = own();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found && was && !own());
    }
}

//! Processes as Linux tells of them under `/proc`: who one is, beyond its number, which belong to an attempt, and their end.

use super::ATTEMPT_VARIABLE;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long it is tried to end the processes of an attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process, told from all others that had or will have its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the boot.
    pub started_ticks: u64,
    /// Which boot.
    pub boot: String,
}

/// What `/proc/<pid>/stat` tells after the name, which may hold anything.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(ToOwned::to_owned).collect())
}

fn number(fields: &[String], index: usize) -> Option<u64> {
    fields.get(index)?.parse().ok()
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl ProcessId {
    /// A process that runs now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started_ticks: number(&stat(pid)?, 19)?, boot: boot() })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let fields = stat(self.pid);
        let here = fields.filter(|f| f.first().is_some_and(|state| state != "Z" && state != "X"));
        here.is_some_and(|f| number(&f, 19) == Some(self.started_ticks)) && boot() == self.boot
    }
}

/// Processor time of the children that this process has waited for, in milliseconds.
pub(super) fn children_cpu_ms() -> Option<i64> {
    let fields = stat(i32::try_from(std::process::id()).ok()?)?;
    let ticks = number(&fields, 13)? + number(&fields, 14)?;
    i64::try_from(ticks * 1_000 / rustix::param::clock_ticks_per_second().max(1)).ok()
}

/// The most memory that a process has held so far, in bytes.
pub(super) fn peak_rss_bytes(pid: u32) -> Option<i64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: i64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

fn all_pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

fn carries(pid: i32, mark: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|b| *b == 0).any(|variable| variable == mark)
}

/// The processes of an attempt: those that carry its mark in their environment, and all their descendants, who may have
/// thrown it away. Not this process.
fn members(attempt: &str) -> BTreeSet<i32> {
    let mark = format!("{ATTEMPT_VARIABLE}={attempt}").into_bytes();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = all_pids();
    let alive = |pid: &i32| stat(*pid).is_some_and(|f| f[0] != "Z" && f[0] != "X");
    let parent = |pid: i32| Some((pid, i32::try_from(number(&stat(pid)?, 1)?).ok()?));
    let parents: BTreeMap<i32, i32> = pids.iter().filter_map(|pid| parent(*pid)).collect();
    let mut found: BTreeSet<i32> = pids.into_iter().filter(|pid| carries(*pid, &mark)).collect();
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, up)| found.contains(*up) && !found.contains(*pid))
            .map(|(p, _)| *p)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.remove(&own);
    found.into_iter().filter(alive).collect()
}

/// Sends a signal to all processes of an attempt; answers how many there were.
pub(super) fn signal_all(attempt: &str, signal: Signal) -> usize {
    let found = members(attempt);
    for pid in &found {
        let Some(before) = ProcessId::of(*pid) else { continue };
        // The descriptor holds on to the process; the second look makes sure that it is the one that was found.
        let Some(descriptor) = Pid::from_raw(*pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        if before.is_alive() {
            let _ = pidfd_send_signal(&descriptor, signal);
        }
    }
    found.len()
}

/// Ends all processes of an attempt, for good. Answers whether none is left.
pub(super) fn kill_all(attempt: &str) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while signal_all(attempt, Signal::KILL) > 0 {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_number_alone_is_no_proof_of_a_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let id = ProcessId::of(own).unwrap();
        assert!(id.is_alive());
        let other = ProcessId { started_ticks: id.started_ticks + 1, ..id.clone() };
        assert!(!other.is_alive());
        assert!(!ProcessId { boot: "another".to_owned(), ..id }.is_alive());
    }

    #[test]
    fn grandchildren_that_left_the_session_and_dropped_the_mark_are_ended_too() {
        let attempt = format!("test-{}-{:?}", std::process::id(), Instant::now());
        let mut child = Command::new("sh")
            .args(["-c", "setsid env -i sleep 1000 & setsid sleep 1000 & sleep 1000"])
            .env(ATTEMPT_VARIABLE, &attempt)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while members(&attempt).len() < 4 {
            assert!(Instant::now() < deadline, "{:?}", members(&attempt));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(kill_all(&attempt));
        child.wait().unwrap();
        assert!(members(&attempt).is_empty());
    }
}

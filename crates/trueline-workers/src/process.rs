//! A process with a group of its own, which ends with everything in the group when this lets go of it.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A process that leads a group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    output: (Option<ChildStdout>, Option<ChildStderr>),
    /// Whether its number may belong to another process by now.
    reaped: Arc<Mutex<bool>>,
    ended: watch::Receiver<Option<Result<ExitStatus, String>>>,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no number"))?;
        let output = (child.stdout.take(), child.stderr.take());
        let (tell, ended) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let process = Self { pid, output, reaped: Arc::clone(&reaped), ended };
        // A thread waits: it goes on until the process has ended, whatever becomes of the runtime, so none stays a zombie.
        std::thread::Builder::new().name(format!("worker-{}", pid.as_raw_pid())).spawn(move || {
            let status = reap(child, pid, &reaped).map_err(|e| e.to_string());
            tell.send_replace(Some(status));
        })?;
        Ok(process)
    }

    /// Its number, which is its group's too.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// What it writes.
    pub(crate) fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.output.0.take(), self.output.1.take())
    }

    /// Waits until it has ended, and with it its group. May be dropped, and asked again.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let ended = self.ended.wait_for(Option::is_some).await;
        match ended.ok().as_deref() {
            Some(Some(Ok(status))) => Ok(*status),
            Some(Some(Err(why))) => Err(io::Error::other(why.clone())),
            _ => Err(io::Error::other("nobody waited for it")),
        }
    }

    /// Sends a signal to the group, and to the process, should it have left that.
    pub(crate) fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            let _ = kill_process(self.pid, signal);
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn reap(mut child: Child, pid: Pid, reaped: &Mutex<bool>) -> io::Result<ExitStatus> {
    // The exit code is left where it is: as long as nobody has taken it, no other process gets the number.
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = kill_process_group(pid, Signal::KILL);
    *reaped = true;
    child.wait()
}

/// How a process ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(9)) => "was killed (SIGKILL: by hand, or by the system for want of memory)".to_owned(),
        (None, Some(11)) => "crashed (SIGSEGV: a library of the model broke)".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Memory that a process holds now, in bytes: its resident set.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Memory that a process holds now, in bytes, of what it shares only its part; its resident set where the system does not tell.
pub(crate) fn proportional_bytes(pid: u32) -> Option<u64> {
    let told = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    let proportional = told.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    proportional.map(|kib| kib << 10).or_else(|| resident_bytes(pid))
}

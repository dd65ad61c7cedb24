//! The keeper of an attempt: a small process, in a session of its own, that runs the command, ends it with all its
//! descendants at its timeout, and leaves the outcome. It outlives the server, and knows nothing of it.

use super::attempt::{Claim, ExecSpec, Outcome, claim, write_whole};
use super::process::{ProcessId, children_cpu_ms, kill_all, peak_rss_bytes, signal_all};
use rustix::process::{Signal, WaitOptions, getpid, set_child_subreaper, setsid, wait};
use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often memory and the log's size are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long a command has to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// Runs what the folder says and leaves the outcome there. Does nothing when the folder was claimed before.
///
/// # Errors
/// What the disk says; the attempt is lost then.
pub fn keep(folder: &Path) -> std::io::Result<()> {
    // A signal that a terminal sends to the server must not reach the step. It fails for one that leads a session already.
    let _ = setsid();
    // Grandchildren whose parents end become this process's children, and can be found.
    set_child_subreaper(Some(getpid()))?;
    let spec: ExecSpec = serde_json::from_slice(&std::fs::read(folder.join("spec.json"))?)?;
    let own = ProcessId::of(getpid().as_raw_pid())
        .ok_or_else(|| std::io::Error::other("/proc tells nothing of this process"))?;
    if !claim(folder, &Claim::Keeper(own))? {
        return Ok(());
    }
    let log = folder.join("log");
    let outcome = run(&spec, &log);
    // What the command left behind would write into files whose hashes are about to be taken.
    kill_all(&spec.attempt);
    File::open(&log)?.sync_all()?;
    write_whole(&folder.join("result.json"), &serde_json::to_vec(&outcome)?)
}

fn run(spec: &ExecSpec, log: &Path) -> Outcome {
    let not_started = |why: String| Outcome { exit_code: 127, error: Some(why), ..Outcome::default() };
    let opened = OpenOptions::new().create(true).append(true).open(log).and_then(|f| Ok((f.try_clone()?, f)));
    let (out, err) = match opened {
        Ok(both) => both,
        Err(e) => return not_started(format!("its log can't be written: {e}")),
    };
    let Some((program, arguments)) = spec.argv.split_first() else {
        return not_started("there is no command".to_owned());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&spec.dir)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    match command.spawn() {
        Ok(child) => follow(spec, log, child),
        Err(e) => not_started(format!("`{program}` can't be started: {e}")),
    }
}

fn follow(spec: &ExecSpec, log: &Path, mut child: std::process::Child) -> Outcome {
    let deadline = Instant::now() + Duration::from_millis(spec.timeout_ms);
    let pid = child.id();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(child.wait())));
    let mut outcome = Outcome::default();
    let ended = loop {
        outcome.peak_rss_bytes = outcome.peak_rss_bytes.max(peak_rss_bytes(pid));
        let left = deadline.saturating_duration_since(Instant::now());
        match told.recv_timeout(LOOK.min(left)) {
            Ok(ended) => break ended,
            Err(mpsc::RecvTimeoutError::Disconnected) => break Err(std::io::Error::other("nobody waited")),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        outcome.timed_out = Instant::now() >= deadline;
        if std::fs::metadata(log).is_ok_and(|m| m.len() > spec.log_limit) {
            outcome.error = Some(format!("its log grew beyond {} bytes", spec.log_limit));
        }
        if outcome.timed_out || outcome.error.is_some() {
            break end(spec, &told);
        }
    };
    match ended {
        Ok(status) => outcome.exit_code = code(status),
        Err(e) => outcome.error = Some(format!("it can't be told how it ended: {e}")),
    }
    // Also those that lived on are waited for, so that their time is counted.
    kill_all(&spec.attempt);
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    outcome.cpu_ms = children_cpu_ms();
    outcome
}

/// Asks the command and all its descendants to end, and ends them.
fn end(spec: &ExecSpec, told: &mpsc::Receiver<std::io::Result<ExitStatus>>) -> std::io::Result<ExitStatus> {
    signal_all(&spec.attempt, Signal::TERM);
    let asked = told.recv_timeout(GRACE);
    kill_all(&spec.attempt);
    match asked {
        Ok(ended) => ended,
        Err(_) => told.recv_timeout(GRACE).unwrap_or_else(|e| Err(std::io::Error::other(e))),
    }
}

fn code(status: ExitStatus) -> i64 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap_or(1).into()
}

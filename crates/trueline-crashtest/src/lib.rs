//! Crash tests of a server under load. A developer's tool, never shipped.
//!
//! ```text
//!   clients ──► server ──► data directory        kill        kill -9 at a random moment
//!      │                        │                power       kill, and all that was not fsynced is lost (`disk`)
//!   what was acknowledged       │                kill-power  kill, restart, and then the power goes
//!      └────────► check ◄───────┘                power-off-control   power with synchronous=OFF: must be found out
//!                                                 power-log-control   power, and fsyncs of the prediction log count for
//!                                                                     nothing: must be found out
//! ```
//!
//! After each crash the same command is started again on the same data directory. It must be ready within 2 s with no
//! repair by hand, its endpoint answering by the version that was deployed; every acknowledged write must be there, once,
//! and every answered prediction with its labels; a write under way must be there whole or not at all; after an orderly
//! stop the ledger must verify offline against the key of the first start and a checkpoint that was given out under load.

mod api;
mod check;
mod disk;
mod endpoint;
mod rng;
mod rounds;
mod server;
mod story;
mod workload;

pub use disk::{Disk, Lost};
pub use rng::Rng;
pub use server::{Launch, Server};

use clap::ValueEnum;
use rounds::{Ground, Report, Stop};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// `kill -9` under load.
    Kill,
    /// A power cut under load.
    Power,
    /// `kill -9` under load, a restart, and a power cut while the server takes up its work again.
    KillPower,
    /// The power cuts with `synchronous=OFF`, which the test must find out.
    PowerOffControl,
    /// The power cuts with fsyncs of the prediction log that count for nothing, which the test must find out.
    PowerLogControl,
    /// All of them.
    All,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Power => "power",
            Self::KillPower => "kill-power",
            Self::PowerOffControl => "power-off-control",
            Self::PowerLogControl => "power-log-control",
            Self::All => "all",
        }
    }

    fn cuts_under_load(self) -> bool {
        matches!(self, Self::Power | Self::PowerOffControl | Self::PowerLogControl)
    }

    /// Must be found out, or the test is worth nothing.
    fn is_control(self) -> bool {
        matches!(self, Self::PowerOffControl | Self::PowerLogControl)
    }

    /// Whether a finding is such as this control must bring; where the log alone forgets, nothing else may be lost.
    fn explains(self, finding: &str) -> bool {
        self != Self::PowerLogControl || finding.contains("prediction")
    }
}

/// How long a mode goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many rounds with a short load each.
    Rounds(usize),
    /// Rounds of a longer load, until the clients have been at work for so many minutes.
    Minutes(u64),
}

impl Length {
    /// How long the load of each round lasts.
    fn loads(self, rng: &mut Rng) -> Vec<Duration> {
        let mut load = |ms| Duration::from_millis(rng.within(ms));
        match self {
            Self::Rounds(rounds) => (0..rounds).map(|_| load(SHORT_MS)).collect(),
            Self::Minutes(minutes) => {
                let (mut loads, all) = (Vec::new(), Duration::from_secs(60 * minutes));
                while loads.iter().sum::<Duration>() < all {
                    loads.push(load(LONG_MS));
                }
                loads
            }
        }
    }
}

/// How long the load of a round lasts, in milliseconds.
const SHORT_MS: std::ops::Range<u64> = 200..1500;
const LONG_MS: std::ops::Range<u64> = 5_000..20_000;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's binary.
    pub binary: PathBuf,
    /// How long each mode goes on.
    pub length: Length,
    /// What happens to the server.
    pub mode: Mode,
    /// What the random moments and loads come from.
    pub seed: u64,
    /// Clients at work at the same time.
    pub clients: usize,
}

/// Runs the plan and writes a line for each round; answers whether the server kept its promise.
///
/// # Errors
/// When the test itself can't go on: no compiler, no such binary, no room on the disk.
pub fn run(plan: &Plan, out: &mut dyn Write) -> anyhow::Result<bool> {
    let all = [Mode::Kill, Mode::Power, Mode::KillPower, Mode::PowerOffControl, Mode::PowerLogControl];
    let modes = if plan.mode == Mode::All { &all[..] } else { std::slice::from_ref(&plan.mode) };
    let work = tempfile::Builder::new().prefix("trueline-crash-").tempdir()?;
    let mut kept = Vec::new();
    for mode in modes {
        if !run_mode(plan, *mode, &work.path().join(mode.name()), out)? {
            kept.push(mode.name());
        }
    }
    if kept.is_empty() {
        writeln!(out, "passed")?;
        return Ok(true);
    }
    writeln!(out, "FAILED: {}; everything is kept in {}", kept.join(", "), work.keep().display())?;
    Ok(false)
}

/// Sums over the rounds of one mode.
#[derive(Default)]
struct Sum {
    rounds: usize,
    acknowledged: usize,
    kept: usize,
    dropped: usize,
    slowest: Duration,
    cuts: usize,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.rounds += 1;
        self.acknowledged += report.acknowledged;
        self.kept += report.checked.kept;
        self.dropped += report.checked.dropped;
        self.slowest = self.slowest.max(report.recovered);
    }
}

/// All rounds of one mode; answers whether they came out as they must.
fn run_mode(plan: &Plan, mode: Mode, work: &Path, out: &mut dyn Write) -> anyhow::Result<bool> {
    let (name, mut rng) = (mode.name(), Rng::new(plan.seed ^ mode as u64));
    let loads = plan.length.loads(&mut rng);
    let (n, seconds) = (loads.len(), loads.iter().sum::<Duration>().as_secs());
    writeln!(out, "{name}: {n} rounds, {seconds} s of load, {} clients, seed {}", plan.clients, plan.seed)?;
    let mut sum = Sum::default();
    let mut done = Ok(());
    if matches!(mode, Mode::Kill | Mode::Power) {
        done = first_starts(plan, mode, work, (n / 5).max(1), &mut rng, out);
    }
    if done.is_ok() {
        done = load_rounds(plan, mode, work, &loads, &mut rng, &mut sum, out);
    }
    let Sum { rounds, acknowledged, kept, dropped, slowest, cuts } = sum;
    writeln!(
        out,
        "{name}: {rounds} rounds passed, {acknowledged} writes acknowledged in them; of those without an answer {kept} \
         were there and {dropped} were not; ready after {} ms at the most",
        slowest.as_millis()
    )?;
    let control = mode.is_control();
    match done {
        Err(Stop::Broken(error)) => Err(error),
        Ok(()) if control => {
            writeln!(out, "{name}: FAILED: nothing was lost, so this test would not notice")?;
            Ok(false)
        }
        Ok(()) => Ok(true),
        Err(Stop::Late(after)) => {
            writeln!(out, "{name}: FAILED: ready only after {after:?}")?;
            Ok(false)
        }
        Err(Stop::Findings(list)) => {
            let found_out = control && cuts > 0 && list.iter().all(|finding| mode.explains(finding));
            let verdict = if found_out { "found out, as it must be" } else { "FAILED" };
            writeln!(out, "{name}: {verdict}: {} findings", list.len())?;
            list.iter().take(20).try_for_each(|line| writeln!(out, "  - {line}"))?;
            Ok(found_out)
        }
    }
}

/// Crashes early in a data directory's life, each on an empty folder of its own: some in the middle of the first start,
/// some under the first load. What is made once and then kept (folders, the key) is not durable by somebody else's fsync
/// there.
fn first_starts(
    plan: &Plan,
    mode: Mode,
    work: &Path,
    n: usize,
    rng: &mut Rng,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let usual = Ground::new(plan, mode, work.join("first"), rng.fork())?.start()?.ready_after();
    let name = mode.name();
    for i in 1..=n {
        let folder = work.join(format!("first-start-{i}"));
        let mut ground = Ground::new(plan, mode, folder.clone(), rng.fork())?;
        let (recovered, crash) = ground.first_start(usual)?;
        said(out, &format!("{name} first start {i}/{n}: {crash}, ready after {} ms", recovered.as_millis()))?;
        std::fs::remove_dir_all(folder).map_err(anyhow::Error::from)?;

        let folder = work.join(format!("first-load-{i}"));
        let load = Duration::from_millis(rng.within(SHORT_MS));
        let report = Ground::new(plan, mode, folder.clone(), rng.fork())?.round(load, true)?;
        said(out, &format!("{name} first load {i}/{n}: {report}"))?;
        std::fs::remove_dir_all(folder).map_err(anyhow::Error::from)?;
    }
    Ok(())
}

/// The rounds under load, on one data directory.
fn load_rounds(
    plan: &Plan,
    mode: Mode,
    work: &Path,
    loads: &[Duration],
    rng: &mut Rng,
    sum: &mut Sum,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let mut ground = Ground::new(plan, mode, work.join("rounds"), rng.fork())?;
    for (i, load) in (1..).zip(loads) {
        let done = ground.round(*load, i == loads.len());
        sum.cuts = ground.cuts;
        let report = done?;
        sum.add(&report);
        said(out, &format!("{} {i}/{}: {report}", mode.name(), loads.len()))?;
    }
    Ok(())
}

fn said(out: &mut dyn Write, line: &str) -> Result<(), Stop> {
    writeln!(out, "{line}").map_err(|e| Stop::Broken(e.into()))
}

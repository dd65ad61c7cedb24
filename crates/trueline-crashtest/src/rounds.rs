//! The rounds: load, crash, restart, check, stop, verify; on one data directory that goes on growing.

use crate::api::Api;
use crate::check::{Checked, Depth, check};
use crate::endpoint;
use crate::server::{Launch, Server};
use crate::story::{Pending, Story};
use crate::workload::Client;
use crate::{Disk, Mode, Plan, Rng};
use anyhow::Context;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A restarted server is ready, and its endpoint answers, within this.
const READY: Duration = Duration::from_secs(2);
/// After a restart the sequencer and the tasks go on where they were left; a second crash comes while they do.
const RECOVERY_MS: std::ops::Range<u64> = 0..400;
/// How often somebody asks for the newest checkpoint.
const WITNESS: Duration = Duration::from_millis(20);
/// Small enough that segments of the prediction log are sealed in most rounds.
const SEGMENT_BYTES: u64 = 8 << 10;
/// What is asked first after a start.
const FIRST_INPUT: f64 = 0.25;
/// How many earlier rounds are looked at again in each round.
const LOOK_BACK: usize = 2;

/// Why a mode ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What was acknowledged is not there or not as it was, or the server does not come back; what was found.
    Findings(Vec<String>),
    /// The server came back, but later than it must. Says nothing about what was lost.
    Late(Duration),
    /// The test itself could not go on.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

fn finding(what: impl fmt::Display) -> Stop {
    Stop::Findings(vec![what.to_string()])
}

/// One data directory and what was acknowledged on it.
pub(crate) struct Ground<'p> {
    plan: &'p Plan,
    mode: Mode,
    launch: Launch,
    /// Where the power can be cut.
    disk: Option<Disk>,
    work: PathBuf,
    rng: Rng,
    /// The ledger's key, as it was at the first start.
    key: Option<String>,
    /// The last checkpoint that was given out under load: the log goes on from it.
    given_out: Option<PathBuf>,
    /// By round, then by client.
    stories: Vec<Vec<Story>>,
    /// What the endpoint answered right after the starts.
    after_starts: Story,
    /// The versions that the endpoint may answer by: two when nobody knows what became of a deployment; none before there
    /// is an endpoint.
    deployed: Vec<u64>,
    /// How often the power was cut.
    pub(crate) cuts: usize,
}

/// What a round came to.
pub(crate) struct Report {
    pub(crate) acknowledged: usize,
    pub(crate) checked: Checked,
    pub(crate) recovered: Duration,
    pub(crate) crashes: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, checked, recovered, crashes } = self;
        let (ms, kept, dropped) = (recovered.as_millis(), checked.kept, checked.dropped);
        write!(
            f,
            "{acknowledged} acknowledged, {crashes}; ready after {ms} ms; of those without an answer {kept} there, \
             {dropped} not"
        )
    }
}

impl<'p> Ground<'p> {
    pub(crate) fn new(plan: &'p Plan, mode: Mode, work: PathBuf, rng: Rng) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&work)?;
        let mut disk = if mode == Mode::Kill { None } else { Some(Disk::new(&work)?) };
        let root = disk.as_ref().map_or_else(|| work.join("root"), |d| d.root().to_owned());
        std::fs::create_dir_all(&root)?;
        let mut launch = Launch::new(&plan.binary, &work, &root.join("data"))?;
        launch.synchronous_off = mode == Mode::PowerOffControl;
        launch.segment_bytes = Some(SEGMENT_BYTES);
        if let Some(disk) = disk.as_mut().filter(|_| mode == Mode::PowerLogControl) {
            disk.disbelieve("data/predictions");
        }
        Ok(Self {
            plan,
            mode,
            launch,
            disk,
            work,
            rng,
            key: None,
            given_out: None,
            stories: Vec::new(),
            after_starts: Story::default(),
            deployed: Vec::new(),
            cuts: 0,
        })
    }

    /// One round with so much load; `last` looks at everything once more.
    pub(crate) fn round(&mut self, load: Duration, last: bool) -> Result<Report, Stop> {
        let server = self.start()?;
        let (stories, mut crashes) = self.load(server, load)?;
        let acknowledged = stories.iter().map(|s| s.acknowledged).sum();
        self.stories.push(stories);
        if self.mode == Mode::KillPower || self.rng.chance(0.25) {
            crashes.push_str(&self.crash_again()?);
        }
        let server = self.start()?;
        let recovered = server.ready_after();
        let checked = self.check_all(last)?;
        server.stop().map_err(finding)?;
        // A stop is orderly when nothing more is lost after it.
        if self.mode == Mode::Power && self.rng.chance(0.25) {
            crashes.push_str(&self.cut()?);
        }
        self.verify()?;
        Ok(Report { acknowledged, checked, recovered, crashes })
    }

    /// A start on an empty folder that does not get far, and then one that must.
    pub(crate) fn first_start(&mut self, within: Duration) -> Result<(Duration, String), Stop> {
        let server = self.launch.spawn(self.disk.as_ref())?;
        std::thread::sleep(within.mul_f64(self.rng.unit()));
        let crash = self.crash(server)?;
        let server = self.start()?;
        let recovered = server.ready_after();
        server.stop().map_err(finding)?;
        self.verify()?;
        Ok((recovered, crash))
    }

    /// Starts the server; it must be ready soon and answer predictions, with the key that it always had.
    pub(crate) fn start(&mut self) -> Result<Server, Stop> {
        let began = Instant::now();
        let server = self.launch.start(self.disk.as_ref()).map_err(finding)?;
        self.ask_first()?;
        if began.elapsed() > READY {
            return Err(Stop::Late(began.elapsed()));
        }
        let (key, _) = self.launch.api().ledger().map_err(finding)?;
        match &self.key {
            None => self.key = Some(key),
            Some(first) if *first == key => {}
            Some(first) => return Err(finding(format!("the ledger's key is {key} now; it was {first}"))),
        }
        Ok(server)
    }

    /// The first prediction after a start: by the version that was deployed, which the database knows too.
    fn ask_first(&mut self) -> Result<(), Stop> {
        if self.deployed.is_empty() {
            return Ok(());
        }
        let (api, failed) = (self.launch.api(), |e| finding(format!("after the restart, the endpoint: {e}")));
        let asked = endpoint::ask(&api, &[FIRST_INPUT]).map_err(failed)?.map_err(finding)?;
        let answered = asked[0].version;
        if !self.deployed.contains(&answered) {
            let known = &self.deployed;
            return Err(finding(format!(
                "version {answered} answers after the restart; {known:?} was deployed"
            )));
        }
        let row = endpoint::deployed(&api).map_err(failed)?;
        if row != endpoint::variant(answered) {
            return Err(finding(format!("version {answered} answers, and the database has {row} deployed")));
        }
        self.deployed = vec![answered];
        self.after_starts.predictions.extend(asked);
        Ok(())
    }

    /// The version that answers now; the endpoint is made when there is none.
    fn answering(&mut self) -> Result<u64, Stop> {
        if self.deployed.is_empty() {
            let made = endpoint::set_up(&self.launch.api());
            made.map_err(|e| finding(format!("can't make an endpoint: {e}")))?;
            self.deployed = vec![endpoint::VERSIONS[0]];
        }
        Ok(self.deployed[0])
    }

    /// Clients at work until the server is killed after `pause`; the power is cut then, if the mode says so.
    fn load(&mut self, server: Server, pause: Duration) -> Result<(Vec<Story>, String), Stop> {
        let round = self.stories.len();
        let shared = format!("shared-{round}");
        let made = self.launch.api().post("registered-models/create", &json!({ "name": shared }));
        made.map_err(|e| finding(format!("can't create a model: {e}")))?;
        let answering = self.answering()?;
        let seeds: Vec<Rng> = (0..self.plan.clients).map(|_| self.rng.fork()).collect();
        let crashing = AtomicBool::new(false);
        let (killed, done, note) = std::thread::scope(|scope| {
            let client = |(i, rng)| {
                let mut client = Client::new(self.launch.api(), rng, format!("r{round}c{i}"), &crashing);
                if i == 0 {
                    client = client.that_deploys(answering);
                }
                let shared = &shared;
                scope.spawn(move || client.run(shared))
            };
            let clients: Vec<_> = seeds.into_iter().enumerate().map(client).collect();
            let witness = scope.spawn(|| newest_checkpoint(&self.launch.api(), &crashing));
            std::thread::sleep(pause);
            crashing.store(true, Ordering::SeqCst);
            let killed = server.kill();
            (killed, clients.into_iter().map(joined).collect::<Vec<_>>(), joined(witness))
        });
        killed.map_err(finding)?;
        let (stories, findings): (Vec<Story>, Vec<Option<String>>) = done.into_iter().unzip();
        let findings: Vec<String> = findings.into_iter().flatten().collect();
        if !findings.is_empty() {
            return Err(Stop::Findings(findings));
        }
        self.deployed = stories.iter().flat_map(may_be_deployed).collect();
        if let Some(note) = note {
            self.given_out = Some(self.work.join("checkpoint"));
            std::fs::write(self.work.join("checkpoint"), note).context("keep a checkpoint")?;
        }
        let mut told = format!("after {} ms kill", pause.as_millis());
        if self.mode.cuts_under_load() {
            told.push_str(&self.cut()?);
        }
        Ok((stories, told))
    }

    /// A second crash while the server takes up its work again.
    fn crash_again(&mut self) -> Result<String, Stop> {
        let server = self.start()?;
        let pause = self.rng.within(RECOVERY_MS);
        std::thread::sleep(Duration::from_millis(pause));
        Ok(format!(", {pause} ms after the restart {}", self.crash(server)?))
    }

    fn crash(&mut self, server: Server) -> Result<String, Stop> {
        server.kill().map_err(finding)?;
        Ok(format!("kill{}", self.cut()?))
    }

    /// Cuts the power: in half of the cases all that was not fsynced is lost, in the others a random part of it.
    fn cut(&mut self) -> Result<String, Stop> {
        let Some(disk) = &self.disk else { return Ok(String::new()) };
        let survival = if self.rng.chance(0.5) { 0.0 } else { self.rng.unit() };
        let lost = disk.cut(survival, &mut self.rng)?;
        self.cuts += 1;
        Ok(format!(" + cut ({survival:.2} survive: {} names, {} sectors lost)", lost.names, lost.sectors))
    }

    fn check_all(&mut self, last: bool) -> Result<Checked, Stop> {
        let api = self.launch.api();
        let newest = self.stories.len() - 1;
        let mut all = check(&api, &mut self.stories[newest], Depth::All);
        let after_starts = std::slice::from_mut(&mut self.after_starts);
        all.findings.extend(check(&api, after_starts, Depth::Rows).findings);
        let some = LOOK_BACK.min(newest);
        let earlier: Vec<usize> =
            if last { (0..newest).collect() } else { (0..some).map(|_| self.earlier(newest)).collect() };
        let depth = if last { Depth::All } else { Depth::Rows };
        for round in earlier {
            all.findings.extend(check(&api, &mut self.stories[round], depth).findings);
        }
        if all.findings.is_empty() { Ok(all) } else { Err(Stop::Findings(all.findings)) }
    }

    fn earlier(&mut self, newest: usize) -> usize {
        usize::try_from(self.rng.below(newest as u64)).unwrap_or(0)
    }

    fn verify(&self) -> Result<(), Stop> {
        let key = self.key.as_deref().context("no key is known")?;
        self.launch.verify(key, self.given_out.as_deref())?.map_err(finding)
    }
}

/// What this client knows to be deployed, and what it had asked for when the server was killed.
fn may_be_deployed(story: &Story) -> Vec<u64> {
    let asked_for = match story.pending {
        Some(Pending::Deploy { version }) => Some(version),
        _ => None,
    };
    story.deployed.into_iter().chain(asked_for).collect()
}

/// Asks for the newest checkpoint again and again, as somebody outside would, until the server is gone; what was given
/// out must stand from then on.
fn newest_checkpoint(api: &Api, crashing: &AtomicBool) -> Option<String> {
    let mut newest = None;
    while !crashing.load(Ordering::SeqCst) {
        if let Ok((_, Some(note))) = api.ledger() {
            newest = Some(note);
        }
        std::thread::sleep(WITNESS);
    }
    newest
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

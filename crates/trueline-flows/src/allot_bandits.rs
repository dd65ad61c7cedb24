//! Bandits allot: every second, the rewards that are due are read, and the shares follow them. It needs the database and the
//! log, the requests do not.

use crate::deploy::{Deployments, publish};
use crate::read_rewards::{RewardsRead, read_rewards};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_identity::Project;
use trueline_ledger::{Millis, Sources};
use trueline_predictions::{Cursor, LogError, PredictionLog};
use trueline_serving::ServingError;
use trueline_serving::bandit::{Bandit, BanditEvidence, BanditMove, BanditProgress, BanditReport, decide};
use trueline_stats::StatsError;

/// How often what was seen is written down, in milliseconds.
const SAVE: Millis = 1_000;
/// The same once keys are remembered, which takes some hundred kilobytes.
const SAVE_WITH_KEYS: Millis = 5_000;
/// How long one bandit may read at a sitting, so that others have their turn; it goes on a second later.
const READING: Duration = Duration::from_millis(500);

/// Allots for all bandits of a server.
#[derive(Debug)]
pub struct BanditAllotter {
    parts: Deployments,
    log: Arc<PredictionLog>,
    sources: Sources,
    /// What was seen so far, by bandit.
    cases: HashMap<String, Case>,
}

#[derive(Debug)]
struct Case {
    bandit: Bandit,
    evidence: BanditEvidence,
    /// The shares under which lots were drawn, by the generation of the route.
    allotments: BTreeMap<i64, Vec<u32>>,
    /// The last look; none before the first one.
    numbers: Option<BanditReport>,
    /// Nothing is to be read before, though predictions wait.
    due_ms: Option<Millis>,
    saved_at_ms: Millis,
    unsaved: bool,
}

fn broken(error: StatsError) -> ServingError {
    ServingError::State(format!("a bandit can't allot: {error}"))
}

fn unreadable(error: &LogError) -> ServingError {
    ServingError::State(format!("a bandit can't read the prediction log: {error}"))
}

impl BanditAllotter {
    /// With nothing seen yet; what was written down is read when a bandit has its first turn.
    #[must_use]
    pub fn new(parts: Deployments, log: Arc<PredictionLog>, sources: Sources) -> Self {
        Self { parts, log, sources, cases: HashMap::new() }
    }

    /// Gives every bandit that is under way its turn, once.
    ///
    /// # Errors
    /// The first failure; the others have their turn all the same, and what failed is tried again at the next sitting.
    pub async fn sit(&mut self, projects: &[Project]) -> Result<(), ServingError> {
        let open = self.parts.bandits.open().await?;
        self.cases.retain(|id, _| open.iter().any(|bandit| bandit.id == *id));
        let mut failed = None;
        for bandit in open {
            let Some(project) = projects.iter().find(|p| p.id == bandit.project) else { continue };
            if let Err(error) = self.turn(project, bandit).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Writes down what was seen since the last time, at a stop.
    pub async fn adjourn(&mut self) {
        for case in self.cases.values_mut() {
            if let Err(error) = case.save(&self.parts, self.sources.now()).await {
                tracing::warn!(%error, bandit = case.bandit.id, "what a bandit saw last is read again at the next start");
            }
        }
    }

    async fn turn(&mut self, project: &Project, bandit: Bandit) -> Result<(), ServingError> {
        let (id, now) = (bandit.id.clone(), self.sources.now());
        if !self.cases.contains_key(&id) {
            self.cases.insert(id.clone(), Case::reopen(&self.parts, bandit.clone()).await?);
        }
        let Some(case) = self.cases.get_mut(&id) else { return Ok(()) };
        case.follow(&self.parts, bandit).await?;
        // It may be thousands of predictions, which would keep others from being answered.
        let (what, numbers) = tokio::task::block_in_place(|| case.look(&self.log, now))?;
        if what == BanditMove::Stay {
            return case.save_when_due(&self.parts, now).await;
        }
        case.save(&self.parts, now).await?;
        let reason = words(&what, &numbers);
        let acted = self.parts.bandits.act(&case.bandit, what, reason, numbers).await?;
        let Some(moved) = acted else { return Ok(()) };
        publish(&self.parts.plane, project, &moved.endpoint).await?;
        let (state, reason) = (moved.bandit.state.as_str(), &moved.bandit.reason);
        tracing::info!(endpoint = %moved.bandit.endpoint, bandit = id, state, reason, "a bandit moved");
        if moved.bandit.generation != case.bandit.generation {
            case.evidence.allotted();
            case.unsaved = true;
        }
        case.follow(&self.parts, moved.bandit).await?;
        case.save(&self.parts, now).await
    }
}

impl Case {
    /// Goes on from what was written down, or begins.
    async fn reopen(parts: &Deployments, bandit: Bandit) -> Result<Self, ServingError> {
        let evidence = match parts.bandits.saved(&bandit).await? {
            Some(saved) => saved,
            None => {
                BanditEvidence::new(&bandit.plan, bandit.arms.len(), bandit.cursor.clone()).map_err(broken)?
            }
        };
        let allotments = parts.bandits.allotments(&bandit).await?;
        Ok(Self { bandit, evidence, allotments, numbers: None, due_ms: None, saved_at_ms: 0, unsaved: true })
    }

    /// Knows the bandit as it is now, with the shares it had.
    async fn follow(&mut self, parts: &Deployments, bandit: Bandit) -> Result<(), ServingError> {
        if !self.allotments.contains_key(&bandit.generation) && bandit.state.is_open() {
            self.allotments = parts.bandits.allotments(&bandit).await?;
        }
        self.bandit = bandit;
        Ok(())
    }

    /// Takes in what is due, and says what is to be done.
    fn look(&mut self, log: &PredictionLog, now: Millis) -> Result<(BanditMove, BanditReport), ServingError> {
        let began = Instant::now();
        while self.due_ms.is_none_or(|due| due <= now) && self.read_on(log, now)? {
            if began.elapsed() >= READING {
                break;
            }
        }
        let numbers = self.evidence.look(&self.bandit).map_err(broken)?;
        let progress = BanditProgress {
            state: self.bandit.state,
            shares: self.bandit.shares.clone(),
            allotted_at_ms: self.bandit.allotted_at_ms,
            since_allotment: self.evidence.since_allotment(),
            started_at_ms: self.bandit.started_at_ms,
        };
        let what = decide(&self.bandit.plan, &progress, &numbers, now);
        self.numbers = Some(numbers.clone());
        Ok((what, numbers))
    }

    /// Reads a page of the log; whether there is more.
    fn read_on(&mut self, log: &PredictionLog, now: Millis) -> Result<bool, ServingError> {
        let text = self.evidence.cursor.as_str();
        let from = Cursor::parse(text).ok_or_else(|| unreadable(&LogError::Cursor(text.to_owned())))?;
        let read =
            read_rewards(log, &self.bandit, &self.allotments, from, now).map_err(|e| unreadable(&e))?;
        let RewardsRead { rewards, next, read_to_ms, more, due_ms } = read;
        // All of a page or nothing: a state that has some of it would count that again.
        let mut evidence = self.evidence.clone();
        for one in &rewards {
            evidence.observe(&self.bandit.plan, &one.reward, &one.shares).map_err(broken)?;
        }
        read_to_ms.into_iter().for_each(|at| evidence.read_to(at));
        evidence.cursor = next.to_string();
        self.unsaved |= next != from;
        (self.evidence, self.due_ms) = (evidence, due_ms);
        Ok(more)
    }

    async fn save_when_due(&mut self, parts: &Deployments, now: Millis) -> Result<(), ServingError> {
        let wait = if self.evidence.has_keys() { SAVE_WITH_KEYS } else { SAVE };
        if now.saturating_sub(self.saved_at_ms) < wait {
            return Ok(());
        }
        self.save(parts, now).await
    }

    async fn save(&mut self, parts: &Deployments, now: Millis) -> Result<(), ServingError> {
        let (Some(numbers), true) = (&self.numbers, self.unsaved) else { return Ok(()) };
        parts.bandits.save(&self.bandit, &self.evidence, numbers).await?;
        (self.saved_at_ms, self.unsaved) = (now, false);
        Ok(())
    }
}

/// Why a bandit moves.
fn words(what: &BanditMove, numbers: &BanditReport) -> String {
    let version = |arm: usize| numbers.arms.get(arm).map_or("?", |a| a.version.as_str());
    let told = numbers.words();
    match what {
        BanditMove::Stay | BanditMove::Allot(_) => told,
        BanditMove::Propose(arm) => {
            format!("{} is the best, and its interval lies apart from the others'. {told}", version(*arm))
        }
        BanditMove::Finish(arm) => {
            format!(
                "{} is the best, and its interval lies apart from the others': it answers alone. {told}",
                version(*arm)
            )
        }
        BanditMove::Expire => format!("its time is over; the shares stay as they are. {told}"),
    }
}

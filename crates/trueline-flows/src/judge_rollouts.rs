//! Rollouts are judged: every second, what both arms answered is taken in, looked at, and acted on. It needs the database,
//! the requests do not: what they showed waits in memory until the next sitting.

use crate::deploy::{Deployments, publish};
use crate::judge_labels::take_in_labels;
use std::collections::HashMap;
use std::sync::Arc;
use trueline_identity::Project;
use trueline_ledger::{Millis, Sources};
use trueline_predictions::PredictionLog;
use trueline_serving::ServingError;
use trueline_serving::rollout::{Evidence, Move, Progress, Report, Rollout, RolloutState, decide, explain};
use trueline_stats::StatsError;

/// How often what was seen is written down, in milliseconds.
const SAVE: Millis = 1_000;
/// The same once keys are remembered, which takes some hundred kilobytes.
const SAVE_WITH_KEYS: Millis = 5_000;

/// The judge of all rollouts of a server.
#[derive(Debug)]
pub struct RolloutJudge {
    parts: Deployments,
    /// Where labels are read.
    log: Arc<PredictionLog>,
    sources: Sources,
    /// What was seen so far, by rollout.
    cases: HashMap<String, Case>,
    swept: bool,
}

#[derive(Debug)]
struct Case {
    rollout: Rollout,
    evidence: Evidence,
    /// The last look; none before the first one.
    numbers: Option<Report>,
    saved_at_ms: Millis,
    unsaved: bool,
    /// Whether its labels could not be read the last time, which is told once.
    without_labels: bool,
}

fn broken(error: StatsError) -> ServingError {
    ServingError::State(format!("a rollout can't be judged: {error}"))
}

impl RolloutJudge {
    /// With nothing seen yet; what was written down is read when a rollout is first judged.
    #[must_use]
    pub fn new(parts: Deployments, log: Arc<PredictionLog>, sources: Sources) -> Self {
        Self { parts, log, sources, cases: HashMap::new(), swept: false }
    }

    /// Judges every rollout that is under way, once.
    ///
    /// # Errors
    /// The first failure; the others are judged all the same, and what failed is tried again at the next sitting.
    pub async fn sit(&mut self, projects: &[Project]) -> Result<(), ServingError> {
        let open = self.parts.rollouts.open().await?;
        let before = self.cases.len();
        self.cases.retain(|id, _| open.iter().any(|r| r.id == *id));
        if self.cases.len() < before || !self.swept {
            self.parts.rollouts.sweep().await?;
            self.swept = true;
        }
        let mut failed = None;
        for rollout in open {
            let Some(project) = projects.iter().find(|p| p.id == rollout.project) else { continue };
            if let Err(error) = self.judge(project, rollout).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Writes down what was seen since the last time, at a stop.
    pub async fn adjourn(&mut self) {
        for case in self.cases.values_mut() {
            if let Err(error) = case.save(&self.parts, self.sources.now()).await {
                tracing::warn!(%error, rollout = case.rollout.id, "what a rollout saw last is lost");
            }
        }
    }

    async fn judge(&mut self, project: &Project, rollout: Rollout) -> Result<(), ServingError> {
        let id = rollout.id.clone();
        if !self.cases.contains_key(&id) {
            let case = Case::reopen(&self.parts, rollout.clone()).await?;
            self.cases.insert(id.clone(), case);
        }
        let Some(case) = self.cases.get_mut(&id) else { return Ok(()) };
        case.rollout = rollout;
        // It may be a hundred thousand requests, which would keep others from being answered.
        let (what, numbers) = tokio::task::block_in_place(|| {
            case.look_at_labels(&self.log);
            case.look(&self.parts, self.sources.now())
        })?;
        if what == Move::Stay {
            return case.save_when_due(&self.parts, self.sources.now()).await;
        }
        let reason = explain(what, &case.rollout.plan, &numbers, &case.rollout.names());
        let acted = self.parts.rollouts.act(&case.rollout, what, reason, numbers).await?;
        let Some(moved) = acted else { return Ok(()) };
        publish(&self.parts.plane, project, &moved.endpoint).await?;
        let (state, reason) = (moved.rollout.state.as_str(), &moved.rollout.reason);
        tracing::info!(endpoint = %moved.rollout.endpoint, rollout = id, state, reason, "a rollout moved");
        case.rollout = moved.rollout;
        case.begin();
        case.save(&self.parts, self.sources.now()).await
    }
}

impl Case {
    /// Goes on from what was written down, or begins.
    async fn reopen(parts: &Deployments, rollout: Rollout) -> Result<Self, ServingError> {
        let evidence = match parts.rollouts.saved(&rollout).await? {
            Some(saved) => saved,
            None => Evidence::new(&rollout.plan).map_err(broken)?.of_rollout(&rollout.id),
        };
        Ok(Self { rollout, evidence, numbers: None, saved_at_ms: 0, unsaved: false, without_labels: false })
    }

    /// Has the evidence know where the rollout is.
    fn begin(&mut self) {
        self.evidence.set_shadowing(self.rollout.shadowing);
        self.evidence.begin_step(self.rollout.step);
    }

    /// Takes in what the candidate would have answered.
    fn look_at_shadow(&mut self, parts: &Deployments) -> Result<(), ServingError> {
        let (seen, shed) = parts.plane.shadowed(&self.rollout.id);
        self.unsaved |= !seen.is_empty() || shed > 0;
        self.evidence.shed(shed);
        seen.iter().try_for_each(|one| self.evidence.observe_shadow(one)).map_err(broken)
    }

    /// Takes in the labels that came. What goes wrong with them does not keep requests from being judged.
    fn look_at_labels(&mut self, log: &PredictionLog) {
        match take_in_labels(log, &self.rollout, &mut self.evidence) {
            Ok(some) => (self.unsaved, self.without_labels) = (self.unsaved || some, false),
            Err(error) if !self.without_labels => {
                tracing::warn!(%error, rollout = self.rollout.id, "labels are tried again every second");
                self.without_labels = true;
            }
            Err(_) => {}
        }
    }

    /// Takes in what came since the last time, and says what is to be done.
    fn look(&mut self, parts: &Deployments, now: Millis) -> Result<(Move, Report), ServingError> {
        let (seen, overlooked) = parts.plane.observed(&self.rollout.id);
        self.begin();
        self.evidence.overlooked(overlooked);
        self.unsaved |= !seen.is_empty() || overlooked > 0;
        self.look_at_shadow(parts)?;
        for one in &seen {
            self.evidence.observe(one).map_err(broken)?;
        }
        let numbers = self.evidence.look().map_err(broken)?;
        let progress = Progress {
            shadowing: self.rollout.shadowing,
            step: self.rollout.step,
            step_since_ms: self.rollout.step_since_ms,
            in_step: match self.rollout.shadowing {
                true => self.evidence.in_shadow(),
                false => self.evidence.in_step(),
            },
            started_at_ms: self.rollout.started_at_ms,
            held: self.rollout.state == RolloutState::Held,
        };
        let what = decide(&self.rollout.plan, &progress, &numbers, now);
        self.numbers = Some(numbers.clone());
        Ok((what, numbers))
    }

    async fn save_when_due(&mut self, parts: &Deployments, now: Millis) -> Result<(), ServingError> {
        let wait = if self.evidence.has_keys() { SAVE_WITH_KEYS } else { SAVE };
        if now.saturating_sub(self.saved_at_ms) < wait {
            return Ok(());
        }
        self.save(parts, now).await
    }

    async fn save(&mut self, parts: &Deployments, now: Millis) -> Result<(), ServingError> {
        let (Some(numbers), true) = (&self.numbers, self.unsaved && self.rollout.state.is_open()) else {
            return Ok(());
        };
        parts.rollouts.save(&self.rollout, &self.evidence, numbers).await?;
        (self.saved_at_ms, self.unsaved) = (now, false);
        Ok(())
    }
}

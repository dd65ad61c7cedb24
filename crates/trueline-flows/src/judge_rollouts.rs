//! Rollouts are judged: what both arms answered, what a candidate in shadow would have answered, and the labels that came. When
//! that is done, and by which server, is `sit_on_trials`'s.

use crate::deploy::Deployments;
use crate::judge_labels::{Labels, labels_since_then};
use crate::sit_on_trials::{Gathered, Sits, Sitting, TrialKind};
use serde::{Deserialize, Serialize};
use trueline_ledger::Millis;
use trueline_serving::rollout::{
    Evidence, Move, Observation, Progress, Report, Rollout, RolloutState, ShadowObservation, decide, explain,
};
use trueline_serving::trial::{Lease, Position, TrialKey};
use trueline_serving::{Endpoint, ServingError};
use trueline_stats::StatsError;

/// Requests that are taken in, or handed over, at once.
const AT_ONCE: usize = 5_000;

/// The judge of all rollouts of a server.
pub type RolloutJudge = Sitting<Rollout>;

/// What one server saw of a rollout.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutSeen {
    observations: Vec<Observation>,
    /// Requests that were not observed.
    overlooked: u64,
    shadowed: Vec<ShadowObservation>,
    /// Requests that the candidate was not asked in shadow.
    shed: u64,
    labels: Labels,
}

/// What a server knows of a rollout between two sittings.
#[derive(Debug, Default)]
pub struct RolloutMemory {
    /// Whether its labels could not be read the last time, which is told once.
    without_labels: bool,
}

fn broken(error: StatsError) -> ServingError {
    ServingError::State(format!("a rollout can't be judged: {error}"))
}

impl TrialKind for Rollout {
    const FAILS: &'static str = "rollouts stay as they are, for they can't be judged";
    const IS_BACK: &'static str = "rollouts are judged again";
    const MOVED: &'static str = "a rollout moved";

    type Evidence = Evidence;
    type Numbers = Report;
    type Seen = RolloutSeen;
    type Memory = RolloutMemory;
    type Move = Move;

    fn key(&self) -> TrialKey {
        Self::key(self)
    }

    fn state(&self) -> (&'static str, &str) {
        (self.state.as_str(), &self.reason)
    }

    async fn all_open(parts: &Deployments) -> Result<Vec<Self>, ServingError> {
        parts.rollouts.open().await
    }

    async fn remember(&self, _parts: &Deployments, _memory: &mut RolloutMemory) -> Result<(), ServingError> {
        Ok(())
    }

    fn nothing_seen(&self) -> Result<Evidence, ServingError> {
        Ok(Evidence::new(&self.plan).map_err(broken)?.of_rollout(&self.id))
    }

    fn forget_cursor(evidence: &mut Evidence) {
        evidence.forget_cursor();
    }

    fn has_keys(evidence: &Evidence) -> bool {
        evidence.has_keys()
    }

    fn gather(
        &self,
        with: &Sits,
        memory: &mut RolloutMemory,
        at: &mut Position,
    ) -> Result<Gathered<RolloutSeen>, ServingError> {
        let before = at.cursor.clone();
        // What goes wrong with labels does not keep requests from being judged.
        let labels = match labels_since_then(&with.log, self, &mut at.cursor) {
            Ok(labels) => {
                memory.without_labels = false;
                labels
            }
            Err(error) => {
                if !std::mem::replace(&mut memory.without_labels, true) {
                    tracing::warn!(%error, rollout = self.id, "labels are tried again every second");
                }
                Labels::default()
            }
        };
        let (observations, overlooked) = with.parts.plane.observed(&self.id, AT_ONCE);
        let (shadowed, shed) = with.parts.plane.shadowed(&self.id, AT_ONCE);
        let more = observations.len() == AT_ONCE || shadowed.len() == AT_ONCE;
        let seen = RolloutSeen { observations, overlooked, shadowed, shed, labels };
        let some = at.cursor != before || seen != RolloutSeen::default();
        Ok(Gathered { seen: some.then_some(seen), more })
    }

    fn take_in(&self, evidence: &mut Evidence, _: &str, seen: RolloutSeen) -> Result<(), ServingError> {
        evidence.overlooked(seen.overlooked);
        evidence.shed(seen.shed);
        seen.shadowed.iter().try_for_each(|one| evidence.observe_shadow(one)).map_err(broken)?;
        seen.observations.iter().try_for_each(|one| evidence.observe(one)).map_err(broken)?;
        seen.labels.seen.iter().try_for_each(|one| evidence.observe_label(one)).map_err(broken)?;
        evidence.leave_out(seen.labels.left_out);
        Ok(())
    }

    fn lose_batch(evidence: &mut Evidence) {
        evidence.lose_batch();
    }

    fn look(&self, evidence: &mut Evidence) -> Result<Report, ServingError> {
        evidence.look().map_err(broken)
    }

    fn decide(&self, evidence: &Evidence, numbers: &Report, now: Millis) -> Option<Move> {
        let progress = Progress {
            shadowing: self.shadowing,
            step: self.step,
            step_since_ms: self.step_since_ms,
            in_step: if self.shadowing { evidence.in_shadow() } else { evidence.in_step() },
            started_at_ms: self.started_at_ms,
            held: self.state == RolloutState::Held,
        };
        Some(decide(&self.plan, &progress, numbers, now)).filter(|what| *what != Move::Stay)
    }

    async fn act(
        &self,
        parts: &Deployments,
        lease: &Lease,
        what: Move,
        numbers: Report,
    ) -> Result<Option<(Self, Endpoint)>, ServingError> {
        let reason = explain(what, &self.plan, &numbers, &self.names());
        let moved = parts.rollouts.act(lease, self, what, reason, numbers).await?;
        Ok(moved.map(|moved| (moved.rollout, moved.endpoint)))
    }

    fn follow(&self, _before: Option<&Self>, evidence: &mut Evidence) {
        evidence.set_shadowing(self.shadowing);
        evidence.begin_step(self.step);
    }
}

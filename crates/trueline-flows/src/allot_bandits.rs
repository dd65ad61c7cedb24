//! Bandits allot: the rewards that are due are read, and the shares follow them. When that is done, and by which server, is
//! `sit_on_trials`'s.

use crate::deploy::Deployments;
use crate::read_rewards::{DrawnReward, RewardsRead, read_rewards};
use crate::sit_on_trials::{Gathered, Sits, Sitting, TrialKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_ledger::Millis;
use trueline_predictions::{Cursor, LogError, PredictionLog, StreamName};
use trueline_serving::bandit::{Bandit, BanditEvidence, BanditMove, BanditProgress, BanditReport, decide};
use trueline_serving::trial::{Lease, Position, TrialKey};
use trueline_serving::{Endpoint, ServingError};
use trueline_stats::StatsError;

/// Another server, which started the bandit, may have a clock that is so far ahead.
const CLOCKS_DIFFER: Millis = 5 * 60_000;

/// Allots for all bandits of a server.
pub type BanditAllotter = Sitting<Bandit>;

/// What one server saw of a bandit.
#[derive(Debug, Serialize, Deserialize)]
pub struct BanditSeen {
    pub(crate) rewards: Vec<DrawnReward>,
    /// When the last prediction came that was read, another's among them.
    pub(crate) read_to_ms: Option<Millis>,
}

/// What a server knows of a bandit between two sittings.
#[derive(Debug, Default)]
pub struct BanditMemory {
    /// The shares under which lots were drawn, by the generation of the route.
    allotments: BTreeMap<i64, Vec<u32>>,
    /// Nothing is to be read before, though predictions wait.
    due_ms: Option<Millis>,
}

fn broken(error: StatsError) -> ServingError {
    ServingError::State(format!("a bandit can't allot: {error}"))
}

fn unreadable(error: &LogError) -> ServingError {
    ServingError::State(format!("a bandit can't read the prediction log: {error}"))
}

/// Where the log of a server is read from that has nothing of the bandit yet: before all that its lots can have drawn, at the
/// beginning of a segment.
fn beginning(log: &PredictionLog, bandit: &Bandit) -> Cursor {
    let (project, endpoint) = (bandit.project.to_string(), bandit.endpoint.to_string());
    let sealed = log.sealed_after(&StreamName::Predictions { project, endpoint }, 0);
    let since_ms = bandit.started_at_ms.saturating_sub(CLOCKS_DIFFER);
    let first = sealed.iter().find(|segment| segment.received_at_ms.1 >= since_ms).or(sealed.last());
    first.map_or(Cursor::START, |segment| Cursor::of_segment(segment.segment))
}

impl TrialKind for Bandit {
    const FAILS: &'static str = "the shares of bandits stay as they are, for they can't allot";
    const IS_BACK: &'static str = "bandits allot again";
    const MOVED: &'static str = "a bandit moved";

    type Evidence = BanditEvidence;
    type Numbers = BanditReport;
    type Seen = BanditSeen;
    type Memory = BanditMemory;
    type Move = BanditMove;

    fn key(&self) -> TrialKey {
        Self::key(self)
    }

    fn state(&self) -> (&'static str, &str) {
        (self.state.as_str(), &self.reason)
    }

    async fn all_open(parts: &Deployments) -> Result<Vec<Self>, ServingError> {
        parts.bandits.open().await
    }

    async fn remember(&self, parts: &Deployments, memory: &mut BanditMemory) -> Result<(), ServingError> {
        if !memory.allotments.contains_key(&self.generation) {
            memory.allotments = parts.bandits.allotments(self).await?;
        }
        Ok(())
    }

    fn nothing_seen(&self) -> Result<BanditEvidence, ServingError> {
        BanditEvidence::new(&self.plan, self.arms.len()).map_err(broken)
    }

    fn forget_cursor(evidence: &mut BanditEvidence) {
        evidence.forget_cursor();
    }

    fn has_keys(evidence: &BanditEvidence) -> bool {
        evidence.has_keys()
    }

    fn gather(
        &self,
        with: &Sits,
        memory: &mut BanditMemory,
        at: &mut Position,
    ) -> Result<Gathered<BanditSeen>, ServingError> {
        let now = with.sources.now();
        if memory.due_ms.is_some_and(|due| due > now) {
            return Ok(Gathered { seen: None, more: false });
        }
        let from = match at.cursor.as_str() {
            "" => beginning(&with.log, self),
            text => Cursor::parse(text).ok_or_else(|| unreadable(&LogError::Cursor(text.to_owned())))?,
        };
        let read = read_rewards(&with.log, self, &memory.allotments, from, now);
        let RewardsRead { rewards, next, read_to_ms, more, due_ms } = read.map_err(|e| unreadable(&e))?;
        memory.due_ms = due_ms;
        let some = next != from || at.cursor.is_empty();
        at.cursor = next.to_string();
        at.read_to_ms = at.read_to_ms.max(read_to_ms);
        Ok(Gathered { seen: some.then_some(BanditSeen { rewards, read_to_ms }), more })
    }

    fn take_in(
        &self,
        evidence: &mut BanditEvidence,
        server: &str,
        seen: BanditSeen,
    ) -> Result<(), ServingError> {
        for one in &seen.rewards {
            evidence.observe(&self.plan, (server, &one.reward), &one.shares).map_err(broken)?;
        }
        seen.read_to_ms.into_iter().for_each(|at| evidence.read_to(at));
        Ok(())
    }

    fn lose_batch(evidence: &mut BanditEvidence) {
        evidence.lose_batch();
    }

    fn look(&self, evidence: &mut BanditEvidence) -> Result<BanditReport, ServingError> {
        evidence.look(self).map_err(broken)
    }

    fn decide(&self, evidence: &BanditEvidence, numbers: &BanditReport, now: Millis) -> Option<BanditMove> {
        let progress = BanditProgress {
            state: self.state,
            shares: self.shares.clone(),
            allotted_at_ms: self.allotted_at_ms,
            since_allotment: evidence.since_allotment(),
            started_at_ms: self.started_at_ms,
        };
        Some(decide(&self.plan, &progress, numbers, now)).filter(|what| *what != BanditMove::Stay)
    }

    async fn act(
        &self,
        parts: &Deployments,
        lease: &Lease,
        what: BanditMove,
        numbers: BanditReport,
    ) -> Result<Option<(Self, Endpoint)>, ServingError> {
        let reason = words(&what, &numbers);
        let moved = parts.bandits.act(lease, self, what, reason, numbers).await?;
        Ok(moved.map(|moved| (moved.bandit, moved.endpoint)))
    }

    fn follow(&self, before: Option<&Self>, evidence: &mut BanditEvidence) {
        if before.is_some_and(|before| before.generation != self.generation) {
            evidence.allotted();
        }
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

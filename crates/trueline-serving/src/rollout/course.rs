//! What is to be done at a look: a pure function of the plan, how far the rollout is, the numbers and the time.

use super::plan::{Inconclusive, Plan};
use super::report::Report;
use serde::{Deserialize, Serialize};
use trueline_ledger::Millis;
use trueline_stats::sequential::Verdict;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// Nothing yet.
    Stay,
    /// The share of this step; the first one comes after the shadow.
    Step(usize),
    /// All to the candidate.
    Promote,
    /// All back to the baseline: there is evidence of harm.
    RollBack,
    /// All back to the baseline: the time is over, and that was agreed on.
    GiveUp,
    /// The time is over: it waits for a person.
    Hold,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether it is in shadow yet, before the first step.
    pub shadowing: bool,
    /// The step it is at, from 0.
    pub step: usize,
    /// Since when it is there.
    pub step_since_ms: Millis,
    /// Requests of the candidate since then; in shadow, those that it was asked.
    pub in_step: u64,
    /// When the rollout began.
    pub started_at_ms: Millis,
    /// Whether it waits for a person.
    pub held: bool,
}

/// What is to be done now.
///
/// Harm goes first, and ends also a rollout that waits for a person. More traffic is given only while the e-value is below
/// 1/√alpha: half the way (in its logarithm) to a rollback is no time for it. After a shadow it is given only once that has
/// shown both of its shares to be within limits. That is a matter of prudence; the error bounds hold however the steps are
/// taken.
///
/// They don't hold where something was lost for what it showed, and nobody knows why a batch can't be read. Then the rest is
/// still good for taking a version off, which is the safe side; to let it out of the shadow or to promote it is left to a
/// person.
#[must_use]
pub fn decide(plan: &Plan, progress: &Progress, report: &Report, now: Millis) -> Move {
    if report.verdict == Verdict::RollBack {
        return Move::RollBack;
    }
    if progress.held {
        return Move::Stay;
    }
    let last = progress.step + 1 >= plan.steps.len();
    let calm = report.log_e < -0.5 * plan.limits.alpha.ln();
    if calm && served(plan, progress, now) {
        match (progress.shadowing, last, report.verdict) {
            (true, ..) if shown(report) && report.unreadable_batches > 0 => return Move::Hold,
            (true, ..) if shown(report) => return Move::Step(0),
            (true, ..) => {}
            (false, false, _) => return Move::Step(progress.step + 1),
            (false, true, Verdict::Promote) if report.unreadable_batches == 0 => return Move::Promote,
            (false, true, Verdict::Promote) => return Move::Hold,
            (false, true, _) => {}
        }
    }
    match (now >= plan.deadline(progress.started_at_ms), plan.on_inconclusive) {
        (false, _) => Move::Stay,
        (true, Inconclusive::Hold) => Move::Hold,
        (true, Inconclusive::RollBack) => Move::GiveUp,
    }
}

/// Whether the step, or the shadow, has had its requests and its time.
fn served(plan: &Plan, progress: &Progress, now: Millis) -> bool {
    let least = match (progress.shadowing, &plan.shadow) {
        (true, Some(shadow)) => Some((shadow.least_requests, shadow.least_seconds)),
        (true, None) => None,
        (false, _) => plan.steps.get(progress.step).map(|step| (step.least_requests, step.least_seconds)),
    };
    let Some((requests, seconds)) = least else { return false };
    let since = u64::try_from(now.saturating_sub(progress.step_since_ms)).unwrap_or(0);
    progress.in_step >= requests && since >= seconds.saturating_mul(1_000)
}

/// Whether the shadow has shown what it is there for.
fn shown(report: &Report) -> bool {
    report.shadow.as_ref().is_some_and(|shadow| shadow.within_limits)
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;

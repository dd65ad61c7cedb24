//! What a bandit does at a look: a pure function of the plan, how far it is, the numbers and the time.

use super::plan::{BanditPlan, Then, after};
use super::record::BanditState;
use super::report::BanditReport;
use trueline_ledger::Millis;
use trueline_stats::allotment::WHOLE;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanditMove {
    /// Nothing yet.
    Stay,
    /// These shares, in parts of 10,000.
    Allot(Vec<u32>),
    /// To say that this arm is the best, and go on.
    Propose(usize),
    /// This arm answers alone.
    Finish(usize),
    /// Its time is over: the shares stay as they are.
    Expire,
}

/// How far a bandit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanditProgress {
    /// Where it is.
    pub state: BanditState,
    /// The shares in force, in parts of 10,000.
    pub shares: Vec<u32>,
    /// Since when.
    pub allotted_at_ms: Millis,
    /// Rewards since then.
    pub since_allotment: u64,
    /// When it began.
    pub started_at_ms: Millis,
}

/// What is to be done now. An arm that is known to be the best goes first; then the end of its time; then new shares, when
/// there were the time and the rewards for it and one of them would change by what was declared. Where rewards were lost that
/// nobody could read, they may be missing for what they were: the best arm is proposed to a person then, whatever was declared.
#[must_use]
pub fn decide(
    plan: &BanditPlan,
    progress: &BanditProgress,
    report: &BanditReport,
    now: Millis,
) -> BanditMove {
    let then = if report.tally.unreadable_batches == 0 { plan.finish.then } else { Then::Propose };
    match (report.settled, then) {
        (Some(arm), Then::Promote) => return BanditMove::Finish(arm),
        (Some(arm), Then::Propose) if progress.state == BanditState::Running => {
            return BanditMove::Propose(arm);
        }
        _ => {}
    }
    if now >= plan.deadline(progress.started_at_ms) {
        return BanditMove::Expire;
    }
    let is_due = now >= after(progress.allotted_at_ms, plan.every_seconds)
        && progress.since_allotment >= plan.least_rewards;
    let moved =
        progress.shares.iter().zip(&report.next_shares).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    match is_due && moved > 0 && f64::from(moved) >= plan.hysteresis * f64::from(WHOLE) {
        true => BanditMove::Allot(report.next_shares.clone()),
        false => BanditMove::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bandit::{Finish, Tally};

    fn report(next_shares: &[u32], settled: Option<usize>) -> BanditReport {
        BanditReport {
            arms: Vec::new(),
            tally: Tally::default(),
            read_to_ms: None,
            next_shares: next_shares.to_vec(),
            settled,
        }
    }

    fn progress() -> BanditProgress {
        BanditProgress {
            state: BanditState::Running,
            shares: vec![5_000, 5_000],
            allotted_at_ms: 0,
            since_allotment: 50,
            started_at_ms: 0,
        }
    }

    #[test]
    fn shares_change_after_their_time_and_rewards_and_by_what_was_declared() {
        let plan = BanditPlan::default();
        let next = report(&[5_300, 4_700], None);
        assert_eq!(decide(&plan, &progress(), &next, 60_000), BanditMove::Allot(vec![5_300, 4_700]));
        assert_eq!(decide(&plan, &progress(), &next, 59_999), BanditMove::Stay);
        let few = BanditProgress { since_allotment: 49, ..progress() };
        assert_eq!(decide(&plan, &few, &next, 60_000), BanditMove::Stay);
        let little = report(&[5_100, 4_900], None);
        assert_eq!(decide(&plan, &progress(), &little, 60_000), BanditMove::Stay);
        let always = BanditPlan { hysteresis: 0.0, ..plan };
        assert_eq!(decide(&always, &progress(), &little, 60_000), BanditMove::Allot(vec![5_100, 4_900]));
        assert_eq!(decide(&always, &progress(), &report(&[5_000, 5_000], None), 60_000), BanditMove::Stay);
    }

    #[test]
    fn the_best_arm_is_told_once_or_takes_all_and_the_time_ends_it() {
        let propose = BanditPlan::default();
        let promote = BanditPlan {
            finish: Finish { then: Then::Promote, ..Finish::default() },
            ..BanditPlan::default()
        };
        let settled = report(&[9_500, 500], Some(0));
        assert_eq!(decide(&propose, &progress(), &settled, 1), BanditMove::Propose(0));
        let told = BanditProgress { state: BanditState::Proposed, ..progress() };
        assert_eq!(decide(&propose, &told, &settled, 60_000), BanditMove::Allot(vec![9_500, 500]));
        assert_eq!(decide(&promote, &told, &settled, 1), BanditMove::Finish(0));
        let tally = Tally { unreadable_batches: 1, ..Tally::default() };
        let lost = BanditReport { tally, ..settled.clone() };
        assert_eq!(decide(&promote, &progress(), &lost, 1), BanditMove::Propose(0), "a person looks at it");
        assert_eq!(decide(&promote, &told, &lost, 1), BanditMove::Stay);
        let end = propose.deadline(0);
        assert_eq!(decide(&propose, &told, &settled, end), BanditMove::Expire);
    }
}

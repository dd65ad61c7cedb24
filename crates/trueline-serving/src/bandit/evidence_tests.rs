//! What counts as a reward, once each, and that a state that was written down goes on as if nothing had been.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::bandit::record::tests::bandit;
use proptest::prelude::*;
use trueline_stats::prng::SplitMix64;

const EVEN: [u32; 2] = [5_000, 5_000];

/// Whose log it is that is read.
const LOG: &str = "one";

fn unit(arm: usize, unit: u64, outcome: UnitOutcome) -> UnitReward {
    UnitReward { arm, unit, by_key: false, at_ms: 0, outcome }
}

fn rewarded(arm: usize, of: u64, reward: f64) -> UnitReward {
    unit(arm, of, UnitOutcome::Rewarded(reward))
}

fn evidence(plan: &BanditPlan) -> BanditEvidence {
    BanditEvidence::new(plan, 2).unwrap()
}

#[test]
fn a_key_counts_once_in_all_and_a_request_by_its_first_row() {
    let plan = BanditPlan::default();
    let mut seen = evidence(&plan);
    let key = |of: u64| UnitReward { by_key: true, ..rewarded(0, of, 1.0) };
    for one in [key(1), key(2), key(1), rewarded(1, 7, 1.0), rewarded(1, 7, 0.0), rewarded(1, 8, 0.0)] {
        seen.observe(&plan, (LOG, &one), &EVEN).unwrap();
    }
    let report = seen.look(&bandit(plan)).unwrap();
    assert_eq!((report.tally.rewards, report.tally.repeated), (4, 2));
    assert_eq!((report.arms[0].rewards, report.arms[1].mean), (2, Some(0.5)));
}

#[test]
fn the_rows_of_a_request_count_once_though_logs_are_read_by_turns() {
    let plan = BanditPlan::default();
    let mut seen = evidence(&plan);
    for (log, request) in [(LOG, 7), ("other", 8), (LOG, 7), ("other", 8), (LOG, 9)] {
        seen.observe(&plan, (log, &rewarded(1, request, 1.0)), &EVEN).unwrap();
    }
    let tally = seen.look(&bandit(plan)).unwrap().tally;
    assert_eq!((tally.rewards, tally.repeated), (3, 2));
}

#[test]
fn what_has_no_label_is_what_was_declared_a_failure_too() {
    let skip = BanditPlan::default();
    let worst = BanditPlan { without_label: WithoutLabel::Worst, ..BanditPlan::default() };
    let tally = |plan: &BanditPlan| {
        let mut seen = evidence(plan);
        for (i, outcome) in
            [UnitOutcome::Failed, UnitOutcome::WithoutLabel, UnitOutcome::Unusable].into_iter().enumerate()
        {
            seen.observe(plan, (LOG, &unit(0, i as u64, outcome)), &EVEN).unwrap();
        }
        let report = seen.look(&bandit(plan.clone())).unwrap();
        (report.arms[0].mean, report.tally)
    };
    let (mean, told) = tally(&skip);
    assert_eq!(mean, None);
    assert_eq!(told, Tally { rewards: 0, failed: 1, without_label: 1, unusable: 1, ..Tally::default() });
    let (mean, told) = tally(&worst);
    assert_eq!(mean, Some(0.0));
    assert_eq!(told, Tally { rewards: 2, failed: 1, without_label: 1, unusable: 1, ..Tally::default() });
}

#[test]
fn older_rewards_count_for_less_where_a_half_life_is_declared() {
    let plan = BanditPlan { half_life_seconds: Some(10), ..BanditPlan::default() };
    let mut seen = evidence(&plan);
    for (i, at_ms) in [(0, 5_000), (1, 15_000)] {
        seen.observe(&plan, (LOG, &UnitReward { at_ms, ..rewarded(0, i, 1.0) }), &EVEN).unwrap();
    }
    let report = seen.look(&bandit(plan)).unwrap();
    assert!((report.arms[0].weighs - 1.5).abs() < 1e-12);
    assert_eq!(report.arms[0].rewards, 2, "the interval forgets nothing");
}

#[test]
fn less_is_more_where_less_is_wanted() {
    let mut plan = BanditPlan::default();
    plan.reward.measure = crate::bandit::Measure::AbsoluteError;
    plan.reward.range = [0.0, 10.0];
    let mut seen = evidence(&plan);
    let mut random = SplitMix64::new(1);
    for i in 0..20_000 {
        let arm = usize::from(random.next_bool());
        let error = if arm == 0 { 2.0 } else { 4.0 };
        seen.observe(&plan, (LOG, &rewarded(arm, i, 1.0 - error / 10.0)), &EVEN).unwrap();
    }
    let report = seen.look(&bandit(plan)).unwrap();
    assert_eq!((report.settled, report.likeliest()), (Some(0), 0));
    assert!((report.arms[0].mean.unwrap() - 2.0).abs() < 1e-9 && report.arms[0].interval.contains(2.0));
    assert!(report.arms[0].interval.upper < report.arms[1].interval.lower, "{report:?}");
    assert_eq!(report.next_shares, [9_500, 500]);
}

#[test]
fn what_is_written_down_and_read_again_goes_on_the_same() {
    let plan = BanditPlan::default();
    let (mut whole, mut random) = (evidence(&plan), SplitMix64::new(2));
    let mut one = |i: u64| {
        let by_key = i.is_multiple_of(2);
        let arm = usize::from(random.next_bool());
        UnitReward { by_key, ..rewarded(arm, i % 300, random.next_f64()) }
    };
    let all: Vec<UnitReward> = (0..1_000).map(&mut one).collect();
    let mut halves = whole.clone();
    for (i, seen) in all.iter().enumerate() {
        whole.observe(&plan, (LOG, seen), &[3_000, 7_000]).unwrap();
        halves.observe(&plan, (LOG, seen), &[3_000, 7_000]).unwrap();
        if i == 500 {
            halves = serde_json::from_str(&serde_json::to_string(&halves).unwrap()).unwrap();
        }
    }
    let (one, other) = (whole.look(&bandit(plan.clone())).unwrap(), halves.look(&bandit(plan)).unwrap());
    assert_eq!((one.tally, one.next_shares), (other.tally, other.next_shares));
    assert_eq!(one.arms[0].rewards, other.arms[0].rewards);
}

#[test]
fn a_state_that_kept_one_cursor_for_all_logs_counts_nothing_twice_when_they_are_read_anew() {
    let plan = BanditPlan::default();
    let at = |of: u64, at_ms: Millis| UnitReward { at_ms, ..rewarded(1, of, 1.0) };
    let mut kept = evidence(&plan);
    for one in [at(1, 1_000), at(2, 5_000)] {
        kept.observe(&plan, (LOG, &one), &EVEN).unwrap();
    }
    kept.read_to(5_000);
    let mut old = serde_json::to_value(&kept).unwrap();
    old["cursor"] = serde_json::json!("3:77");
    let mut seen: BanditEvidence = serde_json::from_value(old).unwrap();
    seen.forget_cursor();
    // Whoever had read it, and whoever had not, reads all.
    for (log, one) in [(LOG, at(1, 1_000)), ("other", at(3, 4_000)), (LOG, at(2, 5_000)), (LOG, at(4, 6_001))]
    {
        seen.observe(&plan, (log, &one), &EVEN).unwrap();
    }
    assert_eq!(seen.look(&bandit(plan.clone())).unwrap().tally.rewards, 3);

    // It is known after it was written down, and a later one has nothing to drop.
    let text = serde_json::to_string(&seen).unwrap();
    assert!(!text.contains("cursor"), "{text}");
    let mut again: BanditEvidence = serde_json::from_str(&text).unwrap();
    again.read_to(9_000);
    again.forget_cursor();
    again.observe(&plan, (LOG, &at(1, 1_000)), &EVEN).unwrap();
    again.observe(&plan, (LOG, &at(5, 7_000)), &EVEN).unwrap();
    assert_eq!(again.look(&bandit(plan)).unwrap().tally.rewards, 4);
}

proptest! {
    #[test]
    fn rewards_of_any_numbers_are_written_down_and_read_again(
        told in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20),
        extreme in prop::sample::select(vec![f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, 5e-324]),
        range in prop::sample::select(vec![[0.0, 1.0], [-8e307, 8e307], [0.0, 1e-300]]),
    ) {
        use crate::bandit::{Measure, Told};
        let mut plan = BanditPlan { half_life_seconds: Some(1), ..BanditPlan::default() };
        (plan.reward.measure, plan.reward.range) = (Measure::AbsoluteError, range);
        let mut seen = evidence(&plan);
        let numbers = told.iter().map(|(a, b)| (f64::from_bits(*a), f64::from_bits(*b)));
        for (i, (a, b)) in numbers.chain([(extreme, -1.0), (-1.0, extreme)]).enumerate() {
            let reward = plan.reward.of(Some(&Told::Number(a)), &Told::Number(b));
            let outcome = reward.map_or(UnitOutcome::Unusable, UnitOutcome::Rewarded);
            let one = UnitReward { at_ms: i64::MAX / 2 * i64::from(i % 2 == 1), ..unit(i % 2, i as u64, outcome) };
            seen.observe(&plan, (LOG, &one), &EVEN).unwrap();
        }
        let report = seen.look(&bandit(plan)).unwrap();
        let told = serde_json::to_string(&report).unwrap();
        prop_assert_eq!(serde_json::from_str::<BanditReport>(&told).unwrap(), report);
        let text = serde_json::to_string(&seen).unwrap();
        prop_assert_eq!(serde_json::from_str::<BanditEvidence>(&text).unwrap(), seen);
    }
}

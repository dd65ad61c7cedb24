//! The bound on false rollbacks and the delay until harm is found, for the judge as it is: all metrics together, looked at
//! after every second, with steps that are taken by what is seen.

use super::simulation::{Nature, Traffic, count, requests, run};
use super::{Limits, Move, Plan, Step};
use serde_json::json;
use trueline_stats::special::upper_rate;

const GOOD: Nature = Nature { failures: 0.05, mean: 0.4, latency_ms: 4.0, wrong: 0.1 };

/// Traffic with countries, of which half gets a label within 20 seconds.
fn labelled(each_second: u64, keys: Option<u64>) -> Traffic {
    Traffic { countries: true, labelled: 0.5, latest: 20, ..requests(each_second, keys) }
}

fn rough(traffic: Traffic) -> Traffic {
    Traffic { rough: true, ..traffic }
}

/// Steps that come soon, and limits at nothing, so that the candidate is on the border of what is allowed: the worst case of
/// the bound. It can't be shown to be within them, so no rollout ends but by a rollback.
fn at_the_border(steps: &[f64]) -> Plan {
    let steps = steps.iter().map(|p| Step { least_requests: 50, least_seconds: 2, ..Step::to(*p) });
    let limits = Limits {
        error_ratio: 1.0,
        prediction_shift: 1e-9,
        latency_ratio: 1.0,
        latency_floor_ms: 0.0,
        ..Limits::default()
    };
    Plan { steps: steps.collect(), longest_seconds: 1_000_000, limits, ..Plan::default() }
}

/// The same, by segments and labels as well.
fn in_parts_at_the_border() -> Plan {
    let mut plan = at_the_border(&[10.0, 50.0]);
    let (quality, countries) = (
        json!({ "measure": "accuracy", "margin": 1e-9 }),
        json!([{ "column": "country", "values": ["DE", "FR"] }]),
    );
    plan.limits.quality = Some(serde_json::from_value(quality).unwrap());
    plan.segments = serde_json::from_value(countries).unwrap();
    plan
}

/// How often a candidate with nothing wrong is rolled back, of so many rollouts.
fn false_rollbacks(plan: &Plan, rollouts: u64, traffic: Traffic, seconds: i64) -> u64 {
    count(rollouts, |seed| run(plan, seed ^ 0xABCD, traffic, seconds, |_, _| GOOD).end == Move::RollBack)
}

/// Over ten thousand rollouts the upper 99 % bound of the rate is at most alpha.
fn held_to_alpha(plan: &Plan, traffic: Traffic, seconds: i64, told: &str) {
    const ROLLOUTS: u64 = 10_000;
    let rolled_back = false_rollbacks(plan, ROLLOUTS, traffic, seconds);
    let bound = upper_rate(rolled_back, ROLLOUTS, 0.01);
    println!("{told}: {rolled_back} of {ROLLOUTS} rolled back for nothing, upper 99 % bound {bound:.4}");
    assert!(bound <= plan.limits.alpha, "{told}: {bound}");
}

#[test]
fn a_good_candidate_is_hardly_ever_rolled_back() {
    // At most 5 % may be, ever: of 60, more than 8 would happen with a chance below 1 %.
    let plan = at_the_border(&[5.0, 20.0, 50.0]);
    assert!(false_rollbacks(&plan, 60, requests(40, None), 60) <= 8);
    assert!(false_rollbacks(&plan, 60, rough(requests(40, Some(3_000))), 60) <= 8);
}

#[test]
fn a_good_candidate_is_hardly_ever_rolled_back_by_segments_or_late_labels() {
    let plan = in_parts_at_the_border();
    assert!(false_rollbacks(&plan, 60, labelled(40, None), 60) <= 8);
    assert!(false_rollbacks(&plan, 60, rough(labelled(40, Some(3_000))), 60) <= 8);
}

#[test]
#[ignore = "ten thousand rollouts: minutes"]
fn of_ten_thousand_long_rollouts_fewer_than_alpha_are_rolled_back_for_nothing() {
    let plan = at_the_border(&[5.0, 20.0, 50.0]);
    held_to_alpha(&plan, requests(40, None), 400, "requests drawn one by one");
}

#[test]
#[ignore = "ten thousand rollouts: minutes"]
fn of_ten_thousand_rollouts_of_skewed_keys_cycles_and_bursts_fewer_than_alpha_are_rolled_back_for_nothing() {
    let plan = at_the_border(&[5.0, 20.0, 50.0]);
    held_to_alpha(&plan, rough(requests(40, Some(3_000))), 400, "skewed keys, cycles, bursts");
}

#[test]
#[ignore = "ten thousand rollouts: minutes"]
fn of_ten_thousand_rollouts_with_segments_and_late_labels_fewer_than_alpha_are_rolled_back_for_nothing() {
    held_to_alpha(&in_parts_at_the_border(), labelled(40, None), 200, "segments and labels");
}

#[test]
#[ignore = "ten thousand rollouts: minutes"]
fn of_ten_thousand_rough_rollouts_with_segments_and_late_labels_fewer_than_alpha_are_rolled_back_for_nothing()
{
    let traffic = rough(labelled(40, Some(3_000)));
    held_to_alpha(
        &in_parts_at_the_border(),
        traffic,
        200,
        "segments and labels, skewed keys, cycles, bursts",
    );
}

/// Seconds until a candidate with these faults is rolled back: the median and the 90 % point over so many rollouts with the
/// limits as they are by default, a hundred requests a second, half of them labelled within 20 seconds.
fn delays(rollouts: u64, faulty: impl Fn(&str) -> Nature) -> (i64, i64) {
    let mut plan = Plan { segments: in_parts_at_the_border().segments, ..Plan::default() };
    let quality = json!({ "measure": "accuracy", "margin": 0.02 });
    plan.limits.quality = Some(serde_json::from_value(quality).unwrap());
    plan.longest_seconds = 1_000_000;
    let longest = 3_600;
    let one = |seed: u64| {
        let natures = |arm, country: Option<&str>| match (arm, country) {
            (trueline_stats::sequential::Arm::Canary, Some(country)) => faulty(country),
            _ => Nature { failures: 0.01, ..GOOD },
        };
        let done = run(&plan, seed, labelled(100, None), longest, natures);
        if done.end == Move::RollBack { done.seconds } else { longest }
    };
    let mut seconds: Vec<i64> = (0..rollouts).map(one).collect();
    seconds.sort_unstable();
    (seconds[seconds.len() / 2], seconds[seconds.len() * 9 / 10])
}

/// What may be wrong with a candidate: its nature by country.
type Fault = fn(&str) -> Nature;

/// Faults by their names.
fn faults() -> Vec<(&'static str, Fault)> {
    const FINE: Nature = Nature { failures: 0.01, ..GOOD };
    vec![
        ("fails 3 % instead of 1 %", |_| Nature { failures: 0.03, ..FINE }),
        ("fails 10 % instead of 1 %", |_| Nature { failures: 0.1, ..FINE }),
        ("takes twice as long", |_| Nature { latency_ms: 8.0, ..FINE }),
        ("takes three times as long", |_| Nature { latency_ms: 12.0, ..FINE }),
        ("predicts 0.5 instead of 0.4", |_| Nature { mean: 0.5, ..FINE }),
        ("is wrong in 20 % instead of 10 %", |_| Nature { wrong: 0.2, ..FINE }),
        ("is wrong in 30 % instead of 10 %", |_| Nature { wrong: 0.3, ..FINE }),
        ("fails 20 % instead of 1 % in a fifth of the traffic", |c| Nature {
            failures: if c == "FR" { 0.2 } else { 0.01 },
            ..FINE
        }),
    ]
}

#[test]
#[ignore = "a hundred rollouts of each fault: minutes"]
fn the_delays_until_faults_are_found() {
    for (told, faulty) in faults() {
        let (median, late) = delays(100, faulty);
        println!("{told}: rolled back after {median} s in the median, {late} s in nine of ten");
        assert!(median < 3_600, "{told}");
    }
}

#[test]
fn a_candidate_that_is_worse_is_found_sooner() {
    let median = |told: &str| {
        let (_, faulty) = faults().into_iter().find(|(name, _)| *name == told).unwrap();
        delays(5, faulty).0
    };
    assert!(median("fails 10 % instead of 1 %") < median("fails 3 % instead of 1 %"));
    assert!(median("is wrong in 30 % instead of 10 %") < 600);
}

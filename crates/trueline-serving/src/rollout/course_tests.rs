//! Whole rollouts on made-up observations, second by second, as the judge runs them.

use super::*;
use crate::comparison::Difference;
use crate::rollout::simulation::{self, Nature, Run, draw};
use crate::rollout::{
    Evidence, InSegments, Names, Observation, ShadowObservation, ShadowOutcome, ShadowPhase, Step, explain,
};
use trueline_stats::prng::SplitMix64;
use trueline_stats::sequential::Arm;

const GOOD: Nature = Nature { failures: 0.005, mean: 0.2, latency_ms: 4.0, wrong: 0.0 };

/// The segments of a plan that has none.
fn nowhere() -> InSegments {
    InSegments::default()
}

const AT_START: Progress =
    Progress { shadowing: false, step: 0, step_since_ms: 0, in_step: 0, started_at_ms: 0, held: false };

fn quick() -> Plan {
    let steps = [5.0, 20.0, 50.0].map(|p| Step { least_requests: 50, least_seconds: 2, ..Step::to(p) });
    Plan { steps: steps.to_vec(), longest_seconds: 600, ..Plan::default() }
}

/// Until something ends it, or for `seconds`; with `keys`, each request comes from one of so many at random.
fn run(plan: &Plan, seed: u64, candidate: Nature, each_second: u64, seconds: i64, keys: Option<u64>) -> Run {
    let natures = |arm: Arm, _: Option<&str>| if arm == Arm::Canary { candidate } else { GOOD };
    simulation::run(plan, seed, simulation::requests(each_second, keys), seconds, natures)
}

fn told(run: &Run) -> String {
    let names = Names { baseline: "m/3".into(), candidate: "m/4".into() };
    explain(run.end, &quick(), &run.report, &names)
}

#[test]
fn a_good_candidate_goes_through_its_steps_and_is_promoted() {
    let done = run(&quick(), 1, GOOD, 400, 600, None);
    assert_eq!((done.end, done.step), (Move::Promote, 2), "{:#?}", done.report);
    assert!(done.seconds >= 6, "each step has its two seconds: {}", done.seconds);
    assert!(done.report.missing.is_empty());
    assert!(told(&done).contains("within what is allowed"), "{}", told(&done));
}

#[test]
fn where_a_batch_was_lost_a_person_promotes_and_harm_still_takes_the_version_off() {
    let plan = quick();
    let good = run(&plan, 1, GOOD, 400, 600, None).report;
    let last = Progress { step: 2, in_step: 50, ..AT_START };
    assert_eq!(decide(&plan, &last, &good, 10_000), Move::Promote);
    let lost = Report { unreadable_batches: 2, ..good };
    assert_eq!(decide(&plan, &last, &lost, 10_000), Move::Hold);
    let names = Names { baseline: "m/3".into(), candidate: "m/4".into() };
    let words = explain(Move::Hold, &plan, &lost, &names);
    assert!(
        words.starts_with("the numbers are not all that was seen, so a person decides: 2 batches"),
        "{words}"
    );
    assert_eq!(decide(&plan, &Progress { held: true, ..last }, &lost, 20_000), Move::Stay, "it is held once");

    let bad = run(&plan, 2, Nature { failures: 0.08, ..GOOD }, 400, 600, None).report;
    assert_eq!(decide(&plan, &last, &Report { unreadable_batches: 2, ..bad }, 10_000), Move::RollBack);
}

#[test]
fn a_candidate_that_fails_more_often_is_rolled_back() {
    let done = run(&quick(), 2, Nature { failures: 0.08, ..GOOD }, 400, 600, None);
    assert_eq!(done.end, Move::RollBack);
    assert!(done.report.errors.log_e > 3.0 && done.report.p_value <= 0.05);
    assert!(told(&done).contains("times the rate of m/3 where 1.5 times is allowed"), "{}", told(&done));
}

#[test]
fn a_candidate_that_predicts_otherwise_is_rolled_back_and_the_reason_tells_both_means() {
    let done = run(&quick(), 3, Nature { mean: 0.34, ..GOOD }, 400, 600, None);
    assert_eq!(done.end, Move::RollBack);
    let mean = done.report.prediction.mean;
    assert!(mean.candidate.lower.unwrap() > mean.baseline.upper.unwrap());
    assert!(mean.candidate.contains(0.34) && mean.baseline.contains(0.2), "{mean:?}");
    let words = told(&done);
    assert!(words.starts_with("the mean prediction of m/4 is between 0."), "{words}");
    assert!(words.contains("where 0.03 is allowed"), "{words}");
}

#[test]
fn a_slower_candidate_is_rolled_back() {
    let done = run(&quick(), 4, Nature { latency_ms: 12.0, ..GOOD }, 400, 600, None);
    assert_eq!(done.end, Move::RollBack);
    assert!(done.report.latency.slow.log_e > 3.0);
    assert!(told(&done).contains("p95"), "{}", told(&done));
}

#[test]
fn a_candidate_within_a_latency_floor_is_not_slow() {
    let mut plan = quick();
    plan.limits.latency_floor_ms = 100.0;
    let done = run(&plan, 4, Nature { latency_ms: 12.0, ..GOOD }, 400, 600, None);
    assert_eq!(done.end, Move::Promote);
}

#[test]
fn without_requests_it_stays_where_it_is_and_holds_when_the_time_is_over() {
    let done = run(&quick(), 5, GOOD, 0, 700, None);
    assert_eq!((done.end, done.step, done.seconds), (Move::Hold, 0, 600));
    assert_eq!(done.report.missing.len(), 3);
    let plan = Plan { on_inconclusive: Inconclusive::RollBack, ..quick() };
    assert_eq!(run(&plan, 5, GOOD, 0, 700, None).end, Move::GiveUp);
}

#[test]
fn few_requests_do_not_promote() {
    let done = run(&quick(), 6, GOOD, 1, 600, None);
    assert_eq!(done.end, Move::Hold);
    assert!(!done.report.missing.is_empty());
}

#[test]
fn a_rollout_that_waits_for_a_person_is_still_ended_by_harm() {
    let plan = quick();
    let report = run(&plan, 2, Nature { failures: 0.5, ..GOOD }, 400, 600, None).report;
    let held = Progress { held: true, ..AT_START };
    assert_eq!(decide(&plan, &held, &report, 1_000_000), Move::RollBack);
    let fine = run(&plan, 1, GOOD, 400, 600, None).report;
    assert_eq!(decide(&plan, &held, &fine, 1_000_000), Move::Stay);
}

#[test]
fn heavy_keys_count_once() {
    // Forty keys say little, however often they ask; a per-request test would think it has 100,000 answers.
    let done = run(&quick(), 7, GOOD, 400, 250, Some(40));
    assert_ne!(done.end, Move::Promote);
    assert!(done.report.prediction.units.baseline + done.report.prediction.units.candidate <= 40);
    let many = run(&quick(), 8, GOOD, 400, 600, Some(1 << 40));
    assert_eq!(many.end, Move::Promote);
}

#[test]
fn what_is_written_down_goes_on_as_if_nothing_had_happened() {
    let plan = quick();
    let (mut random, mut evidence) = (SplitMix64::new(9), Evidence::new(&plan).unwrap());
    let feed = |evidence: &mut Evidence, random: &mut SplitMix64| {
        for i in 0..3_000_u64 {
            let arm = if random.next_f64() < 0.2 { Arm::Canary } else { Arm::Champion };
            let outcome = draw(random, GOOD);
            let share = plan.share(1).unwrap();
            evidence
                .observe(&Observation { arm, share, key: Some(i % 997), segments: nowhere(), outcome })
                .unwrap();
        }
        evidence.look().unwrap()
    };
    feed(&mut evidence, &mut random);
    let written = serde_json::to_string(&evidence).unwrap();
    let mut again: Evidence = serde_json::from_str(&written).unwrap();
    let mut same = random.clone();
    assert_eq!(feed(&mut evidence, &mut random), feed(&mut again, &mut same));
}

/// A plan with a shadow of two seconds before its steps.
fn shadowed() -> Plan {
    let shadow =
        ShadowPhase { least_requests: 50, least_seconds: 2, most_failing: 0.05, ..Default::default() };
    Plan { shadow: Some(shadow), ..quick() }
}

/// What a candidate shows in shadow that differs and fails so often.
fn in_shadow(random: &mut SplitMix64, differs: f64, fails: f64, key: Option<u64>) -> ShadowObservation {
    let outcome = match random.next_f64() < fails {
        true => ShadowOutcome::Failed { prediction_id: "f".into(), reason: "it fell over".into() },
        false => {
            let differs = random.next_f64() < differs;
            let worst = differs.then(|| ("d".to_owned(), Difference { differs, in_kind: false, by: 0.5 }));
            ShadowOutcome::Compared {
                rows: 1,
                differing: u64::from(differs),
                largest: if differs { 0.5 } else { 0.01 },
                worst,
            }
        }
    };
    ShadowObservation { key, baseline_ms: 1.0, candidate_ms: 2.0, outcome }
}

/// What the shadow comes to within so many seconds of a hundred requests, when, and with which numbers.
fn run_shadow(seed: u64, differs: f64, fails: f64, keys: Option<u64>) -> (Move, i64, Report) {
    let (plan, mut random) = (Plan { longest_seconds: 60, ..shadowed() }, SplitMix64::new(seed));
    let mut evidence = Evidence::new(&plan).unwrap();
    evidence.set_shadowing(true);
    for second in 1..=60 {
        for _ in 0..100 {
            let key = keys.map(|n| random.next_u64() % n);
            let seen = in_shadow(&mut random, differs, fails, key);
            evidence.observe_shadow(&seen).unwrap();
        }
        let report = evidence.look().unwrap();
        let progress = Progress { shadowing: true, in_step: evidence.in_shadow(), ..AT_START };
        match decide(&plan, &progress, &report, second * 1_000) {
            Move::Stay => {}
            end => return (end, second, report),
        }
    }
    panic!("the plan ends after a minute");
}

#[test]
fn a_candidate_that_answers_alike_leaves_the_shadow_for_the_first_step() {
    let (end, seconds, report) = run_shadow(1, 0.01, 0.0, None);
    assert_eq!(end, Move::Step(0), "{:#?}", report.shadow);
    assert!(seconds >= 2, "the shadow has its time: {seconds}");
    let shadow = report.shadow.as_ref().unwrap();
    assert!(shadow.within_limits && report.missing.is_empty());
    let words =
        explain(end, &shadowed(), &report, &Names { baseline: "m/3".into(), candidate: "m/4".into() });
    assert!(words.starts_with("in shadow m/4 did what is allowed: it goes on to 5 %."), "{words}");

    // What is not known of the shadow may be what it is there for.
    let at = Progress { shadowing: true, in_step: shadow.asked, ..AT_START };
    let lost = Report { unreadable_batches: 1, ..report };
    assert_eq!(decide(&shadowed(), &at, &lost, seconds * 1_000), Move::Hold);
}

#[test]
fn a_candidate_that_differs_or_fails_in_shadow_is_rolled_back_with_an_example() {
    let names = Names { baseline: "m/3".into(), candidate: "m/4".into() };
    let (end, _, report) = run_shadow(2, 0.4, 0.0, None);
    assert_eq!(end, Move::RollBack);
    let words = explain(end, &shadowed(), &report, &names);
    assert!(words.contains("otherwise than m/3, most of all prediction d, by 0.5: between"), "{words}");
    assert!(words.contains("% where 10 % is allowed"), "{words}");
    let (end, _, report) = run_shadow(3, 0.0, 0.4, None);
    assert_eq!(end, Move::RollBack);
    let words = explain(end, &shadowed(), &report, &names);
    assert!(words.contains("that m/3 answered (it fell over): between"), "{words}");
}

#[test]
fn a_few_keys_in_shadow_say_little_and_it_holds_with_what_is_missing() {
    let (end, seconds, report) = run_shadow(4, 0.0, 0.0, Some(12));
    assert_eq!((end, seconds), (Move::Hold, 60));
    let shadow = report.shadow.unwrap();
    assert_eq!((shadow.differing.units, shadow.asked), (12, 6_000));
    assert!(report.missing.iter().all(|m| m.name.starts_with("shadow_")) && !report.missing.is_empty());
}

#[test]
fn a_candidate_at_its_limits_is_hardly_ever_rolled_back_in_shadow() {
    // At most 5 % may be, ever: of 60, more than 8 would happen with a chance below 1 %.
    let taken_off =
        (0..60).filter(|seed| run_shadow(seed + 100, 0.1, 0.05, None).0 == Move::RollBack).count();
    assert!(taken_off <= 8, "{taken_off}");
}

#[test]
fn what_the_shadow_saw_is_kept_and_what_was_kept_before_there_were_shadows_is_read() {
    let plan = shadowed();
    let mut evidence = Evidence::new(&plan).unwrap();
    evidence.set_shadowing(true);
    let mut random = SplitMix64::new(5);
    for key in 0..200 {
        evidence.observe_shadow(&in_shadow(&mut random, 0.1, 0.01, Some(key))).unwrap();
    }
    let mut again: Evidence = serde_json::from_str(&serde_json::to_string(&evidence).unwrap()).unwrap();
    assert_eq!(again.look().unwrap(), evidence.look().unwrap());

    let mut old = serde_json::to_value(Evidence::new(&quick()).unwrap()).unwrap();
    let fields = old.as_object_mut().unwrap();
    assert!(fields.remove("shadow").is_some() && fields.remove("shadowing").is_some());
    let mut old: Evidence = serde_json::from_value(old).unwrap();
    let report = serde_json::to_value(old.look().unwrap()).unwrap();
    assert!(report["shadow"].is_null());
    let mut plan = serde_json::to_value(quick()).unwrap();
    assert!(plan.as_object_mut().unwrap().remove("shadow").is_some());
    assert_eq!(serde_json::from_value::<Plan>(plan).unwrap(), quick());
}

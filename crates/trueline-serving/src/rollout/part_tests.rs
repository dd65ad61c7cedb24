//! Whole rollouts on made-up traffic that has segments, and whose labels arrive late.

use super::simulation::{Nature, Run, Traffic};
use super::*;
use serde_json::json;
use trueline_stats::prng::SplitMix64;
use trueline_stats::sequential::Verdict;

const GOOD: Nature = Nature { failures: 0.01, mean: 0.4, latency_ms: 4.0, wrong: 0.1 };

const USUAL: Traffic =
    Traffic { each_second: 100, keys: None, countries: true, labelled: 0.5, latest: 20, rough: false };

fn plan(segments: bool, quality: Option<serde_json::Value>) -> Plan {
    let steps = [10.0, 50.0].map(|p| Step { least_requests: 50, least_seconds: 2, ..Step::to(p) });
    let countries = json!([{ "column": "country", "values": ["DE", "FR"] }]);
    Plan {
        steps: steps.to_vec(),
        longest_seconds: 400,
        segments: if segments { serde_json::from_value(countries).unwrap() } else { Vec::new() },
        limits: Limits { quality: quality.map(|q| serde_json::from_value(q).unwrap()), ..Limits::default() },
        ..Plan::default()
    }
}

/// Until something ends it, or for so many seconds, with a candidate that has its nature in each country.
fn run(plan: &Plan, seed: u64, traffic: Traffic, seconds: i64, candidate: impl Fn(&str) -> Nature) -> Run {
    let natures = |arm: Arm, country: Option<&str>| match (arm, country) {
        (Arm::Canary, Some(country)) => candidate(country),
        _ => GOOD,
    };
    simulation::run(plan, seed, traffic, seconds, natures)
}

fn told(run: &Run, plan: &Plan) -> String {
    explain(run.end, plan, &run.report, &Names { baseline: "m/3".into(), candidate: "m/4".into() })
}

#[test]
fn a_shift_in_a_fifth_of_the_traffic_is_found_though_the_mean_of_all_stays() {
    let shifted =
        |country: &str| Nature { mean: GOOD.mean + if country == "DE" { 0.2 } else { -0.05 }, ..GOOD };
    let apart = plan(true, None);
    let done = run(&apart, 1, USUAL, 400, shifted);
    assert_eq!(done.end, Move::RollBack, "{:#?}", done.report.segments);
    let words = told(&done, &apart);
    assert!(words.starts_with("where country = DE, the mean prediction of m/4 is between"), "{words}");
    assert!(done.report.p_value <= 0.05 && done.report.prediction.log_e < 3.0);
    let together = run(
        &Plan { limits: Limits { prediction_shift: 0.06, ..Limits::default() }, ..plan(false, None) },
        1,
        USUAL,
        400,
        shifted,
    );
    assert_ne!(together.end, Move::RollBack, "the mean of all is as it was");
}

#[test]
fn failures_in_one_segment_are_found_and_a_good_candidate_is_promoted_with_every_segment_shown() {
    let failing = |country: &str| Nature { failures: if country == "FR" { 0.3 } else { 0.01 }, ..GOOD };
    let done = run(&plan(true, None), 2, USUAL, 400, failing);
    assert_eq!(done.end, Move::RollBack);
    let wide =
        Limits { error_difference: 0.1, slow_difference: 0.2, prediction_shift: 0.1, ..Limits::default() };
    let apart = Plan { limits: wide, ..plan(true, None) };
    let many = Traffic { each_second: 400, ..USUAL };
    let done = run(&apart, 3, many, 400, |_| GOOD);
    assert_eq!(done.end, Move::Promote, "{:?}", done.report.missing);
    let names: Vec<_> = done.report.segments.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["country = DE", "country = FR", "country = any other"]);
}

#[test]
fn a_segment_that_nobody_comes_from_is_waited_for_by_its_name_unless_the_plan_says_otherwise() {
    let wide =
        Limits { error_difference: 0.1, slow_difference: 0.2, prediction_shift: 0.1, ..Limits::default() };
    let mut empty = Plan { limits: wide, ..plan(true, None) };
    empty.segments[0].values = vec![json!("XX")];
    let many = Traffic { each_second: 400, ..USUAL };
    let held = run(&empty, 4, many, 60, |_| GOOD);
    assert_eq!(held.end, Move::Stay);
    let missing: Vec<_> = held.report.missing.iter().map(|m| m.name.as_str()).collect();
    let of = |name: &str| format!("{name} where country = XX");
    assert_eq!(missing, [of("errors"), of("prediction"), of("latency")]);
    empty.segments[0].required = false;
    assert_eq!(run(&empty, 4, many, 60, |_| GOOD).end, Move::Promote);
}

#[test]
fn quality_that_falls_is_found_though_predictions_and_latency_stay() {
    let worse = |_: &str| Nature { wrong: 0.5, ..GOOD };
    for required in [true, false] {
        let quality = json!({ "measure": "accuracy", "margin": 0.05, "required": required });
        let with_labels = plan(false, Some(quality));
        let done = run(&with_labels, 5, USUAL, 400, worse);
        assert_eq!(done.end, Move::RollBack, "{:#?}", done.report.quality);
        let words = told(&done, &with_labels);
        assert!(words.starts_with("the mean loss (accuracy) of m/4 is between 0."), "{words}");
        assert!(words.contains("where 0.05 is allowed"), "{words}");
    }
    let blind = run(&plan(false, None), 5, USUAL, 60, worse);
    assert_ne!(blind.end, Move::RollBack, "nothing else tells");
}

#[test]
fn quality_that_falls_in_one_segment_is_found_there() {
    let worse = |country: &str| Nature { wrong: if country == "DE" { 0.6 } else { 0.1 }, ..GOOD };
    let apart = plan(true, Some(json!({ "measure": "accuracy", "margin": 0.15 })));
    let done = run(&apart, 6, USUAL, 400, worse);
    assert_eq!(done.end, Move::RollBack);
    let words = told(&done, &apart);
    assert!(words.starts_with("where country = DE, the mean loss (accuracy) of m/4"), "{words}");
}

#[test]
fn promotion_waits_for_labels_where_they_are_required() {
    let wide = |q: serde_json::Value| {
        let limits = plan(false, Some(q)).limits;
        let limits = Limits { error_difference: 0.1, slow_difference: 0.2, prediction_shift: 0.1, ..limits };
        Plan { limits, ..plan(false, None) }
    };
    let many = Traffic { each_second: 400, ..USUAL };
    let none = Traffic { labelled: 0.0, ..many };
    let waiting = wide(json!({ "measure": "accuracy", "margin": 0.1 }));
    let held = run(&waiting, 7, none, 60, |_| GOOD);
    assert_eq!((held.end, held.report.verdict), (Move::Stay, Verdict::Hold));
    assert_eq!(held.report.missing.len(), 1, "{:?}", held.report.missing);
    assert_eq!(held.report.missing[0].name, "quality");
    assert_eq!(run(&waiting, 7, many, 400, |_| GOOD).end, Move::Promote);
    let not_waiting = wide(json!({ "measure": "accuracy", "margin": 0.1, "required": false }));
    assert_eq!(run(&not_waiting, 7, none, 60, |_| GOOD).end, Move::Promote);
}

#[test]
fn losses_out_of_range_say_nothing_for_the_candidate_and_units_count_once() {
    let limit =
        json!({ "measure": "absolute_error", "margin": 1.0, "range": [0.0, 10.0], "least_labels": 1 });
    let mut evidence = Evidence::new(&plan(false, Some(limit))).unwrap();
    let mut see = |n: u64, error: f64, unit: Option<u64>| {
        let arm = if n.is_multiple_of(2) { Arm::Canary } else { Arm::Champion };
        let (answered, truth) = (Some(Said::Number(error)), Said::Number(0.0));
        let segments = InSegments::default();
        evidence.observe_label(&LabelSeen { arm, share: 0.5, unit, segments, answered, truth }).unwrap();
        evidence.look().unwrap().quality.unwrap().loss
    };
    for n in 0..2_000 {
        see(n, 2.0, Some(n % 20));
    }
    let few = see(0, 2.0, None);
    assert_eq!((few.units.baseline, few.units.candidate), (10, 11));
    for n in 0..100 {
        see(n, 300.0, None);
    }
    let last = see(0, 2.0, None);
    assert!(!last.range_fits && last.outside.candidate == 50);
    assert!(evidence.look().unwrap().missing.iter().any(|m| m.name == "quality"));
}

/// What labels show once so many have come, half of them for each arm, of what it answered to each and what was true.
fn labelled(margin: f64, answers: impl Fn(Arm, u64) -> (Option<Said>, Said)) -> Report {
    let limit = json!({ "measure": "accuracy", "margin": margin, "least_labels": 1 });
    let mut evidence = Evidence::new(&plan(false, Some(limit))).unwrap();
    let mut random = SplitMix64::new(3);
    for n in 0..6_000 {
        let arm = if random.next_f64() < 0.5 { Arm::Canary } else { Arm::Champion };
        let (answered, truth) = answers(arm, n);
        let segments = InSegments::default();
        let label = LabelSeen { arm, share: 0.5, unit: None, segments, answered, truth };
        evidence.observe_label(&label).unwrap();
    }
    evidence.look().unwrap()
}

#[test]
fn a_candidate_that_is_silent_where_it_would_be_wrong_does_not_look_good() {
    // Every fifth request is hard. The baseline gets half of these right; the candidate answers them with no class at all.
    let report = labelled(0.02, |arm, n| {
        let said = match (n.is_multiple_of(5), arm) {
            (true, Arm::Canary) => None,
            (true, Arm::Champion) => Some(Said::Truth(n.is_multiple_of(2))),
            (false, _) => Some(Said::Truth(true)),
        };
        (said, Said::Truth(true))
    });
    assert_eq!(report.verdict, Verdict::RollBack);
    let loss = &report.quality.as_ref().unwrap().loss;
    assert!(loss.difference.contains(0.1) && loss.mean.candidate.contains(0.2), "{loss:?}");
    assert_eq!((loss.incomparable.baseline, loss.comparable), (0, true));
    assert!(loss.incomparable.candidate > 500 && loss.outside == Arms::default(), "{loss:?}");
    let told = explain(
        Move::RollBack,
        &plan(false, None),
        &report,
        &Names { baseline: "m/3".into(), candidate: "m/4".into() },
    );
    let count = loss.incomparable.candidate;
    assert!(told.contains(&format!("({count} answers of m/4 and 0 of m/3 can't be compared")), "{told}");
}

#[test]
fn a_class_that_an_answer_has_no_place_for_is_answered_wrong() {
    let several = |classes: usize| Said::Several(vec![0.0; classes].into_iter().chain([1.0]).collect());
    // The baseline knows the class that is true, the candidate has none for it.
    let report = labelled(0.02, |arm, _| {
        let classes = if arm == Arm::Canary { 1 } else { 2 };
        (Some(several(classes)), Said::Number(2.0))
    });
    assert_eq!(report.verdict, Verdict::RollBack);
}

#[test]
fn labels_that_nothing_can_be_compared_with_are_left_out_of_both_arms() {
    let report = labelled(0.1, |arm, n| {
        let truth = if n.is_multiple_of(3) { Said::Number(f64::NAN) } else { Said::Truth(true) };
        // What is answered beside a label that says nothing does not matter.
        let silent = arm == Arm::Canary && n.is_multiple_of(3);
        ((!silent).then_some(Said::Truth(true)), truth)
    });
    let quality = report.quality.as_ref().unwrap();
    let out = quality.left_out_by_arm;
    assert_eq!(quality.left_out.incomparable, 2_000);
    assert_eq!(out.baseline.incomparable + out.candidate.incomparable, 2_000);
    assert!(out.candidate.incomparable > 900 && out.baseline.incomparable > 900, "{out:?}");
    assert_eq!(quality.loss.incomparable, Arms::default());
    assert!(report.missing.iter().all(|m| m.name != "quality"), "{:?}", report.missing);
}

#[test]
fn nothing_is_shown_against_a_baseline_whose_answers_can_not_be_compared() {
    let report = labelled(0.1, |arm, n| {
        let silent = arm == Arm::Champion && n.is_multiple_of(10);
        ((!silent).then_some(Said::Truth(true)), Said::Truth(true))
    });
    let loss = &report.quality.as_ref().unwrap().loss;
    assert!(!loss.comparable && !loss.may_pass() && loss.range_fits, "{loss:?}");
    assert!(report.missing.iter().any(|m| m.name == "quality"), "{:?}", report.missing);
}

#[test]
fn what_labels_and_segments_showed_is_kept_and_what_was_kept_before_there_were_any_is_read() {
    let whole = plan(true, Some(json!({ "measure": "accuracy", "margin": 0.05 })));
    let mut evidence = Evidence::new(&whole).unwrap();
    let candidate = LabelsLeftOut { corrections: 2, ..LabelsLeftOut::default() };
    evidence.leave_out(Arms { candidate, ..Arms::default() });
    let mut written = serde_json::to_value(&evidence).unwrap();
    // How far labels were read was once kept here, too.
    written["quality"]["cursor"] = json!("3-14-1");
    let mut again: Evidence = serde_json::from_value(written).unwrap();
    assert_eq!(again.look().unwrap(), evidence.look().unwrap());
    again.forget_cursor();
    assert!(!serde_json::to_string(&again).unwrap().contains("3-14-1"), "whose log it was is not known");
    let quality = again.look().unwrap().quality.unwrap();
    assert_eq!((quality.left_out.all(), quality.left_out_by_arm.candidate.corrections), (2, 2));

    // As labels were kept before answers that can't be compared counted, and before arms were told apart.
    let mut old = serde_json::to_value(&evidence).unwrap();
    let labels = old["quality"].as_object_mut().unwrap();
    assert!(labels.remove("left_out_by_arm").is_some());
    assert!(labels["left_out"].as_object_mut().unwrap().remove("redacted").is_some());
    assert!(labels["whole"].as_object_mut().unwrap().remove("incomparable").is_some());
    let mut old: Evidence = serde_json::from_value(old).unwrap();
    let quality = old.look().unwrap().quality.unwrap();
    assert_eq!((quality.left_out.corrections, quality.left_out_by_arm.candidate.corrections), (2, 0));

    let mut old = serde_json::to_value(Evidence::new(&plan(false, None)).unwrap()).unwrap();
    let fields = old.as_object_mut().unwrap();
    for new in ["segments", "segment_keys", "quality", "part"] {
        assert!(fields.remove(new).is_some(), "{new}");
    }
    let mut old: Evidence = serde_json::from_value(old).unwrap();
    let mut report = serde_json::to_value(old.look().unwrap()).unwrap();
    old.forget_cursor();
    let fields = report.as_object_mut().unwrap();
    assert!(fields.remove("segments").is_some() && fields.remove("quality").is_some());
    assert_eq!(serde_json::from_value::<Report>(report).unwrap(), old.look().unwrap());
}

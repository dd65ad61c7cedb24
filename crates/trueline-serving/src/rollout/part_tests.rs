//! Whole rollouts on made-up traffic that has segments, and whose labels arrive late.

use super::*;
use serde_json::json;
use trueline_stats::prng::SplitMix64;
use trueline_stats::sequential::Verdict;

/// How an arm does in a segment.
#[derive(Clone, Copy)]
struct Nature {
    failures: f64,
    mean: f64,
    /// How often its answer is not what the label will say.
    wrong: f64,
}

const GOOD: Nature = Nature { failures: 0.01, mean: 0.4, wrong: 0.1 };

/// Every fifth request comes from DE, every fifth from FR.
const COUNTRIES: [&str; 5] = ["DE", "FR", "IT", "ES", "IT"];

/// Traffic as it comes: so many requests a second, of which a share gets a label within so many seconds.
#[derive(Clone, Copy)]
struct Traffic {
    each_second: u64,
    labelled: f64,
    latest: u64,
    keys: Option<u64>,
}

const USUAL: Traffic = Traffic { each_second: 100, labelled: 0.5, latest: 20, keys: None };

struct Run {
    end: Move,
    report: Report,
}

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

/// What a request comes to, and whether its answer is wrong.
fn draw(random: &mut SplitMix64, nature: Nature) -> (Outcome, bool) {
    let wrong = random.next_f64() < nature.wrong;
    if random.next_f64() < nature.failures {
        return (Outcome::Failed, wrong);
    }
    let prediction = nature.mean + 0.3 * (random.next_f64() - 0.5);
    (Outcome::Answered { prediction, latency_ms: -4.0 * (1.0 - random.next_f64()).ln() }, wrong)
}

/// Until something ends it, or for so many seconds.
fn run(plan: &Plan, seed: u64, traffic: Traffic, seconds: i64, candidate: impl Fn(&str) -> Nature) -> Run {
    let mut random = SplitMix64::new(seed);
    let salt = random.next_u64();
    let mut evidence = Evidence::new(plan).unwrap();
    let at_start =
        Progress { shadowing: false, step: 0, step_since_ms: 0, in_step: 0, started_at_ms: 0, held: false };
    let mut progress = at_start;
    let mut to_come: Vec<(i64, LabelSeen)> = Vec::new();
    for second in 1..=seconds {
        let share = plan.share(progress.step).unwrap();
        for _ in 0..traffic.each_second {
            let key = traffic.keys.map(|n| random.next_u64() % n);
            let lot = key.map_or_else(
                || random.next_f64(),
                |k| SplitMix64::new(salt ^ k.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_f64(),
            );
            let arm = if lot >= 1.0 - share.fraction() { Arm::Canary } else { Arm::Champion };
            let country = COUNTRIES[usize::try_from(random.next_u64() % 5).unwrap()];
            let segments = segments_of(&plan.segments, |_| Some(json!(country)));
            let nature = if arm == Arm::Canary { candidate(country) } else { GOOD };
            let (outcome, wrong) = draw(&mut random, nature);
            evidence.observe(&Observation { arm, share, key, segments, outcome }).unwrap();
            if outcome != Outcome::Failed && random.next_f64() < traffic.labelled {
                let (answered, truth) = (Said::Truth(true), Said::Truth(!wrong));
                let label = LabelSeen { arm, share: share.fraction(), unit: key, segments, answered, truth };
                let at = second + i64::try_from(random.next_u64() % traffic.latest).unwrap();
                to_come.push((at, label));
            }
        }
        let (now, later): (Vec<_>, Vec<_>) = to_come.into_iter().partition(|(at, _)| *at <= second);
        to_come = later;
        now.iter().for_each(|(_, label)| evidence.observe_label(label).unwrap());
        progress.in_step = evidence.in_step();
        let report = evidence.look().unwrap();
        match decide(plan, &progress, &report, second * 1_000) {
            Move::Stay => {}
            Move::Step(step) => {
                evidence.begin_step(step);
                progress = Progress { step, step_since_ms: second * 1_000, in_step: 0, ..progress };
            }
            end => return Run { end, report },
        }
    }
    Run { end: Move::Stay, report: evidence.look().unwrap() }
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
    let worse = |_: &str| Nature { wrong: 0.3, ..GOOD };
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
        let (answered, truth) = (Said::Number(error), Said::Number(0.0));
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

#[test]
fn what_labels_and_segments_showed_is_kept_and_what_was_kept_before_there_were_any_is_read() {
    let whole = plan(true, Some(json!({ "measure": "accuracy", "margin": 0.05 })));
    let mut evidence = Evidence::new(&whole).unwrap();
    evidence.labels_read("3-14-1".into(), LabelsLeftOut { corrections: 2, ..LabelsLeftOut::default() });
    let mut again: Evidence = serde_json::from_str(&serde_json::to_string(&evidence).unwrap()).unwrap();
    assert_eq!(again.look().unwrap(), evidence.look().unwrap());
    assert_eq!(again.labels_from(), Some("3-14-1"));
    assert_eq!(again.look().unwrap().quality.unwrap().left_out.corrections, 2);

    let mut old = serde_json::to_value(Evidence::new(&plan(false, None)).unwrap()).unwrap();
    let fields = old.as_object_mut().unwrap();
    for new in ["segments", "segment_keys", "quality", "part"] {
        assert!(fields.remove(new).is_some(), "{new}");
    }
    let mut old: Evidence = serde_json::from_value(old).unwrap();
    let mut report = serde_json::to_value(old.look().unwrap()).unwrap();
    assert_eq!(old.labels_from(), None);
    let fields = report.as_object_mut().unwrap();
    assert!(fields.remove("segments").is_some() && fields.remove("quality").is_some());
    assert_eq!(serde_json::from_value::<Report>(report).unwrap(), old.look().unwrap());
}

/// How often a candidate with nothing wrong is rolled back, of so many rollouts: it takes its steps by what is seen, its traffic has
/// segments, its labels come late and for half of it.
fn false_rollbacks(runs: u64, seconds: i64, keys: Option<u64>) -> u64 {
    // Margins at nothing, so that the candidate is on the border of what is allowed: the worst case of the bound.
    let mut plan = plan(true, Some(json!({ "measure": "accuracy", "margin": 1e-9 })));
    let (error_ratio, latency_ratio) = (1.0, 1.0);
    plan.limits =
        Limits { error_ratio, latency_ratio, prediction_shift: 1e-9, latency_floor_ms: 0.0, ..plan.limits };
    plan.longest_seconds = 1_000_000;
    let traffic = Traffic { each_second: 40, keys, ..USUAL };
    let one = |seed: u64| run(&plan, seed ^ 0xABCD, traffic, seconds, |_| GOOD).end == Move::RollBack;
    (0..runs).map(|seed| u64::from(one(seed))).sum()
}

#[test]
fn a_good_candidate_is_hardly_ever_rolled_back_by_segments_or_late_labels() {
    // At most 5 % may be, ever: of 60, more than 8 would happen with a chance below 1 %.
    assert!(false_rollbacks(60, 60, None) <= 8);
}

#[test]
#[ignore = "minutes: the bound on false rollbacks with segments and late labels, on many rollouts, with and without keys"]
fn over_many_rollouts_with_segments_and_late_labels_fewer_than_alpha_are_rolled_back_for_nothing() {
    for keys in [None, Some(3_000)] {
        let rolled_back = false_rollbacks(1_000, 200, keys);
        println!("keys {keys:?}: {rolled_back} of 1000");
        // 50 expected at the very most; plus three standard deviations.
        assert!(rolled_back <= 70, "{rolled_back}");
    }
}
